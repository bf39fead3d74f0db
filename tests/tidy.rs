//! Reads `src` as text, and holds the rules of the house that the compiler does not: which room may know which, what only
//! `os` may touch, how a file opens, how long it gets. Each rule has a broken sample below that it must catch.

#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use source::File;

/// The rooms, and those on lower floors that each may import.
const ROOMS: [(&str, &[&str]); 14] = [
    ("base", &[]),
    ("wire", &["base"]),
    ("seal", &["base", "wire"]),
    ("cert", &["base", "wire", "seal"]),
    ("ledger", F0),
    ("swarm", F1),
    ("tree", F1),
    ("pair", F1),
    ("roster", F1),
    ("keep", F1),
    ("panel", F1),
    ("node", F2),
    ("lan", F3),
    ("os", F4),
];
const F0: &[&str] = &["base", "wire", "seal", "cert"];
const F1: &[&str] = &["base", "wire", "seal", "cert", "ledger"];
const F2: &[&str] = &["base", "wire", "seal", "cert", "ledger", "swarm", "tree", "pair", "roster", "keep", "panel"];
const F3: &[&str] =
    &["base", "wire", "seal", "cert", "ledger", "swarm", "tree", "pair", "roster", "keep", "panel", "node"];
const F4: &[&str] =
    &["base", "wire", "seal", "cert", "ledger", "swarm", "tree", "pair", "roster", "keep", "panel", "node", "lan"];

/// Crates that only `os` may use, in tests as well.
const OS_CRATES: [&str; 15] = [
    "tokio",
    "tokio_rustls",
    "getrandom",
    "redb",
    "hyper",
    "hyper_util",
    "http_body_util",
    "nix",
    "libc",
    "fuser",
    "lexopt",
    "toml",
    "rand",
    "mio",
    "socket2",
];
/// Paths that only `os` and tests may use.
const OS_PATHS: [&[&str]; 15] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "os"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "time", "UNIX_EPOCH"],
    &["std", "hash", "RandomState"],
    &["std", "collections", "hash_map"],
    &["std", "collections", "hash_set"],
];
/// All of `std::sync` that is no lock.
const SYNC: [&str; 3] = ["Arc", "Weak", "atomic"];
const HASHED: [&str; 2] = ["HashMap", "HashSet"];
const PRINTS: [&str; 4] = ["print", "println", "eprint", "eprintln"];
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// The files of `os` that may say `unsafe`, each time with its reason.
const UNSAFE_FILES: [&str; 5] = [
    "src/os/disk/files.rs",
    "src/os/fuse/mount.rs",
    "src/os/fuse/tests/reads.rs",
    "src/os/gpio/keys.rs",
    "src/os/import/source.rs",
];
const LINES_MAX: usize = 700;

#[test]
fn the_house_is_tidy() {
    let mut files = BTreeMap::new();
    gather(Path::new(env!("CARGO_MANIFEST_DIR")), Path::new("src"), &mut files);
    for (room, _) in ROOMS {
        assert!(files.keys().any(|file| room_of(file) == room), "the room {room} was not read");
    }
    let untidy = check(&files, &UNSAFE_FILES);
    let told: Vec<String> = untidy.iter().map(Untidy::to_string).collect();
    assert!(untidy.is_empty(), "{} places are not tidy:\n{}", untidy.len(), told.join("\n"));
}

