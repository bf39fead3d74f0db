//! mount(2) and umount(2) as root, fusermount3 as anybody else.
//!
//! Not left to fuser, because its errors are text without a number, and because it unmounts whatever is at the path
//! when a mount ends that somebody else had unmounted and used again.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::{MountConfig, MountError};

/// A mount of ours in the table of mounts.
#[derive(Clone, Debug)]
pub(super) struct MountPoint {
    directory: PathBuf,
    /// Number of the FUSE connection: the minor number of the mount's device.
    connection: u32,
}

/// Mounts; the descriptor is the connection's.
pub(super) fn mount(config: &MountConfig) -> Result<(MountPoint, OwnedFd), MountError> {
    let directory = check(&config.directory)?;
    let device = match mount_directly(&directory, config) {
        Err(Errno::EPERM | Errno::EACCES) => mount_by_helper(&directory, config)?,
        Err(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => return Err(MountError::NoDevice),
        Err(error) => return Err(failed("mounting", error)),
        Ok(device) => device,
    };
    match mounted_at(&directory)? {
        Some(mounted) if mounted.is_ours() => Ok((MountPoint { directory, connection: mounted.connection }, device)),
        _ => Err(MountError::NotMounted(directory)),
    }
}

/// Unmounts what a node had mounted, alive or dead. With `force` it goes from sight also while files are open in it.
///
/// # Errors
/// Where nothing of ours is mounted, or files are open and `force` is not set.
pub fn unmount_path(dir: &Path, force: bool) -> Result<(), MountError> {
    let dir = resolve(dir)?;
    match mounted_at(&dir)? {
        None => return Err(MountError::NotMounted(dir)),
        Some(mounted) if !mounted.is_ours() => return Err(MountError::Foreign(dir, mounted.kind)),
        Some(_) => {}
    }
    let flags = if force { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    match umount2(&dir, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(MountError::Busy(dir)),
        Err(Errno::EPERM) => unmount_by_helper(&dir, force),
        Err(error) => Err(failed("unmounting", error)),
    }
}

/// Takes away the mount of a node that was killed and cannot end: where the kernel was being told to forget a name, and
/// somebody waits for an answer below that very directory, each waits for the other until the connection is aborted.
///
/// # Errors
/// When the kernel refuses.
pub fn abort_path(dir: &Path) -> Result<(), MountError> {
    let dir = resolve(dir)?;
    let Some(mounted) = mounted_at(&dir)?.filter(Mounted::is_ours) else { return Ok(()) };
    // MNT_FORCE aborts what waits for an answer.
    match umount2(&dir, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => {
            MountPoint { directory: dir.clone(), connection: mounted.connection }.abort();
            unmount_by_helper(&dir, true)
        }
        Err(error) => Err(failed("unmounting", error)),
    }
}

impl MountPoint {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes it out of the tree of mounts, by force where files are open. Nothing to do where somebody else did.
    pub(super) fn unmount(&self) -> Result<(), MountError> {
        let ours = |mounted: &Mounted| mounted.connection == self.connection && mounted.is_ours();
        if !mounted_at(&self.directory)?.as_ref().is_some_and(ours) {
            return Ok(());
        }
        let forced = MntFlags::MNT_FORCE | MntFlags::MNT_DETACH;
        match umount2(&self.directory, MntFlags::UMOUNT_NOFOLLOW) {
            Err(Errno::EBUSY) => umount2(&self.directory, MntFlags::UMOUNT_NOFOLLOW | forced),
            Err(Errno::EPERM) => {
                return unmount_by_helper(&self.directory, false).or_else(|_| unmount_by_helper(&self.directory, true));
            }
            other => other,
        }
        .map_err(|error| failed("unmounting", error))
    }

    /// Ends the connection while something holds the mount: whoever waits for it gets ECONNABORTED.
    pub(super) fn abort(&self) {
        let control = format!("/sys/fs/fuse/connections/{}/abort", self.connection);
        if let Err(error) = fs::write(&control, "1") {
            log::warn!("{control}: {error}");
        }
    }

    /// Asks the kernel to read ahead further than the 128 KiB to which it holds FUSE; root alone may.
    pub(super) fn read_ahead(&self) {
        let control = format!("/sys/class/bdi/0:{}/read_ahead_kb", self.connection);
        if let Err(error) = fs::write(&control, (READ_AHEAD / 1024).to_string()) {
            log::debug!("{control}: {error}");
        }
    }
}

/// The directory's path without symlinks, if it can be mounted on.
/// True when the node that had mounted it died. statfs(2) is always asked of the node: what stat(2) tells may be remembered by
/// the kernel for a while after the node's end.
pub fn is_dead(directory: &Path) -> bool {
    nix::sys::statvfs::statvfs(directory).is_err_and(|error| error == Errno::ENOTCONN)
}

fn check(directory: &Path) -> Result<PathBuf, MountError> {
    if !Path::new(DEVICE).exists() {
        return Err(MountError::NoDevice);
    }
    let dir = resolve(directory)?;
    // First of all, since looking into a mount that nobody serves may wait for ever.
    if let Some(mounted) = mounted_at(&dir)? {
        return Err(if mounted.is_ours() && is_dead(&dir) {
            MountError::Dead(dir)
        } else {
            MountError::InUse(dir, mounted.kind)
        });
    }
    if !fs::metadata(&dir).map_err(|error| unreachable_directory(&dir, error))?.is_dir() {
        return Err(MountError::NotDirectory(dir));
    }
    let mut entries = fs::read_dir(&dir).map_err(|error| unreachable_directory(&dir, error))?;
    if entries.next().is_some() {
        return Err(MountError::NotEmpty(dir));
    }
    Ok(dir)
}

fn resolve(directory: &Path) -> Result<PathBuf, MountError> {
    fs::canonicalize(directory).map_err(|error| unreachable_directory(directory, error))
}

fn unreachable_directory(dir: &Path, error: io::Error) -> MountError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => MountError::Missing(dir.into()),
        Some(Errno::ENOTDIR) => MountError::NotDirectory(dir.into()),
        _ => MountError::Io(format!("looking at {}", dir.display()), error),
    }
}

