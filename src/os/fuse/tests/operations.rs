//! Each operation through the kernel, in the ways in which programs use them.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::fake::Stored;
use super::{Fake, Mounted};

/// The errno of what must fail.
fn errno<T>(result: io::Result<T>) -> Errno {
    match result {
        Ok(_) => panic!("it must fail"),
        Err(error) => Errno::from_raw(error.raw_os_error().expect("it comes from the kernel")),
    }
}

/// Runs a test on a tree that answers at once and on one that answers from another thread.
fn on_both(test: impl Fn(&Mounted)) {
    for fake in [Fake::default(), Fake::later()] {
        if let Some(mounted) = Mounted::new(fake) {
            test(&mounted);
        }
    }
}

#[test]
fn files() {
    on_both(|mounted| {
        let path = mounted.path("file");
        let data: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
        fs::write(&path, &data).expect("written");
        assert_eq!(fs::read(&path).expect("read"), data);
        let metadata = fs::metadata(&path).expect("there");
        assert_eq!((metadata.len(), metadata.nlink(), metadata.blksize()), (1_000_000, 1, 65_536));
        assert_eq!(metadata.blocks(), 1_000_000_u64.div_ceil(512));
        assert_eq!(metadata.mode() & 0o170_777, 0o100_644);
        assert_eq!(mounted.fake.flushed(), 1, "a writer's close publishes, a reader's does not ask");

        let file = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
        file.write_all_at(b"in the middle", 70_000).expect("written");
        let mut read = [0; 13];
        file.read_exact_at(&mut read, 70_000).expect("read");
        assert_eq!(&read, b"in the middle");
        file.write_all_at(b"beyond", 2_000_000).expect("written");
        assert_eq!(file.metadata().expect("there").len(), 2_000_006);
        file.read_exact_at(&mut read, 1_500_000).expect("read");
        assert_eq!(read, [0; 13]);
        assert_eq!(file.read_at(&mut read, 2_000_006).expect("the end"), 0);
        assert_eq!(errno(file.write_at(b"x", 1 << 40)), Errno::EFBIG);

        file.set_len(5).expect("cut");
        assert_eq!(fs::read(&path).expect("read"), data[..5]);
        file.set_len(8).expect("grown");
        assert_eq!(fs::read(&path).expect("read"), [0, 1, 2, 3, 4, 0, 0, 0]);
        drop(file);
        File::create(&path).expect("O_TRUNC");
        assert_eq!(fs::metadata(&path).expect("there").len(), 0);
        let exclusive = OpenOptions::new().write(true).create_new(true).open(&path);
        assert_eq!(errno(exclusive), Errno::EEXIST);

        fs::remove_file(&path).expect("removed");
        assert_eq!(errno(fs::metadata(&path)), Errno::ENOENT);
        assert_eq!(errno(File::open(&path)), Errno::ENOENT);
        super::eventually("all is released", || mounted.fake.open() == 0);
    });
}

#[test]
fn a_file_without_a_name_lives_while_it_is_open() {
    on_both(|mounted| {
        let path = mounted.path("file");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).expect("made");
        fs::remove_file(&path).expect("removed");
        file.write_all(b"unnamed").expect("written");
        file.seek(SeekFrom::Start(0)).expect("sought");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "unnamed");
        assert_eq!(file.metadata().expect("there").nlink(), 0);
    });
}

#[test]
fn directories_and_names() {
    on_both(|mounted| {
        let dir = mounted.path("a/b/c");
        fs::create_dir_all(&dir).expect("made");
        assert_eq!(fs::metadata(&dir).expect("there").mode() & 0o170_777, 0o040_755);
        assert_eq!(errno(fs::create_dir(&dir)), Errno::EEXIST);
        fs::write(dir.join("file"), "x").expect("written");
        assert_eq!(errno(fs::remove_dir(&dir)), Errno::ENOTEMPTY);
        assert_eq!(errno(fs::remove_dir(dir.join("file"))), Errno::ENOTDIR);
        assert_eq!(errno(fs::remove_file(&dir)), Errno::EISDIR);
        assert_eq!(errno(fs::write(dir.join("file/below"), "x")), Errno::ENOTDIR);
        assert_eq!(errno(File::create(&dir)), Errno::EISDIR);

        let long = "n".repeat(255);
        fs::write(dir.join(&long), "x").expect("255 bytes are allowed");
        assert_eq!(errno(fs::write(dir.join(long + "n"), "x")), Errno::ENAMETOOLONG);
        let names: BTreeSet<_> =
            fs::read_dir(&dir).expect("listed").map(|entry| entry.expect("read").file_name()).collect();
        assert_eq!(names.len(), 2);

        let parent = dir.join("..").canonicalize().expect("there");
        assert_eq!(parent, mounted.path("a/b"));
        File::open(&dir).expect("opened").sync_all().expect("synced");
        fs::File::open(dir.join("file")).expect("opened").sync_data().expect("synced");
        let inode = |path: &Path| fs::metadata(path).expect("there").ino();
        let synced: Vec<u64> = mounted.fake.synced().iter().map(|inode| inode.0).collect();
        assert_eq!(synced, [inode(&dir), inode(&dir.join("file"))]);
        fs::remove_dir_all(mounted.path("a")).expect("removed");
        assert_eq!(fs::read_dir(mounted.dir()).expect("listed").count(), 0);
    });
}

