//! What `--help` says. Every line that starts with `dustfs` after `Examples:` is parsed by a test.

/// Help on a command by its name, or on all.
pub fn help(command: Option<&str>) -> &'static str {
    match command {
        None => OVERVIEW,
        Some("init") => INIT,
        Some("node") => NODE,
        Some("invite") => INVITE,
        Some("join") => JOIN,
        Some("found") => FOUND,
        Some("leave") => LEAVE,
        Some("sheet") => SHEET,
        Some("recover") => RECOVER,
        Some("remove") => REMOVE,
        Some("guest") => GUEST,
        Some("export-torrent") => EXPORT_TORRENT,
        Some("versions") => VERSIONS,
        Some("restore") => RESTORE,
        Some("held") => HELD,
        Some("check") => CHECK,
        Some("copy-state") => COPY_STATE,
        Some("import") => IMPORT,
        Some("pin") => PIN,
        Some("unpin") => UNPIN,
        Some("free") => FREE,
        Some("password") => PASSWORD,
        Some("press") => PRESS,
        Some("status") => STATUS,
        Some("friends") => FRIENDS,
        Some("transfers") => TRANSFERS,
        Some("lock") => LOCK,
        Some("unlock") => UNLOCK,
        Some("unmount") => UNMOUNT,
        Some("stop") => STOP,
        Some("self-test") => SELF_TEST,
        Some(_) => HELP,
    }
}

const OVERVIEW: &str = "\
DustFS: friends' nodes share one tree of files, encrypted, with no server.

Usage: dustfs COMMAND [OPTIONS]

Run a node:
  init       make the state of a new node
  node       run the node; makes the state where there is none
  unmount    take the mount away, the node goes on
  lock       lock the node by a passphrase, and set one
  unlock     unlock it
  stop       publish what is written, and end the node
Friends:
  press      press the button: pair with a box on the same network
  invite     open an invite, and print it
  join       join a circle by an invite
  found      found a circle
  leave      leave a circle, keeping what is here
  remove     remove a member from a circle, for good
  sheet      print a recovery sheet, by which a new box replaces this one
  recover    take the place of a box that is gone, by its sheet
Files:
  import     bring a directory of this machine into the tree
A network drive (WebDAV), beside the page:
  password   set its password, or forget it
Rented servers with a stock BitTorrent client:
  guest           certify one
  export-torrent  write a .torrent file for it
Older versions:
  versions   a file's older versions, or what was deleted in a directory
  restore    put one back
  held       much was deleted or overwritten at once: say whether it was meant
The disk:
  check      whether all that is kept here is there and whole
  copy-state copy the state to a larger disk
Room on this box's disk:
  pin        fetch files and directories, and keep them here
  unpin      take that back
  free       let go of files that enough friends hold
Look:
  status     how the node and its circles are
  friends    who the friends are, and what went to and from each
  transfers  what is being fetched
  self-test  whether this program works on this machine
  help       help on a command

Options of every command:
  --state DIR    the node's state directory ($DUSTFS_STATE, else
                 $XDG_STATE_HOME/dustfs, else ~/.local/state/dustfs)
  --json         answer as JSON
  -v, --verbose  tell more; twice, tell everything
  -q, --quiet    tell errors alone
  -h, --help     help, also on a command
  -V, --version  the version

DUSTFS_LOG (off, error, warn, info, debug, trace) sets what is told when
neither -v nor -q is given.

Exit codes: 0 done; 1 failed; 2 the command line or the config is wrong;
3 no node runs with this state directory.

Examples:
  dustfs node --mount ~/dust
  dustfs invite
  dustfs join INVITE
";

const INIT: &str = "\
Makes the state of a new node: its keys, and the circle Home of its owner.

Usage: dustfs init --name NAME [--state DIR]

  --name NAME  the node's name, which friends see (up to 64 bytes)

`dustfs node` does the same when there is no state yet.

Examples:
  dustfs init --name attic
  dustfs init --name attic --state /srv/dustfs
";

const NODE: &str = "\
Runs the node until it is stopped. Makes its state first where there is none.

