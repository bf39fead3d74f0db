//! Arguments -> a checked [`Invocation`], without touching the system.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lexopt::{Arg, Parser, ValueExt};
use log::LevelFilter;

use super::config::{Fetch, NodeFlags, PanelChoice, address, page_address, quota};
use super::nearest::nearest;
use crate::lan::api::{INVITE_MAX, INVITE_MINUTES, INVITE_MINUTES_MAX, PRESS_MAX_MS, check_host};
use crate::os::selftest::{ITEMS, item_name};
use crate::wire::statement::{Role, check_label};

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invocation {
    /// Help, on a command by its name or on all.
    Help(Option<&'static str>),
    /// The version.
    Version,
    /// A command.
    Run(Globals, Box<Command>),
}

/// What every command takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Globals {
    /// The state directory of the node that is meant.
    pub state: PathBuf,
    /// Answer as JSON, for scripts.
    pub json: bool,
    /// How much is told on standard error.
    pub level: LevelFilter,
}

/// A command with its arguments, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Makes the state of a new node.
    Init {
        /// The node's name for people.
        name: String,
    },
    /// Runs the node.
    Node(NodeFlags),
    /// Opens an invite.
    Invite {
        /// To which circle.
        circle: Option<String>,
        /// As what.
        role: Role,
        /// How long it is open.
        minutes: u32,
    },
    /// Joins a circle.
    Join(InviteFrom),
    /// Founds a circle.
    Found {
        /// Its name.
        name: String,
    },
    /// Tells of the recovery sheet, prints one, or says that it is on paper.
    Sheet {
        /// Print one.
        print: bool,
        /// The last one is on paper: those before it are valid no more.
        written: bool,
    },
    /// Takes the place of a recovery sheet, which is asked for.
    Recover {
        /// Hosts of the circle.
        at: Vec<String>,
    },
    /// Leaves a circle, keeping what is here.
    Leave {
        /// Its name.
        circle: String,
    },
    /// Removes a member for good.
    Remove {
        /// From which circle.
        circle: Option<String>,
        /// Name or start of the device id.
        member: String,
    },
    /// Admits a stock client, or renews its certificate.
    Guest {
        /// To which circle.
        circle: Option<String>,
        /// Its name.
        name: String,
        /// Where its key and certificate are kept.
        directory: PathBuf,
    },
    /// Writes the `.torrent` file of a file.
    ExportTorrent {
        /// The file, in the tree or below the mount.
        path: String,
        /// What is written.
        file: PathBuf,
        /// `HOST:PORT` of its tracker.
        announce: Option<String>,
    },
    /// Tells a file's older versions, or what was deleted below a directory.
    Versions {
        /// In the tree or below the mount; empty means everything.
        path: String,
    },
    /// Puts an older version back.
    Restore {
        /// In the tree or below the mount.
        path: String,
        /// Its number; `None` means the newest.
        version: Option<u64>,
        /// Another path.
        to: Option<String>,
    },
    /// Tells which mass changes are held back, or says what becomes of one.
    Held {
        /// Of which something is said; `None` tells all.
        change: Option<String>,
        /// What it replaced comes back; else it was meant.
        undo: bool,
    },
    /// Checks the vault.
    Check {
        /// Hash everything.
        full: bool,
    },
    /// Copies the state to another disk, while no node runs.
    CopyState {
        /// The new state directory.
        to: PathBuf,
    },
    /// Brings a directory into the tree.
    Import {
        /// The directory.
        from: PathBuf,
        /// Where to, in the tree or below the mount.
        into: Option<String>,
    },
    /// Pins files and directories, or takes pins away.
    Pin {
        /// In the tree or below the mount, at least one.
        paths: Vec<String>,
        /// False takes pins away.
        pinned: bool,
    },
    /// Lets bodies go that enough others hold.
    Free {
        /// In the tree or below the mount, at least one.
        paths: Vec<String>,
    },
    /// Sets the password for WebDAV, or forgets it.
    Password {
        /// Forgets it.
        forget: bool,
    },
    /// A press of the button, for so many milliseconds.
    Press(u32),
    /// Tells how the node is.
    Status,
    /// Tells who the friends are.
    Friends,
    /// Tells what is being fetched.
    Transfers {
        /// Again each second, until all is here.
        watch: bool,
    },
    /// Locks the node.
    Lock {
        /// Sets another passphrase instead.
        change: bool,
    },
    /// Unlocks the node.
    Unlock {
        /// For good: there is no passphrase any more.
        always: bool,
    },
    /// Takes the mount away.
    Unmount,
    /// Ends the node.
    Stop,
    /// Tests this machine and this build.
    SelfTest {
        /// Items to leave out.
        skip: Vec<&'static str>,
    },
}

