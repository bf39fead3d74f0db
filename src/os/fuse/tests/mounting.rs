//! Mounting, unmounting, and what stands in their way.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use nix::errno::Errno;

use super::{Fake, LONG, Mounted, Place, can_mount, eventually, within};
use crate::os::fuse::{Mount, MountConfig, MountError, mount, unmount_path};

fn refused(config: MountConfig) -> String {
    Mount::new(config, Arc::new(Fake::default())).expect_err("it must be refused").to_string()
}

#[test]
fn refuses_with_a_remedy_what_it_cannot_mount_on() {
    if !Path::new("/dev/fuse").exists() {
        return can_mount(Err(MountError::NoDevice)).unwrap_or_default();
    }
    let place = Place::new();
    let file = place.0.join("file");
    fs::write(&file, "x").expect("it is writable");

    let missing = MountConfig { directory: place.0.join("nowhere"), ..place.config() };
    assert!(refused(missing).contains("make the directory"));
    let under_file = MountConfig { directory: file.join("below"), ..place.config() };
    assert!(refused(under_file).contains("not a directory"));
    let on_file = MountConfig { directory: file.clone(), ..place.config() };
    assert!(refused(on_file).contains("not a directory"));
    assert!(refused(place.config()).contains("not empty"));
    assert!(refused(MountConfig { directory: "/proc".into(), ..place.config() }).contains("type proc"));
    assert_eq!(fs::read_to_string(file).expect("nothing was mounted over it"), "x");
}

#[test]
fn refuses_a_directory_in_use_and_says_what_helps_with_a_dead_mount() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    assert!(refused(mounted.place.config()).contains("in use"));

    let place = Place::new();
    let Some((_, device)) = can_mount(mount::mount(&place.config())) else { return };
    drop(device);
    assert_eq!(fs::read_dir(&place.0).expect_err("nobody serves it").raw_os_error(), Some(Errno::ENOTCONN as i32));
    let said = refused(place.config());
    assert!(said.contains(&format!("run `dustfs unmount {}`", place.0.display())), "{said}");
    unmount_path(&place.0, false).expect("a dead mount goes");
    assert!(fs::read_dir(&place.0).expect("it is a plain directory again").next().is_none());
}

#[test]
fn unmounts_by_path_what_is_ours_and_nothing_else() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let (ended, told) = mpsc::channel();
    mounted.mount.on_end(move || ended.send(()).expect("the test listens"));
    let path = mounted.path("held");
    let mut held = File::create(&path).expect("it can be made");
    assert!(matches!(unmount_path(mounted.dir(), false), Err(MountError::Busy(_))));
    assert!(!mounted.mount.ended());

    unmount_path(mounted.dir(), true).expect("it goes from sight");
    assert!(!path.exists());
    std::io::Write::write_all(&mut held, b"still served").expect("what is open stays so");
    drop(held);
    told.recv_timeout(LONG).expect("the owner is told");
    assert!(mounted.mount.ended());
    let (ended, told) = mpsc::channel();
    mounted.mount.on_end(move || ended.send(()).expect("the test listens"));
    told.try_recv().expect("told at once");

    assert!(matches!(unmount_path(mounted.dir(), false), Err(MountError::NotMounted(_))));
    assert!(matches!(unmount_path(&mounted.path("nowhere"), false), Err(MountError::Missing(_))));
    assert!(matches!(unmount_path(Path::new("/proc"), true), Err(MountError::Foreign(_, kind)) if kind == "proc"));
    mounted.mount.unmount().expect("there is nothing left to do");
}

#[test]
fn what_is_mounted_there_later_is_left_alone() {
    let Some(Mounted { mount, place, .. }) = Mounted::new(Fake::default()) else { return };
    unmount_path(&place.0, false).expect("it is not busy");
    eventually("the mount notices", || mount.ended());
    let next = Arc::new(Fake::default());
    let next = Mount::new(place.config(), next).expect("the place is free");
    drop(mount);
    assert!(!next.ended());
    fs::write(place.0.join("file"), "x").expect("the next mount serves");
    next.unmount().expect("it is not busy");
    assert!(!place.0.join("file").exists());
}

#[test]
fn unmounting_ends_readers_and_open_files() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    mounted.fake.put("far", super::fake::Stored::Remote, vec![1; 100_000]);
    let mut file = File::open(mounted.path("far")).expect("it can be opened");
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || {
        let read = file.read(&mut [0; 10]);
        done.send((read, file)).expect("the test listens");
    });
    eventually("the read is parked", || mounted.fake.fetching() > 0);
    let Mounted { mount, fake, place } = mounted;
    let unmounted = within(LONG, move || mount.unmount()).expect("it does not wait for files");
    let (read, file) = result.recv_timeout(LONG).expect("the reader is let go");
    assert!(read.is_err());
    // An ordinary user may lack the means to end what is open.
    let root = nix::unistd::geteuid().is_root();
    assert!(unmounted.is_ok() || matches!(unmounted, Err(MountError::Busy(_))) && !root, "{unmounted:?}");
    assert!(file.metadata().is_err() || !root);
    assert_eq!(fake.fetching(), 0, "what was parked is cancelled");
    assert!(!place.0.join("far").exists());
}

#[test]
fn a_mount_for_reading_is_one() {
    let Some(mounted) = Mounted::with(Fake::default(), |config| config.read_only = true) else { return };
    let error = fs::write(mounted.path("file"), "x").expect_err("it is for reading");
    assert_eq!(error.raw_os_error(), Some(Errno::EROFS as i32));
}

#[test]
fn shows_as_dustfs_in_the_table_of_mounts() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let table = fs::read_to_string("/proc/self/mounts").expect("it is there");
    let line = table.lines().find(|line| line.contains(&*mounted.dir().to_string_lossy())).expect("it is mounted");
    assert!(line.starts_with("dustfs ") && line.contains(" fuse.dustfs rw,nosuid,nodev"), "{line}");
    let device = nix::sys::stat::stat(mounted.dir()).expect("it is mounted").st_dev;
    let read_ahead = format!("/sys/class/bdi/0:{}/read_ahead_kb", nix::sys::stat::minor(device));
    if nix::unistd::geteuid().is_root() {
        assert_eq!(fs::read_to_string(read_ahead).expect("sysfs is mounted").trim(), "1024");
    }
}

#[test]
fn ordinary_users_mount_by_fusermount3() {
    let place = Place::new();
    let Some(device) = can_mount(mount::mount_by_helper(&place.0, &place.config())) else { return };
    drop(device);
    assert!(matches!(mount::mount(&place.config()), Err(MountError::Dead(_))));
    mount::unmount_by_helper(&place.0, false).expect("it is not busy");
    let Err(MountError::Refused(why)) = mount::unmount_by_helper(&place.0, true) else {
        panic!("there is nothing to unmount");
    };
    assert!(why.contains(&*place.0.to_string_lossy()), "{why}");
}