#[test]
fn renames() {
    on_both(|mounted| {
        let (a, b) = (mounted.path("a"), mounted.path("b"));
        fs::write(&a, "a").expect("written");
        fs::write(&b, "b").expect("written");
        let rename = |flags| renameat2(AT_FDCWD, &a, AT_FDCWD, &b, flags);
        assert_eq!(rename(RenameFlags::RENAME_NOREPLACE), Err(Errno::EEXIST));
        assert_eq!(rename(RenameFlags::RENAME_WHITEOUT), Err(Errno::EINVAL));
        for (ours, theirs) in [("b", "a"), ("a", "b")] {
            rename(RenameFlags::RENAME_EXCHANGE).expect("exchanged");
            assert_eq!(fs::read_to_string(&a).expect("read"), ours);
            assert_eq!(fs::read_to_string(&b).expect("read"), theirs);
        }
        let held = File::open(&b).expect("opened");
        fs::rename(&a, &b).expect("replaced");
        assert_eq!(fs::read_to_string(&b).expect("read"), "a");
        assert_eq!(io::read_to_string(held).expect("the replaced file stays while it is open"), "b");
        assert!(!a.exists());
        assert_eq!(errno(fs::rename(&a, &b)), Errno::ENOENT);

        fs::create_dir(mounted.path("dir")).expect("made");
        fs::rename(&b, mounted.path("dir/c")).expect("moved");
        assert_eq!(errno(fs::rename(mounted.path("dir/c"), mounted.path("dir"))), Errno::ENOTEMPTY);
        fs::create_dir(&a).expect("made");
        assert_eq!(errno(fs::rename(&a, mounted.path("dir"))), Errno::ENOTEMPTY);
        assert_eq!(errno(fs::rename(&a, mounted.path("dir/c"))), Errno::ENOTDIR);
        fs::rename(mounted.path("dir"), &a).expect("an empty directory is replaced");
        assert_eq!(fs::read_to_string(a.join("c")).expect("read"), "a");
        renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_NOREPLACE).expect("the name is free");
        assert!(b.join("c").exists());
    });
}

#[test]
fn links() {
    on_both(|mounted| {
        let (file, link) = (mounted.path("file"), mounted.path("link"));
        fs::write(&file, "x").expect("written");
        symlink("file", &link).expect("made");
        assert_eq!(fs::read_link(&link).expect("read"), Path::new("file"));
        assert_eq!(fs::read_to_string(&link).expect("followed"), "x");
        let metadata = fs::symlink_metadata(&link).expect("there");
        assert!(metadata.is_symlink());
        assert_eq!(metadata.len(), 4);
        assert_eq!(errno(symlink("file", &link)), Errno::EEXIST);
        assert_eq!(errno(fs::hard_link(&file, mounted.path("hard"))), Errno::EPERM);
        fs::remove_file(&link).expect("removed");
        assert!(file.exists());
    });
}

#[test]
fn attributes() {
    on_both(|mounted| {
        let path = mounted.path("file");
        fs::write(&path, "x").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o750)).expect("set");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o750);

        let file = File::options().write(true).open(&path).expect("opened");
        let second = Duration::from_secs(1);
        for time in [
            UNIX_EPOCH + Duration::from_secs(1_000_000_000) + Duration::from_nanos(123_456_789),
            UNIX_EPOCH - Duration::from_millis(1_200),
            UNIX_EPOCH - Duration::from_nanos(1),
            UNIX_EPOCH - second,
            UNIX_EPOCH + Duration::from_secs(9_000_000_000),
            UNIX_EPOCH - Duration::from_secs(9_000_000_000),
        ] {
            file.set_times(FileTimes::new().set_modified(time)).expect("set");
            assert_eq!(file.metadata().expect("there").modified().expect("there"), time);
            assert_eq!(fs::metadata(&path).expect("there").mtime_nsec(), {
                let nanos = time
                    .duration_since(UNIX_EPOCH)
                    .map_or_else(|before| -(before.duration().as_nanos() as i128), |after| after.as_nanos() as i128);
                nanos.rem_euclid(1_000_000_000) as i64
            });
        }
        let before = fs::metadata(&path).expect("there").modified().expect("there");
        file.set_times(FileTimes::new().set_accessed(SystemTime::now())).expect("times of access are not kept");
        assert_eq!(fs::metadata(&path).expect("there").modified().expect("there"), before);
        let now = SystemTime::now() - second;
        assert!(Command::new("touch").arg(&path).status().expect("there is touch").success());
        assert!(fs::metadata(&path).expect("there").modified().expect("there") >= now);

        let metadata = fs::metadata(&path).expect("there");
        let us = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        assert_eq!((metadata.uid(), metadata.gid()), us);
        chown(&path, Some(us.0), Some(us.1)).expect("it is so already");
        assert_eq!(errno(chown(&path, Some(us.0 + 1), None)), Errno::EPERM);
        assert_eq!(errno(chown(&path, None, Some(us.1 + 1))), Errno::EPERM);
    });
}