/// Where an invite's text comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InviteFrom {
    /// The command line, where other users of the machine can see it while the command runs.
    Argument(String),
    /// Standard input.
    Stdin,
}

/// What the process's environment says; read by `os::cli`, so that parsing needs no system.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Environment {
    /// `DUSTFS_STATE`.
    pub state: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `DUSTFS_LOG`.
    pub log: Option<OsString>,
}

/// The command line is wrong: what, and on which command help would be of use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageError {
    what: String,
    command: Option<&'static str>,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command {
            Some(command) => write!(f, "{}; see `dustfs help {command}`", self.what),
            None => write!(f, "{}; see `dustfs help`", self.what),
        }
    }
}

impl std::error::Error for UsageError {}

/// A command's name, the flags that it takes besides the global ones, and what stands behind it, in brackets where it may
/// be left out.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) flags: &'static [&'static str],
    operand: Option<&'static str>,
    second: Option<&'static str>,
    /// More words of the operand's kind may follow it.
    many: bool,
}

impl Spec {
    const fn new(name: &'static str, flags: &'static [&'static str], operand: Option<&'static str>) -> Self {
        Self { name, flags, operand, second: None, many: false }
    }
}

/// Every command.
pub(super) const COMMANDS: [Spec; 31] = [
    Spec::new("init", &["name"], None),
    Spec::new(
        "node",
        &["mount", "cache", "quota", "listen", "name", "fetch", "panel", "page", "problem", "disks", "config"],
        None,
    ),
    Spec::new("invite", &["role", "minutes", "circle"], None),
    Spec::new("join", &[], Some("INVITE")),
    Spec::new("found", &[], Some("NAME")),
    Spec::new("leave", &[], Some("CIRCLE")),
    Spec::new("sheet", &["print", "written"], None),
    Spec::new("recover", &["at"], None),
    Spec::new("remove", &["circle"], Some("MEMBER")),
    Spec { second: Some("DIR"), ..Spec::new("guest", &["circle"], Some("NAME")) },
    Spec { second: Some("FILE"), ..Spec::new("export-torrent", &["announce"], Some("PATH")) },
    Spec::new("versions", &[], Some("[PATH]")),
    Spec { second: Some("[VERSION]"), ..Spec::new("restore", &["to"], Some("PATH")) },
    Spec::new("held", &["accept", "undo"], Some("[CHANGE]")),
    Spec::new("check", &["full"], None),
    Spec::new("copy-state", &[], Some("DIR")),
    Spec { second: Some("[INTO]"), ..Spec::new("import", &[], Some("DIR")) },
    Spec { many: true, ..Spec::new("pin", &[], Some("PATH")) },
    Spec { many: true, ..Spec::new("unpin", &[], Some("PATH")) },
    Spec { many: true, ..Spec::new("free", &[], Some("PATH")) },
    Spec::new("password", &["forget"], None),
    Spec::new("press", &[], Some("[SECONDS]")),
    Spec::new("status", &[], None),
    Spec::new("friends", &[], None),
    Spec::new("transfers", &["watch"], None),
    Spec::new("lock", &["change"], None),
    Spec::new("unlock", &["always"], None),
    Spec::new("unmount", &[], None),
    Spec::new("stop", &[], None),
    Spec::new("self-test", &["skip"], None),
    Spec::new("help", &[], Some("COMMAND")),
];

/// The flags that every command takes.
pub(super) const GLOBAL_FLAGS: [&str; 6] = ["state", "json", "verbose", "quiet", "help", "version"];

/// Reads the arguments, the program's own name left out.
pub fn parse(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> Result<Invocation, UsageError> {
    let mut line = Line::default();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|why| line.wrong(why.to_string()))? {
        match arg {
            Arg::Short('h') => line.help = true,
            Arg::Short('V') => line.version = true,
            Arg::Short('v') => line.verbose = line.verbose.saturating_add(1),
            Arg::Short('q') => line.quiet = true,
            Arg::Short(letter) => return Err(line.wrong(format!("there is no option '-{}'", letter.escape_debug()))),
            Arg::Long(flag) => {
                let flag = flag.to_owned();
                line.flag(&flag, &mut parser)?;
            }
            Arg::Value(value) => line.word(value)?,
        }
    }
    line.finish(environment)
}

/// What was read of the command line so far.
#[derive(Default)]
struct Line {
    spec: Option<&'static Spec>,
    operand: Option<String>,
    second: Option<String>,
    more: Vec<String>,
    announce: Option<String>,
    to: Option<String>,
    help: bool,
    version: bool,
    json: bool,
    verbose: u8,
    quiet: bool,
    state: Option<PathBuf>,
    name: Option<String>,
    circle: Option<String>,
    role: Option<Role>,
    minutes: Option<u32>,
    watch: bool,
    forget: bool,
    full: bool,
    change: bool,
    accept: bool,
    undo: bool,
    always: bool,
    skip: Vec<&'static str>,
    print: bool,
    written: bool,
    at: Vec<String>,
    node: NodeFlags,
}

impl Line {
    fn wrong(&self, what: impl Into<String>) -> UsageError {
        UsageError { what: what.into(), command: self.spec.map(|spec| spec.name) }
    }

