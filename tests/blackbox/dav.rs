//! WebDAV from outside, by the clients that people use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::harness::web::{Web, is_relay};
use crate::harness::{Node, Random, World, census, digest, long, must, random_file, seed, system, wait_until, write};

const LIMIT: Duration = Duration::from_secs(30);
/// This test can be the relay of all.
const RELAY: &str = "dav::litmus_passes";
const PASSWORD: &str = "correct horse 7";

/// A node with a page, and a password for WebDAV.
fn boxed(world: &World, name: &str) -> Node {
    let mut node = world.node(name);
    node.start_with(&["--page", "0.0.0.0:80"]);
    set_password(&node);
    node
}

fn set_password(node: &Node) {
    let mut web = Web::new(node, node, RELAY);
    web.sign_in(node);
    let body = serde_json::json!({ "password": PASSWORD }).to_string();
    assert_eq!(web.ask("PUT", "/v1/password", &[], body.as_bytes()).status, 200);
}

fn url(node: &Node, path: &str) -> String {
    format!("http://{}/dav/{path}", node.address())
}

/// A directory of the node's, out of its tree.
fn beside(node: &Node, name: &str) -> PathBuf {
    node.state().with_file_name(name)
}

/// A client on the host of `from`, in bounded time.
fn command(from: &Node, line: &[&str]) -> Command {
    let network = format!("--net=/run/netns/{}", from.namespace());
    let limit = if long() { "1800" } else { "240" };
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", limit, "nsenter", &network]).args(line).current_dir(beside(from, ""));
    command.env("HOME", beside(from, ""));
    command
}

#[track_caller]
fn client(from: &Node, line: &[&str]) -> Output {
    command(from, line).stdin(Stdio::null()).output().expect("timeout can be run")
}

/// A client that must go well; what it printed.
#[track_caller]
fn works(from: &Node, line: &[&str]) -> String {
    let ran = client(from, line);
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{line:?}: {}{told}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    told
}

