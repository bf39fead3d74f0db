//! Command lines, and what is read of them.

use super::*;

fn home() -> Environment {
    Environment { home: Some("/home/ann".into()), ..Environment::default() }
}

fn read(line: &str) -> Result<Invocation, UsageError> {
    parse(line.split_whitespace().map(OsString::from), &home())
}

fn command(line: &str) -> Command {
    match read(line) {
        Ok(Invocation::Run(_, command)) => *command,
        other => panic!("{line}: {other:?}"),
    }
}

fn globals(line: &str, environment: &Environment) -> Globals {
    match parse(line.split_whitespace().map(OsString::from), environment) {
        Ok(Invocation::Run(globals, _)) => globals,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    match read(line) {
        Err(error) => error.to_string(),
        Ok(other) => panic!("{line}: {other:?}"),
    }
}

#[test]
fn commands_are_read() {
    assert_eq!(command("init --name attic"), Command::Init { name: "attic".into() });
    assert_eq!(command("node"), Command::Node(NodeFlags::default()));
    assert_eq!(
        command("node --cache --fetch ondemand --listen [::]:0 --listen 10.0.0.1"),
        Command::Node(NodeFlags {
            cache: true,
            fetch: Some(Fetch::OnDemand),
            listen: vec!["[::]:0".parse().unwrap(), "10.0.0.1:47470".parse().unwrap()],
            ..NodeFlags::default()
        })
    );
    assert_eq!(
        command("node --name=b --config /c.toml"),
        Command::Node(NodeFlags { name: Some("b".into()), config: Some("/c.toml".into()), ..NodeFlags::default() })
    );
    assert_eq!(command("invite"), Command::Invite { circle: None, role: Role::Member, minutes: INVITE_MINUTES });
    assert_eq!(
        command("invite --role cache --minutes 5 --circle Skiers"),
        Command::Invite { circle: Some("Skiers".into()), role: Role::Cache, minutes: 5 }
    );
    assert_eq!(command("free a"), Command::Free { paths: vec!["a".into()] });
    assert_eq!(command("pin a b c"), Command::Pin { paths: ["a", "b", "c"].map(String::from).into(), pinned: true });
    assert_eq!(command("unpin a"), Command::Pin { paths: vec!["a".into()], pinned: false });
    assert_eq!(command("join abc"), Command::Join(InviteFrom::Argument("abc".into())));
    assert_eq!(command("join -"), Command::Join(InviteFrom::Stdin));
    assert_eq!(command("found Skiers"), Command::Found { name: "Skiers".into() });
    let removed = Command::Remove { circle: Some("Skiers".into()), member: "bob".into() };
    assert_eq!(command("remove bob --circle Skiers"), removed);
    let guest = Command::Guest { circle: None, name: "seedbox".into(), directory: "keys".into() };
    assert_eq!(command("guest seedbox keys"), guest);
    let (path, file) = ("Friends/film".into(), "film.torrent".into());
    let export = Command::ExportTorrent { path, file, announce: Some("box.example.org:1".into()) };
    assert_eq!(command("export-torrent Friends/film film.torrent --announce box.example.org:1"), export);
    assert_eq!(command("import photos"), Command::Import { from: "photos".into(), into: None });
    let import = Command::Import { from: "/mnt/photos".into(), into: Some("Home/photos".into()) };
    assert_eq!(command("import /mnt/photos Home/photos"), import);
    assert!(refused("import").contains("needs its DIR"));
    assert_eq!(command("password"), Command::Password { forget: false });
    assert_eq!(command("password --forget"), Command::Password { forget: true });
    assert!(refused("password secret").contains("one word too many"), "others would see it");
    assert_eq!(command("press"), Command::Press(200));
    assert_eq!(command("press 2.5"), Command::Press(2_500));
    assert_eq!(command("status"), Command::Status);
    assert_eq!(command("friends"), Command::Friends);
    assert_eq!(command("transfers --watch"), Command::Transfers { watch: true });
    assert_eq!(command("lock"), Command::Lock { change: false });
    assert_eq!(command("lock --change"), Command::Lock { change: true });
    assert_eq!(command("unlock --always"), Command::Unlock { always: true });
    assert_eq!(command("unmount"), Command::Unmount);
    assert_eq!(command("stop"), Command::Stop);
}

#[cfg(feature = "mount")]
#[test]
fn a_mount_is_read() {
    let flags = NodeFlags { mount: Some("/mnt".into()), ..NodeFlags::default() };
    assert_eq!(command("node --mount /mnt"), Command::Node(flags));
    assert!(refused("node --mount /mnt --cache").starts_with("'--cache' and '--mount' exclude each other"));
}

#[cfg(feature = "panel")]
#[test]
fn a_panel_is_read() {
    let panel = |line: &str| match command(line) {
        Command::Node(flags) => flags.panel,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(panel("node"), None);
    assert_eq!(panel("node --panel none"), Some(PanelChoice::None));
    assert_eq!(panel("node --panel terminal"), Some(PanelChoice::Terminal));
    assert_eq!(panel("node --panel b/board.toml"), Some(PanelChoice::Board("b/board.toml".into())));
    assert!(refused("node --panel none --panel none").starts_with("'--panel' was given twice"));
}

#[cfg(not(feature = "panel"))]
#[test]
fn a_panel_is_refused_by_a_build_without_one() {
    assert!(refused("node --panel terminal").starts_with("this build has no panel"));
}

#[cfg(feature = "lan")]
#[test]
fn a_page_is_read() {
    let page = |address: &str| NodeFlags { page: Some(address.parse().unwrap()), ..NodeFlags::default() };
    assert_eq!(command("node --page 0.0.0.0:80"), Command::Node(page("0.0.0.0:80")));
    assert_eq!(command("node --page 127.0.0.1"), Command::Node(page("127.0.0.1:8080")));
    assert!(refused("node --page here").starts_with("\"here\" is no address for the page"));
    assert!(refused("node --page :: --page ::").starts_with("'--page' was given twice"));
}

#[cfg(not(feature = "lan"))]
#[test]
fn a_page_is_refused_by_a_build_without_one() {
    assert!(refused("node --page ::").starts_with("this build has no page"));
}

#[cfg(not(feature = "mount"))]
#[test]
fn a_mount_is_refused_by_a_build_without_one() {
    assert!(refused("node --mount /mnt").starts_with("this build cannot mount"));
}

#[test]
fn help_and_version_need_no_home() {
    let nowhere = Environment::default();
    let read = |line: &str| parse(line.split_whitespace().map(OsString::from), &nowhere);
    assert_eq!(read("--help"), Ok(Invocation::Help(None)));
    assert_eq!(read("help"), Ok(Invocation::Help(None)));
    assert_eq!(read("help node"), Ok(Invocation::Help(Some("node"))));
    assert_eq!(read("help help"), Ok(Invocation::Help(Some("help"))));
    assert_eq!(read("node --mount /x -h"), Ok(Invocation::Help(Some("node"))));
    assert_eq!(read("join --help"), Ok(Invocation::Help(Some("join"))));
    assert_eq!(read("-V"), Ok(Invocation::Version));
    assert_eq!(read("status --version"), Ok(Invocation::Version));
    assert!(read("status").unwrap_err().to_string().contains("--state DIR"));
}

#[test]
fn the_state_directory_is_chosen_in_order() {
    let mut environment = Environment {
        state: Some("/s".into()),
        xdg_state_home: Some("/xdg".into()),
        home: Some("/home/ann".into()),
        log: None,
    };
    let state = |line: &str, environment: &Environment| globals(line, environment).state;
    assert_eq!(state("--state /f status", &environment), Path::new("/f"));
    assert_eq!(state("status --state=f", &environment), Path::new("f"));
    assert_eq!(state("status", &environment), Path::new("/s"));
    environment.state = Some("".into());
    assert_eq!(state("status", &environment), Path::new("/xdg/dustfs"));
    environment.xdg_state_home = Some("relative".into());
    assert_eq!(state("status", &environment), Path::new("/home/ann/.local/state/dustfs"));
}

#[test]
fn levels_are_chosen_in_order() {
    let logs = |level: &str| Environment { log: Some(level.into()), ..home() };
    assert_eq!(globals("node", &home()).level, LevelFilter::Info);
    assert_eq!(globals("status", &home()).level, LevelFilter::Warn);
    assert_eq!(globals("node -v", &home()).level, LevelFilter::Debug);
    assert_eq!(globals("-vv node", &home()).level, LevelFilter::Trace);
    assert_eq!(globals("node --quiet", &home()).level, LevelFilter::Error);
    assert_eq!(globals("node", &logs("trace")).level, LevelFilter::Trace);
    assert_eq!(globals("node -q", &logs("trace")).level, LevelFilter::Error);
    let loud = parse(["node".into()], &logs("loud"));
    assert!(loud.unwrap_err().to_string().starts_with("DUSTFS_LOG is one of off, error"));
}

#[test]
fn mistakes_are_refused_with_the_nearest_word() {
    let table = [
        ("", "say what to do: init, node, invite,"),
        ("stauts", "there is no command 'stauts': did you mean 'status'?; see `dustfs help`"),
        ("frobnicate", "there is no command 'frobnicate'; see `dustfs help`"),
        ("help nodes", "there is no command 'nodes': did you mean 'node'?"),
        ("help a b", "'b' is one word too many"),
        ("node --muont /x", "there is no option '--muont': did you mean '--mount'?; see `dustfs help node`"),
        ("status --stat /x", "there is no option '--stat': did you mean '--state'?"),
        ("status --xyzzy", "there is no option '--xyzzy'; see `dustfs help status`"),
        ("status --watch", "'--watch' belongs to `transfers`, not to `status`"),
        ("--watch transfers", "'--watch' comes after its command, as in `dustfs transfers --watch`"),
        ("status -x", "there is no option '-x'"),
        ("status now", "'now' is one word too many"),
        ("node --cache=yes", "unexpected argument for option '--cache'"),
        ("node --listen", "'--listen' needs a value"),
        ("node --name=", "the value of '--name' is empty"),
        ("node --cache --cache", "'--cache' was given twice"),
        ("status --state a --state b", "'--state' was given twice"),
        ("node --listen somewhere", "\"somewhere\" is no address to listen on"),
        ("node --fetch all", "'--fetch' is one of everything, ondemand, not 'all'"),
        ("node --name a/b", "the name \"a/b\" cannot be used: "),
        ("invite --role owner", "'--role' is one of keeper, member, reader, cache, not 'owner'"),
        ("invite --minutes 0", "'--minutes' must be 1 to 10080"),
        ("invite --minutes 5m", "'--minutes' must be 1 to 10080"),
        ("init", "`dustfs init` needs --name NAME"),
        ("join", "`dustfs join` needs its INVITE"),
        ("found ..", "the circle \"..\" cannot be used: "),
        ("remove", "`dustfs remove` needs its MEMBER"),
        ("guest seedbox", "`dustfs guest` needs its DIR"),
        ("guest a/b d", "the name \"a/b\" cannot be used: "),
        ("guest a d e", "'e' is one word too many"),
        ("export-torrent a", "`dustfs export-torrent` needs its FILE"),
        ("export-torrent a b --announce attic", "'attic' is no HOST:PORT"),
        (
            "self-test --skip fire",
            "'--skip' is one of threads, files, hashes, seal, formats, ledger, tls, mount, not 'fire'",
        ),
        ("press long", "a press lasts 0 to 30 seconds"),
        ("press NaN", "a press lasts 0 to 30 seconds"),
        ("press 61", "a press lasts 0 to 30 seconds"),
        ("press 1 2", "'2' is one word too many"),
        ("node -q -v", "'-q' and '-v' exclude each other"),
    ];
    for (line, expected) in table {
        let error = refused(line);
        assert!(error.starts_with(expected), "{line}: {error}");
    }
    let long = format!("join {}", "a".repeat(INVITE_MAX + 1));
    assert!(refused(&long).starts_with("an invite has 1 to 4096 bytes, this has 4097"));
}

#[test]
fn what_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = OsString::from_vec(vec![0xff, 0xfe]);
    assert!(parse([bytes.clone()], &home()).is_err());
    assert!(parse(["found".into(), bytes.clone()], &home()).is_err());
    assert!(parse(["init".into(), "--name".into(), bytes], &home()).is_err());
}