    /// A word that is no option: the command, then its operand.
    fn word(&mut self, value: OsString) -> Result<(), UsageError> {
        let word = value.into_string().map_err(|word| self.wrong(format!("{word:?} is no text")))?;
        let Some(spec) = self.spec else {
            let found = COMMANDS.iter().find(|spec| spec.name == word);
            self.spec = Some(found.ok_or_else(|| self.wrong(unknown_command(&word)))?);
            return Ok(());
        };
        match (spec.operand, &self.operand) {
            (Some(_), None) => self.operand = Some(word),
            (Some(_), Some(_)) if spec.second.is_some() && self.second.is_none() => self.second = Some(word),
            (Some(_), Some(_)) if spec.many => self.more.push(word),
            _ => return Err(self.wrong(format!("'{}' is one word too many", word.escape_debug()))),
        }
        Ok(())
    }

    fn flag(&mut self, flag: &str, parser: &mut Parser) -> Result<(), UsageError> {
        match flag {
            "help" => self.help = true,
            "version" => self.version = true,
            "json" => self.json = true,
            "verbose" => self.verbose = self.verbose.saturating_add(1),
            "quiet" => self.quiet = true,
            "state" => {
                let state = PathBuf::from(self.value(flag, parser)?);
                let again = self.state.replace(state).is_some();
                self.once(flag, again)?;
            }
            _ if self.spec.is_some_and(|spec| spec.flags.contains(&flag)) => self.own_flag(flag, parser)?,
            _ => return Err(self.wrong(self.unknown_flag(flag))),
        }
        Ok(())
    }

