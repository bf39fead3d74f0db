//! The machine whole, on a tree that lives in a map: requests in, what became of the tree and the answers out.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use core::net::{IpAddr, Ipv4Addr};
use proptest::prelude::*;

use super::super::download::Download;
use super::super::upload;
use super::xml::Element;
use super::*;
use crate::base::WallTime;
use crate::node::io::{Answer, Handle, Op, Reply};

const NOW: Instant = Instant(1_000_000);
const SPACE: (u64, u64) = (1_000_000, 500_000);

/// A tree whose root holds circles; names sort as in a real one.
struct Tree {
    nodes: BTreeMap<u64, Made>,
    /// Operations that were asked for.
    asked: usize,
    /// This one, counted from 1, is refused.
    refuses: Option<usize>,
}

#[derive(Clone)]
struct Made {
    attr: Attr,
    bytes: Vec<u8>,
    names: BTreeMap<Vec<u8>, u64>,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Self { nodes: BTreeMap::new(), asked: 0, refuses: None };
        tree.make(Kind::Directory, Vec::new());
        for circle in [&b"Home"[..], b"Friends"] {
            let made = tree.make(Kind::Directory, Vec::new());
            tree.directory(1).insert(circle.to_vec(), made);
        }
        tree
    }

    fn make(&mut self, kind: Kind, bytes: Vec<u8>) -> u64 {
        let inode = self.nodes.len() as u64 + 1;
        let attr =
            Attr { inode: Inode(inode), kind, size: bytes.len() as u64, mode: 0o644, mtime: WallTime(5), links: 1 };
        self.nodes.insert(inode, Made { attr, bytes, names: BTreeMap::new() });
        inode
    }

    fn directory(&mut self, inode: u64) -> &mut BTreeMap<Vec<u8>, u64> {
        &mut self.nodes.get_mut(&inode).expect("it is there").names
    }

    fn at(&self, path: &str) -> Option<&Made> {
        let path = FilePath::parse(path).expect("a path");
        let found = path.resolve(|inode| self.attr(inode), |parent, name| self.lookup(parent, name));
        found.ok().map(|attr| &self.nodes[&attr.inode.0])
    }

    fn circle_of(&self, inode: Inode) -> u64 {
        let mut at = inode.0;
        while at > 3 {
            at = *self.nodes.iter().find(|(_, made)| made.names.values().any(|inside| *inside == at)).expect("above").0;
        }
        at
    }

    fn add(&mut self, parent: Inode, name: Vec<u8>, kind: Kind, bytes: Vec<u8>) -> Reply {
        self.may_change(parent)?;
        if self.lookup(parent, &name).is_ok() {
            return Err(OpError::Exists);
        }
        let made = self.make(kind, bytes);
        self.directory(parent.0).insert(name, made);
        Ok(Answer::Entry(self.nodes[&made].attr))
    }

    fn run(&mut self, op: Op) -> Reply {
        self.asked += 1;
        if self.refuses == Some(self.asked) {
            return Err(OpError::ReadOnly);
        }
        match op {
            Op::Mkdir { parent, name, .. } => self.add(parent, name, Kind::Directory, Vec::new()),
            Op::Symlink { parent, name, target } => self.add(parent, name, Kind::Symlink, target),
            Op::Unlink { parent, name } | Op::Rmdir { parent, name } => {
                self.may_change(parent)?;
                let found = self.lookup(parent, &name)?;
                assert!(self.nodes[&found.inode.0].names.is_empty(), "nothing is lost with a directory");
                self.directory(parent.0).remove(&name);
                Ok(Answer::Done)
            }
            Op::Rename { parent, name, new_parent, new_name, .. } => {
                let found = self.lookup(parent, &name)?;
                if self.circle_of(parent) != self.circle_of(new_parent) {
                    return Err(OpError::CrossCircle);
                }
                self.directory(parent.0).remove(&name);
                self.directory(new_parent.0).insert(new_name, found.inode.0);
                Ok(Answer::Done)
            }
            Op::SetAttr { inode, mode, mtime, .. } => {
                let made = self.nodes.get_mut(&inode.0).ok_or(OpError::NotFound)?;
                made.attr.mode = mode.unwrap_or(made.attr.mode);
                made.attr.mtime = mtime.unwrap_or(made.attr.mtime);
                Ok(Answer::Entry(made.attr))
            }
            Op::Unnamed { .. } => {
                let made = self.make(Kind::File, Vec::new());
                Ok(Answer::Created(self.nodes[&made].attr, Handle(made)))
            }
            Op::Write { handle, data, .. } => {
                let made = self.nodes.get_mut(&handle.0).ok_or(OpError::BadHandle)?;
                made.bytes.extend_from_slice(&data);
                made.attr.size = made.bytes.len() as u64;
                Ok(Answer::Written(data.len() as u32))
            }
            Op::Link { handle, parent, name, .. } => {
                self.may_change(parent)?;
                self.directory(parent.0).insert(name, handle.0);
                Ok(Answer::Done)
            }
            Op::Release { .. } | Op::Fsync { .. } => Ok(Answer::Done),
            other => panic!("{other:?}"),
        }
    }
}