/// The status of what curl asks for, with more arguments; it knows the password.
#[track_caller]
fn status(from: &Node, how: &[&str], url: &str) -> u16 {
    let user = format!("dustfs:{PASSWORD}");
    let line = [&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--basic", "-u", &user], how, &[url]].concat();
    works(from, &line).parse().expect("a status")
}

/// A world, where this machine can have one and the client is there.
fn world(test: &str, tool: &str) -> Option<World> {
    if !system(&["which", tool]).is_ok_and(|found| found.status.success()) {
        println!("SKIPPED {test}: {tool} is missing");
        return None;
    }
    World::new(test)
}

#[test]
fn litmus_passes() {
    if is_relay() {
        return;
    }
    let Some(world) = world("litmus_passes", "litmus") else { return };
    let a = boxed(&world, "A");
    let told = works(&a, &["litmus", "-k", &url(&a, ""), "dustfs", PASSWORD]);
    assert!(!told.contains("FAIL") && !told.contains("SKIPPED"), "{told}");
    for suite in ["basic", "copymove", "props", "locks", "http"] {
        let summary = format!("<- summary for `{suite}': of ");
        let line = told.lines().find(|line| line.starts_with(&summary)).unwrap_or_else(|| panic!("{suite}: {told}"));
        assert!(line.ends_with(" passed, 0 failed. 100.0%"), "{line}");
    }
}

#[test]
fn the_password_opens_it_and_nothing_else_does() {
    let Some(world) = world("the_password_opens_it_and_nothing_else_does", "curl") else { return };
    let mut a = world.node("A");
    a.start_with(&["--page", "0.0.0.0:80"]);
    let b = world.started("B");
    // Nothing is set yet.
    let told = works(&a, &["curl", "-s", "-i", "-u", "dustfs:", &url(&a, "")]);
    assert!(told.starts_with("HTTP/1.1 401") && told.contains("set one on the page"), "{told}");
    assert!(told.contains("first set a password on the page"), "{told}");
    set_password(&a);
    let kept = beside(&a, "state").join("password");
    // Neither the password nor what it is compared with can be read there.
    let sealed = fs::read(&kept).expect("it is kept");
    assert!(["horse", "realm", "sha256"].iter().all(|word| !sealed.windows(word.len()).any(|w| w == word.as_bytes())));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&kept).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);

    let (secret, file) = (format!("dustfs:{PASSWORD}"), url(&a, "Ski%20l%C3%A4ufer"));
    let note = beside(&a, "note");
    write(&note, b"hello");
    for how in ["--digest", "--basic", "--anyauth"] {
        let line = ["curl", "-s", "-f", how, "-u", &secret];
        works(&a, &[&line[..], &["-T", &note.to_string_lossy(), &file]].concat());
        assert_eq!(works(&a, &[&line[..], &[&file]].concat()), "hello");
        // On one connection.
        assert_eq!(works(&a, &[&line[..], &[&file, &file, &file]].concat()), "hellohellohello");
        let wrong = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", how, "-u", "dustfs:wrong", &file];
        assert_eq!(works(&a, &wrong), "401", "{how}");
    }
    assert_eq!(fs::read(a.mount().join("Ski läufer")).expect("the mount has it"), b"hello");
    for line in [&["-u", "root:correct horse 7"][..], &["-u", ":"], &["-H", "Authorization: Bearer x"], &["-H", "x: y"]]
    {
        assert_eq!(
            works(&a, &[&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"], line, &[&file]].concat()),
            "401"
        );
    }
    // Browsers that know the password send it for whatever page asks them to.
    for header in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        for method in ["GET", "PUT", "PROPFIND", "OPTIONS", "DELETE"] {
            assert_eq!(status(&a, &["-X", method, "-H", header], &file), 403, "{method} {header}");
        }
    }
    assert_eq!(status(&a, &["-H", "Host: evil.example"], &file), 421);
    assert_eq!(status(&a, &[], &file), 200);
    // The page's cookie is for the page, and this password is not.
    assert_eq!(status(&a, &[], &format!("http://{}/files/", a.address())), 401);

    // It outlives the node.
    a.stop();
    a.start_with(&["--page", "0.0.0.0:80"]);
    assert_eq!(status(&a, &[], &file), 200);
    // Guessing comes to an end, but not for others.
    let wrong = ["-u", "dustfs:wrong"];
    wait_until("guessing is refused", LIMIT, || status(&a, &wrong, &file) == 429);
    assert_eq!(status(&a, &[], &file), 429);
    assert_eq!(status(&b, &[], &file), 200);
    // A hold of five seconds forgets it, on the disk as well.
    a.ok(&["press", "5"]);
    assert_eq!(status(&b, &[], &file), 401);
    wait_until("the file is gone", LIMIT, || !kept.exists());
    a.stop();
    a.start_with(&["--page", "0.0.0.0:80"]);
    assert_eq!(status(&b, &[], &file), 401);
}