    /// A flag of the command's own.
    fn own_flag(&mut self, flag: &str, parser: &mut Parser) -> Result<(), UsageError> {
        let again = match flag {
            "watch" => std::mem::replace(&mut self.watch, true),
            "forget" => std::mem::replace(&mut self.forget, true),
            "full" => std::mem::replace(&mut self.full, true),
            "change" => std::mem::replace(&mut self.change, true),
            "accept" => std::mem::replace(&mut self.accept, true),
            "print" => std::mem::replace(&mut self.print, true),
            "written" => std::mem::replace(&mut self.written, true),
            "at" => {
                self.at.push(self.text(flag, parser)?);
                false
            }
            "undo" => std::mem::replace(&mut self.undo, true),
            "always" => std::mem::replace(&mut self.always, true),
            "cache" => std::mem::replace(&mut self.node.cache, true),
            "mount" => self.node.mount.replace(self.value(flag, parser)?.into()).is_some(),
            "config" => self.node.config.replace(self.value(flag, parser)?.into()).is_some(),
            "name" => self.name.replace(self.label("name", &self.text(flag, parser)?)?).is_some(),
            "circle" => self.circle.replace(self.label("circle", &self.text(flag, parser)?)?).is_some(),
            "listen" => {
                self.node.listen.push(self.read(flag, parser, address)?);
                false
            }
            "skip" => {
                let word = self.text(flag, parser)?;
                let names: Vec<&str> = ITEMS.iter().map(|item| item.name).collect();
                self.skip.push(item_name(&word).ok_or_else(|| self.no_such(flag, &word, &names))?);
                false
            }
            "page" => self.node.page.replace(self.read(flag, parser, page_address)?).is_some(),
            "quota" => self.node.quota.replace(self.read(flag, parser, quota)?).is_some(),
            "fetch" => {
                let word = self.text(flag, parser)?;
                let fetch = Fetch::from_word(&word).ok_or_else(|| self.no_such(flag, &word, &Fetch::WORDS))?;
                self.node.fetch.replace(fetch).is_some()
            }
            "panel" => self.node.panel.replace(PanelChoice::from_word(&self.text(flag, parser)?)).is_some(),
            "announce" => {
                let host = self.text(flag, parser)?;
                check_host(&host).map_err(|why| self.wrong(why))?;
                self.announce.replace(host).is_some()
            }
            "to" => self.to.replace(self.text(flag, parser)?).is_some(),
            "disks" => self.node.disks.replace(self.value(flag, parser)?.into()).is_some(),
            "problem" => self.node.problem.replace(self.text(flag, parser)?).is_some(),
            "role" => {
                let word = self.text(flag, parser)?;
                let role = Role::from_word(&word).ok_or_else(|| self.no_such(flag, &word, &ROLES))?;
                self.role.replace(role).is_some()
            }
            _ => {
                let minutes = u32::from_str(&self.text(flag, parser)?)
                    .ok()
                    .filter(|minutes| (1..=INVITE_MINUTES_MAX).contains(minutes))
                    .ok_or_else(|| self.wrong(format!("'--minutes' must be 1 to {INVITE_MINUTES_MAX}")))?;
                self.minutes.replace(minutes).is_some()
            }
        };
        self.once(flag, again)
    }

    fn once(&self, flag: &str, again: bool) -> Result<(), UsageError> {
        if again { Err(self.wrong(format!("'--{flag}' was given twice"))) } else { Ok(()) }
    }

    fn value(&self, flag: &str, parser: &mut Parser) -> Result<OsString, UsageError> {
        let value = parser.value().map_err(|_| self.wrong(format!("'--{flag}' needs a value")))?;
        if value.is_empty() { Err(self.wrong(format!("the value of '--{flag}' is empty"))) } else { Ok(value) }
    }

    fn text(&self, flag: &str, parser: &mut Parser) -> Result<String, UsageError> {
        self.value(flag, parser)?.string().map_err(|why| self.wrong(why.to_string()))
    }

    fn read<T>(&self, flag: &str, parser: &mut Parser, of: fn(&str) -> Result<T, String>) -> Result<T, UsageError> {
        of(&self.text(flag, parser)?).map_err(|why| self.wrong(why))
    }

    fn label(&self, what: &str, name: &str) -> Result<String, UsageError> {
        check_label(name).map_err(|why| self.wrong(format!("the {what} {name:?} cannot be used: {why}")))?;
        Ok(name.to_owned())
    }

    fn no_such(&self, flag: &str, word: &str, words: &[&str]) -> UsageError {
        let known = words.join(", ");
        self.wrong(format!("'--{flag}' is one of {known}, not '{}'", word.escape_debug()))
    }

    fn unknown_flag(&self, flag: &str) -> String {
        let shown = flag.escape_debug();
        let own = self.spec.map_or(&[][..], |spec| spec.flags);
        let known: Vec<&str> = own.iter().chain(&GLOBAL_FLAGS).copied().collect();
        if let Some(near) = nearest(flag, &known) {
            return format!("there is no option '--{shown}': did you mean '--{near}'?");
        }
        match (self.spec, COMMANDS.iter().find(|spec| spec.flags.contains(&flag))) {
            (None, Some(owner)) => {
                format!("'--{shown}' comes after its command, as in `dustfs {} --{shown}`", owner.name)
            }
            (Some(spec), Some(owner)) => format!("'--{shown}' belongs to `{}`, not to `{}`", owner.name, spec.name),
            (_, None) => format!("there is no option '--{shown}'"),
        }
    }

