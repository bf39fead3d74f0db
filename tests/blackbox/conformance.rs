//! What others test file systems with, on a mount and on ext4 in the same run: pjdfstest for what POSIX says of each call,
//! fsx for bytes. `tests/run` installs both below `target/tools`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Node, World, long, must, seed, system};

/// Cases that are refused by design, each below its reason.
const REFUSED: &str = include_str!("conformance/refused.txt");
/// How many they are: a case more or less is a decision.
const REFUSED_COUNT: usize = 186;
/// The cases of the version that is pinned in `tests/run`.
const CASES: usize = 398;

/// A tool of `tests/run`'s; `None`, having told so, where it was not installed.
fn tool(test: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    if !path.exists() {
        println!("SKIPPED {test}: {} is missing: tests/run installs it", path.display());
        return None;
    }
    Some(path)
}

/// An ext4 of its own, mounted; `None`, having told so, where this machine has no loop devices. It goes with the world.
fn ext4(test: &str, world: &World) -> Option<PathBuf> {
    let (image, mount) = (world.path().join("ext4.image"), world.path().join("ext4"));
    fs::create_dir(&mount).expect("a mount point");
    fs::File::create(&image).and_then(|file| file.set_len(1 << 30)).expect("an image");
    let (image, shown) = (image.to_string_lossy(), mount.to_string_lossy());
    must(&["mkfs.ext4", "-q", "-F", &image]);
    let mounted = system(&["mount", "-o", "loop", &image, &shown]).expect("mount can be run");
    if !mounted.status.success() {
        println!("SKIPPED {test}: {}", String::from_utf8_lossy(&mounted.stderr).trim());
        return None;
    }
    Some(mount)
}

/// A node whose mount lets the users in that the cases switch to.
fn open_to_all(world: &World) -> Node {
    let mut node = world.node("A");
    fs::create_dir_all(node.state()).expect("a directory");
    must(&["chmod", "700", &node.state().to_string_lossy()]);
    fs::write(node.state().join("config.toml"), "allow_other = true\n").expect("written");
    node.start();
    // The way to the mount is open to them, too.
    for directory in node.mount().ancestors().skip(1).take_while(|directory| directory.starts_with(world.path())) {
        must(&["chmod", "755", &directory.to_string_lossy()]);
    }
    node
}

/// How each case ended: `ok`, `skipped` or `FAILED`, and what it said.
type Cases = BTreeMap<String, (String, String)>;

fn cases(tool: &Path, config: &Path, at: &Path, other: &Path) -> Cases {
    // From a short path, since those of sockets have an end after 107 bytes.
    let line = "mount --bind \"$1\" /mnt && shift && exec timeout -s KILL 250 \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-ec", line, "sh"])
        .args([at, tool, Path::new("-c"), config, Path::new("-p"), Path::new("/mnt"), Path::new("-s"), other])
        .env("NO_COLOR", "1")
        .output()
        .expect("it can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let mut cases = Cases::new();
    for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, end @ ("ok" | "skipped" | "FAILED")] = words[..]
            && !line.starts_with('\t')
        {
            cases.insert(name.to_owned(), (end.to_owned(), next.trim().to_owned()));
        }
    }
    assert_eq!(cases.len(), CASES, "{text}{}", String::from_utf8_lossy(&output.stderr));
    cases
}

