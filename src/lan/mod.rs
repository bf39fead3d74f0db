//! What the LAN is shown, as machines: the API now, the page and WebDAV beside it.

pub mod api;