Usage: dustfs node [--mount DIR | --cache] [OPTIONS]

  --mount DIR    show the tree there; each circle is a directory in it
  --cache        store and serve what is encrypted, and show nothing
  --quota SIZE   how much a cache may keep, as 20GB or 500MiB (default: all of
                 the disk but 5 %, and but 256 MiB at least), or a member of
                 the files as they are now (default: no limit)
  --listen A     address to listen on, as [::]:47470 or 192.168.1.5; may be
                 repeated; port 0 takes a free one (default [::]:47470, or a
                 free port where that one is taken)
  --name NAME    the node's name when its state is made (default: the host's)
  --fetch WHAT   everything: each file of its circles (default);
                 ondemand: what is opened, when it is opened
  --panel WHAT   terminal: the LED is drawn there, and the keyboard presses the
                 button; none (default); or the file of a board's map
  --page A       show the page there, as 127.0.0.1:8080 or 0.0.0.0:80 for all
                 of the LAN; signing in takes a press at the box (default: no
                 page)
  --problem TEXT tell it as a fault of the disk, on the LED and the page: for
                 scripts that start a box whose disk is not there
  --disks DIR    offer for import what somebody mounts right below DIR,
                 read-only: for boxes that mount the disks of their owners
  --config FILE  the config file (default: config.toml in the state directory)