fn gather(root: &Path, below: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(root.join(below)).expect("src can be listed") {
        let entry = entry.expect("src can be listed");
        let path = below.join(entry.file_name());
        if entry.file_type().expect("src can be listed").is_dir() {
            gather(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(root.join(&path)).expect("src can be read");
            files.insert(path.to_string_lossy().into_owned(), text);
        }
    }
}

/// A rule that is broken, and where.
struct Untidy {
    file: String,
    line: usize,
    rule: Rule,
    what: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Room,
    Arrow,
    OsOnly,
    Hashed,
    Print,
    Unfinished,
    Hushed,
    Unsafe,
    Opening,
    Length,
}

impl fmt::Display for Untidy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {:?}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// Checks every file, by its path from the repository's root.
fn check(files: &BTreeMap<String, String>, unsafe_files: &[&str]) -> Vec<Untidy> {
    let read: Vec<(&String, File)> = files.iter().map(|(path, text)| (path, File::read(path, text))).collect();
    let test_files: BTreeSet<String> = read.iter().flat_map(|(_, file)| file.test_modules.clone()).collect();
    let mut untidy = Vec::new();
    for named in unsafe_files.iter().filter(|named| !files.contains_key(**named)) {
        let what = "named in tests/tidy.rs, and is not there".to_owned();
        untidy.push(Untidy { file: (*named).to_owned(), line: 1, rule: Rule::Unsafe, what });
    }
    for (path, file) in &read {
        let module = file.module.join("/");
        let is_test = test_files.iter().any(|test| module == *test || module.starts_with(&format!("{test}/")));
        let mut inspector = Inspector { path, room: room_of(path), file, is_test, untidy: &mut untidy };
        inspector.shape(&files[*path]);
        inspector.paths();
        inspector.words();
        inspector.unsafety(unsafe_files);
    }
    untidy
}

/// The room that a file belongs to; `lib` and `main` stand for themselves.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

struct Inspector<'a> {
    path: &'a str,
    room: &'a str,
    file: &'a File,
    /// The whole file is compiled for tests alone.
    is_test: bool,
    untidy: &'a mut Vec<Untidy>,
}

impl Inspector<'_> {
    fn tell(&mut self, line: usize, rule: Rule, what: impl Into<String>) {
        self.untidy.push(Untidy { file: self.path.into(), line, rule, what: what.into() });
    }

    fn shape(&mut self, text: &str) {
        if !text.starts_with("//! ") {
            self.tell(1, Rule::Opening, "a file opens with '//! ' and its duty");
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            self.tell(lines, Rule::Length, format!("{lines} lines, the limit is {LINES_MAX}: split it"));
        }
        if self.allowed().is_none() {
            self.tell(1, Rule::Room, format!("'{}' is no room: add it to the table, on its floor", self.room));
        }
    }

    /// The rooms that this file may know; `lib` is the map and knows none.
    fn allowed(&self) -> Option<&'static [&'static str]> {
        match self.room {
            "lib" => Some(&[]),
            "main" => Some(&["os"]),
            room => ROOMS.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed),
        }
    }

    fn touches_system(&self) -> bool {
        matches!(self.room, "os" | "main")
    }

    fn paths(&mut self) {
        for path in &self.file.paths {
            let full: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            let shown = full.join("::");
            match full.as_slice() {
                ["crate", "*"] => self.tell(path.line, Rule::Arrow, "name what is imported, not all"),
                ["crate", room, ..] if *room != self.room => {
                    let is_room = ROOMS.iter().any(|(name, _)| name == room);
                    if is_room && !self.allowed().unwrap_or(&[]).contains(room) {
                        self.tell(path.line, Rule::Arrow, format!("{} may not know {shown}", self.room));
                    }
                }
                _ if self.touches_system() => {}
                [first, ..] if OS_CRATES.contains(first) => {
                    self.tell(path.line, Rule::OsOnly, format!("{shown} is for `os` alone"));
                }
                _ if self.is_test || path.is_test => {}
                full if touches(full) => self.tell(path.line, Rule::OsOnly, format!("{shown} is for `os` alone")),
                _ => {}
            }
        }
    }

    fn words(&mut self) {
        let tokens = &self.file.tokens;
        for (at, token) in tokens.iter().enumerate() {
            let is_test = self.is_test || self.file.is_test(at);
            let pure = !self.touches_system() && !is_test;
            let word = token.text.as_str();
            let is_macro = tokens.get(at + 1).is_some_and(|next| next.text == "!");
            if is_macro && UNFINISHED.contains(&word) {
                self.tell(token.line, Rule::Unfinished, format!("{word}!"));
            }
            if is_macro && pure && PRINTS.contains(&word) {
                self.tell(token.line, Rule::Print, format!("{word}! is for `os` alone"));
            }
            if pure && HASHED.contains(&word) {
                self.tell(token.line, Rule::Hashed, format!("{word} has no order: use the BTree one"));
            }
            let before = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].text.as_str());
            if word == "dead_code" && before(1) == "(" && matches!(before(2), "allow" | "expect") {
                self.tell(token.line, Rule::Hushed, "delete what is not used");
            }
            if word == "ignore" && before(1) == "[" && before(2) == "#" {
                self.tell(token.line, Rule::Hushed, "a test that is ignored tests nothing");
            }
        }
    }

    fn unsafety(&mut self, unsafe_files: &[&str]) {
        let named = self.room == "os" && unsafe_files.contains(&self.path);
        let lines: Vec<usize> =
            self.file.tokens.iter().filter(|token| token.text == "unsafe").map(|token| token.line).collect();
        for &line in &lines {
            let above = line.saturating_sub(3)..=line;
            let reason = self.file.comments.range(above).any(|(_, comment)| comment.contains("// SAFETY: "));
            if !named {
                self.tell(line, Rule::Unsafe, "`unsafe` is for the files of `os` that tests/tidy.rs names");
            } else if !reason {
                self.tell(line, Rule::Unsafe, "say why with '// SAFETY: ' above");
            }
        }
        if named && lines.is_empty() {
            self.tell(1, Rule::Unsafe, "named in tests/tidy.rs without need");
        }
    }
}