fn mount_directly(directory: &Path, config: &MountConfig) -> nix::Result<OwnedFd> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Errno::EPERM);
    }
    let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(errno_of)?;
    let mut options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,max_read={READ_MAX}",
        device.as_raw_fd(),
        nix::unistd::getuid(),
        nix::unistd::getgid()
    );
    if config.allow_other {
        options += ",allow_other";
    }
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, config.read_only);
    nix::mount::mount(Some(NAME), directory, Some(KIND), flags, Some(options.as_str()))?;
    Ok(device.into())
}

pub(super) fn mount_by_helper(directory: &Path, config: &MountConfig) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| MountError::Io("a socket pair".into(), error))?;
    let mut options = format!("fsname={NAME},subtype={NAME},default_permissions,max_read={READ_MAX},nosuid,nodev");
    if config.allow_other {
        options += ",allow_other";
    }
    if config.read_only {
        options += ",ro";
    }
    // The socket goes as descriptor 0, the only number that a child can be given without unsafe code.
    let child = Command::new(HELPER)
        .args(["-o", &options, "--"])
        .arg(directory)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_helper)?;
    let device = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(|error| MountError::Io(HELPER.into(), error))?;
    match device {
        Ok(Some(device)) => Ok(device),
        Ok(None) => Err(refused(&output)),
        Err(error) => Err(failed("receiving the descriptor of fusermount3", error)),
    }
}

pub(super) fn unmount_by_helper(directory: &Path, lazy: bool) -> Result<(), MountError> {
    let output = Command::new(HELPER)
        .args(if lazy { &["-u", "-z", "--"][..] } else { &["-u", "--"][..] })
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .map_err(no_helper)?;
    if output.status.success() {
        return Ok(());
    }
    Err(if String::from_utf8_lossy(&output.stderr).contains("busy") {
        MountError::Busy(directory.into())
    } else {
        refused(&output)
    })
}

