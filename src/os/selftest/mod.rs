//! The self-test: shows on the very machine that runs it, an emulated one too, that what the program stands on holds.
//!
//! Known answers are fixed bytes, which a processor of the other byte order, or a compiler's fault, would change. That
//! they are the right ones is for the unit tests of the rooms that make them.

#[cfg(feature = "mount")]
mod mount;
mod system;
mod tls;
mod vectors;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What an item is tested by, in an empty directory of its own; an error says what does not hold.
type Check = fn(&Path) -> Result<Held, String>;

/// One thing that must hold.
#[derive(Clone, Copy)]
pub struct Item {
    /// One word, by which it is left out.
    pub name: &'static str,
    check: Check,
}

/// What was found where nothing failed.
enum Held {
    /// It holds: what was seen.
    Yes(String),
    /// It cannot be tested here: why.
    Skipped(String),
}

/// How an item ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It cannot be tested here, or was left out.
    Skipped,
    /// It does not hold.
    Failed,
}

/// An item that was tested.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tested {
    /// The item.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen, or why not, in words.
    pub told: String,
}

impl Tested {
    /// How it ended, for people.
    pub fn words(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "FAILED",
        };
        format!("{outcome}: {}", self.told)
    }
}

/// Every item, in the order in which they are tested: what the later ones need comes first.
pub const ITEMS: &[Item] = &[
    Item { name: "threads", check: system::threads },
    Item { name: "files", check: system::files },
    Item { name: "hashes", check: vectors::hashes },
    Item { name: "seal", check: vectors::seal },
    Item { name: "formats", check: vectors::formats },
    Item { name: "ledger", check: system::ledger },
    Item { name: "tls", check: tls::handshake },
    #[cfg(feature = "mount")]
    Item { name: "mount", check: mount::mount },
    #[cfg(not(feature = "mount"))]
    Item { name: "mount", check: |_| Ok(Held::Skipped("this build cannot mount".into())) },
];

/// The name of an item, if there is one of that name.
pub fn item_name(word: &str) -> Option<&'static str> {
    ITEMS.iter().find(|item| item.name == word).map(|item| item.name)
}

/// Tests one item, in a directory that is gone afterwards.
pub fn test(item: &Item) -> Tested {
    let (outcome, told) = match Place::new(item.name).and_then(|place| (item.check)(&place.0)) {
        Ok(Held::Yes(told)) => (Outcome::Ok, told),
        Ok(Held::Skipped(why)) => (Outcome::Skipped, why),
        Err(why) => (Outcome::Failed, why),
    };
    Tested { name: item.name, outcome, told }
}

/// An empty directory below that for temporary files (`TMPDIR`).
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("dustfs-self-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).map_err(|why| {
            format!("{} cannot be made ({why}): set TMPDIR to a directory that can be written to", path.display())
        })?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// `Ok` where the two are equal, else what differs.
fn equal<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{what} is {seen:?}, not {expected:?}")) }
}

/// What failed, in words.
fn words<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_holds_here() {
        for item in ITEMS {
            let tested = test(item);
            assert_ne!(tested.outcome, Outcome::Failed, "{}: {}", tested.name, tested.told);
            assert!(!tested.told.is_empty(), "{}", tested.name);
            if tested.outcome == Outcome::Skipped {
                eprintln!("SKIPPED self-test {}: {}", tested.name, tested.told);
            }
        }
    }

    #[test]
    fn what_does_not_hold_is_told_and_leaves_nothing_behind() {
        fn broken(place: &Path) -> Result<Held, String> {
            fs::write(place.join("file"), "x").map_err(words("writing"))?;
            equal("one and one", 1 + 1, 3)?;
            Ok(Held::Yes("never".into()))
        }
        let tested = test(&Item { name: "broken", check: broken });
        assert_eq!((tested.outcome, &tested.told[..]), (Outcome::Failed, "one and one is 2, not 3"));
        assert_eq!(serde_json::to_value(&tested).unwrap()["outcome"], "failed");
        let again = test(&Item { name: "broken", check: broken });
        assert_eq!(again, tested, "its directory was still there");
    }

    #[test]
    fn items_have_names_of_their_own() {
        for (at, item) in ITEMS.iter().enumerate() {
            assert_eq!(item_name(item.name), Some(item.name));
            assert!(ITEMS[at + 1..].iter().all(|other| other.name != item.name));
        }
        assert_eq!(item_name("no-such"), None);
    }
}