impl View for Tree {
    fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        self.nodes.get(&inode.0).map(|made| made.attr).ok_or(OpError::NotFound)
    }

    fn lookup(&self, directory: Inode, name: &[u8]) -> Result<Attr, OpError> {
        let inside = self.nodes.get(&directory.0).and_then(|made| made.names.get(name)).ok_or(OpError::NotFound)?;
        self.attr(Inode(*inside))
    }

    fn list(&self, directory: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        let names = &self.nodes.get(&directory.0).ok_or(OpError::NotFound)?.names;
        let entries = names.iter().filter(|(name, _)| after.is_none_or(|after| name.as_slice() > after));
        let entry = |(name, inside): (&Vec<u8>, &u64)| DirEntry {
            inode: Inode(*inside),
            kind: self.nodes[inside].attr.kind,
            name: name.clone(),
        };
        Ok(entries.take(limit).map(entry).collect())
    }

    fn may_change(&self, directory: Inode) -> Result<(), OpError> {
        let refused = OpError::NotPermitted("this directory holds the circles".into());
        if directory == Inode::ROOT { Err(refused) } else { Ok(()) }
    }

    fn readlink(&self, inode: Inode) -> Result<Bytes, OpError> {
        Ok(self.nodes[&inode.0].bytes.clone().into())
    }
}

/// A node's WebDAV, and one client.
struct World {
    dav: Dav,
    tree: Tree,
    now: Instant,
    tokens: u8,
}

impl World {
    fn new() -> Self {
        let password = Password::new("correct horse", [1; 4]).expect("a password");
        Self { dav: Dav::new(Some(password), [7; 32]), tree: Tree::new(), now: NOW, tokens: 0 }
    }