/// Asks the LAN of a host by multicast DNS, as file managers do, and prints the answers until a second has passed.
const BROWSE: &str = r#"
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(('', 5353))
group = socket.inet_aton('224.0.0.251')
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(sys.argv[1]))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
labels = b''.join(bytes([len(label)]) + label.encode() for label in sys.argv[2].split('.') + ['local'])
s.sendto(struct.pack('>6H', 0, 0, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>2H', 12, 1), ('224.0.0.251', 5353))
end = time.monotonic() + 1
while (left := end - time.monotonic()) > 0:
    s.settimeout(left)
    try:
        answer = s.recv(9000)
    except TimeoutError:
        break
    if answer[2] & 0x80 and labels in answer:
        print(answer)
"#;

/// Types into a terminal of its own what it is asked for, and prints what that showed.
const TYPE: &str = r#"
import os, pty, sys
words, line = sys.argv[1].split('|'), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(line[0], line)
told = b''
while True:
    try:
        some = os.read(fd, 1000)
    except OSError:
        break
    told += some
    if told.endswith(b': ') and words:
        os.write(fd, words.pop(0).encode() + b'\n')
sys.stdout.buffer.write(told)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn a_password_from_the_command_line_opens_a_drive_that_the_lan_finds() {
    let test = "a_password_from_the_command_line_opens_a_drive_that_the_lan_finds";
    let Some(world) = world(test, "curl") else { return };
    let mut a = world.node("A");
    a.start_with(&["--page", "0.0.0.0:80"]);
    let b = world.started("B");
    let browse = |kind: &str| works(&b, &["python3", "-c", BROWSE, b.address(), kind]);
    let found = |what: &str, is_there: bool| {
        wait_until(what, LIMIT, || browse("_webdav._tcp").contains("path=/dav/\\x08u=dustfs") == is_there);
    };
    // The page is found before there is a password, the drive not.
    wait_until("the page is found", LIMIT, || browse("_http._tcp").contains("path=/"));
    assert!(!browse("_webdav._tcp").contains("/dav/"), "nobody gets in");
    let ran = a.run_with_input(&["password"], b"short\n");
    assert!(ran.code == Some(1) && ran.err.contains("8 to 64 characters"), "{ran:?}");
    assert_eq!(status(&a, &[], &url(&a, "")), 401);

    let ran = a.run_with_input(&["password"], format!("{PASSWORD}\n").as_bytes());
    assert!(ran.code == Some(0) && ran.out.contains("'dustfs'"), "{ran:?}");
    assert_eq!(status(&b, &[], &url(&a, "")), 200);
    found("the drive is found", true);
    // It outlives the node, and so does the announcement.
    a.stop();
    a.start_with(&["--page", "0.0.0.0:80"]);
    found("the drive is found again", true);
    assert_eq!(a.json(&["password", "--forget"]), serde_json::json!({}));
    assert_eq!(status(&b, &[], &url(&a, "")), 401);
    found("the drive is gone", false);

    // On a terminal it is not shown, and asked for twice.
    let typed = |words: &str| {
        let command = a.command(&["password"]);
        let line: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        system(&[&["timeout", "60", "python3", "-c", TYPE, words][..], &line].concat()).expect("python3 can be run")
    };
    let ran = typed("another one|\u{3}");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(!ran.status.success() && told.contains("interrupted"), "{told}");
    assert_eq!(status(&b, &[], &url(&a, "")), 401);
    let ran = typed(&format!("another one|another two|{PASSWORD}|{PASSWORD}"));
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(told.contains("two different ones") && !told.contains("another"), "{told}");
    assert!(ran.status.success() && told.contains("the same again: ") && !told.contains("horse"), "{told}");
    assert_eq!(status(&b, &[], &url(&a, "")), 200);
    // The button forgets it all the same.
    a.ok(&["press", "5"]);
    found("the drive is gone", false);

    // Without a page there is none.
    let ran = b.run_with_input(&["password"], format!("{PASSWORD}\n").as_bytes());
    assert!(ran.code == Some(1) && ran.err.contains("shows no page") && ran.err.contains("--page"), "{ran:?}");
}

#[test]
fn what_clients_send_is_checked() {
    let Some(world) = world("what_clients_send_is_checked", "curl") else { return };
    let mut a = boxed(&world, "A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let at = |path: &str| url(&a, path);
    let ask = |method: &str, more: &[&str], path: &str| status(&a, &[&["-X", method], more].concat(), &at(path));
    let depth = |depth: &str| format!("Depth: {depth}");
    assert_eq!(ask("PROPFIND", &["-H", &depth("0")], ""), 207);
    assert_eq!(ask("PROPFIND", &["-H", &depth("infinity")], ""), 403);
    assert_eq!(ask("PROPFIND", &["-H", &depth("2")], ""), 400);
    assert_eq!(ask("PROPFIND", &["-H", &depth("0"), "-d", "<x"], ""), 400);
    let entities = "<!DOCTYPE a [<!ENTITY b 'c'>]><propfind xmlns='DAV:'><prop><a>&b;</a></prop></propfind>";
    assert_eq!(ask("PROPFIND", &["-H", &depth("0"), "-d", entities], ""), 400);
    let large = beside(&a, "large.xml");
    write(&large, &vec![b' '; 70_000]);
    assert_eq!(ask("PROPFIND", &["-H", &depth("0"), "--data-binary", &format!("@{}", large.display())], ""), 413);
    assert_eq!(ask("POST", &[], "Friends/x"), 405);
    assert_eq!(ask("PUT", &["-d", "x"], "x"), 403, "the root holds the circles");
    assert_eq!(ask("DELETE", &[], ""), 403);
    assert_eq!(ask("DELETE", &[], "Friends"), 403);
    assert_eq!(ask("GET", &[], "Friends/..%2f..%2fx"), 400);
    assert_eq!(ask("PUT", &["-H", "Content-Range: bytes 0-1/2", "-d", "xx"], "Friends/x"), 400);
    assert_eq!(ask("PUT", &["-H", "If-Match: \"x\"", "-d", "xx"], "Friends/x"), 412);
    assert_eq!(ask("PUT", &["-d", "x"], "Friends/d/x"), 409);

    // From one circle to another: copied, and taken away here.
    for path in ["Friends/d", "Friends/d/e"] {
        assert_eq!(ask("MKCOL", &[], path), 201);
    }
    for number in 0..40 {
        write(&a.friends(&format!("d/e/{number}")), format!("{number}").as_bytes());
    }
    let to = format!("Destination: {}", at("Home/d"));
    assert_eq!(ask("MOVE", &["-H", &to], "Friends/d"), 201);
    assert!(!a.friends("d").exists());
    assert_eq!(census(&a.mount().join("Home/d")).expect("it is there"), 41);
    assert_eq!(fs::read(a.mount().join("Home/d/e/33")).expect("it is there"), b"33");
    // And as a copy, over something.
    let back = format!("Destination: {}", at("Friends/d"));
    assert_eq!(ask("COPY", &["-H", &back], "Home/d"), 201);
    assert_eq!(ask("COPY", &["-H", &back, "-H", "Overwrite: F"], "Home/d"), 412);
    assert_eq!(ask("COPY", &["-H", &back], "Home/d"), 204);
    wait_until("the friend has it", LIMIT, || fs::read(b.friends("d/e/39")).is_ok_and(|bytes| bytes == b"39"));
    assert_eq!(ask("COPY", &["-H", "Destination: http://elsewhere/dav/x"], "Home/d"), 502);
    assert_eq!(ask("DELETE", &[], "Friends/d"), 204);
    wait_until("the friend has heard", LIMIT, || !b.friends("d").exists());

    // A lock holds others off, the holder not, and nobody after its time.
    let lock = "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    let user = format!("dustfs:{PASSWORD}");
    let locked = works(
        &a,
        &["curl", "-s", "-i", "-u", &user, "-X", "LOCK", "-H", "Timeout: Second-600", "-d", lock, &at("Home/d")],
    );
    let token = locked.lines().find_map(|line| line.strip_prefix("lock-token: ")).expect("a token").trim().to_owned();
    assert_eq!(ask("PUT", &["-d", "x"], "Home/d/e/1"), 423);
    assert_eq!(ask("DELETE", &[], "Home/d"), 423);
    assert_eq!(ask("PUT", &["-d", "x", "-H", &format!("If: <{}> ({token})", at("Home/d"))], "Home/d/e/1"), 204);
    assert_eq!(ask("UNLOCK", &["-H", &format!("Lock-Token: {token}")], "Home/d"), 204);
    assert_eq!(ask("DELETE", &[], "Home/d/e"), 204);

    // Explorer sets the time that a file had where it comes from.
    assert_eq!(ask("PUT", &["-d", "x"], "Home/d/t"), 201);
    let time = "<D:propertyupdate xmlns:D='DAV:' xmlns:Z='urn:schemas-microsoft-com:'><D:set><D:prop>\
                <Z:Win32LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</Z:Win32LastModifiedTime></D:prop></D:set></D:propertyupdate>";
    assert_eq!(ask("PROPPATCH", &["-d", time], "Home/d/t"), 207);
    let modified = fs::metadata(a.mount().join("Home/d/t")).and_then(|file| file.modified()).expect("a time");
    assert_eq!(modified.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs(), 784_111_777);
    // What was acknowledged is there after a cut.
    a.kill();
    a.start_with(&["--page", "0.0.0.0:80"]);
    assert_eq!(fs::read(a.mount().join("Home/d/t")).expect("it is there"), b"x");
    assert!(!a.mount().join("Home/d/e").exists());
}

#[test]
fn a_long_directory_is_told_piece_by_piece() {
    let Some(world) = world("a_long_directory_is_told_piece_by_piece", "curl") else { return };
    let a = boxed(&world, "A");
    let files = if long() { 100_000 } else { 3_000 };
    fs::create_dir(a.mount().join("many")).expect("it is made");
    for number in 0..files {
        write(&a.mount().join(format!("many/{number:06}.jpg")), b"");
    }
    wait_until("all are there", LIMIT, || census(&a.mount().join("many")).is_ok_and(|count| count == files));
    let before = a.resident_bytes();
    let (out, user) = (beside(&a, "answer.xml"), format!("dustfs:{PASSWORD}"));
    let line = [
        "curl",
        "-s",
        "-f",
        "-u",
        &user,
        "-X",
        "PROPFIND",
        "-H",
        "Depth: 1",
        "-o",
        &out.to_string_lossy(),
        &url(&a, "many"),
    ];
    works(&a, &line);
    let answer = fs::read_to_string(&out).expect("UTF-8");
    assert_eq!(answer.matches("<D:href>/dav/many/").count(), files + 1);
    assert!(answer.contains(&format!("<D:href>/dav/many/{:06}.jpg</D:href>", files - 1)));
    assert!(answer.ends_with("</D:multistatus>\n"));
    let grown = a.resident_bytes().saturating_sub(before);
    assert!(grown < 6 << 20, "{grown} bytes for {} of answer", answer.len());
    assert_eq!(status(&a, &["-X", "DELETE"], &url(&a, "many")), 204);
    assert!(!a.mount().join("many").exists());
}

#[test]
fn large_files_go_through_little_memory() {
    let test = "large_files_go_through_little_memory";
    let Some(world) = world(test, "curl") else { return };
    // The file, what the node keeps of it, and as much again while it is copied.
    let (size, part) = (2_u64 << 30, if long() { 2_u64 << 30 } else { 128 << 20 });
    let needs = 2 * (size + part) + (1 << 30);
    let free = free_bytes(world.path());
    if free < needs {
        println!("SKIPPED {test}: it needs {} GiB of room, and there are {}", needs >> 30, free >> 30);
        return;
    }
    let mut random = Random::new(seed(test));
    let a = boxed(&world, "A");
    let there = beside(&a, "there");
    random_file(&there, size, &mut random).expect("a file");
    let user = format!("dustfs:{PASSWORD}");
    // Once, so that what stays is there already.
    assert_eq!(status(&a, &["-T", "/proc/self/exe"], &url(&a, "first")), 201);
    let before = a.resident_bytes();
    let flat = |what: &str, line: &[&str]| {
        let begun = std::time::Instant::now();
        let highest = highest_while(&a, || {
            works(&a, line);
        });
        let grown = highest.saturating_sub(before) >> 20;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{what}: {} MiB resident before, {grown} MiB more, {seconds:.1} s", before >> 20);
        assert!(grown < 48, "{what}: {grown} MiB more");
    };
    let (from, target) = (there.to_string_lossy(), url(&a, "large"));
    flat("PUT", &["curl", "-s", "-f", "--digest", "-u", &user, "-T", &from, &target]);
    let get = format!("curl -s -f --digest -u '{user}' {target} | cmp - {from}");
    flat("GET", &["sh", "-c", &get]);
    let range =
        works(&a, &["sh", "-c", &format!("curl -s -f -u '{user}' -r 100000000-100065536 {target} | sha256sum")]);
    let same = must(&["sh", "-c", &format!("tail -c +100000001 {from} | head -c 65537 | sha256sum")]);
    assert_eq!(range, same);
    // Without a length, as Finder sends it; and another client reads meanwhile.
    let piped = format!(
        "{get} & tail -c {part} {from} | curl -s -f -u '{user}' -H 'Transfer-Encoding: chunked' -T - {} && wait $!",
        url(&a, "piped")
    );
    flat("chunked PUT beside GET", &["sh", "-c", &piped]);
    let copy = format!("Destination: {}", url(&a, "copy"));
    flat("COPY", &["curl", "-s", "-f", "-u", &user, "-X", "COPY", "-H", &copy, &url(&a, "piped")]);
    for copied in ["copy", "piped"] {
        must(&["sh", "-c", &format!("tail -c {part} {from} | cmp - {}", a.mount().join(copied).to_string_lossy())]);
    }
}

/// Bytes that whoever writes to the file system of `path` has left.
fn free_bytes(path: &Path) -> u64 {
    let told = must(&["df", "--output=avail", "-B1", &path.to_string_lossy()]);
    told.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("df tells bytes")
}

/// The most that a node has in memory while something is done.
fn highest_while(node: &Node, work: impl FnOnce()) -> u64 {
    let (done, status) = (AtomicBool::new(false), format!("/proc/{}/status", node.pid()));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut highest = 0;
            while !done.load(Ordering::Relaxed) {
                let told = fs::read_to_string(&status).unwrap_or_default();
                let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
                let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
                highest = highest.max(kib * 1024);
                std::thread::park_timeout(Duration::from_millis(20));
            }
            highest
        });
        work();
        done.store(true, Ordering::Relaxed);
        watch.join().expect("it watches")
    })
}

