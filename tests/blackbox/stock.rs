//! A stock BitTorrent client beside a circle: it finds the nodes by the tracker alone, fetches what is sealed, seeds it
//! back, and is shut out when it is removed; and strangers that would be taken for one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Node, Random, World, must, random_file, seed, system, wait_until, write};
use crate::secrecy::circle_secrets;

const LIMIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
const PYPI: &str = "libtorrent-2.1.1";

/// A running client on a host of its own. Ends when it is dropped.
struct Client {
    child: Child,
    _input: ChildStdin,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Client {
    fn start(host: &Node, python: &Python, torrent: &Path, directory: &Path, keys: &Path) -> Self {
        Self::at_port(4501, host, python, torrent, directory, keys)
    }

    fn at_port(port: u16, host: &Node, python: &Python, torrent: &Path, directory: &Path, keys: &Path) -> Self {
        fs::create_dir_all(directory).expect("a directory");
        let listen = format!("{}:{port}s", host.address());
        let mut child = inside(host, &python.program)
            .envs(python.modules.as_ref().map(|modules| ("PYTHONPATH", modules)))
            .arg(script("client.py"))
            .args([torrent, directory, keys])
            .arg(listen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python can be run");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let told = Arc::<Mutex<Vec<Value>>>::default();
        let kept = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                kept.lock().expect("no panic").extend(serde_json::from_str(&line));
            }
        });
        Self { child, _input: input, told }
    }

    fn last(&self, key: &str) -> Value {
        let told = self.told.lock().expect("no panic");
        told.iter().rev().find_map(|said| said.get(key)).cloned().unwrap_or(Value::Null)
    }

    /// How much of the torrent it has. It may be refused before it has told the first time.
    #[track_caller]
    fn progress(&self) -> Value {
        wait_until("the client tells how far it is", LIMIT, || !self.last("progress").is_null());
        self.last("progress")
    }

    /// What it told of its tracker, of errors, and of itself.
    fn words(&self) -> Vec<String> {
        let told = self.told.lock().expect("no panic");
        told.iter().filter(|said| said.get("log").is_none()).map(Value::to_string).collect()
    }

    #[track_caller]
    fn wait_until_seeding(&self, what: &str) {
        let seeds = || self.last("state") == "seeding" || self.last("state") == "finished";
        let end = std::time::Instant::now() + LIMIT;
        wait_until(what, LIMIT, || {
            assert!(seeds() || end > std::time::Instant::now() + Duration::from_secs(1), "{:#?}", self.words());
            seeds()
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python with libtorrent.
struct Python {
    program: PathBuf,
    /// Where it finds libtorrent, unless it is the system's.
    modules: Option<PathBuf>,
    version: String,
}

impl Python {
    /// Debian's; `None`, having told why, where there is none.
    fn debian(test: &str) -> Option<Self> {
        let found = Self::with("/usr/bin/python3", None);
        if found.is_none() {
            println!("SKIPPED {test}: python3-libtorrent is missing: apt-get install python3-libtorrent");
        }
        found
    }

    /// Another major release, from PyPI into a directory below `target`.
    fn pypi(test: &str) -> Option<Self> {
        let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PYPI);
        let found = || Self::with("python3", Some(modules.clone()));
        let fetched = found().or_else(|| {
            let (target, list) = (modules.to_string_lossy(), script("requirements.txt"));
            let how = ["timeout", "120", "python3", "-m", "pip", "install", "-q", "--only-binary", ":all:"];
            let what = ["--require-hashes", "-r", &list.to_string_lossy(), "--target", &target];
            system(&[&how[..], &what].concat()).ok().filter(|output| output.status.success())?;
            found()
        });
        if fetched.is_none() {
            println!("SKIPPED {test}: {PYPI} cannot be had by `python3 -m pip`");
        }
        fetched
    }

    fn with(program: &str, modules: Option<PathBuf>) -> Option<Self> {
        let mut asking = Command::new(program);
        asking.envs(modules.as_ref().map(|modules| ("PYTHONPATH", modules)));
        asking.args(["-c", "import libtorrent; print(libtorrent.__version__)"]);
        let output = asking.output().ok().filter(|output| output.status.success())?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(Self { program: program.into(), modules, version })
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blackbox/stock").join(name)
}

/// A program on a node's host.
fn inside(host: &Node, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    let net = format!("--net=/run/netns/{}", host.namespace());
    command.arg(net).args(["setpriv", "--pdeathsig", "KILL"]).arg(program);
    command
}

/// True when a node's slabs hold these bytes in one run.
fn is_in_slabs(node: &Node, bytes: &[u8]) -> bool {
    let slabs = fs::read_dir(node.state().join("slabs")).expect("slabs");
    slabs.flatten().any(|slab| {
        let slab = fs::read(slab.path()).expect("a slab");
        slab.chunks(4_096).enumerate().any(|(unit, start)| {
            start.get(..64) == bytes.get(..64) && slab.get(unit * 4_096..unit * 4_096 + bytes.len()) == Some(bytes)
        })
    })
}

/// Bytes that a node has had from a friend.
fn had_from(node: &Node, name: &str) -> u64 {
    let friends = node.json(&["friends"]);
    let friends = friends.as_array().expect("friends");
    let friend = friends.iter().find(|friend| friend["name"] == name);
    friend.and_then(|friend| friend["downloaded"].as_u64()).unwrap_or(0)
}

#[track_caller]
fn refusals(node: &Node, reason: &str) -> usize {
    node.log().lines().filter(|line| line.contains("was refused") && line.contains(reason)).count()
}

fn plays(test: &str, world: &World, python: &Python) {
    let mut random = Random::new(seed(test));
    // The keeper has the tracker and holds nothing unless it is read; the member has the file.
    let mut keeper = world.node("K");
    keeper.start_with(&["--fetch", "ondemand"]);
    let mut member = world.started("M");
    member.join(&keeper.invite("member"));
    let mut reader = world.node("N");
    reader.start_with(&["--fetch", "ondemand"]);
    reader.join(&keeper.invite("reader"));
    let host = world.node("S");
    wait_until("the member has the circle", LIMIT, || member.friends("").is_dir());
    random_file(&member.friends("film"), 12 * MIB + 12_345, &mut random).expect("a film");
    let film = fs::read(member.friends("film")).expect("a film");
    for node in [&keeper, &reader] {
        wait_until("the others know of the film", LIMIT, || node.friends("film").exists());
    }

    let (keys, torrent) = (world.path().join("keys"), world.path().join("film.torrent"));
    let paths = [&keys, &torrent].map(|path| path.to_str().expect("text"));
    keeper.ok(&["guest", "seedbox", paths[0]]);
    let mode = must(&["stat", "-c", "%a", &format!("{}/guest.key", paths[0])]);
    assert_eq!(mode.trim(), "600");
    // On the keeper by its place in the tree, on the member by its path in the mount: the same file.
    keeper.ok(&["export-torrent", "Friends/film", paths[1]]);
    let again = world.path().join("again.torrent");
    member.ok(&["export-torrent", &member.friends("film").to_string_lossy(), &again.to_string_lossy()]);
    assert_eq!(fs::read(&torrent).expect("a torrent"), fs::read(&again).expect("a torrent"));

    let directory = world.path().join("seedbox");
    // libtorrent asks who refused it for the first time again after a minute.
    for node in [&member, &reader] {
        wait_until("the others know of the guest", LIMIT, || node.ok(&["friends"]).contains("seedbox"));
    }
    let client = Client::start(&host, python, &torrent, &directory, &keys);
    client.wait_until_seeding("the client has fetched all");
    let fetched = fs::read(directory.join("dustfs")).expect("what it fetched");
    assert!(is_in_slabs(&member, &fetched), "what the client has is not what the member sealed");
    assert!(!fetched.windows(32).any(|window| window == &film[..32]), "it is sealed");
    assert!(!is_in_slabs(&keeper, &fetched), "the keeper has it already, and shows nothing by fetching it");
    println!("{test}: libtorrent {} fetched {} bytes, found by its tracker", python.version, fetched.len());

    // Nobody but the client has it now; the reader knows of it from the keeper, whom it asked.
    member.kill();
    for node in [&mut reader, &mut keeper] {
        let begun = std::time::Instant::now();
        assert!(fs::read(node.friends("film")).expect("it is read") == film);
        println!("{test}: seeded back to {} in {:.1} s", node.name(), begun.elapsed().as_secs_f64());
        assert!(had_from(node, "seedbox") >= fetched.len() as u64, "{}", node.json(&["friends"]));
        if node.name() == "N" {
            node.kill();
        }
    }

    // A renewal keeps the key, and the client goes on.
    let key = fs::read(keys.join("guest.key")).expect("a key");
    keeper.ok(&["guest", "seedbox", paths[0]]);
    assert_eq!(fs::read(keys.join("guest.key")).expect("a key"), key);

    // Removed, it is cut off and shut out, from the tracker too.
    keeper.ok(&["remove", "seedbox"]);
    drop(client);
    let client = Client::start(&host, python, &torrent, &world.path().join("later"), &keys);
    let reason = "its key is not on the circle's roster, or was removed";
    wait_until("the client is refused", LIMIT, || {
        refusals(&keeper, reason) > 0 || refusals(&keeper, "it names no circle of this node's, which answers") > 0
    });
    assert_eq!(client.progress(), 0.0);
    let ran = keeper.run(&["guest", "seedbox", paths[0]]);
    assert!(ran.code == Some(1) && ran.err.contains("comes back with a new key"), "{ran:?}");
}

#[test]
fn a_stock_client_fetches_and_seeds() {
    let test = "a_stock_client_fetches_and_seeds";
    let Some(python) = Python::debian(test) else { return };
    let Some(world) = World::new(test) else { return };
    plays(test, &world, &python);
}

#[test]
fn the_next_libtorrent_does_as_well() {
    let test = "the_next_libtorrent_does_as_well";
    let Some(python) = Python::pypi(test) else { return };
    let Some(world) = World::new(test) else { return };
    plays(test, &world, &python);
}

/// Which of its circles a client means that asks the tracker, the keeper cannot know when it has to show a certificate.
#[test]
fn a_keeper_of_three_circles_serves_the_clients_of_each() {
    let test = "a_keeper_of_three_circles_serves_the_clients_of_each";
    let Some(python) = Python::debian(test) else { return };
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let (keeper, host) = (world.started("K"), world.node("S"));
    let circles = ["Home", "Friends", "Skiers"];
    for circle in &circles[1..] {
        keeper.ok(&["found", circle]);
    }
    let prepared = circles.map(|circle| {
        let [keys, torrent, directory] =
            ["keys", "torrent", "directory"].map(|name| world.path().join(format!("{circle}-{name}")));
        write(&keeper.mount().join(circle).join("film"), &random.bytes(300_000));
        keeper.ok(&["guest", "seedbox", &keys.to_string_lossy(), "--circle", circle]);
        let path = format!("{circle}/film");
        wait_until("the film is published", LIMIT, || {
            keeper.run(&["export-torrent", &path, &torrent.to_string_lossy()]).code == Some(0)
        });
        (keys, torrent, directory)
    });
    // All from one host: each is shown the certificates of all three until one is right.
    let mut clients = Vec::new();
    for ((port, circle), (keys, torrent, directory)) in (4501..).zip(&circles).zip(&prepared) {
        let begun = std::time::Instant::now();
        clients.push(Client::at_port(port, &host, &python, torrent, directory, keys));
        clients[clients.len() - 1].wait_until_seeding(&format!("the client of {circle} has fetched all"));
        let took = begun.elapsed().as_secs_f64();
        println!("{test}: {circle} after {took:.1} s, refused {} times", refusals(&keeper, "it refused us: UnknownCA"));
        assert!(took < 10.0, "a client that has to ask again later waits for longer");
    }
    // Whoever has the certificate of one circle gets nothing of another's.
    let (keys, _, _) = &prepared[1];
    let (_, torrent, _) = &prepared[2];
    let strange = Client::at_port(4600, &host, &python, torrent, &world.path().join("strange"), keys);
    wait_until("it is refused", LIMIT, || {
        refusals(&keeper, "its key is not on the circle's roster")
            + refusals(&keeper, "its certificate is not of the circle")
            > 0
    });
    assert_eq!(strange.progress(), 0.0);
}

/// The hash of an exported torrent's info dictionary.
fn info_hash(python: &Python, torrent: &Path) -> String {
    let program = python.program.to_string_lossy().into_owned();
    let line = "import libtorrent, sys; print(libtorrent.torrent_info(sys.argv[1]).info_hash())";
    must(&[&program, "-c", line, &torrent.to_string_lossy()]).trim().to_owned()
}

#[test]
fn strangers_are_no_stock_clients() {
    let test = "strangers_are_no_stock_clients";
    let Some(python) = Python::debian(test) else { return };
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let keeper = world.started("K");
    let host = world.node("S");
    let (keys, work) = (world.path().join("keys"), world.path().join("work"));
    fs::create_dir(&work).expect("a directory");
    keeper.ok(&["guest", "seedbox", &keys.to_string_lossy()]);
    let torrents = ["one", "two"].map(|name| {
        write(&keeper.mount().join(name), &random.bytes(100_000));
        let torrent = work.join(name);
        let exported = || keeper.run(&["export-torrent", name, &torrent.to_string_lossy()]).code == Some(0);
        wait_until("the file is published", LIMIT, exported);
        torrent
    });
    let [one, two] = torrents.each_ref().map(|torrent| info_hash(&python, torrent));
    assert_ne!(one, two);
    let file = fs::read(&torrents[0]).expect("a torrent");
    let pem = String::from_utf8_lossy(&file);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n");
    let (from, to) = (pem.find(begin).expect("a root"), pem.find(end).expect("its end") + end.len());
    write(&work.join("root.crt"), pem[from..to].as_bytes());

    let port = keeper.json(&["status"])["listen"][0].as_str().and_then(|at| at.rsplit(':').next().map(String::from));
    let mut child = inside(&host, Path::new("/usr/bin/python3"))
        .arg(script("attack.py"))
        .args([keeper.address(), &port.expect("a port"), &one, &two])
        .args([&keys, &work])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python can be run");
    let seed: String = root_seed(&keeper).iter().map(|byte| format!("{byte:02x}")).collect();
    child.stdin.take().expect("piped").write_all(seed.as_bytes()).expect("the script reads");
    let mut told = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut told).expect("text");
    assert!(child.wait().expect("a child").success(), "{told}");
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let expected = [
        ("no certificate", "it shows no certificate"),
        ("another root", "its certificate is not of the circle"),
        ("right root, wrong name", "its certificate is not that of a stock client"),
        ("right root, unknown key", "its key is not on the circle's roster"),
        ("wrong SNI", "it names no torrent and no circle of this node's"),
        ("missing SNI", "it named no torrent to TLS, and does not announce itself"),
        ("another torrent than in SNI", "it asks for another torrent than it named to TLS"),
        ("garbage", "it is not BitTorrent's"),
        ("garbage to the tracker", "it named no torrent to TLS, and does not announce itself"),
    ];
    assert_eq!(told.len(), expected.len() + 1, "{told:#?}");
    for ((name, reason), told) in expected.iter().zip(&told) {
        assert_eq!((&told["name"], &told["bytes"]), (&Value::from(*name), &Value::from(0)), "{told}");
        let count = expected.iter().filter(|(_, other)| other == reason).count();
        assert_eq!(refusals(&keeper, reason), count, "{name}: {reason}\n{}", keeper.log());
    }
    // The same script is served when it does nothing wrong: what it is refused for is what it did.
    let right = told.last().expect("the last");
    assert!(right["bytes"].as_u64() > Some(68), "{right}");
}

/// The seed of the root of the owner's circle, which a keeper's ledger holds sealed.
fn root_seed(node: &Node) -> Vec<u8> {
    let seed = circle_secrets(node).into_iter().find_map(|secrets| secrets.root);
    seed.expect("a keeper's ledger").into_vec()
}