#[test]
fn pjdfstest_passes_where_ext4_does() {
    let test = "pjdfstest_passes_where_ext4_does";
    let Some(tool) = tool(test, "pjdfstest") else { return };
    let Some(world) = World::new(test) else { return };
    let Some(ext4) = ext4(test, &world) else { return };
    let node = open_to_all(&world);
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten().expect("every Linux has nobody");
    let group = nix::unistd::Group::from_gid(nobody.gid).ok().flatten().expect("nobody has a group");
    let config = world.path().join("pjdfstest.toml");
    let text = format!(
        "[features]\nposix_fallocate = {{}}\nrename_ctime = {{}}\nutime_now = {{}}\nutimensat = {{}}\n\
         [settings]\nnaptime = 0.02\nallow_remount = false\n\
         [dummy_auth]\nentries = [[\"nobody\", \"{}\"], [\"daemon\", \"daemon\"]]\n",
        group.name
    );
    fs::write(&config, text).expect("written");
    let theirs = cases(&tool, &config, &ext4, world.path());
    let ours = cases(&tool, &config, &node.mount(), world.path());

    let listed = REFUSED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let refused: BTreeSet<&str> = listed.collect();
    assert_eq!(refused.len(), REFUSED_COUNT, "cases in refused.txt");
    let passes = |cases: &Cases, name: &str| cases.get(name).is_some_and(|(end, _)| end == "ok");
    let wrong: Vec<String> = ours
        .iter()
        .filter(|(name, _)| passes(&theirs, name) && !passes(&ours, name) && !refused.contains(name.as_str()))
        .map(|(name, (end, why))| format!("{name}: {end}: {why}"))
        .collect();
    let pass: Vec<&&str> = refused.iter().filter(|name| passes(&ours, name) || !ours.contains_key(**name)).collect();
    let count = |cases: &Cases| cases.values().filter(|(end, _)| end == "ok").count();
    println!("{test}: of {CASES}, {} pass on ext4, {} on the mount", count(&theirs), count(&ours));
    let failed: Vec<_> = theirs.iter().filter(|(_, (end, _))| end == "FAILED").collect();
    assert!(failed.len() < 10, "ext4 itself fails: {failed:#?}");
    assert!(wrong.is_empty(), "{} pass on ext4 alone, and are not refused by design: {wrong:#?}", wrong.len());
    assert!(pass.is_empty(), "refused by design, and pass or are not there: {pass:?}");
}

/// Runs fsx on a new file; how long it took.
#[track_caller]
fn fsx(tool: &Path, config: &Path, file: &Path, operations: u64, seed: u64) -> Duration {
    let begun = Instant::now();
    let output = Command::new("timeout")
        .args(["-s", "KILL", if long() { "3000" } else { "200" }])
        .arg(tool)
        .arg("-f")
        .arg(config)
        .args(["-S", &seed.to_string(), "-N", &operations.to_string()])
        .arg("-P")
        .arg(config.parent().expect("a directory"))
        .arg(file)
        .output()
        .expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let last: Vec<&str> = said.lines().rev().take(60).collect();
    assert!(output.status.success() && said.contains("A-OK"), "{}: {}: {last:#?}", file.display(), output.status);
    begun.elapsed()
}

#[test]
fn fsx_finds_no_fault() {
    let test = "fsx_finds_no_fault";
    let Some(tool) = tool(test, "fsx") else { return };
    let Some(world) = World::new(test) else { return };
    let Some(ext4) = ext4(test, &world) else { return };
    let mut node = world.started("A");
    let config = world.path().join("fsx.toml");
    fs::write(&config, include_str!("conformance/fsx.toml")).expect("written");
    let (operations, seed) = (if long() { 1_000_000 } else { 40_000 }, seed(test) & 0xffff_ffff);
    let theirs = fsx(&tool, &config, &ext4.join("file"), operations, seed);
    let file = node.mount().join("file");
    let ours = fsx(&tool, &config, &file, operations, seed);
    println!(
        "{test}: {operations} operations with seed {seed}: {:.1} s on the mount, {:.1} s on ext4: {:.1} times as long",
        ours.as_secs_f64(),
        theirs.as_secs_f64(),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
    let truth = fs::read(ext4.join("file")).expect("read");
    assert!(fs::read(&file).expect("read") == truth, "both files are equal");
    node.stop();
    node.start();
    assert!(fs::read(&file).expect("read") == truth, "and stay so over a restart");
}