The config file is TOML; a flag beats its key. The keys:
  name = \"attic\"
  listen = [\"[::]:47470\"]
  mount = \"/srv/dust\"
  cache = false
  quota = \"20 GB\"
  copies = 2              # others that hold a file before it is let go, 1 to 16
  fetch = \"everything\"
  cache_bytes = 4194304   # the ledger's memory, 1 MiB to 1 GiB
  threads = 2             # of the mount, 1 to 64
  allow_other = false     # lets other users into the mount, as modes allow it
  panel = \"terminal\"
  page = \"127.0.0.1:8080\"
  versions = \"10 GB\"       # room for older versions (a tenth of the disk)
  versions_time = \"30 d\"   # kept so long, while the node runs; s, min, h, d
  scrub = \"2 MB\"           # hashed in the background a second, or \"off\"
                           # (default: all in about 30 days)
  page_names = [\"attic.example.org\"]   # beside its addresses and NAME.local

Examples:
  dustfs node --mount ~/dust
  dustfs node --state /srv/dustfs --mount /srv/dust --name attic
  dustfs node --cache --quota 20GB --listen 0.0.0.0:47470
  dustfs node --mount ~/dust --page 127.0.0.1:8080
";

const INVITE: &str = "\
Opens an invite, and prints it: one line to give to a friend, who joins by it
once. It ends with its time, with the node, or when it was used.

Usage: dustfs invite [--role ROLE] [--minutes M] [--circle NAME]

  --role ROLE    keeper: reads, writes, invites and removes; member: reads and
                 writes (default); reader: reads; cache: stores and serves
                 what is encrypted, and can read nothing
  --minutes M    how long it is open, 1 to 10080 (default 60)
  --circle NAME  to which circle (default: the only one with friends, or a new
                 one called Friends)

Examples:
  dustfs invite
  dustfs invite --role cache --minutes 10 --circle Skiers
";

const JOIN: &str = "\
Joins a circle by a friend's invite. Works with and without a running node.

Usage: dustfs join INVITE

Other users of the machine can see what stands on a command line: with '-' the
invite is read from standard input.

Examples:
  dustfs join INVITE
  dustfs join -
";

const SHEET: &str = "\
Tells whether there is a recovery sheet. With --print a new one is made, and
printed: twelve words, and a code for a phone. From it a blank box becomes a
keeper of this node's circles when this one is gone, as long as a friend's box
or a cache of each circle is there.

Usage: dustfs sheet [--print | --written]

  --print    make another one, and print it
  --written  the last one is on paper: those printed before are valid no more

Whoever has the sheet can read everything: keep it where you keep your papers.
Nothing of it is kept here, so it cannot be printed again. The one before is
valid until --written is given. A sheet that is lost is removed as a friend is,
by the name that `dustfs friends` shows. With a node that is removed its sheets
are, too. A sheet is used once.

Examples:
  dustfs sheet --print
  dustfs sheet --written
";

const RECOVER: &str = "\
Takes the place of a box that is gone, by its recovery sheet, which is asked for
on the terminal or read from standard input: the twelve words, or the line
beside the code. Works with and without a running node.

Usage: dustfs recover [--at HOST[:PORT]]...

  --at HOST[:PORT]  where a friend's box or a cache of the circle is (default
                    port 47470); the words tell no address, the line does

This node becomes a keeper of the circles, and everything that a friend or a
cache has is there again. The old box stays a member until it is removed.

Examples:
  dustfs recover --at cache.example.org
";

const FOUND: &str = "\
Founds a circle, of which this node is the first keeper.

Usage: dustfs found NAME

The name becomes the circle's directory (up to 64 bytes, no '/').

Examples:
  dustfs found Skiers
";

const LEAVE: &str = "\
Leaves a circle: nothing is shared with it any more. What is here stays, and you
can go on with it; joining again takes it back, and shares what you wrote since.

Usage: dustfs leave CIRCLE

Examples:
  dustfs leave Skiers
";

const VERSIONS: &str = "\
Lists the older versions of a file, the newest first: when and by whom each was
written, and where its bytes are. Of a directory, lists the files that were
deleted below it; without PATH, all that were.

Usage: dustfs versions [PATH] [--json]

  PATH  in the tree (Friends/film.mkv) or below the mount; also of a file that
        is gone

  WHERE is here (on this node), friends (with friends who are online), partly
  (some of it here), or gone (nobody who is online has it).

The mount has them, too: in .dustfs/versions/ each file is a directory of its
older versions, which can be looked at and copied.

Examples:
  dustfs versions Friends/letter.txt
  dustfs versions Friends
";

const RESTORE: &str = "\
Puts an older version of a file back, or a deleted file, or with its files a
deleted directory. Nothing is copied or sent again; what is replaced becomes an
older version itself.

Usage: dustfs restore PATH [VERSION] [--to PATH]

  PATH       in the tree (Friends/film.mkv) or below the mount
  VERSION    its number in `dustfs versions PATH` (default: the newest)
  --to PATH  put it there, where nothing is yet, in the same circle

Examples:
  dustfs restore Friends/letter.txt
  dustfs restore Friends/letter.txt 3 --to Friends/letter-of-may.txt
";

const HELD: &str = "\
Lists mass changes: over 100 files, and over a tenth of the circle's, that one
member deleted or overwrote within a minute, as by a slip of the hand or by a
program that takes files hostage. All nodes show the change; what it replaced is
kept, whatever its age, until a keeper of the circle says what becomes of it.

Usage: dustfs held [CHANGE (--accept | --undo)]

  CHANGE    as `dustfs held` lists it
  --accept  it was meant: what it replaced goes with time, as after any change
  --undo    put back what it deleted or overwrote; what somebody wrote since
            stays, and so does what it made anew

Examples:
  dustfs held
  dustfs held 3fa94c01 --undo
";

const CHECK: &str = "\
Checks what the node keeps on its disk: that every piece the ledger names lies
where it says. With --full every piece is read and hashed, which takes as long
as reading the disk does; the node serves meanwhile. What is damaged is fetched
again from friends.

Usage: dustfs check [--full] [--json]

  --full  read and hash everything

A slow check of everything goes on by itself while the node runs; `dustfs
status` shows how far it is and what the last one found.

Exit code 1 tells that something was found.

Examples:
  dustfs check
  dustfs check --full
";

const COPY_STATE: &str = "\
Copies the node's state to another directory, as on a larger disk, while the
node does not run. Interrupted, it goes on when it is run again; a copy that is
not whole starts no node.

Usage: dustfs copy-state DIR [--state DIR]

  DIR  the new state directory, made if it is not there

Start the node with --state DIR, and let a full check read everything (see
`dustfs help check`). Then delete the old directory: two nodes that are one and
the same must never run.

Examples:
  dustfs copy-state /mnt/large/dustfs
";

const PIN: &str = "\
Fetches a file, or all that is and ever comes to be below a directory, whatever
the node's policy, and keeps it here: it is not let go for room. A circle's name
means all of it. A pin is this node's own matter, and follows what it is on
when that is renamed. In the mount: setfattr -n user.dustfs.pinned -v 1 DIR.

Usage: dustfs pin PATH...

  PATH  in the tree (Friends/films) or below the mount

Examples:
  dustfs pin Friends/films
  dustfs pin Home Friends/a.mkv
";

const UNPIN: &str = "\
Takes a pin away. What is here stays until it is let go.

Usage: dustfs unpin PATH...

  PATH  in the tree (Friends/films) or below the mount

Examples:
  dustfs unpin Friends/films
";

const FREE: &str = "\
Lets go of the bytes of a file, or of all files below a directory: they still
show, and come again from friends when they are opened. A file goes only when
two others who are online hold it whole and have promised to keep it; with
fewer than three boxes in a circle nothing goes. What is open stays.

Usage: dustfs free PATH...

  PATH  in the tree (Friends/films) or below the mount

Examples:
  dustfs free Friends/films
  dustfs free Friends/a.mkv Friends/b.mkv
";

const PRESS: &str = "\
Presses the button of the node, for boxes without one and for tests. Press on
two nodes on one network within two minutes: both show a code in `dustfs
status`. Where the two codes are equal, hold on both: the nodes then share a
circle.

Usage: dustfs press [SECONDS]

  less than 2    a press: answers the page's sign-in, else opens the window for
                 pairing (default)
  2 to 4         a hold: confirms the code, once it was shown to its end
  5 to 10        forgets who is signed in to the page, and WebDAV's password
  10 to 20       leaves the circles with friends; what is here stays

Examples:
  dustfs press
  dustfs press 3
";

const REMOVE: &str = "\
Removes a member from a circle, for good: its key never comes back, what it
writes from then on counts for nobody, and what the others write from then on
it cannot read. What it has already read stays read.

Usage: dustfs remove MEMBER [--circle NAME]

  MEMBER         its name, or the start of its device id (`dustfs friends`)
  --circle NAME  from which circle, where it is in several

Examples:
  dustfs remove bob
  dustfs remove 4be1c0 --circle Skiers
";

const GUEST: &str = "\
Certifies a stock BitTorrent client (libtorrent, qBittorrent): it may fetch and
seed the torrents of a circle, all of which are encrypted, and can read nothing.
Only a keeper's node certifies.

Usage: dustfs guest NAME DIR [--circle NAME]

  NAME           what friends see it as
  DIR            gets guest.key (keep it secret), guest.crt and dh.pem, which
                 the client asks for; where the key is there, it stays
  --circle NAME  of which circle (default: the only one with friends, else Home)

The certificate ends after 90 days: the same command renews it. `dustfs remove`
ends it at once.

Examples:
  dustfs guest seedbox seedbox-keys
  dustfs guest seedbox seedbox-keys --circle Skiers
";

const EXPORT_TORRENT: &str = "\
Writes a .torrent file for stock clients that `dustfs guest` certified. What
they fetch and seed is the file's encrypted form: they cannot read it.

Usage: dustfs export-torrent PATH FILE [--announce HOST:PORT]

  PATH                  the file, in the tree (Friends/film) or below the mount
  FILE                  what is written
  --announce HOST:PORT  the tracker that it names: a keeper's node, by its DNS
                        name where it is behind a router (default: the
                        addresses at which the circle's keepers listen)

Each version of a file is a torrent of its own. A file of up to 4096 bytes has
none.

Examples:
  dustfs export-torrent Friends/film.mkv film.torrent
  dustfs export-torrent Friends/a.iso a.torrent --announce box.example.org:47470
";

const IMPORT: &str = "\
Brings what is in a directory of this machine into the tree, with times, modes
and symbolic links; the directory is only read. Given again it goes on where it
was: what is in the tree with the same size and time is left alone, and so is
what is newer there. What cannot be read is told at the end, and the exit code
is then 1. The node itself reads, so that its user must be allowed to.

Usage: dustfs import DIR [INTO]

  DIR   the directory
  INTO  where its content goes, in the tree (Home/photos) or below the mount;
        made where it is missing (default: a directory of the same name in
        your own circle)

Not imported are extended attributes, owners, devices, sockets and named pipes;
of hard links each becomes a file of its own.

Examples:
  dustfs import photos
  dustfs import /mnt/usb/photos Friends/photos
";

const PASSWORD: &str = "\
Sets the password for WebDAV, by which computers and phones open the tree as a
network drive at the page's address, below /dav/; the name that goes with it is
'dustfs'. The page itself can do the same. A node that shows none has no drive.

Usage: dustfs password [--forget]

  --forget  take the password away: nobody gets in until one is set

The password is asked for twice on a terminal, which does not show it; else it
is a line of standard input. It has 8 to 64 characters of ASCII.

Examples:
  dustfs password
  dustfs password --forget
";

const STATUS: &str = "\
Tells how the node, its disk and its circles are.

Usage: dustfs status [--json]

Examples:
  dustfs status
  dustfs status --json
";

const FRIENDS: &str = "\
Tells who the friends are, who of them is online, and what went to and from
each since the node's start.

Usage: dustfs friends [--json]

Examples:
  dustfs friends
  dustfs friends --json
";

const TRANSFERS: &str = "\
Tells what is being fetched, from whom, how fast, and for how long yet.

Usage: dustfs transfers [--watch] [--json]

  --watch  again each second, until all is here

Examples:
  dustfs transfers
  dustfs transfers --watch
";

const UNMOUNT: &str = "\
Takes the mount away. The node goes on, and serves its friends.

Usage: dustfs unmount

Examples:
  dustfs unmount
";

const LOCK: &str = "\
Locks the node: it forgets all keys, shows no files, and goes on serving to
friends what it cannot read itself. So it is after each start, too, until the
passphrase is given. The first time it asks for a new passphrase; nobody can
bring back what a forgotten one locks. From a script: lines of standard input.

Usage: dustfs lock [--change]

Options:
  --change  set another passphrase, and do not lock

Examples:
  dustfs lock
  dustfs lock --change
";

const UNLOCK: &str = "\
Gives a locked node its passphrase, which is asked for, or is a line of
standard input. Returns when the node is back.

Usage: dustfs unlock [--always]

Options:
  --always  take the passphrase away: the node is not locked any more

Examples:
  dustfs unlock
  dustfs unlock --always
";

const STOP: &str = "\
Publishes what is written, makes it durable, and ends the node. Returns when
the node has ended.

Usage: dustfs stop

Examples:
  dustfs stop
  dustfs stop --state /srv/dustfs
";

const SELF_TEST: &str = "\
Tests whether what this program stands on works on this machine: threads, files
after 2038 and beyond 4 GiB, hashes, ciphers and formats by known answers, the
ledger, TLS over the loopback interface, and a mount. Needs no node and leaves
nothing behind. Prints a line for each item; the exit code is 1 when one failed.

Usage: dustfs self-test [--skip ITEM] [--json]

  --skip ITEM  leave out threads, files, hashes, seal, formats, ledger, tls or
               mount; may be repeated

Examples:
  dustfs self-test
  dustfs self-test --skip mount --json
";

const HELP: &str = "\
Help on a command, or on all.

Usage: dustfs help [COMMAND]

Examples:
  dustfs help
  dustfs help node
";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::os::cli::command::{COMMANDS, Environment, GLOBAL_FLAGS, parse};
    use crate::os::cli::config::KEYS;

    fn topics() -> Vec<Option<&'static str>> {
        std::iter::once(None).chain(COMMANDS.iter().map(|spec| Some(spec.name))).collect()
    }

    #[test]
    fn every_example_is_parsed() {
        let environment = Environment { home: Some("/home/ann".into()), ..Environment::default() };
        for topic in topics() {
            let (_, examples) = help(topic).split_once("Examples:\n").expect("examples");
            assert!(!examples.trim().is_empty(), "{topic:?}");
            for line in examples.lines() {
                let words = line.trim().strip_prefix("dustfs ").expect("an example starts with dustfs");
                if cfg!(not(feature = "mount")) && words.contains("--mount") {
                    continue;
                }
                let parsed = parse(words.split_whitespace().map(OsString::from), &environment);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
            }
        }
    }

    #[test]
    fn every_flag_is_told_and_no_other() {
        for spec in &COMMANDS {
            let text = help(Some(spec.name));
            for flag in spec.flags {
                assert!(text.contains(&format!("--{flag}")), "{} --{flag}", spec.name);
            }
            let told = text.split("--").skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next());
            for flag in told.flatten() {
                assert!(spec.flags.contains(&flag) || GLOBAL_FLAGS.contains(&flag), "{}: --{flag}", spec.name);
            }
        }
        for flag in GLOBAL_FLAGS {
            assert!(help(None).contains(&format!("--{flag}")), "--{flag}");
        }
    }

    #[test]
    fn every_command_and_key_is_told() {
        for spec in &COMMANDS {
            assert!(help(None).contains(&format!("\n  {} ", spec.name)), "{}", spec.name);
            assert!(help(Some(spec.name)).contains(&format!("Usage: dustfs {}", spec.name)), "{}", spec.name);
        }
        for key in KEYS {
            assert!(NODE.contains(&format!("\n  {key} = ")), "{key}");
        }
    }

    #[test]
    fn lines_fit_a_terminal() {
        for topic in topics() {
            assert!(help(topic).lines().all(|line| line.chars().count() <= 80), "{topic:?}");
        }
    }
}
