//! Does a command: starts a node, or asks the one that runs, and prints its answer.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::command::{Command, Globals, InviteFrom};
use super::config::NodeConfig;
use super::{CliError, show};
use crate::lan::api::{Call, CircleAnswer, INVITE_MAX, InviteAnswer};
use crate::node::status::{Friend, Status, Transfers};
use crate::os::http::{Client, ClientError};
use crate::os::run;

/// Does a command, and prints to `out`. `Node` returns when the node has ended.
pub fn perform(command: Command, globals: &Globals, out: &mut dyn Write) -> Result<(), CliError> {
    let mut asking = Asking { client: Client::new(&globals.state), globals, out };
    match command {
        Command::Node(flags) => Ok(run::node(NodeConfig::load(&globals.state, flags).map_err(CliError::Config)?)?),
        Command::Init { name } => {
            run::init(&globals.state, &name)?;
            let told = format!("made the node {name} in {}\n", globals.state.display());
            asking.print(&json!({}), |_: &Value| told.clone())
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
        Command::Remove { circle, member } => {
            let told = format!("removed {}\n", show::printable(&member));
            asking.show(&Call::Remove { circle, member }, |_: &Value| told.clone())
        }
        Command::Unmount => asking.show(&Call::Unmount, |_: &Value| "unmounted\n".into()),
        Command::Stop => asking.stop(),
    }
}

fn circle_line(done: &str, answer: &CircleAnswer) -> String {
    format!("{done} the circle {}\n", show::printable(&answer.circle))
}

/// One command on its way.
struct Asking<'a> {
    client: Client,
    globals: &'a Globals,
    out: &'a mut dyn Write,
}

impl Asking<'_> {
    /// Asks once, and prints the answer: as it came with `--json`, else in `words`.
    fn show<T: DeserializeOwned>(&mut self, call: &Call, words: impl Fn(&T) -> String) -> Result<(), CliError> {
        let answer = self.client.ask(call)?;
        self.print(&answer, words)
    }

    fn print<T: DeserializeOwned>(&mut self, answer: &Value, words: impl Fn(&T) -> String) -> Result<(), CliError> {
        if self.globals.json {
            writeln!(self.out, "{answer}")?;
        } else {
            self.out.write_all(words(&decode(answer)?).as_bytes())?;
        }
        Ok(self.out.flush()?)
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

    fn stop(&mut self) -> Result<(), CliError> {
        if !self.client.stop(STOP_PATIENCE)? {
            return Err(CliError::StillRunning(STOP_PATIENCE));
        }
        self.print(&json!({}), |_: &Value| "stopped\n".into())
    }
}

fn decode<T: DeserializeOwned>(answer: &Value) -> Result<T, CliError> {
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
fn bars() -> Option<usize> {
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    io::stdout().is_terminal().then(|| told().unwrap_or(COLUMNS).clamp(20, 400))
}

#[expect(clippy::disallowed_methods, reason = "a person watches: there is nothing to wait for but the next second")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

const COLUMNS: usize = 80;
const WATCH_EVERY: Duration = Duration::from_secs(1);
const STOP_PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_from_standard_input_is_trimmed_and_bounded() {
        assert_eq!(read_invite(&b" abc \n"[..]).unwrap(), "abc");
        assert!(read_invite(&b"\n"[..]).is_err());
        assert!(read_invite(&b"\xff"[..]).is_err());
        assert!(read_invite(io::repeat(b'a')).is_err());
    }
}
