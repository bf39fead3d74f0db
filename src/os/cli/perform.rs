//! Does a command: starts a node, or asks the one that runs, and prints its answer.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::command::{Command, Globals, InviteFrom};
use super::config::NodeConfig;
use super::{CliError, guest, secret, sheet, show};
use crate::lan::api::{Call, CertificateAnswer, CircleAnswer, INVITE_MAX, InviteAnswer, RestoredAnswer, TorrentAnswer};
use crate::node::status::{CheckStatus, Freed, Friend, Status, Transfers, Versions};
use crate::os::copy::copy_state;
use crate::os::http::{Client, ClientError};
use crate::os::run;
use crate::os::selftest::{self, ITEMS, Outcome, Tested};

/// Does a command, and prints to `out`. `Node` returns when the node has ended.
pub fn perform(command: Command, globals: &Globals, out: &mut dyn Write) -> Result<(), CliError> {
    let mut asking = Asking { client: Client::new(&globals.state), globals, out };
    match command {
        Command::Node(flags) => Ok(run::node(NodeConfig::load(&globals.state, flags).map_err(CliError::Config)?)?),
        Command::Init { name } => {
            run::init(&globals.state, &name)?;
            let told = format!("made the node {name} in {}\n", globals.state.display());
            asking.say(&told)
        }
        Command::Status => asking.show(&Call::Status, |status: &Status| show::status(status)),
        Command::Friends => asking.show(&Call::Friends, |friends: &Vec<Friend>| show::friends(friends)),
        Command::Transfers { watch: true } => asking.watch(),
        Command::Transfers { watch: false } => {
            asking.show(&Call::Transfers, |transfers: &Transfers| show::transfers(transfers, bars()))
        }
        Command::Invite { circle, role, minutes } => asking.invite(&Call::Invite { circle, role, minutes }, minutes),
        Command::Join(from) => asking.join(&from),
        Command::Found { name } => {
            asking.show(&Call::Found { name }, |answer: &CircleAnswer| circle_line("founded", answer))
        }
        Command::Sheet { print: true, .. } => asking.print_sheet(),
        Command::Sheet { written: true, .. } => asking.sheet_written(),
        Command::Sheet { .. } => asking.show(&Call::Status, sheet::standing),
        Command::Recover { at } => asking.recover(at),
        Command::Leave { circle } => {
            let told = format!("left {}: what is here stays\n", show::printable(&circle));
            asking.show(&Call::Leave { circle }, |_: &Value| told.clone())
        }
        Command::Remove { circle, member } => {
            let told = format!("removed {}\n", show::printable(&member));
            asking.show(&Call::Remove { circle, member }, |_: &Value| told.clone())
        }
        Command::Guest { circle, name, directory } => asking.guest(circle, name, &directory),
        Command::ExportTorrent { path, file, announce } => asking.export_torrent(path, announce, &file),
        Command::Versions { path } => {
            let path = if path.is_empty() { path } else { asking.in_tree(path)? };
            let shown = path.clone();
            asking.show(&Call::Versions { path }, |versions: &Versions| show::versions(&shown, versions))
        }
        Command::Pin { paths, pinned } => asking.pin(paths, pinned),
        Command::Free { paths } => asking.free(paths),
        Command::Restore { path, version, to } => asking.restore(path, version, to),
        Command::Held { change: None, .. } => asking.show(&Call::Status, |status: &Status| show::held(&status.held)),
        Command::Held { change: Some(id), undo } => asking.settle(id, undo),
        Command::Check { full } => asking.check(full),
        Command::CopyState { to } => asking.copy_state(&to),
        Command::Import { from, into } => asking.import(&from, into),
        Command::Password { forget } => asking.password(forget),
        Command::Press(milliseconds) => asking.press(milliseconds),
        Command::Unmount => asking.show(&Call::Unmount, |_: &Value| "unmounted\n".into()),
        Command::Lock { change } => asking.lock(change),
        Command::Unlock { always } => asking.unlock(always),
        Command::Stop => asking.stop(),
        Command::SelfTest { skip } => asking.self_test(&skip),
    }
}