    fn head(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: bool) -> Result<Request, Response> {
        let basic = "Basic ZHVzdGZzOmNvcnJlY3QgaG9yc2U=";
        let header = |name: &'static str| match headers.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Some(*value),
            None => (name == "authorization").then_some(basic),
        };
        let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let head = Head { method, target, host: "box", remote, length: None, has_body: body, header: &header };
        self.dav.head(self.now, &head)
    }

    /// Asks, and plays the node until there is an answer.
    fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let request = match self.head(method, target, headers, !body.is_empty()) {
            Ok(request) => request,
            Err(response) => return response,
        };
        self.tokens += 1;
        let xml = if request.has_xml() { body.as_bytes() } else { b"" };
        match self.dav.begin(self.now, &request, xml, [self.tokens; 16], &self.tree, SPACE) {
            Job::Answer(response) => response,
            Job::Send(file, conditions) => {
                let (mut response, download) = Download::new(request.path.name(), file, &conditions);
                if download.is_some() {
                    response.body = self.tree.nodes[&file.inode.0].bytes.clone().into();
                }
                response
            }
            Job::Take(upload) => self.upload(upload, body.as_bytes().to_vec()),
            Job::List(mut response, mut listing) => {
                let mut told = String::new();
                while let Some(piece) = listing.next(self.now, &self.dav, &self.tree, SPACE).expect("it is there") {
                    told.push_str(&piece);
                }
                response.body = told.into();
                response
            }
            Job::Change(change, effect) => {
                let response = self.change(change);
                self.dav.settle(self.now, effect, response.status < 300);
                response
            }
        }
    }

    fn change(&mut self, mut change: Change) -> Response {
        for _ in 0..100_000 {
            assert!(change.left() < 200, "what is to do is bounded");
            match change.want(&self.tree) {
                Want::Ask(op) => change.answered(self.tree.run(op)),
                Want::Copy(file, upload) => {
                    let bytes = self.tree.nodes.get(&file.inode.0).map(|made| made.bytes.clone());
                    let response = self.upload(upload, bytes.unwrap_or_default());
                    change.copied(response);
                }
                Want::Done(response) => return response,
            }
        }
        panic!("it does not end");
    }

    fn upload(&mut self, mut upload: Upload, bytes: Vec<u8>) -> Response {
        let mut left = Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty());
        loop {
            match upload.want() {
                upload::Want::Ask(op) => upload.answered(self.tree.run(op)),
                upload::Want::Body => match left.take() {
                    Some(piece) => upload.piece(&piece),
                    None => upload.end(),
                },
                upload::Want::Done(response) => return response,
            }
        }
    }

    fn status(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(method, target, headers, "").status
    }

    fn lock(&mut self, target: &str, headers: &[(&str, &str)]) -> String {
        let answer = self.ask("LOCK", target, headers, LOCK);
        assert!(answer.status < 300, "{answer:?}");
        answer.header("lock-token").expect("a token").to_owned()
    }
}

const LOCK: &str = "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";