    fn finish(mut self, environment: &Environment) -> Result<Invocation, UsageError> {
        if self.version {
            return Ok(Invocation::Version);
        }
        let Some(spec) = self.spec else {
            if self.help {
                return Ok(Invocation::Help(None));
            }
            let names: Vec<&str> = COMMANDS.iter().map(|spec| spec.name).collect();
            return Err(self.wrong(format!("say what to do: {}", names.join(", "))));
        };
        if spec.name == "help" {
            let Some(topic) = self.operand.take() else { return Ok(Invocation::Help(None)) };
            let found = COMMANDS.iter().find(|spec| spec.name == topic);
            return found
                .map(|spec| Invocation::Help(Some(spec.name)))
                .ok_or_else(|| UsageError { what: unknown_command(&topic), command: None });
        }
        if self.help {
            return Ok(Invocation::Help(Some(spec.name)));
        }
        let globals =
            Globals { state: self.state(environment)?, json: self.json, level: self.level(spec.name, environment)? };
        Ok(Invocation::Run(globals, Box::new(self.command(spec)?)))
    }

    fn command(mut self, spec: &'static Spec) -> Result<Command, UsageError> {
        let operand = match (spec.operand, self.operand.take()) {
            (Some(what), None) if !what.starts_with('[') => {
                return Err(self.wrong(format!("`dustfs {}` needs its {what}", spec.name)));
            }
            (_, operand) => operand.unwrap_or_default(),
        };
        let second = match (spec.second, self.second.take()) {
            (Some(what), None) if !what.starts_with('[') => {
                return Err(self.wrong(format!("`dustfs {}` needs its {what}", spec.name)));
            }
            (_, second) => second.unwrap_or_default(),
        };
        Ok(match spec.name {
            "init" => {
                Command::Init { name: self.name.take().ok_or_else(|| self.wrong("`dustfs init` needs --name NAME"))? }
            }
            "node" => Command::Node(self.node_flags()?),
            "invite" => Command::Invite {
                circle: self.circle,
                role: self.role.unwrap_or(Role::Member),
                minutes: self.minutes.unwrap_or(INVITE_MINUTES),
            },
            "join" => Command::Join(self.invite(operand)?),
            "found" => Command::Found { name: self.label("circle", &operand)? },
            "sheet" if self.print && self.written => {
                return Err(self.wrong("--written is given once the sheet is on paper, and so not with --print"));
            }
            "sheet" => Command::Sheet { print: self.print, written: self.written },
            "recover" => Command::Recover { at: self.at },
            "leave" => Command::Leave { circle: self.label("circle", &operand)? },
            "remove" => Command::Remove { member: self.label("member", &operand)?, circle: self.circle },
            "guest" => {
                Command::Guest { name: self.label("name", &operand)?, directory: second.into(), circle: self.circle }
            }
            "export-torrent" => Command::ExportTorrent { path: operand, file: second.into(), announce: self.announce },
            "versions" => Command::Versions { path: operand },
            "restore" => Command::Restore { version: self.version_number(&second)?, path: operand, to: self.to },
            "held" => {
                let change = Some(operand).filter(|change| !change.is_empty());
                if usize::from(self.accept) + usize::from(self.undo) != usize::from(change.is_some()) {
                    return Err(self.wrong("a change is followed by either --accept or --undo"));
                }
                Command::Held { change, undo: self.undo }
            }
            "copy-state" => Command::CopyState { to: operand.into() },
            "check" => Command::Check { full: self.full },
            "import" => Command::Import { from: operand.into(), into: Some(second).filter(|into| !into.is_empty()) },
            "pin" => Command::Pin { paths: self.paths(operand), pinned: true },
            "unpin" => Command::Pin { paths: self.paths(operand), pinned: false },
            "free" => Command::Free { paths: self.paths(operand) },
            "password" => Command::Password { forget: self.forget },
            "press" => Command::Press(self.milliseconds(&operand)?),
            "status" => Command::Status,
            "friends" => Command::Friends,
            "transfers" => Command::Transfers { watch: self.watch },
            "lock" => Command::Lock { change: self.change },
            "unlock" => Command::Unlock { always: self.always },
            "unmount" => Command::Unmount,
            "self-test" => Command::SelfTest { skip: self.skip },
            _ => Command::Stop,
        })
    }

    fn paths(&mut self, first: String) -> Vec<String> {
        std::iter::once(first).chain(std::mem::take(&mut self.more)).collect()
    }