/// True when the path is, or by a glob may be, one that only `os` may use.
fn touches(path: &[&str]) -> bool {
    if let ["std", "sync", rest, ..] = path {
        return !SYNC.contains(rest);
    }
    let glob = path.split_last().filter(|(last, _)| **last == "*").map(|(_, parent)| parent);
    OS_PATHS.iter().any(|os| path.starts_with(os) || glob.is_some_and(|parent| os.starts_with(parent)))
        || glob == Some(&["std"])
        || glob == Some(&["std", "collections"])
}

/// Rules that the sample breaks, in order.
fn broken(path: &str, source: &str) -> Vec<Rule> {
    let text = format!("//! A sample.\n{source}\n");
    check(&BTreeMap::from([(path.to_owned(), text)]), &[]).iter().map(|untidy| untidy.rule).collect()
}

#[test]
fn arrows_point_down() {
    let up_or_across = [
        ("src/base/a.rs", "use crate::wire::X;"),
        ("src/wire/mod.rs", "use crate::seal::X;"),
        ("src/seal/a.rs", "fn f() { crate::cert::g(); }"),
        ("src/ledger/a.rs", "use crate::tree::X;"),
        ("src/tree/a.rs", "use crate::swarm::X;"),
        ("src/tree/a.rs", "use crate::{base::Rng, node::{io}};"),
        ("src/tree/a.rs", "use crate::{roster};"),
        ("src/tree/a.rs", "use super::super::swarm::X;"),
        ("src/tree/mod.rs", "use super::swarm::X;"),
        ("src/tree/a/b.rs", "use super::super::super::swarm::X;"),
        ("src/tree/mod.rs", "mod inner { use super::super::swarm::X; }"),
        ("src/tree/mod.rs", "mod inner { fn f() {} } use super::swarm::X;"),
        ("src/tree/a.rs", "use crate as house; fn f() { house::swarm::g(); }"),
        ("src/tree/a.rs", "pub use crate::pair as other;"),
        ("src/tree/a.rs", "#[cfg(test)] mod tests { use crate::swarm::X; }"),
        ("src/tree/a.rs", "use crate::*;"),
        ("src/tree/a.rs", "type T<'a> = &'a crate::keep::T;"),
        ("src/tree/a.rs", "macro_rules! m { () => { $crate::keep::f() } }"),
        ("src/tree/a.rs", "const C: char = '\"'; use crate::swarm::X; const D: char = '\"';"),
        ("src/node/a.rs", "use crate::lan::api::Call;"),
        ("src/lan/a.rs", "use crate::os::run;"),
        ("src/lib.rs", "pub use crate::tree::Tree;"),
        ("src/main.rs", "use dustfs::node::Node;"),
    ];
    for (path, source) in up_or_across {
        assert_eq!(broken(path, source), [Rule::Arrow], "{path}: {source}");
    }
    let down = [
        ("src/wire/a.rs", "use crate::base::Rng; use crate::wire::peer; use super::mod_of_wire;"),
        ("src/tree/a.rs", "use crate::{base, ledger::{self, X}}; use super::b::C; use self::d::E;"),
        ("src/tree/a.rs", "#[cfg(test)] mod tests { use super::*; use super::super::b; }"),
        ("src/os/a.rs", "use crate::tree::X; use crate::lan::api; use tokio::net::TcpStream;"),
        ("src/main.rs", "fn main() { dustfs::os::cli::run(); }"),
        ("src/lib.rs", "pub mod base; pub mod os;"),
        ("src/tree/a.rs", "// use crate::swarm::X;\n/* crate::os::x /* nested */ crate::pair::y */"),
        ("src/tree/a.rs", "const A: &str = \"use crate::swarm::X; \\\" crate::os::y\";"),
        (
            "src/tree/a.rs",
            "const A: &str = r#\"crate::swarm::X \" crate::os::y\"#; const B: &[u8] = b\"crate::os::z\";",
        ),
        ("src/tree/a.rs", "/// [`X`](crate::swarm::X)\npub(crate) fn f<'a>(x: &'a str) -> char { '\\'' }"),
    ];
    for (path, source) in down {
        assert_eq!(broken(path, source), [], "{path}: {source}");
    }
}

