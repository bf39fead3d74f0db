//! The table of targets, and what refers to it: `cross.toml` has only what the `cross` tool knows, `image/cross` builds
//! what it names and refuses the rest, and the README's sizes are of these targets. Nothing is cross-compiled here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use toml::{Table, Value};

/// Keys of a target and of `build` in cross's configuration, 0.2.5 and later (docs/config_file.md there).
const KNOWN: [&str; 7] = ["build-std", "zig", "image", "dockerfile", "pre-build", "runner", "env"];
const KNOWN_ENV: [&str; 2] = ["volumes", "passthrough"];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it is in the repository")
}

fn cross_toml() -> Table {
    text("cross.toml").parse().expect("cross.toml is TOML")
}

fn targets(table: &Table) -> &Table {
    table["target"].as_table().expect("a table of targets")
}

/// The environment that an `env` table sets.
fn passthrough(of: &Value) -> Vec<(&str, &str)> {
    let entries = of["env"]["passthrough"].as_array().expect("a list");
    entries.iter().map(|entry| entry.as_str().and_then(|entry| entry.split_once('=')).expect("NAME=VALUE")).collect()
}

#[test]
fn cross_knows_every_key() {
    let table = cross_toml();
    assert_eq!(table.keys().collect::<Vec<_>>(), ["build", "target"]);
    for (name, of) in targets(&table).iter().chain([(&"build".to_owned(), &table["build"])]) {
        for key in of.as_table().expect("a table").keys() {
            assert!(KNOWN.contains(&key.as_str()), "{name}: cross does not know {key}");
        }
        for key in of["env"].as_table().expect("a table").keys() {
            assert!(KNOWN_ENV.contains(&key.as_str()), "{name}: cross does not know env.{key}");
        }
        assert!(passthrough(of).iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
    }
}

/// What a target dies of without it stands beside it in the table.
#[test]
fn every_target_has_what_it_needs() {
    let table = cross_toml();
    assert_eq!(targets(&table).len(), 5);
    for (name, of) in targets(&table) {
        let (_, flags) = *passthrough(of).iter().find(|(name, _)| *name == "RUSTFLAGS").expect("RUSTFLAGS");
        assert!(flags.contains("-Crelocation-model=static"), "{name}");
        assert!(name.ends_with("-linux-musl") || name.contains("-linux-musleabi"), "{name} is not static");
    }
    let all = passthrough(&table["build"]);
    assert!(all.contains(&("RUST_LIBC_UNSTABLE_MUSL_V1_2_3", "1")), "dates would end in 2038");
}

#[test]
fn the_readmes_sizes_are_of_these_targets() {
    let readme = text("README.md");
    let (_, rest) = readme.split_once("<!-- sizes: image/sizes writes this table -->").expect("the table's begin");
    let (rows, _) = rest.split_once("<!-- sizes end -->").expect("the table's end");
    let told: BTreeSet<&str> = rows
        .lines()
        .filter_map(|line| line.trim().strip_prefix("| ")?.split(" |").next())
        .filter(|name| name.contains("-linux-") && !name.starts_with("aim"))
        .collect();
    let table = cross_toml();
    assert!(
        !told.is_empty() && told.iter().all(|name| targets(&table).contains_key(*name)),
        "{told:?}: run image/sizes"
    );
}

/// A Python that reads TOML, or a word that there is none.
fn image_cross(arguments: &[&str]) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/cross");
    let output = Command::new(&script).args(arguments).output();
    match output {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("this Python is too old") => Some(output),
        other => {
            eprintln!("SKIPPED image/cross: python3 of 3.11 or newer is missing ({other:?})");
            None
        }
    }
}

#[test]
fn image_cross_tells_its_targets_and_refuses_others() {
    let Some(help) = image_cross(&["--help"]) else { return };
    let told: String = String::from_utf8_lossy(&help.stdout).split_whitespace().collect();
    assert!(help.status.success());
    for name in targets(&cross_toml()).keys() {
        assert!(told.contains(name.as_str()), "{name}: {told}");
    }
    for wrong in [&["x86_64"][..], &[], &["--all", "armv7"], &["armv7", "--cache", "--without-lan"], &["--test"]] {
        let refused = image_cross(wrong).expect("it ran before");
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        assert!(!refused.stderr.is_empty(), "{wrong:?}");
    }
}