    fn version_number(&self, text: &str) -> Result<Option<u64>, UsageError> {
        if text.is_empty() {
            return Ok(None);
        }
        let number = u64::from_str(text).ok().filter(|number| *number > 0);
        Ok(Some(number.ok_or_else(|| self.wrong("a version is named by its number in `dustfs versions`"))?))
    }

    /// How long a press lasts: nothing means a short one.
    fn milliseconds(&self, seconds: &str) -> Result<u32, UsageError> {
        if seconds.is_empty() {
            return Ok(PRESS_MS);
        }
        let seconds = f64::from_str(seconds).ok().filter(|seconds| (0.0..=PRESS_MAX_S).contains(seconds));
        let seconds = seconds.ok_or_else(|| self.wrong(format!("a press lasts 0 to {PRESS_MAX_S} seconds")))?;
        Ok((seconds * 1_000.0).round() as u32)
    }

    fn node_flags(self) -> Result<NodeFlags, UsageError> {
        if self.node.mount.is_some() && self.node.cache {
            return Err(self.wrong("'--cache' and '--mount' exclude each other: a cache can read nothing"));
        }
        if self.node.mount.is_some() && cfg!(not(feature = "mount")) {
            return Err(self.wrong("this build cannot mount: build it with the feature 'mount'"));
        }
        if self.node.panel.as_ref().is_some_and(|panel| *panel != PanelChoice::None) && cfg!(not(feature = "panel")) {
            return Err(self.wrong("this build has no panel: build it with the feature 'panel'"));
        }
        if self.node.page.is_some() && cfg!(not(feature = "lan")) {
            return Err(self.wrong("this build has no page: build it with the feature 'lan'"));
        }
        Ok(NodeFlags { name: self.name, ..self.node })
    }

    fn invite(&self, operand: String) -> Result<InviteFrom, UsageError> {
        let invite = operand.trim();
        if invite == "-" {
            return Ok(InviteFrom::Stdin);
        }
        if invite.is_empty() || invite.len() > INVITE_MAX {
            return Err(self.wrong(format!("an invite has 1 to {INVITE_MAX} bytes, this has {}", invite.len())));
        }
        Ok(InviteFrom::Argument(invite.to_owned()))
    }

    /// The state directory: the flag, else `DUSTFS_STATE`, else the XDG base directory specification's place.
    fn state(&self, environment: &Environment) -> Result<PathBuf, UsageError> {
        let set = |value: &Option<OsString>| value.as_ref().filter(|value| !value.is_empty()).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        self.state
            .clone()
            .or_else(|| set(&environment.state))
            .or_else(|| set(&environment.xdg_state_home).filter(absolute).map(|base| base.join("dustfs")))
            .or_else(|| set(&environment.home).filter(absolute).map(|home| home.join(Path::new(".local/state/dustfs"))))
            .ok_or_else(|| self.wrong("there is no home directory to keep the state in: choose one with --state DIR"))
    }

    fn level(&self, command: &str, environment: &Environment) -> Result<LevelFilter, UsageError> {
        if self.quiet && self.verbose > 0 {
            return Err(self.wrong("'-q' and '-v' exclude each other"));
        }
        let usual = if command == "node" { LevelFilter::Info } else { LevelFilter::Warn };
        match (self.quiet, self.verbose) {
            (true, _) => Ok(LevelFilter::Error),
            (_, 1) => Ok(LevelFilter::Debug),
            (_, 2..) => Ok(LevelFilter::Trace),
            _ => match environment.log.as_ref().filter(|word| !word.is_empty()) {
                None => Ok(usual),
                Some(word) => word.to_str().and_then(|word| LevelFilter::from_str(word).ok()).ok_or_else(|| {
                    self.wrong(format!("DUSTFS_LOG is one of off, error, warn, info, debug, trace, not {word:?}"))
                }),
            },
        }
    }
}

fn unknown_command(word: &str) -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|spec| spec.name).collect();
    let shown: String = word.escape_debug().take(40).collect();
    match nearest(word, &names) {
        Some(near) => format!("there is no command '{shown}': did you mean '{near}'?"),
        None => format!("there is no command '{shown}'"),
    }
}

/// A press that is short, in milliseconds.
const PRESS_MS: u32 = 200;
/// The longest press, in seconds.
const PRESS_MAX_S: f64 = PRESS_MAX_MS as f64 / 1e3;
const ROLES: [&str; 4] = ["keeper", "member", "reader", "cache"];

#[cfg(test)]
mod tests;
