//! The page's own files, built in: one document for strangers, one for who has signed in, one
//! while the box is locked, and what they load.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::download::matches;
use super::response::Response;

/// A file of the page.
pub struct Asset {
    path: &'static str,
    /// Strangers get it as well.
    public: bool,
    media: &'static str,
    body: &'static [u8],
}

/// For whom a file of the page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visitor {
    /// Somebody who has not signed in.
    Stranger,
    /// Somebody who has.
    SignedIn,
    /// Anybody, while the box is locked.
    Locked,
}

/// Answers a request for a file of the page; `None` when there is none of this path, or it is not for this visitor.
pub fn answer(path: &str, visitor: Visitor, if_none_match: Option<&str>) -> Option<Response> {
    let signed_in = visitor == Visitor::SignedIn;
    let path = match path {
        "/" if signed_in => "/page.html",
        "/" if visitor == Visitor::Locked => "/unlock.html",
        "/" => "/signin.html",
        path if path.ends_with(".html") => return None,
        path => path,
    };
    let asset = ASSETS.iter().find(|asset| asset.path == path && (asset.public || signed_in))?;
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&Sha256::digest(asset.body)[..8]));
    // What is at `/` depends on the cookie.
    let response = Response::new(200).with("etag", &tag).with("cache-control", "no-cache").with("vary", "cookie");
    if if_none_match.is_some_and(|tags| matches(tags, &tag)) {
        return Some(Response { status: 304, ..response });
    }
    Some(Response { body: Bytes::from_static(asset.body), ..response.with("content-type", asset.media) })
}

const ASSETS: [Asset; 8] = [
    Asset {
        path: "/signin.html",
        public: true,
        media: "text/html; charset=utf-8",
        body: include_bytes!("assets/signin.html"),
    },
    Asset {
        path: "/signin.js",
        public: true,
        media: "text/javascript; charset=utf-8",
        body: include_bytes!("assets/signin.js"),
    },
    Asset {
        path: "/unlock.html",
        public: true,
        media: "text/html; charset=utf-8",
        body: include_bytes!("assets/unlock.html"),
    },
    Asset {
        path: "/unlock.js",
        public: true,
        media: "text/javascript; charset=utf-8",
        body: include_bytes!("assets/unlock.js"),
    },
    Asset {
        path: "/page.css",
        public: true,
        media: "text/css; charset=utf-8",
        body: include_bytes!("assets/page.css"),
    },
    Asset { path: "/icon.svg", public: true, media: "image/svg+xml", body: include_bytes!("assets/icon.svg") },
    Asset {
        path: "/page.html",
        public: false,
        media: "text/html; charset=utf-8",
        body: include_bytes!("assets/page.html"),
    },
    Asset {
        path: "/page.js",
        public: false,
        media: "text/javascript; charset=utf-8",
        body: include_bytes!("assets/page.js"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_the_sign_in_alone() {
        let body = |path, signed_in| {
            answer(path, if signed_in { Visitor::SignedIn } else { Visitor::Stranger }, None)
                .map(|response| response.body)
        };
        assert_eq!(body("/", false).as_deref(), Some(&include_bytes!("assets/signin.html")[..]));
        assert_eq!(body("/", true).as_deref(), Some(&include_bytes!("assets/page.html")[..]));
        let locked = answer("/", Visitor::Locked, None).map(|response| response.body);
        assert_eq!(locked.as_deref(), Some(&include_bytes!("assets/unlock.html")[..]));
        for path in ["/page.js", "/page.html", "/signin.html", "/unlock.html", "/nothing", "", "/../page.js"] {
            assert_eq!(body(path, false), None, "{path}");
        }
        assert!(body("/page.js", true).is_some() && body("/page.html", true).is_none());
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = answer("/", Visitor::Stranger, None).expect("a page");
        let tag = first.header("etag").expect("a tag");
        let again = answer("/", Visitor::Stranger, Some(tag)).expect("an answer");
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(answer("/", Visitor::SignedIn, Some(tag)).expect("a page").status, 200);
    }

    #[test]
    fn the_page_keeps_its_own_policy() {
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.body).expect("text");
            for forbidden in ["innerHTML", "outerHTML", "document.write", "insertAdjacentHTML", "eval(", "javascript:"]
            {
                assert!(!text.contains(forbidden), "{} has {forbidden}", asset.path);
            }
            assert!(!text.contains("http://") || asset.path == "/icon.svg", "{} loads from elsewhere", asset.path);
            assert!(!text.contains("https://"), "{} loads from elsewhere", asset.path);
            if asset.path.ends_with(".html") {
                assert!(!text.contains("style=") && !text.contains("<style"), "{}", asset.path);
                for handler in ["onclick", "onload", "onerror", "onsubmit", "onchange"] {
                    assert!(!text.contains(handler), "{} has {handler}", asset.path);
                }
                assert_eq!(text.matches("<script").count(), text.matches("<script src=\"/").count(), "{}", asset.path);
            }
        }
    }
}
