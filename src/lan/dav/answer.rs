//! Answers that WebDAV words in its own way.

use super::super::api::ApiError;
use super::super::path::FilePath;
use super::super::response::Response;
use super::href;
use super::property::{BEGIN, END};
use super::xml::escape;

/// To an `OPTIONS`.
pub fn options() -> Response {
    // Explorer looks for the second.
    Response::new(200).with("dav", "1, 2").with("ms-author-via", "DAV").with("allow", ALLOW).with("content-length", "0")
}

/// 405 for a method that there is not.
pub fn unknown() -> Response {
    Response::from(ApiError::new(405, "WebDAV has no such method")).with("allow", ALLOW)
}

/// 405: something is there.
pub fn exists(why: &str) -> Response {
    Response::from(ApiError::new(405, why)).with("allow", ALLOW)
}

/// To a `GET` of a directory, which only a person sends.
pub fn directory(head_only: bool) -> Response {
    let text = "This is for WebDAV: open the address in a file manager. The page of this box is at /.\n";
    let mut response = Response::new(200).with("content-type", "text/plain; charset=utf-8");
    if !head_only {
        response.body = text.into();
    }
    response
}

/// 207, whose body is given, or follows.
pub fn multistatus(body: String) -> Response {
    xml(207, body)
}

/// To a `PROPFIND` of what is above the tree, where Explorer looks first.
pub fn host(members: bool) -> Response {
    let mut body = String::from(BEGIN);
    for path in ["/", "/dav/"].iter().take(if members { 2 } else { 1 }) {
        body.push_str(&format!(
            "<D:response><D:href>{path}</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>\
             </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        ));
    }
    multistatus(body + END)
}

/// To a `LOCK`.
pub fn locks_told(status: u16, locks: &str) -> Response {
    xml(status, format!("{DECLARED}<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>{locks}</D:lockdiscovery></D:prop>\n"))
}

/// 423: somebody holds a lock that was taken there.
pub fn locked(root: &FilePath) -> Response {
    refused(423, "lock-token-submitted", Some(root))
}

/// A refusal by the name that the standard has for it (RFC 4918, section 16), and where.
pub fn refused(status: u16, condition: &str, place: Option<&FilePath>) -> Response {
    let mut inside = String::new();
    if let Some(place) = place {
        inside.push_str("<D:href>");
        escape(&href(place, false), &mut inside);
        inside.push_str("</D:href>");
    }
    xml(status, format!("{DECLARED}<D:error xmlns:D=\"DAV:\"><D:{condition}>{inside}</D:{condition}></D:error>\n"))
}

fn xml(status: u16, body: String) -> Response {
    let mut response = Response::new(status).with("content-type", "application/xml; charset=utf-8");
    response = response.with("cache-control", "no-store");
    response.body = body.into();
    response
}

const DECLARED: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";
const ALLOW: &str = "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";