fn document(response: &Response) -> Element {
    Element::parse_any(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

fn hrefs(response: &Response) -> Vec<String> {
    document(response).elements().map(|one| one.dav("href").expect("a place").text()).collect()
}

#[test]
fn whoever_does_not_know_the_password_gets_nothing() {
    let mut world = World::new();
    for method in ["GET", "PUT", "PROPFIND", "LOCK", "NONSENSE"] {
        assert_eq!(world.status(method, "/dav/Home/a", &[("authorization", "Basic eDp5")]), 401, "{method}");
    }
    let options = world.ask("OPTIONS", "/dav/", &[("authorization", "")], "");
    assert_eq!(
        (options.status, options.header("dav"), options.header("ms-author-via")),
        (200, Some("1, 2"), Some("DAV"))
    );
    assert_eq!(world.status("NONSENSE", "/dav/Home/a", &[]), 405);
    world.dav.forget(0);
    assert!(world.dav.has_password());
    world.dav.forget(1);
    assert_eq!(world.status("GET", "/dav/", &[]), 401);
}

#[test]
fn files_are_put_and_read() {
    let mut world = World::new();
    assert_eq!(world.ask("PUT", "/dav/Home/a%20b", &[("x-oc-mtime", "784111777.5")], "hello").status, 201);
    assert_eq!(world.ask("PUT", "/dav/Home/a%20b", &[], "hello!").status, 204);
    assert_eq!(world.tree.at("Home/a b").map(|file| file.bytes.clone()), Some(b"hello!".to_vec()));
    assert_eq!(world.ask("PUT", "/dav/Home/t", &[("x-oc-mtime", "784111777")], "x").status, 201);
    assert_eq!(world.tree.at("Home/t").map(|file| file.attr.mtime), Some(WallTime(784_111_777_000_000_000)));
    let answer = world.ask("GET", "/dav/Home/a%20b", &[], "");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello!"[..]));
    let tag = answer.header("etag").expect("a tag").to_owned();
    for (method, headers, status) in [
        ("GET", ("if-none-match", tag.as_str()), 304),
        ("GET", ("if-match", "\"other\""), 412),
        ("GET", ("if", "([\"other\"])"), 412),
        ("GET", ("range", "bytes=1-2"), 206),
        ("PUT", ("if-none-match", "*"), 412),
        ("PUT", ("if-match", "\"other\""), 412),
        ("PUT", ("content-range", "bytes 0-1/2"), 400),
        ("PUT", ("if", "nonsense"), 400),
        ("PUT", ("depth", "7"), 400),
        ("DELETE", ("if-match", "\"other\""), 412),
        ("PUT", ("if-match", tag.as_str()), 204),
    ] {
        assert_eq!(world.status(method, "/dav/Home/a%20b", &[headers]), status, "{method} {headers:?}");
    }
    for (method, target, status) in [
        ("GET", "/dav/Home/none", 404),
        ("GET", "/dav/Home", 200),
        ("GET", "/dav/Home/../x", 400),
        ("PUT", "/dav/Home", 405),
        ("PUT", "/dav/", 405),
        ("PUT", "/dav/x", 403),
        ("PUT", "/dav/Home/none/x", 409),
        ("PUT", "/dav/Home/t/x", 409),
        ("DELETE", "/dav/", 403),
        ("DELETE", "/dav/Home/none", 404),
        ("MKCOL", "/dav/Home/none/x", 409),
        ("MKCOL", "/dav/Home/t", 405),
        ("MKCOL", "/dav", 405),
        ("PROPPATCH", "/dav/Home/none", 404),
        ("PROPPATCH", "/dav/Home/t", 400),
        ("UNLOCK", "/dav/Home/t", 400),
        ("LOCK", "/dav/Home/t", 400),
    ] {
        assert_eq!(world.status(method, target, &[]), status, "{method} {target}");
    }
    assert_eq!(world.ask("MKCOL", "/dav/Home/d", &[], "<x/>").status, 415);
    assert_eq!(world.status("MKCOL", "/dav/Home/d/", &[]), 201);
    let large = World::head(&mut world, "PUT", "/dav/Home/large", &[], true).map(|mut request| {
        request.length = Some(SPACE.1 + 1);
        request
    });
    let job = world.dav.begin(NOW, &large.expect("a request"), b"", [0; 16], &world.tree, SPACE);
    assert!(matches!(job, Job::Answer(refused) if refused.status == 507));
}

/// Directories in each other, each with more files than are looked at together.
fn planted(world: &mut World) {
    let mut at = Inode(world.tree.at("Home").expect("it is there").attr.inode.0);
    for depth in 0..6 {
        let Ok(Answer::Entry(made)) = world.tree.add(at, b"d".to_vec(), Kind::Directory, Vec::new()) else { panic!() };
        at = made.inode;
        for number in 0..40 {
            let (name, bytes) = (format!("{number:02}").into_bytes(), format!("{depth}/{number}").into_bytes());
            world.tree.add(at, name, Kind::File, bytes).expect("it is made");
        }
        world.tree.add(at, b"link".to_vec(), Kind::Symlink, b"00".to_vec()).expect("it is made");
    }
}

#[test]
fn directories_go_with_all_that_is_in_them() {
    let mut world = World::new();
    planted(&mut world);
    assert_eq!(world.status("DELETE", "/dav/Home/d", &[("depth", "0")]), 400);
    assert_eq!(world.status("DELETE", "/dav/Home/d/", &[]), 204);
    assert!(world.tree.at("Home").expect("it is there").names.is_empty());
    // A circle is no directory to be deleted or replaced: nothing in it is touched.
    planted(&mut world);
    assert_eq!(world.status("DELETE", "/dav/Home", &[]), 403);
    assert_eq!(world.status("COPY", "/dav/Home/d", &[("destination", "/dav/Friends")]), 403);
    assert_eq!(world.status("MOVE", "/dav/Home", &[("destination", "/dav/Friends/x")]), 403);
    assert!(world.tree.at("Home/d/d/d/d/d/d/39").is_some());
    assert_eq!(world.status("DELETE", "/dav/Home/d/", &[]), 204);
    // What is refused on the way ends it, and is told.
    planted(&mut world);
    world.tree.refuses = Some(world.tree.asked + 30);
    assert_eq!(world.status("DELETE", "/dav/Home/d", &[]), 403);
    assert!(world.tree.at("Home/d").is_some());
    assert_eq!(world.status("DELETE", "/dav/Home/d", &[]), 204);
}

#[test]
fn directories_are_copied_and_moved() {
    let mut world = World::new();
    planted(&mut world);
    let to = |to| [("destination", to)];
    assert_eq!(world.status("COPY", "/dav/Home/d", &to("http://box/dav/Friends/e/")), 201);
    let copied = world.tree.at("Friends/e/d/d/d/d/d/39").expect("it is copied");
    assert_eq!((copied.bytes.as_slice(), copied.attr.mtime), (&b"5/39"[..], WallTime(5)));
    assert_eq!(world.tree.at("Friends/e/d/link").map(|link| link.attr.kind), Some(Kind::Symlink));
    assert_eq!(world.tree.at("Friends/e").map(|made| made.names.len()), Some(42));
    assert_eq!(world.status("COPY", "/dav/Home/d", &[to("/dav/Friends/f")[0], ("depth", "0")]), 201);
    assert_eq!(world.tree.at("Friends/f").map(|made| made.names.len()), Some(0));
    for (headers, status) in [
        (vec![("destination", "/dav/Friends/e"), ("overwrite", "F")], 412),
        (vec![("destination", "/dav/Home/d/x")], 403),
        (vec![("destination", "/dav/Home/d")], 403),
        (vec![("destination", "/dav/Home")], 403),
        (vec![("destination", "/dav/")], 403),
        (vec![("destination", "/dav/new")], 403),
        (vec![("destination", "/dav/Friends/none/x")], 409),
        (vec![("destination", "http://other/dav/Home/x")], 502),
        (vec![("destination", "/files/Home/x")], 502),
        (vec![("destination", "x")], 400),
        (vec![("destination", "/dav/Home/../x")], 400),
        (vec![("destination", "/dav/Home/x"), ("depth", "1")], 400),
        (vec![], 400),
    ] {
        assert_eq!(world.status("MOVE", "/dav/Home/d", &headers), status, "{headers:?}");
    }
    // Within a circle it is one operation, across circles it is a copy.
    let before = world.tree.asked;
    assert_eq!(world.status("MOVE", "/dav/Home/d", &to("/dav/Home/moved")), 201);
    assert_eq!(world.tree.asked - before, 2);
    assert_eq!(world.status("MOVE", "/dav/Home/moved", &to("/dav/Friends/f")), 204);
    assert!(world.tree.at("Home/moved").is_none());
    assert_eq!(world.tree.at("Friends/f/d/d/d/d/d/00").map(|file| file.bytes.clone()), Some(b"5/0".to_vec()));
    // A file in the place of a directory, and the other way round.
    assert_eq!(world.status("COPY", "/dav/Friends/e/00", &to("/dav/Friends/e/d")), 204);
    assert_eq!(world.tree.at("Friends/e/d").map(|file| file.bytes.clone()), Some(b"0/0".to_vec()));
    assert_eq!(world.status("MOVE", "/dav/Friends/f", &to("/dav/Friends/e/00")), 204);
    assert_eq!(world.tree.at("Friends/e/00").map(|made| made.names.len()), Some(42));
}

#[test]
fn a_directory_is_listed_in_pieces() {
    let mut world = World::new();
    let home = world.tree.at("Home").expect("it is there").attr.inode;
    for number in 0..250 {
        world.tree.add(home, format!("{number:03} &").into_bytes(), Kind::File, Vec::new()).expect("it is made");
    }
    world.tree.add(home, b"link".to_vec(), Kind::Symlink, b"x".to_vec()).expect("it is made");
    world.tree.add(home, b"sub".to_vec(), Kind::Directory, Vec::new()).expect("it is made");
    let answer = world.ask("PROPFIND", "/dav/Home", &[("depth", "1")], "");
    assert_eq!((answer.status, answer.header("content-type")), (207, Some("application/xml; charset=utf-8")));
    let told = hrefs(&answer);
    assert_eq!(told.len(), 252);
    assert_eq!((told[0].as_str(), told[1].as_str()), ("/dav/Home/", "/dav/Home/000%20%26"));
    assert_eq!(told[251], "/dav/Home/sub/");
    assert_eq!(hrefs(&world.ask("PROPFIND", "/dav/Home", &[("depth", "0")], "")), ["/dav/Home/"]);
    assert_eq!(hrefs(&world.ask("PROPFIND", "/dav/", &[("depth", "1")], "")), ["/dav/", "/dav/Friends/", "/dav/Home/"]);
    assert_eq!(hrefs(&world.ask("PROPFIND", "/", &[("depth", "1")], "")), ["/", "/dav/"]);
    assert_eq!(hrefs(&world.ask("PROPFIND", "/dav/Home/001%20%26", &[], "")), ["/dav/Home/001%20%26"]);
    for depth in [vec![], vec![("depth", "infinity")]] {
        let refused = world.ask("PROPFIND", "/dav/Home", &depth, "");
        assert_eq!(refused.status, 403);
        assert!(document(&refused).dav("propfind-finite-depth").is_some());
    }
    assert_eq!(world.status("PROPFIND", "/dav/Home/link", &[("depth", "0")]), 404);
}

#[test]
fn locks_hold_until_they_are_given_up_or_over() {
    let mut world = World::new();
    let token = world.lock("/dav/Home/new", &[("timeout", "Second-100")]);
    assert!(world.tree.at("Home/new").is_some_and(|file| file.bytes.is_empty()), "it is there from now on");
    let held = format!("({token})");
    assert_eq!(world.ask("PUT", "/dav/Home/new", &[], "x").status, 423);
    assert_eq!(world.ask("PUT", "/dav/Home/new", &[("if", held.as_str())], "x").status, 204);
    assert_eq!(world.ask("LOCK", "/dav/Home/new", &[], LOCK).status, 423);
    assert_eq!(world.status("LOCK", "/dav/Home/new", &[("if", held.as_str()), ("timeout", "Second-200")]), 200);
    assert_eq!(world.status("LOCK", "/dav/Home/new", &[("if", "(Not <urn:x>) (<urn:y>)")]), 412);
    assert_eq!(world.status("UNLOCK", "/dav/Home", &[("lock-token", token.as_str())]), 409);
    world.now = NOW + Duration::from_secs(150);
    assert_eq!(world.status("DELETE", "/dav/Home/new", &[]), 423);
    world.now = NOW + Duration::from_secs(201);
    assert_eq!(world.status("DELETE", "/dav/Home/new", &[]), 204);

    // One on a directory holds for what is in it, and goes with it.
    assert_eq!(world.status("MKCOL", "/dav/Home/d", &[]), 201);
    let token = world.lock("/dav/Home/d", &[]);
    let held = format!("</dav/Home/d> ({token})");
    assert_eq!(world.ask("PUT", "/dav/Home/d/x", &[], "x").status, 423);
    assert_eq!(world.ask("PUT", "/dav/Home/d/x", &[("if", held.as_str())], "x").status, 201);
    let to = ("destination", "/dav/Home/e");
    assert_eq!(world.status("MOVE", "/dav/Home/d", &[to]), 423);
    assert_eq!(world.status("COPY", "/dav/Home/d", &[to]), 201);
    assert_eq!(world.status("MOVE", "/dav/Home/d", &[to, ("if", held.as_str())]), 204);
    assert_eq!(world.ask("PUT", "/dav/Home/e/x", &[], "y").status, 204, "a lock does not move");
    assert_eq!(world.status("MKCOL", "/dav/Home/d", &[]), 201, "and does not stay");
    // One that is taken on what cannot be made is not held.
    assert_eq!(world.ask("LOCK", "/dav/new", &[], LOCK).status, 403);
    assert!(world.dav.locks.tokens(world.now, &FilePath::parse("new").expect("a path")).is_empty());
    assert_eq!(world.ask("LOCK", "/dav/Home/none/x", &[], LOCK).status, 409);
}

#[test]
fn properties_go_with_their_file() {
    let mut world = World::new();
    let set =
        "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><x xmlns='urn:y'>1</x></D:prop></D:set></D:propertyupdate>";
    let get = "<D:propfind xmlns:D='DAV:'><D:prop><x xmlns='urn:y'/></D:prop></D:propfind>";
    let has = |world: &mut World, target: &str| {
        let answer = world.ask("PROPFIND", target, &[("depth", "0")], get);
        String::from_utf8_lossy(&answer.body).contains("200 OK")
    };
    assert_eq!(world.ask("PUT", "/dav/Home/a", &[], "x").status, 201);
    assert_eq!(world.ask("PROPPATCH", "/dav/Home/a", &[], set).status, 207);
    assert_eq!(world.ask("PUT", "/dav/Home/a", &[], "y").status, 204);
    assert!(has(&mut world, "/dav/Home/a"));
    assert_eq!(world.status("COPY", "/dav/Home/a", &[("destination", "/dav/Home/b")]), 201);
    assert_eq!(world.status("MOVE", "/dav/Home/a", &[("destination", "/dav/Home/c")]), 201);
    assert!(has(&mut world, "/dav/Home/b") && has(&mut world, "/dav/Home/c"));
    assert_eq!(world.status("DELETE", "/dav/Home/c", &[]), 204);
    for name in ["a", "c"] {
        assert_eq!(world.ask("PUT", &format!("/dav/Home/{name}"), &[], "x").status, 201);
        assert!(!has(&mut world, &format!("/dav/Home/{name}")), "{name}");
    }
    let runs = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><e:executable xmlns:e='http://apache.org/dav/props/'>T\
                </e:executable></D:prop></D:set></D:propertyupdate>";
    assert_eq!(world.ask("PROPPATCH", "/dav/Home/a", &[], runs).status, 207);
    assert_eq!(world.tree.at("Home/a").map(|file| file.attr.mode), Some(0o755));
}

proptest! {
    #[test]
    fn no_request_breaks_it(
        method in "PROPFIND|PROPPATCH|LOCK|UNLOCK|MOVE|COPY|MKCOL|DELETE|PUT|GET",
        target in "/dav(/(Home|d|%41|%|\\.\\.)){0,4}/?(\\?x)?",
        name in "if|depth|destination|lock-token|timeout|overwrite|if-match|range|x-oc-mtime",
        value in "[()<>\\[\\]\"a-z:/.0-9-]{0,30}",
        body in "(<[a-z:/ ='\"]{0,20}>?){0,5}",
    ) {
        let mut world = World::new();
        let answer = world.ask(&method, &target, &[(name.as_str(), value.as_str())], &body);
        prop_assert!((200..=599).contains(&answer.status));
        prop_assert!(world.tree.at("Home").is_some() && world.tree.at("Friends").is_some());
    }
}
