//! WebDAV's requests, one after another as whoever knows the password sends them: heads, conditions, XML, and what the
//! locks and properties of earlier ones make of later ones. Requests are divided by NUL; each has lines of a head, an
//! empty one, and a body.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use dustfs::base::{Instant, WallTime};
use dustfs::lan::dav::{Dav, Head, Job, View, Want};
use dustfs::lan::password::Password;
use dustfs::lan::response::Response;
use dustfs::node::io::{Answer, Attr, DirEntry, Inode, Op, OpError};
use dustfs::wire::record::Kind;
use libfuzzer_sys::fuzz_target;

/// `/Home` with the file `a`, the directory `d` that has another `a`, and the link `l`.
struct Tree;

const ENTRIES: [(u64, u64, &[u8], Kind); 5] = [
    (1, 2, b"Home", Kind::Directory),
    (2, 3, b"a", Kind::File),
    (2, 4, b"d", Kind::Directory),
    (2, 5, b"l", Kind::Symlink),
    (4, 6, b"a", Kind::File),
];

impl View for Tree {
    fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        let kind = ENTRIES.iter().find(|entry| entry.1 == inode.0).map(|entry| entry.3);
        let kind = kind.or((inode == Inode(1)).then_some(Kind::Directory)).ok_or(OpError::NotFound)?;
        Ok(Attr { inode, kind, size: 9, mode: 0o644, mtime: WallTime(5), links: 1 })
    }

    fn lookup(&self, directory: Inode, name: &[u8]) -> Result<Attr, OpError> {
        let found = ENTRIES.iter().find(|entry| entry.0 == directory.0 && entry.2 == name);
        self.attr(Inode(found.ok_or(OpError::NotFound)?.1))
    }

    fn list(&self, directory: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        let entries = ENTRIES.iter().filter(|entry| entry.0 == directory.0 && after.is_none_or(|after| entry.2 > after));
        Ok(entries.map(|entry| DirEntry { inode: Inode(entry.1), kind: entry.3, name: entry.2.to_vec() }).take(limit).collect())
    }

    fn may_change(&self, directory: Inode) -> Result<(), OpError> {
        if directory == Inode(1) { Err(OpError::ReadOnly) } else { Ok(()) }
    }

    fn readlink(&self, _: Inode) -> Result<Bytes, OpError> {
        Ok(Bytes::from_static(b"a"))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let password = Password::new("12345678", [0; 4]).expect("a password");
    let mut dav = Dav::new(Some(password), [7; 32]);
    for (number, request) in (0_u8..=255).zip(bytes.split(|byte| *byte == 0)) {
        // A connection that the listener takes has a head of text.
        let cut = request.windows(2).position(|two| two == b"\n\n").unwrap_or(request.len());
        let Ok(head) = std::str::from_utf8(&request[..cut]) else { continue };
        answer(&mut dav, head, request.get(cut + 2..).unwrap_or_default(), number);
    }
});

fn answer(dav: &mut Dav, head: &str, body: &[u8], number: u8) {
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &'static str| match name {
        "authorization" => Some("Basic ZHVzdGZzOjEyMzQ1Njc4"),
        _ => headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()),
    };
    let head = Head {
        method,
        target,
        host: "box",
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        length: header("content-length").and_then(|length| length.parse().ok()),
        has_body: !body.is_empty(),
        header: &header,
    };
    let now = Instant(u64::from(number) * 1_000_000);
    let Ok(request) = dav.head(now, &head) else { return };
    let body = if request.has_xml() { &body[..body.len().min(65_536)] } else { b"" };
    match dav.begin(now, &request, body, [number; 16], &Tree, (1_000_000, 500_000)) {
        Job::Answer(response) => check(&response),
        Job::Send(..) | Job::Take(_) => {}
        Job::List(response, mut listing) => {
            check(&response);
            while let Ok(Some(piece)) = listing.next(now, dav, &Tree, (1_000_000, 500_000)) {
                assert!(!piece.contains('\0'));
            }
        }
        Job::Change(mut change, effect) => {
            for step in 0.. {
                assert!(step < 10_000, "it does not end");
                match change.want(&Tree) {
                    // This tree does not change, so that what empties it would never end.
                    Want::Ask(_) if step > 40 => change.answered(Err(OpError::ReadOnly)),
                    Want::Ask(Op::Mkdir { .. }) => change.answered(Tree.attr(Inode(4)).map(Answer::Entry)),
                    Want::Ask(_) => change.answered(Ok(Answer::Done)),
                    Want::Copy(..) => change.copied(Response::json(201, "{}")),
                    Want::Done(response) => {
                        check(&response);
                        return dav.settle(now, effect, response.status < 300);
                    }
                }
            }
        }
    }
}

/// What is told as a header is no way to tell others.
fn check(response: &Response) {
    assert!((200..600).contains(&response.status));
    assert!(response.headers.iter().all(|(_, value)| value.bytes().all(|byte| byte >= b' ' && byte != 127)));
}
