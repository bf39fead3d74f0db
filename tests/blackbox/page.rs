//! The page from outside: who gets what, files that go in and come out, and clients that mean no good.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::harness::web::{Web, is_relay};
use crate::harness::{Node, Random, World, seed, wait_until, write};

const LIMIT: Duration = Duration::from_secs(30);
/// This test can be the relay of all.
const RELAY: &str = "page::signing_in_takes_a_press";

/// A node with a page.
fn boxed(world: &World, name: &str) -> Node {
    let mut node = world.node(name);
    node.start_with(&["--page", "0.0.0.0:80"]);
    node
}

fn browser(node: &Node) -> Web {
    let mut web = Web::new(node, node, RELAY);
    web.sign_in(node);
    web
}

#[test]
fn signing_in_takes_a_press() {
    if is_relay() {
        return;
    }
    let Some(world) = World::new("signing_in_takes_a_press") else { return };
    let a = boxed(&world, "A");
    let mut web = Web::new(&a, &a, RELAY);

    // Strangers get the sign-in page and nothing else.
    let page = web.get("/");
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("Sign in"));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'self'")));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    for path in ["/page.js", "/v1/status", "/v1/friends", "/files/", "/files/Home", "/nothing"] {
        let refused = web.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("Home"), "{path}");
    }
    assert_eq!(web.put("/files/a", b"x"), 401);

    // Another name, another page: nothing.
    for host in ["evil.example", "10.77.0.200", "a.local.evil.example"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(web.raw(&[head.as_bytes()]).status, 421, "{host}");
    }
    for host in ["a.local", "A.local:80", "localhost", a.address()] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(web.raw(&[head.as_bytes()]).status, 200, "{host}");
    }
    for line in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let head = format!("POST /v1/signin HTTP/1.1\r\nHost: {}\r\n{line}\r\nContent-Length: 0\r\n\r\n", web.host);
        assert_eq!(web.raw(&[head.as_bytes()]).status, 403, "{line}");
    }
    assert_eq!(web.raw(&[b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"]).status, 400);
    assert_eq!(web.raw(&[b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"]).status, 400);

    // One question at a time; the box shows it, and a press answers it.
    let asked = web.ask("POST", "/v1/signin", &[], b"").json();
    assert!(asked["code"].as_u64().is_some_and(|code| (11..=99).contains(&code) && code % 10 != 0), "{asked}");
    let path = |asked: &serde_json::Value| format!("/v1/signin/{}", asked["id"].as_str().expect("an id"));
    assert_eq!(web.get(&path(&asked)).json()["state"], "waiting");
    // Whoever loads the page again asks anew.
    let again = web.ask("POST", "/v1/signin", &[], b"").json();
    assert_eq!(web.get(&path(&asked)).status, 404);
    let path = path(&again);
    let led = a.json(&["status"])["led"].clone();
    assert!(led.as_str().is_some_and(|words| words.contains("sign")), "the LED shows it: {led}");
    // Nobody lets in whom they have not seen ask.
    let ran = a.run(&["press"]);
    assert!(ran.code == Some(1) && ran.err.contains("not shown to its end"), "{ran:?}");
    assert_eq!(web.get(&path).json()["state"], "waiting");
    web.press(&a, &path);
    wait_until("the press is heard of", LIMIT, || {
        let answer = web.get(&path);
        web.cookie = answer.header("set-cookie").and_then(|c| Some(format!("Cookie: {}", c.split(';').next()?)));
        web.cookie.is_some()
    });
    assert_eq!(web.get(&path).status, 404, "a sign-in is good for one");
    let status = web.get("/v1/status");
    assert_eq!((status.status, &status.json()["name"]), (200, &"A".into()));
    assert!(String::from_utf8_lossy(&web.get("/").body).contains("page.js"));
    assert_eq!(web.get("/page.js").status, 200);

    // The cookie is not enough where another page sends it.
    let cookie = web.cookie.clone().expect("a cookie");
    for (method, path) in [("POST", "/v1/found"), ("PUT", "/files/a"), ("DELETE", "/files/a"), ("POST", "/v1/signout")]
    {
        let origin = "Origin: http://evil.example";
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{origin}\r\n{cookie}\r\nContent-Length: 0\r\n\r\n",
            web.host
        );
        assert_eq!(web.raw(&[head.as_bytes()]).status, 403, "{method} {path}");
    }
    // What is for the box alone is not for the page.
    for path in ["/v1/stop", "/v1/unmount", "/v1/press"] {
        assert_eq!(web.ask("POST", path, &[], b"{}").status, 403, "{path}");
    }
    let invite = web.ask("POST", "/v1/invite", &[], b"{}").json();
    assert!(invite["invite"].as_str().is_some_and(|text| text.starts_with("dustfs1-")), "{invite}");

    // Signing out, and a hold of five seconds, end it.
    let other = browser(&a);
    assert_eq!(web.ask("POST", "/v1/signout", &[], b"").status, 200);
    assert_eq!(web.get("/v1/status").status, 401);
    assert_eq!(other.get("/v1/status").status, 200);
    a.ok(&["press", "5"]);
    assert_eq!(other.get("/v1/status").status, 401);
}

#[test]
fn a_sign_in_waits_for_no_press_that_pairs() {
    let Some(world) = World::new("a_sign_in_waits_for_no_press_that_pairs") else { return };
    let a = boxed(&world, "A");
    let web = Web::new(&a, &a, RELAY);
    a.ok(&["press"]);
    assert_eq!(a.json(&["status"])["pairing"]["state"], "window");
    let asked = web.ask("POST", "/v1/signin", &[], b"").json();
    let path = format!("/v1/signin/{}", asked["id"].as_str().expect("an id"));
    let mut answer = web.get(&path).json();
    wait_until("it is refused", LIMIT, || {
        if answer["state"] == "waiting" {
            answer = web.get(&path).json();
        }
        answer["state"] == "refused"
    });
    assert!(answer["error"].as_str().is_some_and(|why| why.contains("pairing")), "{answer}");
}

#[test]
fn files_go_in_and_come_out() {
    let Some(world) = World::new("files_go_in_and_come_out") else { return };
    let mut random = Random::new(seed("files_go_in_and_come_out"));
    let (a, b) = (boxed(&world, "A"), boxed(&world, "B"));
    b.join(&a.invite("member"));
    let (on_a, on_b) = (browser(&a), browser(&b));
    assert_eq!(on_a.names("/files/"), ["Friends", "Home"]);
    for (number, size) in [0, 1, 4_096, 4_097, 65_508, 131_016, 131_017, 3_000_000].into_iter().enumerate() {
        let bytes = random.bytes(size);
        let path = format!("/files/Friends/{number}%20%C3%A4.jpg");
        assert_eq!(on_a.put(&path, &bytes), 201, "{size}");
        let answer = on_a.get(&path);
        assert_eq!((answer.status, answer.body == bytes), (200, true), "{size}");
        assert_eq!(answer.header("content-type"), Some("image/jpeg"));
        assert_eq!(fs::read(a.friends(&format!("{number} ä.jpg"))).expect("the mount has it"), bytes);
        wait_until("the friend has it", LIMIT, || {
            fs::read(b.friends(&format!("{number} ä.jpg"))).is_ok_and(|b| b == bytes)
        });
        assert!(on_b.get(&path).body == bytes, "{size}");
    }
    // By the mount there, by the page here.
    let bytes = random.bytes(700_000);
    write(&b.friends("film"), &bytes);
    wait_until("the page has it", LIMIT, || on_a.get("/files/Friends/film").body == bytes);
    let film = on_a.get("/files/Friends/film");
    assert_eq!(film.header("content-type"), Some("application/octet-stream"));
    assert!(film.header("content-disposition").is_some_and(|value| value.starts_with("attachment")));
    let part = on_a.ask("GET", "/files/Friends/film", &["Range: bytes=65500-200000"], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &bytes[65_500..=200_000]));
    assert_eq!(part.header("content-range"), Some("bytes 65500-200000/700000"));
    assert_eq!(on_a.ask("GET", "/files/Friends/film", &["Range: bytes=700000-"], b"").status, 416);
    let head = on_a.ask("HEAD", "/files/Friends/film", &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("700000"), 0));
    let known = format!("If-None-Match: {}", film.header("etag").expect("a tag"));
    assert_eq!(on_a.ask("GET", "/files/Friends/film", &[&known], b"").status, 304);

    // A file is replaced, or not where it must not be.
    assert_eq!(on_a.ask("PUT", "/files/Friends/film", &["If-None-Match: *"], b"x").status, 412);
    assert_eq!(on_a.put("/files/Friends/film", b"short"), 204);
    assert_eq!(fs::read(a.friends("film")).expect("the mount has it"), b"short");
    wait_until("the friend has it", LIMIT, || fs::read(b.friends("film")).is_ok_and(|film| film == b"short"));

    // Directories, and what is refused.
    assert_eq!(on_a.ask("POST", "/files/Friends/d?mkdir", &[], b"").status, 201);
    assert_eq!(on_a.ask("POST", "/files/Friends/d?mkdir", &[], b"").status, 409);
    assert_eq!(on_a.put("/files/Friends/d/%3Cb%3E%26%22", b"x"), 201);
    assert_eq!(on_a.names("/files/Friends/d/"), ["<b>&\""]);
    assert!(a.friends("d/<b>&\"").exists());
    assert_eq!(on_a.ask("DELETE", "/files/Friends/d", &[], b"").status, 409);
    assert_eq!(on_a.ask("DELETE", "/files/Friends/d/%3Cb%3E%26%22", &[], b"").status, 204);
    assert_eq!(on_a.ask("DELETE", "/files/Friends/d", &[], b"").status, 204);
    wait_until("the mount has forgotten it", LIMIT, || !a.friends("d").exists());
    for (method, path, status) in [
        ("GET", "/files/Friends/none", 404),
        ("DELETE", "/files/Friends/none", 404),
        ("PUT", "/files/Friends/none/x", 409),
        ("PUT", "/files/Friends/film/x", 409),
        ("PUT", "/files/Friends", 409),
        ("PUT", "/files/x", 403),
        ("DELETE", "/files/Friends", 403),
        ("PUT", "/files/Friends/..%2fx", 400),
        ("GET", "/files/Friends/../../x", 400),
        ("GET", "/files/Friends/x%00", 400),
    ] {
        assert_eq!(on_a.ask(method, path, &[], b"").status, status, "{method} {path}");
    }
    let unsized_ = on_a.head("PUT", "/files/Friends/chunked", &["Transfer-Encoding: chunked"]);
    assert_eq!(on_a.raw(&[unsized_.as_bytes(), b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"]).status, 201);
    assert_eq!(on_a.get("/files/Friends/chunked").body, b"hello world");
}

#[test]
fn half_a_file_is_no_file() {
    let Some(world) = World::new("half_a_file_is_no_file") else { return };
    let mut random = Random::new(seed("half_a_file_is_no_file"));
    let mut a = boxed(&world, "A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let web = browser(&a);
    let old = random.bytes(500_000);
    assert_eq!(web.put("/files/Friends/old", &old), 201);
    wait_until("the friend has it", LIMIT, || fs::read(b.friends("old")).is_ok_and(|bytes| bytes == old));

    // Half of it comes, and then nothing for longer than quiet files are published after.
    let new = random.bytes(2_000_000);
    let half_of = |path: &str| {
        let mut stream = web.connect();
        let head = web.head("PUT", path, &["Content-Length: 2000000"]);
        stream.write_all(head.as_bytes()).expect("it is taken");
        stream.write_all(&new[..1_000_000]).expect("it is taken");
        stream
    };
    let (over, beside) = (half_of("/files/Friends/old"), half_of("/files/Friends/new"));
    let begun = Instant::now();
    wait_until("the quiet time is over", LIMIT, || {
        for node in [&a, &b] {
            assert_eq!(names(node), ["old"], "{}", node.name());
            assert!(fs::read(node.friends("old")).expect("it is read") == old, "{}", node.name());
        }
        begun.elapsed() > Duration::from_secs(4)
    });
    drop((over, beside));
    assert_eq!(web.names("/files/Friends/"), ["old"]);
    assert!(web.get("/files/Friends/old").body == old);

    // What was acknowledged is there after a cut, and what was on its way is not.
    assert_eq!(web.put("/files/Friends/kept", &new), 201);
    assert_eq!(web.ask("POST", "/files/Friends/made?mkdir", &[], b"").status, 201);
    assert_eq!(web.ask("DELETE", "/files/Friends/old", &[], b"").status, 204);
    let _over = half_of("/files/Friends/kept");
    a.kill();
    a.start_with(&["--page", "0.0.0.0:80"]);
    assert_eq!(names(&a), ["kept", "made"]);
    assert!(fs::read(a.friends("kept")).expect("it is read") == new);
    let status = Web::new(&a, &a, RELAY)
        .raw(&[format!(
            "GET /v1/status HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n",
            web.host,
            web.cookie.as_deref().unwrap_or_default()
        )
        .as_bytes()])
        .status;
    assert_eq!(status, 401, "sessions end with the node");
}

fn names(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.friends("")).expect("a listing");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_at_a_friend_is_fetched_when_it_is_asked_for() {
    let Some(world) = World::new("what_is_at_a_friend_is_fetched") else { return };
    let mut random = Random::new(seed("what_is_at_a_friend_is_fetched"));
    let mut a = world.started("A");
    let mut b = world.node("B");
    b.start_with(&["--page", "0.0.0.0:80", "--fetch", "ondemand"]);
    b.join(&a.invite("member"));
    let web = browser(&b);
    let (first, second) = (random.bytes(3_000_000), random.bytes(3_000_000));
    write(&a.friends("first"), &first);
    write(&a.friends("second"), &second);
    wait_until("B knows of both", LIMIT, || web.names("/files/Friends/").len() == 2);
    assert_eq!(b.circle()["held_torrents"], 0);
    let answer = web.get("/files/Friends/first");
    assert!(answer.status == 200 && answer.body == first);
    a.stop();
    let begun = Instant::now();
    let refused = web.get("/files/Friends/second");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.json()["error"].as_str().is_some_and(|why| why.contains("online")), "{refused:?}");
    assert!(begun.elapsed() < LIMIT);
    assert!(web.get("/files/Friends/first").body == first);
}

#[test]
fn slow_clients_are_bounded() {
    let Some(world) = World::new("slow_clients_are_bounded") else { return };
    let (a, b) = (boxed(&world, "A"), world.started("B"));
    let web = browser(&a);
    let large = vec![7; 40_000_000];
    assert_eq!(web.put("/files/large", &large), 201);
    let before = a.resident_bytes();

    // Somebody opens all the connections that one host may have, and reads nothing of what is sent.
    let begun = Instant::now();
    let mut idle: Vec<_> = (0..8).map(|_| web.connect()).collect();
    for stream in &mut idle {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("it is taken");
    }
    let mut hungry: Vec<_> = (0..4).map(|_| web.connect()).collect();
    for stream in &mut hungry {
        stream.write_all(web.head("GET", "/files/large", &[]).as_bytes()).expect("it is taken");
        let mut some = [0; 16];
        stream.read_exact(&mut some).expect("it begins");
    }
    wait_until("one more is not taken", LIMIT, || web.get("/").status == 0);
    // Another host is served all the same.
    let other = Web::new(&b, &a, RELAY);
    assert_eq!(other.get("/").status, 200);
    let grown = a.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for four who do not read");
    // Whoever sends no whole head is let go.
    wait_until("heads have a time", LIMIT, || web.get("/").status == 200);
    assert!(begun.elapsed() > Duration::from_secs(5), "it was full before");
    for mut stream in idle {
        let answer = Web::answer(&mut stream);
        assert!(matches!(answer.status, 0 | 408), "{answer:?}");
    }

    // Heads and bodies have an end.
    let long = format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(100_000), web.host);
    // Too long a target, or too long a head, whichever is seen first.
    assert!(matches!(web.raw(&[long.as_bytes()]).status, 414 | 431));
    assert_eq!(web.ask("POST", "/v1/join", &[], &vec![b' '; 70_000]).status, 413);
    assert_eq!(web.ask("PUT", "/files/x", &["Content-Range: bytes 0-1/2"], b"xx").status, 400);
    let huge = web.head("PUT", "/files/x", &["Content-Length: 99999999999999", "Expect: 100-continue"]);
    assert_eq!(web.raw(&[huge.as_bytes()]).status, 413);
    assert_eq!(web.names("/files/"), ["large"]);
}