#[test]
fn only_os_touches_the_system() {
    let touching = [
        "use tokio::net::TcpStream;",
        "#[tokio::main] fn f() {}",
        "use std::fs;",
        "fn f() { std::fs::read(\"x\"); }",
        "fn f() { ::std::fs::read(\"x\"); }",
        "use std::{io::Read, net::SocketAddr};",
        "use std::*;",
        "use std::time::*;",
        "use std::collections::*;",
        "use std::env::var;",
        "use std::thread;",
        "use std::process::Command;",
        "use std::os::fd::RawFd;",
        "use std::sync::Mutex;",
        "use std::sync::{Arc, RwLock};",
        "use std::sync::*;",
        "use std::sync; static X: sync::Condvar = y;",
        "use std::time::Instant;",
        "use std::time as clock; fn f() { clock::SystemTime::now(); }",
        "fn f() { let t: std::time::Instant = x; }",
        "fn f() { std::io::stdin(); }",
        "use std::hash::RandomState;",
        "use std::collections::hash_map::Entry;",
        "use getrandom::fill;",
        "extern crate x; use redb;",
        "use nix::libc as c;",
        "#[cfg(not(test))] mod real { use std::fs; }",
        "#[cfg(test)] mod tests { use tokio::net::TcpStream; }",
        "#[cfg(test)] use x::y; use std::fs;",
        "#[cfg(test)] mod tests { fn f() {} } use std::fs;",
    ];
    for source in touching {
        assert_eq!(broken("src/tree/a.rs", source), [Rule::OsOnly], "{source}");
        assert_eq!(broken("src/os/a.rs", source), [], "{source}");
    }
    let pure = [
        "use std::time::Duration; use core::net::SocketAddr; use std::sync::{Arc, atomic::AtomicU32};",
        "use std::collections::{BTreeMap, VecDeque}; use std::io::{Error, Read};",
        "use crate::base::Instant; fn f(t: Instant) {}",
        "use crate::base::time; fn f() { time::Instant(0); }",
        "#[cfg(test)] mod tests { use std::fs; fn f() { std::thread::spawn(g); } }",
        "#[cfg(test)] fn helper() { std::fs::read(\"x\"); }",
        "fn thread() { fs::read(); env!(\"X\"); }",
        "// std::fs::read tokio::spawn\nconst A: &str = \"std::fs::read\";",
    ];
    for source in pure {
        assert_eq!(broken("src/tree/a.rs", source), [], "{source}");
    }
}

#[test]
fn a_file_for_tests_alone_may_use_std() {
    let house = |declared: &str| {
        let files = [
            ("src/tree/mod.rs", format!("//! Tree.\n{declared}\n")),
            ("src/tree/world.rs", "//! World.\nuse std::fs;\n".to_owned()),
        ];
        check(&files.map(|(path, text)| (path.to_owned(), text)).into(), &[]).len()
    };
    assert_eq!(house("#[cfg(test)]\nmod world;"), 0);
    assert_eq!(house("mod world;"), 1);
}

