//! Bad input: what is wrong, used, ended, cut, foreign or in use is refused with a clear error, and nothing is lost.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;

use crate::harness::{Node, Ran, World, must, wait_until, write};

const PATIENCE: Duration = Duration::from_secs(30);

/// A command that must be refused: its exit code and words that must be in its error.
#[track_caller]
fn refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "'{word}' is not in: {}", ran.err);
    }
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

fn errno(result: io::Result<impl Sized>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
}

/// Runs a command to its end, in bounded time.
fn bounded(line: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new("timeout")
        .args(["-s", "KILL", "30"])
        .args(line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout can be run");
    // What hangs up early does not read all.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("a child");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// `--net=...` of a node's namespace.
fn namespace(node: &Node) -> String {
    node.command(&[]).get_args().next().expect("the namespace").to_string_lossy().into_owned()
}

fn circles(node: &Node) -> Vec<String> {
    let status = node.json(&["status"]);
    let circles = status["circles"].as_array().expect("circles");
    circles.iter().map(|circle| circle["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn invites_that_are_wrong_used_ended_or_cut() {
    let Some(world) = World::new("invites_that_are_wrong_used_ended_or_cut") else { return };
    let mut a = world.started("A");
    let (mut b, mut c) = (world.started("B"), world.started("C"));
    let invite = a.invite("member");
    write(&a.friends("kept"), b"kept");

    for text in ["", "hello", "dustfs1-", "dustfs1-\u{e9}", &invite[..20], &invite[..invite.len() - 1], &invite[1..]] {
        refused(&b.run_with_input(&["join", "-"], text.as_bytes()), 1, &["invite"]);
    }
    let at = invite.len() / 2;
    let other = if &invite[at..=at] == "a" { "b" } else { "a" };
    let altered = format!("{}{other}{}", &invite[..at], &invite[at + 1..]);
    refused(&b.run(&["join", &altered]), 1, &[]);
    refused(&a.run(&["join", &invite]), 1, &["this node's own"]);
    assert_eq!(circles(&b), ["Home"]);

    b.join(&invite);
    refused(&c.run(&["join", &invite]), 1, &["ask for a new one"]);
    // It ends with the node that opened it.
    let ended = a.invite("member");
    a.stop();
    refused(&c.run(&["join", &ended]), 1, &["not reached"]);
    a.start();
    refused(&c.run(&["join", &ended]), 1, &["ask for a new one"]);
    assert_eq!(circles(&c), ["Home"]);
    for role in ["king", ""] {
        assert_ne!(a.run(&["invite", "--role", role]).code, Some(0));
    }
    c.join(&a.invite("reader"));
    for node in [&b, &c] {
        wait_until("what was there is there", PATIENCE, || {
            fs::read(node.friends("kept")).is_ok_and(|bytes| bytes == b"kept")
        });
    }
    // A reader reads.
    assert_eq!(errno(fs::write(c.friends("mine"), "mine")), Some(Errno::EROFS));
    assert_eq!(errno(fs::remove_file(c.friends("kept"))), Some(Errno::EROFS));
    assert_ne!(c.run(&["invite", "--circle", "Friends"]).code, Some(0));
    b.stop();
    c.stop();
}

/// What a peer sends is bounded before it is looked at, and a stranger gets nothing at all.
#[test]
fn raw_peers() {
    let Some(world) = World::new("raw_peers") else { return };
    let (a, b) = (world.started("A"), world.started("B"));
    let invite = a.invite("member");
    let (key, certificate) = (world.path().join("key"), world.path().join("certificate"));
    let (key, certificate) = (key.to_string_lossy().into_owned(), certificate.to_string_lossy().into_owned());
    let new = ["-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days", "9"];
    must(&[&["openssl", "req"], &new[..], &["-keyout", &key, "-out", &certificate]].concat());
    let (net, address) = (namespace(&b), format!("{}:47470", a.address()));
    let peer = |protocol: &str, name: &str, bytes: &[u8]| {
        let to = ["openssl", "s_client", "-quiet", "-connect", &address, "-alpn", protocol, "-servername", name];
        bounded(&[&["nsenter", &net], &to[..], &["-cert", &certificate, "-key", &key]].concat(), bytes)
    };
    let frame = |length: usize, channel: u32, payload: &[u8]| {
        [&(length as u32).to_be_bytes(), &channel.to_be_bytes(), payload].concat()
    };
    let whole = |payload: &[u8]| frame(payload.len(), 0, payload);

    // Strangers: any name, the name of nobody, no protocol of ours.
    for (protocol, name) in [("dustfs/1", "x"), ("dustfs/1", &"0".repeat(40)[..]), ("h2", "x"), ("http/1.1", "x")] {
        let ran = peer(protocol, name, &whole(b"de"));
        assert!(ran.code.is_some_and(|code| code != 137), "{protocol} for {name} is left to hang: {ran:?}");
        assert_eq!(ran.out, "", "a stranger got bytes");
    }
    let before = a.resident_bytes();
    let bombs: [(&str, Vec<u8>); 9] = [
        ("a bencode bomb", whole(&[b'l'; 200_000])),
        ("a bomb of dictionaries", whole(&b"d1:a".repeat(100_000))),
        ("a frame over its limit", frame(usize::MAX, 0, &[0; 100])),
        ("a frame a byte over its limit", frame(2_097_153, 0, &[0; 100])),
        ("a negative length", whole(b"d1:d-5:helloe")),
        ("a huge length", whole(b"d1:d99999999999999999999:xe")),
        ("a length over what follows", whole(b"d1:d2000000000:xe")),
        ("no bencode", whole(b"GET / HTTP/1.1\r\n\r\n")),
        ("half a frame, and then nothing", frame(1_000, 0, &[0; 10])),
    ];
    for (what, bytes) in &bombs {
        let ran = peer("dustfs-invite/1", "invite.dustfs", bytes);
        assert!(ran.code.is_some_and(|code| code != 137), "{what}: the node left it to hang: {ran:?}");
        assert_eq!(a.run(&["status"]).code, Some(0), "{what}");
    }
    let after = a.resident_bytes();
    assert!(after < before + 16_000_000, "{before} bytes in memory became {after}");
    assert!(!a.log().contains("panicked"));
    // It serves others, and the invite is still good.
    b.join(&invite);
    write(&a.friends("after"), b"after");
    wait_until("B has what was written after it", PATIENCE, || {
        fs::read(b.friends("after")).is_ok_and(|b| b == b"after")
    });
}

#[test]
fn names_that_are_no_names() {
    let Some(world) = World::new("names_that_are_no_names") else { return };
    let a = world.started("A");
    a.invite("member");
    let (long, root) = ("a".repeat(256), a.friends(""));
    write(&root.join("file"), b"file");
    let too_long = Some(Errno::ENAMETOOLONG);
    assert_eq!(errno(File::create(root.join(&long))), too_long);
    assert_eq!(errno(fs::create_dir(root.join(&long))), too_long);
    assert_eq!(errno(symlink("file", root.join(&long))), too_long);
    assert_eq!(errno(fs::metadata(root.join(&long))), too_long);
    assert_eq!(errno(fs::rename(root.join("file"), root.join(&long))), too_long);
    assert_eq!(errno(fs::remove_file(root.join(&long))), too_long);
    assert_eq!(errno(fs::create_dir(root.join("."))), Some(Errno::EEXIST));
    assert_eq!(errno(fs::create_dir(root.join(".."))), Some(Errno::EEXIST));
    assert!(errno(fs::remove_dir(root.join("."))).is_some() && errno(fs::remove_dir(root.join(".."))).is_some());
    assert_eq!(errno(fs::rename(root.join("file"), a.mount().join("file"))), Some(Errno::EPERM));
    // Out of the mount and in again is the way of the kernel alone.
    assert_eq!(fs::read(root.join("../../mount/Friends/../Friends/file")).expect("read"), b"file");
    // A link out of the tree is a text: whoever follows it is the reader.
    symlink("../../../../etc/passwd", root.join("out")).expect("made");
    assert_eq!(fs::read_link(root.join("out")).expect("read"), Path::new("../../../../etc/passwd"));
    let mut names: Vec<_> = fs::read_dir(&root).expect("listed").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["file", "out"]);
    for name in ["a/b", "", ".", "..", &"c".repeat(65)] {
        assert_ne!(a.run(&["found", name]).code, Some(0), "a circle named '{name}'");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(world) = World::new("a_full_disk_loses_nothing") else { return };
    let mut a = world.node("A");
    fs::create_dir(a.state()).expect("a directory");
    let state = a.state().to_string_lossy().into_owned();
    must(&["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", &state]);
    a.start();
    a.invite("member");
    let kept = vec![7; 1_000_000];
    for name in ["kept", "again"] {
        let mut file = File::create(a.friends(name)).expect("made");
        file.write_all(&kept).expect("written");
        file.sync_all().expect("synced");
    }
    // Far more than there is, and nobody takes it in memory instead.
    let before = a.resident_bytes();
    let mut refusal = None;
    let file = File::create(a.friends("big")).expect("made");
    for part in 0..200_u64 {
        if let Err(error) = file.write_all_at(&[part as u8; 1_000_000], part * 1_000_000) {
            refusal = error.raw_os_error().map(Errno::from_raw);
            break;
        }
    }
    assert_eq!(refusal, Some(Errno::ENOSPC));
    assert_eq!(errno(file.sync_all()), Some(Errno::ENOSPC));
    let after = a.resident_bytes();
    assert!(after < before + 80_000_000, "{before} bytes in memory became {after}");
    // An old file that is written to keeps what it was until the new is whole.
    let again = File::options().write(true).open(a.friends("again"));
    let failed = again.and_then(|file| file.write_all_at(&vec![8; 900_000], 0).and_then(|()| file.sync_all()));
    assert_eq!(errno(failed), Some(Errno::ENOSPC));
    assert_eq!(a.run(&["status"]).code, Some(0));
    assert!(fs::read(a.friends("kept")).is_ok_and(|bytes| bytes == kept));
    file.set_len(0).expect("what is not published can be given up");
    drop(file);

    // A cut while the disk is full.
    a.kill();
    a.start();
    assert!(fs::read(a.friends("kept")).is_ok_and(|bytes| bytes == kept));
    assert!(fs::read(a.friends("again")).is_ok_and(|bytes| bytes == kept));
    must(&["mount", "-o", "remount,size=200m", &state]);
    let written = || {
        let mut file = File::create(a.friends("after"))?;
        file.write_all(&vec![9; 5_000_000])?;
        file.sync_all()
    };
    wait_until("it is written again", PATIENCE, || written().is_ok());
    a.stop();
    a.start();
    assert!(fs::read(a.friends("kept")).is_ok_and(|bytes| bytes == kept));
    assert!(fs::read(a.friends("after")).is_ok_and(|bytes| bytes.len() == 5_000_000 && bytes[4_999_999] == 9));
    a.stop();
}

/// It once waited for a minute, and then said that something could not be made durable in time.
#[test]
fn a_node_on_a_full_disk_ends_at_once_and_names_what_it_could_not_keep() {
    let Some(world) = World::new("a_node_on_a_full_disk_ends_at_once_and_names_what_it_could_not_keep") else { return };
    let mut a = world.node("A");
    fs::create_dir(a.state()).expect("a directory");
    let state = a.state().to_string_lossy().into_owned();
    must(&["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", &state]);
    a.start();
    a.invite("member");
    let mut kept = File::create(a.friends("kept")).expect("made");
    kept.write_all(&vec![7; 1_000_000]).and_then(|()| kept.sync_all()).expect("synced");
    drop(kept);
    fs::create_dir(a.friends("far")).expect("made");
    let big = File::create(a.friends("far/big")).expect("made");
    let full = (0..200_u64).find_map(|part| errno(big.write_all_at(&vec![part as u8; 1_000_000], part * 1_000_000)));
    assert_eq!(full, Some(Errno::ENOSPC));
    drop(big);
    a.signal("TERM");
    let status = a.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(1), "{}", a.log());
    for words in ["the disk is full: free some space on it", "Friends/far/big", "is not durable"] {
        assert!(a.log().contains(words), "'{words}' is not in {}", a.log());
    }
    must(&["mount", "-o", "remount,size=200m", &state]);
    a.start();
    assert!(fs::read(a.friends("kept")).is_ok_and(|bytes| bytes == vec![7; 1_000_000]));
    fs::write(a.friends("after"), vec![9; 5_000_000]).expect("there is space again");
    a.stop();
}

#[test]
fn mounts_that_cannot_be() {
    let Some(world) = World::new("mounts_that_cannot_be") else { return };
    let (a, b) = (world.started("A"), world.node("B"));
    b.ok(&["init", "--name", "B"]);
    let place = |name: &str| world.path().join(name).to_string_lossy().into_owned();
    let node = |directory: &str| b.run(&["node", "--mount", directory]);

    refused(&node(&a.mount().to_string_lossy()), 1, &["in use", "unmount it, or choose another directory"]);
    fs::create_dir(place("full")).expect("made");
    write(&PathBuf::from(place("full")).join("file"), b"file");
    refused(&node(&place("full")), 1, &["not empty"]);
    write(Path::new(&place("file")), b"file");
    refused(&node(&place("file")), 1, &["file"]);
    refused(&node(&place("file/below")), 1, &["file"]);
    assert_eq!(fs::read(place("full/file")).expect("read"), b"file");

    let free = place("free");
    fs::create_dir(&free).expect("made");
    let line = "mount -t tmpfs none /dev && exec \"$0\" \"$@\"";
    let dustfs = env!("CARGO_BIN_EXE_dustfs");
    let state = b.state().to_string_lossy().into_owned();
    let listen = ["--listen", "127.0.0.1:0", "--state", &state];
    let hidden = [&["unshare", "-m", "sh", "-c", line, dustfs, "node", "--mount", &free][..], &listen].concat();
    refused(&bounded(&hidden, b""), 1, &["/dev/fuse is missing: load the fuse module, or run with --cache"]);
    assert_eq!(a.run(&["status"]).code, Some(0));
    assert!(fs::read_dir(a.mount()).is_ok());
}

#[test]
fn configs_and_states_that_are_broken_or_taken() {
    let Some(world) = World::new("configs_and_states_that_are_broken_or_taken") else { return };
    let mut a = world.started("A");
    a.invite("member");
    write(&a.friends("kept"), &[7; 100_000]);
    refused(&a.run(&["node"]), 1, &["already, process", "stop it first"]);
    refused(&a.run(&["init", "--name", "B"]), 1, &[]);

    let (other, dustfs) = (world.path().join("other"), env!("CARGO_BIN_EXE_dustfs"));
    let other = other.to_string_lossy().into_owned();
    let listen = ["--listen", "0.0.0.0:47470", "--state", &other];
    refused(&bounded(&[&["nsenter", &namespace(&a), dustfs, "node"], &listen[..]].concat(), b""), 1, &["47470", "use"]);
    a.stop();

    let config = a.state().join("config.toml");
    for (text, words) in [
        ("name = \"A\"\nnmae = \"B\"\n", [":2: ", "nmae"]),
        ("\n\nfetch = \"sometimes\"\n", [":3: ", "sometimes"]),
        ("name = \"A\"\n[", [":2: ", "config.toml"]),
    ] {
        write(&config, text.as_bytes());
        refused(&a.run(&["node"]), 2, &words);
    }
    fs::remove_file(&config).expect("removed");

    let ledger = a.state().join("ledger.redb");
    let good = fs::read(&ledger).expect("the ledger");
    let scrambled: Vec<u8> = good.iter().enumerate().map(|(at, byte)| if at < 4_096 { !byte } else { *byte }).collect();
    let broken = [&[][..], &good[..100], &good[..good.len() / 2], b"not a database", &scrambled];
    for (number, bytes) in broken.into_iter().enumerate() {
        write(&ledger, bytes);
        let ran = a.run(&["node"]);
        refused(&ran, 1, &["ledger.redb"]);
        assert!(fs::read(&ledger).expect("read") == bytes, "variant {number}: the file was changed");
    }
    fs::remove_file(&ledger).expect("removed");
    refused(&a.run(&["node"]), 1, &["ledger.redb", "gone"]);
    assert!(!ledger.exists(), "a ledger was made anew beside slabs");
    write(&ledger, &good);
    a.start();
    assert_eq!(fs::read(a.friends("kept")).expect("read"), [7; 100_000]);
    a.stop();
}
