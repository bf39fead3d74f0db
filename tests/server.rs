//! What a rented server is given: the unit file, as systemd reads it, and what the README says of it and of the build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const UNIT: &str = "contrib/dustfs-cache.service";
/// Where the unit expects the program.
const PROGRAM: &str = "/usr/local/bin/dustfs";
/// What `systemd-analyze security` may come to, of 100.
const EXPOSURE: &str = "20";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("it is in the repository")
}

/// The values of a key of the unit, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_says_what_the_program_takes() {
    let unit = text(UNIT);
    let sections: Vec<&str> = unit.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(sections, ["[Unit]", "[Service]", "[Install]"]);
    let known = |line: &&str| line.is_empty() || line.starts_with(['#', '[']) || line.contains('=');
    assert_eq!(unit.lines().find(|line| !known(line)), None);
    let [start] = values(&unit, "ExecStart")[..] else { panic!("one ExecStart") };
    let mut words = start.split(' ');
    assert_eq!(words.next(), Some(PROGRAM));
    let arguments: Vec<&str> = words.collect();
    assert_eq!(arguments, ["node", "--cache", "--state", "%S/dustfs"]);
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("StateDirectory", "dustfs"),
        ("StateDirectoryMode", "0700"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("MemoryMax", "256M"),
        ("WantedBy", "multi-user.target"),
    ] {
        assert_eq!(values(&unit, key), [value], "{key}");
    }
}

#[test]
fn systemd_takes_the_unit_and_finds_it_tight() {
    let there = Command::new("systemd-analyze").arg("--version").output();
    if !there.is_ok_and(|version| version.status.success()) {
        println!("SKIPPED systemd_takes_the_unit_and_finds_it_tight: systemd-analyze is missing");
        return;
    }
    // systemd looks whether the program is there.
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("unit-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let unit = directory.join("dustfs-cache.service");
    fs::write(&unit, text(UNIT).replace(PROGRAM, env!("CARGO_BIN_EXE_dustfs"))).expect("a file");
    let told = |line: &[&str]| {
        let output = Command::new("systemd-analyze").args(line).arg(&unit).output().expect("it ran before");
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&told).into_owned())
    };
    let (good, words) = told(&["verify", "--man=no"]);
    assert!(good && !words.contains("dustfs-cache.service"), "{words}");
    let (good, words) = told(&["security", "--offline=true", "--threshold", EXPOSURE]);
    assert!(good, "{words}");
    // What it must find, it finds.
    fs::write(&unit, "[Service]\nExecStart=/nowhere/dustfs\nNoNewPrivilegs=yes\n").expect("a file");
    let (good, words) = told(&["verify", "--man=no"]);
    assert!(!good && words.contains("NoNewPrivilegs"), "{words}");
    fs::remove_dir_all(&directory).expect("it was made");
}

/// The crates that a build links, itself left out.
fn crates(features: &[&str]) -> usize {
    // The table is of one target, whatever this machine is.
    let line = ["tree", "--locked", "-e", "normal", "--target", "x86_64-unknown-linux-gnu", "--prefix", "none"];
    let output = Command::new(env!("CARGO")).args(line).args(features).current_dir(root()).output();
    let output = output.expect("cargo runs the tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    names.iter().filter(|name| !name.is_empty() && !name.starts_with("dustfs v")).count()
}

#[test]
fn the_readme_counts_the_crates_of_both_builds() {
    let (full, cache) = (crates(&[]), crates(&["--no-default-features"]));
    let row = format!("| crates linked | {full} | {cache} |");
    assert!(cache < full && text("README.md").contains(&row), "README.md has to say: {row}");
}

#[test]
fn the_readme_names_the_unit_as_it_is() {
    let readme = text("README.md");
    let (_, section) = readme.split_once("## A rented server").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    for word in [UNIT, PROGRAM, "/var/lib/dustfs", "47470", "--no-default-features", "quota"] {
        assert!(section.contains(word), "{word}");
    }
}
