//! The key file of a state directory: made once, replaced when a passphrase is set, changed or removed.
//!
//! Without the key everything that a node holds is lost, so the old file stays until the new one is durable; what it held
//! must not stay on the disk either, so it is written over before its name goes.
//!
//! ```text
//! key.new is written and synced; `key.old` becomes a second name of `key`; `key.new` is renamed to `key`
//! `key.old` is written over and synced, and its name goes
//! ```
//! A cut leaves a whole `key` at every step, and the next start does what is left. Where the file system writes a file's
//! new bytes elsewhere, as on flash, the old ones may stay readable for who opens the device.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::ledger::key::{KEY_FILE_MAX, StoredKey};
use crate::os::state::{StateDir, StateError, private_file, sync_parent};

/// Reads the key file, and ends a replacement that a cut interrupted; `None` when there is none yet. The caller holds the
/// state directory.
pub fn load(state: &StateDir) -> Result<Option<StoredKey>, StateError> {
    let path = state.key();
    let unusable = |why: String| StateError::Unusable { path: path.clone(), why };
    erase_old(&path).map_err(|error| unusable(error.to_string()))?;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error.to_string())),
    };
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(KEY_FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| unusable(error.to_string()))?;
    StoredKey::decode(&bytes).map(Some).map_err(|error| unusable(error.to_string()))
}

/// Writes the key file, in the place of the one that is there. It would survive a power cut when this returns.
pub fn store(state: &StateDir, key: &StoredKey) -> Result<(), StateError> {
    let path = state.key();
    replace(&path, &key.encode()).map_err(|error| StateError::Unusable { path, why: error.to_string() })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (new, old) = (path.with_extension("new"), path.with_extension("old"));
    erase_old(path)?;
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file().create_new(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if path.exists() {
        fs::hard_link(path, &old)?;
        sync_parent(path)?;
    }
    fs::rename(&new, path)?;
    sync_parent(path)?;
    erase_old(path)
}

/// Writes over what `key.old` holds, unless that is still the key itself, and takes its name away.
fn erase_old(path: &Path) -> io::Result<()> {
    let old = path.with_extension("old");
    let told = match fs::metadata(&old) {
        Ok(told) => told,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_key = fs::metadata(path).is_ok_and(|key| (key.dev(), key.ino()) == (told.dev(), told.ino()));
    if !is_key {
        let mut file = private_file().open(&old)?;
        file.write_all(&vec![0; KEY_FILE_MAX.min(told.len() as usize)])?;
        file.sync_all()?;
    }
    fs::remove_file(&old)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::os::state::tests::Scratch;
    use crate::seal::state::{Cost, Passphrase};
    use crate::seal::{KeySlot, StateKey};

    fn slot(key: &StateKey) -> StoredKey {
        let cost = Cost { memory_kib: 8, passes: 1 };
        StoredKey::Slot(KeySlot::new(key, &Passphrase::new("correct horse".into()), cost, [4; 16], [5; 12]).unwrap())
    }

    #[test]
    fn it_is_the_owners_alone_and_replaced_whole() {
        let scratch = Scratch::new();
        let state = StateDir::open_or_create(scratch.path()).unwrap();
        assert!(load(&state).unwrap().is_none());
        let key = StateKey::new([7; 32]);
        store(&state, &StoredKey::Plain(key.clone())).unwrap();
        assert_eq!(fs::metadata(state.key()).unwrap().permissions().mode() & 0o777, 0o600);
        let mut before = File::open(state.key()).unwrap();
        store(&state, &slot(&key)).unwrap();
        let mut left = Vec::new();
        before.read_to_end(&mut left).unwrap();
        assert!(!left.is_empty() && left.iter().all(|byte| *byte == 0), "the key in the clear was written over");
        match load(&state).unwrap() {
            Some(StoredKey::Slot(slot)) => {
                assert_eq!(slot.open(&Passphrase::new("correct horse".into())).unwrap().bytes(), key.bytes())
            }
            other => panic!("{other:?}"),
        }
        let names: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["key"]);
    }

    /// A cut may come after each step; the next start finds a whole key, and nothing of the old one once it has run.
    #[test]
    fn a_cut_at_any_step_leaves_a_key() {
        let (old, new) = (StateKey::new([7; 32]), StateKey::new([8; 32]));
        for steps in 0..4 {
            let scratch = Scratch::new();
            let state = StateDir::open_or_create(scratch.path()).unwrap();
            store(&state, &StoredKey::Plain(old.clone())).unwrap();
            let path = state.key();
            let bytes = StoredKey::Plain(new.clone()).encode();
            // Torn, whole, linked, renamed.
            fs::write(path.with_extension("new"), &bytes[..if steps == 0 { 5 } else { bytes.len() }]).unwrap();
            if steps >= 2 {
                fs::hard_link(&path, path.with_extension("old")).unwrap();
            }
            if steps >= 3 {
                fs::rename(path.with_extension("new"), &path).unwrap();
            }
            let expected = if steps >= 3 { &new } else { &old };
            match load(&state).unwrap() {
                Some(StoredKey::Plain(key)) => assert_eq!(key.bytes(), expected.bytes(), "after step {steps}"),
                other => panic!("{other:?}"),
            }
            assert!(!path.with_extension("old").exists());
            store(&state, &slot(&new)).unwrap();
            assert!(matches!(load(&state).unwrap(), Some(StoredKey::Slot(_))));
        }
    }

    #[test]
    fn what_is_no_key_is_named() {
        let scratch = Scratch::new();
        let state = StateDir::open_or_create(scratch.path()).unwrap();
        fs::write(state.key(), vec![b'x'; 5_000]).unwrap();
        let error = load(&state).unwrap_err().to_string();
        assert!(error.contains(state.key().to_str().unwrap()), "{error}");
    }
}
