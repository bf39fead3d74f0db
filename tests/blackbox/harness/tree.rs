//! Trees of files: written from a seed, and compared by SHA-256.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Random;

/// What lies below a directory: each path with what it is, a file by the SHA-256 of its bytes.
pub type Digest = BTreeMap<String, String>;

/// Reads everything below `root`.
pub fn digest(root: &Path) -> io::Result<Digest> {
    let mut found = Digest::new();
    walk(root, "", &mut |path, file, kind| {
        let told = if kind.is_dir() {
            "directory".into()
        } else if kind.is_symlink() {
            format!("symlink {}", fs::read_link(file)?.display())
        } else {
            sha256(file)?
        };
        found.insert(path, told);
        Ok(())
    })?;
    Ok(found)
}

/// The number of entries below `root`, told by names alone.
pub fn census(root: &Path) -> io::Result<usize> {
    let mut count = 0;
    walk(root, "", &mut |_, _, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

fn walk(
    directory: &Path,
    prefix: &str,
    visit: &mut impl FnMut(String, &Path, fs::FileType) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        visit(path.clone(), &entry.path(), kind)?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), visit)?;
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file of random bytes.
pub fn random_file(path: &Path, length: u64, random: &mut Random) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        random.fill(&mut buffer[..part]);
        file.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Writes a file, and tells its close: `fs::write` swallows nothing either, but names no path.
#[track_caller]
pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