#[test]
fn cadaver_works() {
    let Some(world) = world("cadaver_works", "cadaver") else { return };
    let a = boxed(&world, "A");
    let netrc = format!("machine {} login dustfs password {:?}\n", a.address(), PASSWORD.replace(' ', ""));
    // cadaver's netrc takes no password with spaces in it.
    let plain = PASSWORD.replace(' ', "");
    let mut web = Web::new(&a, &a, RELAY);
    web.sign_in(&a);
    let body = serde_json::json!({ "password": plain }).to_string();
    assert_eq!(web.ask("PUT", "/v1/password", &[], body.as_bytes()).status, 200);
    write(&beside(&a, ".netrc"), netrc.replace('"', "").as_bytes());
    write(&beside(&a, "photo.jpg"), &vec![7; 300_000]);
    let script = "mkcol trip\ncd trip\nput photo.jpg\nls\nlock photo.jpg\ncopy photo.jpg second.jpg\nunlock photo.jpg\n\
                  move second.jpg third.jpg\nget third.jpg back.jpg\npropset photo.jpg caption hello\npropget photo.jpg caption\n\
                  delete photo.jpg\nls\nquit\n";
    write(&beside(&a, "script"), script.as_bytes());
    let line = format!("cadaver {} <script", url(&a, ""));
    let told = works(&a, &["sh", "-c", &line]);
    assert!(!told.contains("failed") && told.contains("hello") && told.contains("300000"), "{told}");
    assert_eq!(fs::read(beside(&a, "back.jpg")).expect("it came back"), vec![7; 300_000]);
    assert_eq!(census(&a.mount().join("trip")).expect("it is there"), 1);
}