fn circle_line(done: &str, answer: &CircleAnswer) -> String {
    format!("{done} the circle {}\n", show::printable(&answer.circle))
}

/// One command on its way.
pub(super) struct Asking<'a> {
    pub(super) client: Client,
    pub(super) globals: &'a Globals,
    pub(super) out: &'a mut dyn Write,
}

impl Asking<'_> {
    /// Asks once, and prints the answer: as it came with `--json`, else in `words`.
    pub(super) fn show<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        words: impl Fn(&T) -> String,
    ) -> Result<(), CliError> {
        let answer = self.client.ask(call)?;
        self.print(&answer, words)
    }

    pub(super) fn print<T: DeserializeOwned>(
        &mut self,
        answer: &Value,
        words: impl Fn(&T) -> String,
    ) -> Result<(), CliError> {
        if self.globals.json {
            writeln!(self.out, "{answer}")?;
        } else {
            self.out.write_all(words(&decode(answer)?).as_bytes())?;
        }
        Ok(self.out.flush()?)
    }

    /// Says in words that something is done; with `--json`, `{}`.
    pub(super) fn say(&mut self, words: &str) -> Result<(), CliError> {
        self.print(&json!({}), |_: &Value| words.to_owned())
    }

    /// Shows the transfers each second until all are here: over the last picture on a terminal, else below it.
    fn watch(&mut self) -> Result<(), CliError> {
        let mut drawn = 0;
        loop {
            let answer = self.client.ask(&Call::Transfers)?;
            let transfers: Transfers = decode(&answer)?;
            if drawn > 0 {
                // Up by what was drawn, then clear to the end of the screen (ECMA-48 CUU, ED).
                write!(self.out, "\x1b[{drawn}A\x1b[J")?;
            }
            let bars = bars();
            let picture = show::transfers(&transfers, bars);
            self.print(&answer, |_: &Value| picture.clone())?;
            drawn = if bars.is_some() && !self.globals.json { picture.lines().count() } else { 0 };
            if show::complete(&transfers) {
                return Ok(());
            }
            pause(WATCH_EVERY);
        }
    }

    /// The invite's line is all that goes to standard output, so that a script can pass it on.
    fn invite(&mut self, call: &Call, minutes: u32) -> Result<(), CliError> {
        self.show(call, |answer: &InviteAnswer| format!("{}\n", show::printable(&answer.invite)))?;
        if !self.globals.json && log::log_enabled!(log::Level::Warn) {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "give this line to one friend, over a channel that you trust; it is open for {minutes} minutes"
            );
        }
        Ok(())
    }

    /// Joins through the node; where none runs, without one.
    fn join(&mut self, from: &InviteFrom) -> Result<(), CliError> {
        let invite = match from {
            InviteFrom::Argument(invite) => invite.clone(),
            InviteFrom::Stdin => read_invite(io::stdin().lock())?,
        };
        let answer = match self.client.ask(&Call::Join { invite: invite.clone() }) {
            Err(ClientError::NoNode(_)) => {
                json!(CircleAnswer { circle: run::join_offline(&self.globals.state, &invite)? })
            }
            answered => answered?,
        };
        self.print(&answer, |answer: &CircleAnswer| circle_line("joined", answer))
    }

    /// Each item is named before it is tested: where it ends the program, the last line says which it was.
    fn self_test(&mut self, skip: &[&'static str]) -> Result<(), CliError> {
        let mut all = Vec::new();
        for item in ITEMS {
            if !self.globals.json {
                write!(self.out, "{:<8} ", item.name)?;
                self.out.flush()?;
            }
            let tested = if skip.contains(&item.name) {
                Tested { name: item.name, outcome: Outcome::Skipped, told: "left out by --skip".into() }
            } else {
                selftest::test(item)
            };
            if !self.globals.json {
                writeln!(self.out, "{}", tested.words())?;
            }
            all.push(tested);
        }
        if self.globals.json {
            writeln!(self.out, "{}", json!(all))?;
        }
        match all.iter().filter(|tested| tested.outcome == Outcome::Failed).count() {
            0 => Ok(()),
            failed => Err(CliError::SelfTest(failed)),
        }
    }

    /// The key is made here, and is told to nobody; the node certifies it.
    fn guest(&mut self, circle: Option<String>, name: String, directory: &Path) -> Result<(), CliError> {
        let key = guest::key(directory)?;
        let told = format!("certified {}: it ends in 90 days\n", show::printable(&name));
        let answer = self.client.ask(&Call::Guest { circle, name, key })?;
        let CertificateAnswer { certificate } = decode(&answer)?;
        guest::write_certificate(directory, &certificate)?;
        self.print(&json!({}), |_: &Value| told.clone())
    }

    fn export_torrent(&mut self, path: String, announce: Option<String>, file: &Path) -> Result<(), CliError> {
        let path = self.in_tree(path)?;
        let TorrentAnswer { torrent } = decode(&self.client.ask(&Call::ExportTorrent { path, announce })?)?;
        let bytes = BASE64.decode(torrent.as_bytes()).map_err(|why| ClientError::Strange(why.to_string()))?;
        guest::write(file, &bytes, 0o644)?;
        let told = format!("wrote {}\n", file.display());
        self.print(&json!({}), |_: &Value| told.clone())
    }

    fn restore(&mut self, path: String, version: Option<u64>, to: Option<String>) -> Result<(), CliError> {
        let path = self.in_tree(path)?;
        let to = to.map(|to| self.in_tree(to)).transpose()?;
        self.show(&Call::Restore { path, version, to }, |answer: &RestoredAnswer| {
            format!("put back {}\n", show::files(answer.restored))
        })
    }

    fn settle(&mut self, id: String, undo: bool) -> Result<(), CliError> {
        let answer = self.client.ask(&Call::Held { id: id.clone(), undo })?;
        let status: Status = decode(&self.client.ask(&Call::Status)?)?;
        let rest = match status.held.iter().any(|held| held.id == id) {
            true => "not all is back: what has a name of it now must be moved away first, then undo it again\n",
            false => "",
        };
        self.print(&answer, |answer: &RestoredAnswer| match undo {
            true => format!("put back {}\n{rest}", show::files(answer.restored)),
            false => "what it replaced goes with time, as after any change\n".into(),
        })
    }

    /// On a terminal, with how far it is.
    fn copy_state(&mut self, to: &Path) -> Result<(), CliError> {
        let draws = bars().is_some() && !self.globals.json;
        let mut line = |done: u64, total: u64| {
            if draws {
                // Where nobody sees it, there is nobody to tell.
                let _ = write!(self.out, "\r\x1b[K{} of {}", show::size(done), show::size(total));
                let _ = self.out.flush();
            }
        };
        let bytes = copy_state(&self.globals.state, to, &mut line)?;
        if draws {
            writeln!(self.out)?;
        }
        let (to, size) = (to.display(), show::size(bytes));
        self.say(&format!(
            "copied {size} to {to}: start the node with --state {to}, let `dustfs check --full` read it, then delete the old one\n"
        ))
    }

    /// Waits until the check has ended; on a terminal, with how far it is.
    fn check(&mut self, full: bool) -> Result<(), CliError> {
        self.client.ask(&Call::StartCheck { full })?;
        let bars = bars().filter(|_| !self.globals.json);
        loop {
            let answer = self.client.ask(&Call::Check)?;
            let check: CheckStatus = decode(&answer)?;
            if bars.is_some() && check.full {
                // Over the last picture, to the end of the line (ECMA-48 EL).
                write!(self.out, "\r\x1b[K{}", show::check_progress(&check))?;
                self.out.flush()?;
            }
            if !check.running {
                if bars.is_some() && check.full {
                    writeln!(self.out)?;
                }
                self.print(&answer, show::check)?;
                let found = check.damaged.len() + check.notes.len();
                return if found == 0 { Ok(()) } else { Err(CliError::Check(found)) };
            }
            pause(CHECK_EVERY);
        }
    }

    fn pin(&mut self, paths: Vec<String>, pinned: bool) -> Result<(), CliError> {
        for path in paths {
            let shown = show::printable(&path);
            let told = match pinned {
                true => format!("{shown} is pinned: all of it is fetched, and stays\n"),
                false => format!("{shown} is not pinned any more\n"),
            };
            let path = self.in_tree(path)?;
            self.show(&Call::Pin { path, pinned }, |_: &Value| told.clone())?;
        }
        Ok(())
    }

    /// Each path by itself: what of the others went is gone, also when one is refused.
    fn free(&mut self, paths: Vec<String>) -> Result<(), CliError> {
        for path in paths {
            let (path, shown) = (self.in_tree(path.clone())?, path);
            self.show(&Call::Free { path }, |freed: &Freed| show::freed(&shown, freed))?;
        }
        Ok(())
    }

    /// A path below the mount is told as the tree has it.
    pub(super) fn in_tree(&self, path: String) -> Result<String, CliError> {
        let absolute = std::path::absolute(&path)?;
        let status: Status = decode(&self.client.ask(&Call::Status)?)?;
        let below = status.mount.and_then(|mount| Some(absolute.strip_prefix(mount).ok()?.to_str()?.to_owned()));
        Ok(below.unwrap_or(path))
    }

    fn password(&mut self, forget: bool) -> Result<(), CliError> {
        let text = if forget { None } else { Some(secret::ask_new("the password for WebDAV")?) };
        let told = match forget {
            true => "the password is gone, and WebDAV is closed\n",
            false => "the password is set; the name that goes with it is 'dustfs'\n",
        };
        self.show(&Call::Password { text }, |_: &Value| told.into())
    }

    fn press(&mut self, held_ms: u32) -> Result<(), CliError> {
        let told = if held_ms < 2_000 { "pressed" } else { "held" };
        self.show(&Call::Press { held_ms }, |_: &Value| format!("{told}: `dustfs status` shows what came of it\n"))
    }

    fn stop(&mut self) -> Result<(), CliError> {
        if !self.client.stop(STOP_PATIENCE)? {
            return Err(CliError::StillRunning(STOP_PATIENCE));
        }
        self.say("stopped\n")
    }
}

