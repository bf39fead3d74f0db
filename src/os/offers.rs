//! Disks of their owner's: what whoever runs the box has mounted below one directory, read-only, is told to the node, so
//! that people can say whether its files are to be imported. What they said is kept in the state directory.

mod volume;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::lan::api::ApiError;
use crate::node::status::OwnersDisk;
use crate::os::core::Core;

use volume::Volume;

/// The disks of their owners'. Clones share them.
#[derive(Clone)]
pub struct Offers {
    /// Below this directory they are mounted; `None` where nobody mounts any.
    directory: Option<PathBuf>,
    /// Where the answers are kept.
    kept: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    disk: OwnersDisk,
    /// What tells it from others, whatever it is plugged into.
    id: String,
}

impl Offers {
    /// Those below `directory`, none yet; answers are kept in the directory `state`.
    pub fn new(directory: Option<PathBuf>, state: &Path) -> Self {
        Self { directory, kept: state.join("disks-answered"), seen: Arc::default() }
    }

    /// Looks again and again, as long as it is polled.
    pub async fn watch(&self, core: &Arc<Core>) {
        if self.directory.is_none() {
            return std::future::pending().await;
        }
        loop {
            // A disk that fails answers late.
            let (offers, core) = (self.clone(), core.clone());
            let _ = tokio::task::spawn_blocking(move || offers.look(&core)).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&self, core: &Core) {
        let found = self.mounted().unwrap_or_default();
        let mut seen = lock(&self.seen);
        if *seen != found {
            *seen = found;
            core.disks(seen.iter().map(|seen| seen.disk.clone()).collect());
        }
    }

    /// Those that are there now; `None` when the kernel does not tell.
    fn mounted(&self) -> Option<Vec<Seen>> {
        let directory = self.directory.as_deref()?.canonicalize().ok()?;
        let table = fs::read("/proc/self/mountinfo").ok()?;
        let answered = self.answered();
        let mounts = mounts_below(&table, &directory).into_iter().take(DISKS_MAX);
        Some(mounts.filter_map(|mount| look_at(mount, &answered)).collect())
    }

    /// The name of the disk that is mounted at this path.
    pub fn name(&self, path: &str) -> Option<String> {
        lock(&self.seen).iter().find(|seen| seen.disk.path == path).map(|seen| seen.disk.name.clone())
    }

    /// Somebody has said what becomes of the disk at this path: it is not offered again.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn answer(&self, core: &Core, path: &str) -> Result<(), ApiError> {
        let mut seen = lock(&self.seen);
        let Some(of) = seen.iter_mut().find(|seen| seen.disk.path == path) else {
            return Err(self.no_disk(path));
        };
        of.disk.answered = true;
        let mut answered = self.answered();
        answered.retain(|id| *id != of.id);
        answered.push(of.id.clone());
        let newest = answered.len().saturating_sub(ANSWERS_MAX);
        // What is not kept is asked again after a start, and nothing worse.
        if let Err(why) = fs::write(&self.kept, answered[newest..].join("\n") + "\n") {
            log::warn!("what becomes of a disk is not kept: {why}");
        }
        core.disks(seen.iter().map(|seen| seen.disk.clone()).collect());
        Ok(())
    }

    /// What is said of a path at which there is none.
    pub fn no_disk(&self, path: &str) -> ApiError {
        ApiError::new(404, format!("there is no disk at {path} now"))
    }

    fn answered(&self) -> Vec<String> {
        fs::read_to_string(&self.kept).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line of the kernel's table of mounts.
#[derive(PartialEq, Eq, Debug)]
struct Mount {
    path: PathBuf,
    kind: String,
    device: PathBuf,
}

/// The mounts below a directory, by proc(5), mountinfo: fields apart by spaces, those that may be left out ended by a dash.
fn mounts_below(table: &[u8], directory: &Path) -> Vec<Mount> {
    let read = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let path = PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(4)?)));
        let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
        let device = PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(dash + 2)?)));
        let kind = String::from_utf8_lossy(fields.get(dash + 1)?).into_owned();
        (path.parent() == Some(directory)).then_some(Mount { path, kind, device })
    };
    table.split(|byte| *byte == b'\n').filter_map(read).collect()
}

/// The kernel writes spaces and the like as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let digits = (*first == b'\\').then(|| more.get(..3)).flatten();
        let octal = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &more[3..] } else { more };
    }
    bytes
}

/// What is told of a mount; `None` for one that could be written, or that does not answer.
fn look_at(mount: Mount, answered: &[String]) -> Option<Seen> {
    let space = statvfs(&mount.path).ok()?;
    if !space.flags().contains(FsFlags::ST_RDONLY) {
        return None;
    }
    let used = u64::from(space.blocks()).saturating_sub(u64::from(space.blocks_free()));
    let mut begin = Vec::new();
    let read = File::open(&mount.device).and_then(|device| device.take(volume::BEGIN).read_to_end(&mut begin));
    let volume = read.ok().and_then(|_| Volume::read(&begin));
    let device = String::from_utf8_lossy(mount.device.file_name().unwrap_or_default().as_bytes()).into_owned();
    let id = volume.as_ref().map_or(device, |volume| volume.id.clone());
    let path = mount.path.to_str()?.to_owned();
    let name = volume.map(|volume| volume.label).filter(|label| !label.is_empty()).unwrap_or_else(|| "disk".into());
    let disk = OwnersDisk {
        path,
        name,
        kind: mount.kind,
        used_bytes: used.saturating_mul(u64::from(space.fragment_size())),
        answered: answered.contains(&id),
    };
    Some(Seen { disk, id })
}

/// How often is looked for disks.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Disks that are told of at once.
const DISKS_MAX: usize = 16;
/// Answers that are kept.
const ANSWERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_right_below_the_directory_are_found() {
        let table = b"22 1 0:20 / /run rw,nosuid - tmpfs run rw\n\
            31 22 8:1 / /run/disks/sda1 ro,nosuid shared:7 master:2 - vfat /dev/sda1 ro,fmask=0022\n\
            32 22 8:2 / /run/disks/a\\040b\\134 ro - ext4 /dev/sda2 ro\n\
            33 31 8:3 / /run/disks/sda1/deeper ro - ext4 /dev/sda3 ro\n\
            broken line\n\
            34 22 8:4 / /run/disks2/sdb1 ro - ext4 /dev/sdb1 ro";
        let found = mounts_below(table, Path::new("/run/disks"));
        let mount = |path: &str, kind: &str, device: &str| Mount {
            path: path.into(),
            kind: kind.into(),
            device: device.into(),
        };
        let expected = [mount("/run/disks/sda1", "vfat", "/dev/sda1"), mount("/run/disks/a b\\", "ext4", "/dev/sda2")];
        assert_eq!(found, expected);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(b"a\\040\\9\\x41\\"), b"a \\9\\x41\\");
        assert_eq!(unescape(b"\\777"), b"\\777");
    }

    #[test]
    fn what_can_be_written_is_not_offered() {
        let mount = Mount { path: std::env::temp_dir(), kind: "ext4".into(), device: "/dev/none".into() };
        assert_eq!(look_at(mount, &[]), None);
    }
}