/// What every test of a whole tree puts.
fn some_tree(root: &Path, random: &mut Random, files: u64) {
    for number in 0..files {
        let directory = root.join(format!("d{}/e {}", number % 3, number % 2));
        fs::create_dir_all(&directory).expect("directories");
        let size = [0, 1, 4_096, 65_508, 70_000, 1_000_000][number as usize % 6];
        write(&directory.join(format!("ä {number}&.jpg")), &random.bytes(size));
    }
    // What Finder and Explorer leave are files like all others.
    for name in ["._photo.jpg", ".DS_Store", "desktop.ini", "Thumbs.db"] {
        write(&root.join(name), &random.bytes(4_000));
    }
}

#[test]
fn rclone_works_and_so_do_two_at_once() {
    let Some(world) = world("rclone_works_and_so_do_two_at_once", "rclone") else { return };
    let mut random = Random::new(seed("rclone_works_and_so_do_two_at_once"));
    let a = boxed(&world, "A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let obscured = must(&["rclone", "obscure", PASSWORD]).trim().to_owned();
    let arguments = |more: &[&str]| -> Vec<String> {
        let common = ["rclone", "--config", "/dev/null", "--webdav-url", &url(&a, ""), "--webdav-vendor", "owncloud"];
        let secret = ["--webdav-user", "dustfs", "--webdav-pass", &obscured, "--retries", "1", "-q"];
        common.iter().chain(&secret).chain(more).map(|word| (*word).to_owned()).collect()
    };
    let run = |from: &Node, more: &[&str]| {
        let line = arguments(more);
        works(from, &line.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let trees = [(&a, beside(&a, "tree")), (&b, beside(&b, "tree"))];
    for (_, tree) in &trees {
        some_tree(tree, &mut random, 40);
    }
    // Both at once, from two hosts.
    std::thread::scope(|scope| {
        for (number, (from, tree)) in trees.iter().enumerate() {
            let line = arguments(&["copy", &tree.to_string_lossy(), &format!(":webdav:Friends/{number}")]);
            let mut command = command(from, &line.iter().map(String::as_str).collect::<Vec<_>>());
            scope.spawn(move || {
                let ran = command.output().expect("it runs");
                assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            });
        }
    });
    for (number, (from, tree)) in trees.iter().enumerate() {
        let remote = format!(":webdav:Friends/{number}");
        run(from, &["check", "--download", &tree.to_string_lossy(), &remote]);
        let expected = digest(tree).expect("a tree");
        assert_eq!(digest(&a.friends(&number.to_string())).expect("a tree"), expected);
        wait_until("the friend has it", LIMIT, || {
            digest(&b.friends(&number.to_string())).is_ok_and(|there| there == expected)
        });
    }
    // Times come along, so that nothing is sent twice.
    let photo = "d0/e 0/ä 0&.jpg";
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).expect("a time");
    let second = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert_eq!(second(time(&a.friends("0").join(photo))), second(time(&trees[0].1.join(photo))));
    run(&a, &["moveto", ":webdav:Friends/0", ":webdav:Friends/moved"]);
    run(&a, &["purge", ":webdav:Friends/1"]);
    let back = beside(&a, "back");
    run(&a, &["sync", ":webdav:Friends/moved", &back.to_string_lossy()]);
    assert_eq!(digest(&back).expect("a tree"), digest(&trees[0].1).expect("a tree"));
    assert!(!a.friends("0").exists() && !a.friends("1").exists());
}

/// A mount by davfs2, taken away when it is dropped.
struct Davfs(PathBuf);

impl Drop for Davfs {
    fn drop(&mut self) {
        let _ = system(&["timeout", "60", "umount", &self.0.to_string_lossy()]);
        let _ = system(&["timeout", "10", "umount", "-i", "-f", "-l", &self.0.to_string_lossy()]);
        // It names its cache after the mount point, and leaves it.
        let name = self.0.to_string_lossy().trim_start_matches('/').replace('/', "-");
        for entry in fs::read_dir("/var/cache/davfs2").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&name) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[test]
fn davfs2_mounts_it() {
    let Some(world) = world("davfs2_mounts_it", "mount.davfs") else { return };
    let mut random = Random::new(seed("davfs2_mounts_it"));
    let a = boxed(&world, "A");
    let (mount, conf, secrets) = (beside(&a, "davfs"), beside(&a, "davfs2.conf"), beside(&a, "secrets"));
    fs::create_dir(&mount).expect("a mount point");
    write(&secrets, format!("{} dustfs \"{PASSWORD}\"\n", url(&a, "")).as_bytes());
    fs::set_permissions(&secrets, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("modes");
    // Its usual buffer is too small for how new kernels read directories.
    let told = format!("secrets {}\nask_auth 0\ndelay_upload 0\nbuf_size 64\n", secrets.display());
    write(&conf, told.as_bytes());
    works(&a, &["mount.davfs", "-o", &format!("conf={}", conf.display()), &url(&a, ""), &mount.to_string_lossy()]);
    let davfs = Davfs(mount.clone());
    let tree = beside(&a, "tree");
    some_tree(&tree, &mut random, 12);
    must(&["cp", "-r", &tree.to_string_lossy(), &mount.join("copy").to_string_lossy()]);
    let expected = digest(&tree).expect("a tree");
    wait_until("all is uploaded", LIMIT, || digest(&a.mount().join("copy")).is_ok_and(|there| there == expected));
    assert_eq!(digest(&mount.join("copy")).expect("a tree"), expected);
    fs::rename(mount.join("copy/d0"), mount.join("moved")).expect("it is moved");
    fs::remove_file(mount.join("copy/Thumbs.db")).expect("it is removed");
    write(&mount.join("copy/desktop.ini"), b"[.ShellClassInfo]");
    wait_until("it is there", LIMIT, || {
        fs::read(a.mount().join("copy/desktop.ini")).is_ok_and(|bytes| bytes == b"[.ShellClassInfo]")
    });
    assert!(a.mount().join("moved").exists() && !a.mount().join("copy/Thumbs.db").exists());
    drop(davfs);
}