pub(super) fn decode<T: DeserializeOwned>(answer: &Value) -> Result<T, CliError> {
    Ok(T::deserialize(answer).map_err(|why| ClientError::Strange(why.to_string()))?)
}

fn read_invite(input: impl Read) -> Result<String, CliError> {
    let mut text = String::new();
    input.take(INVITE_MAX as u64 + 2).read_to_string(&mut text).map_err(CliError::Input)?;
    let invite = text.trim();
    if invite.is_empty() || invite.len() > INVITE_MAX {
        let why = format!("an invite has 1 to {INVITE_MAX} bytes");
        return Err(CliError::Input(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    Ok(invite.to_owned())
}

/// The terminal's width where standard output is one.
pub(super) fn bars() -> Option<usize> {
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    io::stdout().is_terminal().then(|| told().unwrap_or(COLUMNS).clamp(20, 400))
}

#[expect(clippy::disallowed_methods, reason = "a person watches: there is nothing to wait for but the next second")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

const COLUMNS: usize = 80;
const CHECK_EVERY: Duration = Duration::from_millis(200);
const WATCH_EVERY: Duration = Duration::from_secs(1);
const STOP_PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use log::LevelFilter;
    use tokio::sync::Notify;

    use super::*;
    use crate::lan::api::{ApiError, Outcome};
    use crate::node::status::{Source, Transfer};
    use crate::os::http::tests::{Running, State};
    use crate::wire::statement::Role;

    /// A node that has 1 MiB more of its only transfer each time it is asked.
    fn node(state: &State) -> Running {
        let (stop, have) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let stopped = stop.clone();
        let handler: crate::os::http::Handler = Arc::new(move |call| {
            let (stop, have) = (stopped.clone(), have.clone());
            Box::pin(async move {
                match call {
                    Call::Transfers => {
                        Ok(Outcome::Transfers(transfers(have.fetch_add(1, Ordering::Relaxed) as u64 + 1)))
                    }
                    Call::Friends => Ok(Outcome::Friends(Vec::new())),
                    Call::Invite { circle: None, role: Role::Member, minutes: 60 } => {
                        Ok(Outcome::Invite("line".into()))
                    }
                    Call::Found { name } => Ok(Outcome::Circle(name)),
                    Call::Join { .. } => Ok(Outcome::Circle("Fr\u{1b}iends".into())),
                    Call::Stop => {
                        stop.notify_one();
                        Ok(Outcome::Done)
                    }
                    Call::Status => Ok(Outcome::Done),
                    _ => Err(ApiError::new(409, "no")),
                }
            })
        });
        Running::with(&state.0, stop, handler)
    }

    fn transfers(have_mib: u64) -> Transfers {
        let source = Source { name: "bob".into(), bytes: have_mib << 20 };
        let transfer = Transfer {
            info_hash: "00".repeat(20),
            circle: "Friends".into(),
            name: Some("film".into()),
            have_bytes: have_mib << 20,
            total_bytes: 2 << 20,
            rate_down: 1 << 20,
            sources: vec![source],
        };
        Transfers { transfers: vec![transfer], traffic: Vec::new() }
    }

    fn told(state: &State, json: bool, command: Command) -> Result<String, CliError> {
        let globals = Globals { state: state.0.clone(), json, level: LevelFilter::Warn };
        let mut out = Vec::new();
        perform(command, &globals, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn answers_are_told_in_words_or_as_json() {
        let state = State::new();
        let _node = node(&state);
        let invite = || Command::Invite { circle: None, role: Role::Member, minutes: 60 };
        assert_eq!(told(&state, false, invite()).unwrap(), "line\n");
        assert_eq!(told(&state, true, invite()).unwrap(), "{\"invite\":\"line\"}\n");
        let found = Command::Found { name: "Skiers".into() };
        assert_eq!(told(&state, false, found).unwrap(), "founded the circle Skiers\n");
        let join = Command::Join(InviteFrom::Argument("x".into()));
        assert_eq!(told(&state, false, join).unwrap(), "joined the circle Fr\u{fffd}iends\n");
        assert!(told(&state, false, Command::Friends).unwrap().starts_with("no friends yet"));
        assert_eq!(told(&state, true, Command::Friends).unwrap(), "[]\n");
    }

    #[test]
    fn refusals_and_strange_answers_are_errors() {
        let state = State::new();
        let _node = node(&state);
        let refused = told(&state, false, Command::Unmount).unwrap_err();
        assert!(matches!(refused, CliError::Client(ClientError::Refused(409, ..))), "{refused}");
        let strange = told(&state, false, Command::Status).unwrap_err();
        assert!(matches!(strange, CliError::Client(ClientError::Strange(_))), "{strange}");
    }

    #[test]
    fn a_watch_ends_when_all_is_here() {
        let state = State::new();
        let _node = node(&state);
        let lines = told(&state, true, Command::Transfers { watch: true }).unwrap();
        assert_eq!(lines.lines().count(), 2);
        let words = told(&state, false, Command::Transfers { watch: true }).unwrap();
        assert!(words.contains("Friends/film") && words.contains("100%") && words.contains("done"), "{words}");
    }

    #[test]
    fn a_stop_is_waited_for_and_then_no_node_runs() {
        let state = State::new();
        let _node = node(&state);
        assert_eq!(told(&state, false, Command::Stop).unwrap(), "stopped\n");
        let none = told(&state, false, Command::Friends).unwrap_err();
        assert_eq!(none.exit_code(), 3);
    }

    #[test]
    fn an_invite_from_standard_input_is_trimmed_and_bounded() {
        assert_eq!(read_invite(&b" abc \n"[..]).unwrap(), "abc");
        assert!(read_invite(&b"\n"[..]).is_err());
        assert!(read_invite(&b"\xff"[..]).is_err());
        assert!(read_invite(io::repeat(b'a')).is_err());
    }
}