#[test]
fn what_is_not_there_is_refused_in_a_way_that_programs_take() {
    on_both(|mounted| {
        let path = mounted.path("made");
        mknod(&path, SFlag::S_IFREG, Mode::from_bits_truncate(0o600), 0).expect("a file can be made this way");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o170_777, 0o100_600);
        super::eventually("it is released", || mounted.fake.open() == 0);
        assert_eq!(mknod(&mounted.path("fifo"), SFlag::S_IFIFO, Mode::S_IRWXU, 0), Err(Errno::EPERM));

        let file = File::options().read(true).write(true).open(&path).expect("opened");
        let allocate = |flags, length| nix::fcntl::fallocate(&file, flags, 0, length);
        assert_eq!(allocate(FallocateFlags::empty(), 10_000), Ok(()));
        assert_eq!(allocate(FallocateFlags::empty(), 4_096), Ok(()));
        assert_eq!(allocate(FallocateFlags::FALLOC_FL_KEEP_SIZE, 20_000), Ok(()));
        assert_eq!(allocate(FallocateFlags::empty(), 1 << 20), Ok(()), "it fits");
        file.set_len(10_000).expect("shrunk");
        assert_eq!(allocate(FallocateFlags::empty(), (1 << 29) + 10_001), Err(Errno::ENOSPC));
        assert_eq!(allocate(FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, 4_096), Err(Errno::EOPNOTSUPP));
        let seek = |whence| nix::unistd::lseek(&file, 100, whence);
        assert_eq!(seek(nix::unistd::Whence::SeekData), Ok(100));
        assert_eq!(seek(nix::unistd::Whence::SeekHole), Ok(10_000));
        assert!(file.as_raw_fd() > 2);

        let space = nix::sys::statvfs::statvfs(mounted.dir()).expect("told");
        assert_eq!(space.blocks() * space.fragment_size(), 1 << 30);
        assert_eq!(space.blocks_available() * space.fragment_size(), 1 << 29);
        assert_eq!(space.name_max(), 255);
    });
}

#[test]
fn usual_programs_have_no_complaint() {
    let Some(mounted) = Mounted::new(Fake::later()) else { return };
    let outside = super::Place::new();
    let source = outside.0.join("source");
    fs::create_dir_all(source.join("deep/er")).expect("made");
    fs::write(source.join("deep/file"), vec![7; 300_000]).expect("written");
    fs::write(source.join("deep/er/empty"), "").expect("written");
    symlink("../file", source.join("deep/er/link")).expect("made");
    fs::set_permissions(source.join("deep/file"), Permissions::from_mode(0o640)).expect("set");

    // A whole second, which is all that tar keeps.
    let time = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1_234_567_890));
    File::options().write(true).open(source.join("deep/file")).and_then(|file| file.set_times(time)).expect("set");

    let run = |program: &str, arguments: &[&str]| {
        let output = match Command::new(program).args(arguments).output() {
            // The latter where PATH names a directory that is closed to us.
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied].contains(&error.kind()) => {
                return None;
            }
            output => output.expect("it starts"),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{program} {arguments:?}: {said}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (from, to) = (source.to_str().expect("it is UTF-8"), mounted.dir().to_str().expect("it is UTF-8"));
    run("cp", &["-a", from, &format!("{to}/copied")]).expect("there is cp");
    run("cp", &["-a", &format!("{to}/copied"), &format!("{to}/again")]).expect("there is cp");
    run("tar", &["-cf", &format!("{to}/archive.tar"), "-C", from, "."]).expect("there is tar");
    fs::create_dir(mounted.path("unpacked")).expect("made");
    run("tar", &["-xpf", &format!("{to}/archive.tar"), "-C", &format!("{to}/unpacked")]).expect("there is tar");
    run("mv", &[&format!("{to}/again"), &format!("{to}/moved")]).expect("there is mv");
    // A machine may have no rsync; the others stand for it then.
    run("rsync", &["-a", &format!("{from}/"), &format!("{to}/synced")]);
    for copy in ["copied", "moved", "unpacked"] {
        run("diff", &["-r", from, &format!("{to}/{copy}")]).expect("there is diff");
        let list = run("ls", &["-lR", &format!("{to}/{copy}")]).expect("there is ls");
        assert!(list.contains("-rw-r----- 1") && list.contains("link -> ../file"), "{list}");
        let times = |path: &Path| fs::metadata(path).expect("there").modified().expect("there");
        assert_eq!(times(&mounted.path(copy).join("deep/file")), times(&source.join("deep/file")));
    }
    run("rm", &["-r", &format!("{to}/copied"), &format!("{to}/moved"), &format!("{to}/unpacked")]);
    assert!(!mounted.path("copied").exists());
}