/// What fusermount3 sends when it has mounted; `None` when it ended without.
fn receive_descriptor(socket: &UnixStream) -> nix::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut vectors = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let descriptor = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    #[allow(unsafe_code)]
    // SAFETY: the kernel made this descriptor for the message that was just received, so nobody else owns it. Neither
    // std nor nix hands received descriptors out owned.
    Ok(descriptor.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

/// A line of the table of mounts.
struct Mounted {
    connection: u32,
    kind: String,
}

impl Mounted {
    fn is_ours(&self) -> bool {
        self.kind == KIND
    }
}

/// What is mounted on top at a path without symlinks.
fn mounted_at(directory: &Path) -> Result<Option<Mounted>, MountError> {
    let table = fs::read(MOUNTS).map_err(|error| MountError::Io(format!("reading {MOUNTS}"), error))?;
    Ok(find_mount(&table, directory))
}

/// Looks a path up in the text of mountinfo(5); the last line that names it is the one on top.
fn find_mount(table: &[u8], directory: &Path) -> Option<Mounted> {
    table.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = std::str::from_utf8(fields.nth(2)?).ok()?;
        let path = fields.nth(1)?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let connection = device.split_once(':')?.1.parse().ok()?;
        (unescape(path) == directory.as_os_str().as_bytes())
            .then(|| Mounted { connection, kind: String::from_utf8_lossy(kind).into_owned() })
    })
}

/// Undoes mountinfo's octal escapes of blank, tab, newline and backslash.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let escaped = (first == b'\\')
            .then(|| rest.split_at_checked(3))
            .flatten()
            .and_then(|(digits, rest)| Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?, rest)));
        let (byte, rest) = escaped.unwrap_or((first, rest));
        bytes.push(byte);
        text = rest;
    }
    bytes
}

fn no_helper(error: io::Error) -> MountError {
    match error.kind() {
        io::ErrorKind::NotFound => MountError::NoHelper,
        _ => MountError::Io(HELPER.into(), error),
    }
}

fn refused(output: &Output) -> MountError {
    MountError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn failed(what: &str, error: Errno) -> MountError {
    MountError::Io(what.into(), error.into())
}

fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

const DEVICE: &str = "/dev/fuse";
const MOUNTS: &str = "/proc/self/mountinfo";
const HELPER: &str = "fusermount3";
const NAME: &str = "dustfs";
const KIND: &str = "fuse.dustfs";
/// Bytes of one read: a reader waits for all of them also when it wants the first alone.
const READ_MAX: usize = 1 << 17;
/// Bytes that the kernel reads ahead.
const READ_AHEAD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_top_mount_of_a_path() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     40 22 0:41 / /mnt/a\\040b rw shared:7 master:2 - fuse.dustfs dustfs rw\n\
                     41 22 0:52 / /mnt/x rw - tmpfs tmpfs rw\n\
                     42 41 0:53 / /mnt/x rw - fuse.sshfs host rw\n";
        let found = find_mount(table, Path::new("/mnt/a b")).expect("it is in the table");
        assert_eq!((found.connection, found.is_ours()), (41, true));
        let top = find_mount(table, Path::new("/mnt/x")).expect("it is in the table");
        assert_eq!((top.connection, top.kind.as_str()), (53, "fuse.sshfs"));
        assert!(find_mount(table, Path::new("/mnt")).is_none());
        assert!(find_mount(b"", Path::new("/")).is_none());
        assert!(find_mount(b"1 2 3\n - \n1 2 x / /mnt rw - a b\n", Path::new("/mnt")).is_none());
    }

    #[test]
    fn undoes_escapes() {
        assert_eq!(unescape(b"a\\040b\\134c\\011"), b"a b\\c\t");
        assert_eq!(unescape(b"\\9\\04"), b"\\9\\04");
        assert_eq!(unescape(b"\\777"), b"\\777");
    }
}