#[test]
fn words_that_are_caught() {
    for source in ["use std::collections::HashMap;", "fn f(x: &HashSet<u8>) {}"] {
        assert_eq!(broken("src/tree/a.rs", source), [Rule::Hashed], "{source}");
        assert_eq!(broken("src/os/a.rs", source), [], "{source}");
        assert_eq!(broken("src/tree/a.rs", &format!("#[cfg(test)] mod tests {{ {source} }}")), [], "{source}");
    }
    for word in PRINTS {
        let source = format!("fn f() {{ {word}!(\"x\"); }}");
        assert_eq!(broken("src/tree/a.rs", &source), [Rule::Print], "{source}");
        assert_eq!(broken("src/os/a.rs", &source), [], "{source}");
    }
    for word in UNFINISHED {
        let source = format!("#[cfg(test)] mod tests {{ fn f() {{ {word}!(\"x\") }} }}");
        assert_eq!(broken("src/os/a.rs", &source), [Rule::Unfinished], "{source}");
        assert_eq!(broken("src/os/a.rs", &format!("// {word}!()\nconst X: &str = \"{word}!()\";")), [], "{word}");
    }
    for source in ["#[allow(dead_code)] fn f() {}", "#![allow(dead_code)]", "#[test] #[ignore] fn f() {}"] {
        assert_eq!(broken("src/os/a.rs", source), [Rule::Hushed], "{source}");
    }
    assert_eq!(broken("src/os/a.rs", "#[test] #[ignore = \"slow\"] fn f() {}"), [Rule::Hushed]);
    assert_eq!(broken("src/os/a.rs", "fn ignore(x: [u8; 1]) { ignore([ignore]); }"), []);
}

#[test]
fn unsafe_is_named_and_reasoned() {
    let check = |path: &str, source: &str, named: &[&str]| {
        let text = format!("//! A sample.\n{source}\n");
        check(&BTreeMap::from([(path.to_owned(), text)]), named).iter().map(|untidy| untidy.rule).collect::<Vec<_>>()
    };
    let bare = "fn f() { unsafe { g() } }";
    let reasoned = "fn f() {\n    // SAFETY: g has no conditions.\n    unsafe { g() }\n}";
    let file = "src/os/disk/punch.rs";
    assert_eq!(check(file, reasoned, &[file]), []);
    assert_eq!(check(file, bare, &[file]), [Rule::Unsafe]);
    assert_eq!(check(file, reasoned, &[]), [Rule::Unsafe]);
    assert_eq!(check(file, "fn f() {}", &[file]), [Rule::Unsafe]);
    assert_eq!(check(file, "fn f() {}", &["src/os/gone.rs"]), [Rule::Unsafe]);
    assert_eq!(check("src/tree/a.rs", reasoned, &["src/tree/a.rs"]), [Rule::Unsafe]);
    assert_eq!(check(file, "#![deny(unsafe_code)]\n// unsafe { }\nconst A: &str = \"unsafe\";", &[]), []);
}

#[test]
fn files_have_a_shape() {
    let check_text = |path: &str, text: String| {
        check(&BTreeMap::from([(path.to_owned(), text)]), &[]).iter().map(|untidy| untidy.rule).collect::<Vec<_>>()
    };
    assert_eq!(check_text("src/tree/a.rs", "use std::fmt;\n".into()), [Rule::Opening]);
    assert_eq!(check_text("src/tree/a.rs", "// Duty.\n".into()), [Rule::Opening]);
    assert_eq!(check_text("src/tree/a.rs", "\n//! Late.\n".into()), [Rule::Opening]);
    assert_eq!(check_text("src/tree/a.rs", String::new()), [Rule::Opening]);
    let lines = |count: usize| "//! Long.\n".repeat(count);
    assert_eq!(check_text("src/tree/a.rs", lines(LINES_MAX)), []);
    assert_eq!(check_text("src/tree/a.rs", lines(LINES_MAX + 1)), [Rule::Length]);
    assert_eq!(check_text("src/shed/a.rs", lines(1)), [Rule::Room]);
}