#[test]
fn appenders_do_not_overwrite_each_other() {
    on_both(|mounted| {
        let path = mounted.path("log");
        thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
                    for line in 0..200 {
                        file.write_all(format!("{writer} {line:05}\n").as_bytes()).expect("written");
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).expect("read");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 800);
        assert!(lines.iter().all(|line| line.len() == 7));
        for writer in 0..4 {
            let of_writer: Vec<&&str> = lines.iter().filter(|line| line.starts_with(&format!("{writer} "))).collect();
            assert!(of_writer.is_sorted() && of_writer.len() == 200);
        }
    });
}

#[test]
fn a_file_that_a_friend_made_a_moment_ago_is_opened_by_who_would_make_it() {
    on_both(|mounted| {
        let inode = mounted.fake.put("new", Stored::Plain, b"theirs".to_vec());
        mounted.fake.show_late("new");
        let mut file = OpenOptions::new().append(true).create(true).open(mounted.path("new")).expect("opened");
        file.write_all(b" and ours").expect("written");
        assert_eq!(mounted.fake.data(inode), b"theirs and ours");
        mounted.fake.put("other", Stored::Plain, b"theirs".to_vec());
        mounted.fake.show_late("other");
        let exclusive = OpenOptions::new().write(true).create_new(true).open(mounted.path("other"));
        assert_eq!(errno(exclusive), Errno::EEXIST);
        mounted.fake.put("third", Stored::Plain, b"theirs".to_vec());
        mounted.fake.show_late("third");
        let truncated = File::create(mounted.path("third")).expect("opened");
        assert_eq!(truncated.metadata().expect("there").len(), 0);
    });
}

#[test]
fn a_directory_that_changes_while_it_is_read_shows_once_all_that_stays() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    for number in 0..10_000 {
        mounted.fake.put(&format!("stays {number:05}"), Stored::Plain, Vec::new());
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // Some are sorted before, some between, some after those that stay.
                for prefix in ["a", "stays 03333", "stays 07777", "z"] {
                    let name = format!("{prefix} comes {}", round % 50);
                    mounted.fake.put(&name, Stored::Plain, Vec::new());
                    if !round.is_multiple_of(3) {
                        mounted.fake.remove(&name);
                    }
                }
                round += 1;
            }
        });
        for _ in 0..3 {
            let mut seen = BTreeSet::new();
            let mut stayed = 0;
            for entry in fs::read_dir(mounted.dir()).expect("listed") {
                let name = entry.expect("read").file_name();
                if !name.to_string_lossy().contains("comes") {
                    stayed += 1;
                }
                assert!(seen.insert(name.clone()), "{name:?} shows twice");
            }
            assert_eq!(stayed, 10_000);
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The same with attributes in the answer, and lines that are no longer there.
    let listed = fs::read_dir(mounted.dir()).expect("listed");
    let sizes: u64 =
        listed.filter_map(|entry| entry.expect("read").metadata().ok()).map(|metadata| metadata.len()).sum();
    assert_eq!(sizes, 0);
}

#[test]
fn direct_io_reads_and_writes() {
    let Some(mounted) = Mounted::new(Fake::later()) else { return };
    let path = mounted.path("file");
    let direct = |options: &mut OpenOptions| options.custom_flags(nix::libc::O_DIRECT).open(&path);
    let file = direct(OpenOptions::new().write(true).create(true)).expect("opened");
    let data: Vec<u8> = (0..300_000_u32).map(|i| (i / 7) as u8).collect();
    file.write_all_at(&data, 0).expect("written");
    let mut read = vec![0; 300_000];
    direct(OpenOptions::new().read(true)).expect("opened").read_exact_at(&mut read, 0).expect("read");
    assert_eq!(read, data);
}
