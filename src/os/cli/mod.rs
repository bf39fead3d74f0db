//! The command line: arguments and the config file to checked types, the commands to the node, its answers to words.

pub mod command;
pub mod config;
pub mod guest;
mod help;
mod import;
mod locking;
pub mod logger;
mod nearest;
mod perform;
mod quota;
mod secret;
mod sheet;
pub mod show;

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::lan::api::ErrorAnswer;
use crate::os::copy;
use crate::os::http::ClientError;
use crate::os::run;
pub use command::{Command, Environment, Globals, Invocation, UsageError, parse};
use config::ConfigError;
use perform::perform;

/// Why a command was not done.
#[derive(Debug)]
pub enum CliError {
    /// The command line is wrong.
    Usage(UsageError),
    /// The config file is wrong.
    Config(ConfigError),
    /// The node did not answer, or refused.
    Client(ClientError),
    /// The node could not be started, or failed.
    Run(run::RunError),
    /// The node said that it stops, and did not end in this time.
    StillRunning(Duration),
    /// The node was to start anew, and does not answer since this time.
    NotBack(Duration),
    /// So much was not imported.
    Import(u64),
    /// An import was given up: why.
    ImportStopped(String),
    /// So many items of the self-test do not hold.
    SelfTest(usize),
    /// The state was not copied.
    Copy(copy::CopyError),
    /// A check found so much.
    Check(usize),
    /// Standard input could not be read.
    Input(io::Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// A file of the operator's cannot be read or written: which, and why.
    File(PathBuf, String),
}

impl CliError {
    /// The exit code, as the help tells it: 1 failed, 2 wrong usage, 3 no node.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) | CliError::Config(_) => 2,
            CliError::Client(ClientError::NoNode(_)) => 3,
            _ => 1,
        }
    }

    /// Whoever read our output stopped reading, as `head` does: no reason to complain.
    fn is_silent(&self) -> bool {
        matches!(self, CliError::Output(why) if why.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Usage(error) => error.fmt(f),
            CliError::Config(error) => error.fmt(f),
            CliError::Client(error) => error.fmt(f),
            CliError::Run(error) => error.fmt(f),
            CliError::Copy(error) => error.fmt(f),
            CliError::StillRunning(time) => {
                write!(f, "the node is stopping, but has not ended within {} s: look at its log", time.as_secs())
            }
            CliError::NotBack(time) => {
                write!(f, "the node has not come back within {} s: look at its log, and start it", time.as_secs())
            }
            CliError::Import(1) => f.write_str("one was not imported, as told above"),
            CliError::Import(failed) => write!(f, "{failed} were not imported, as told above"),
            CliError::ImportStopped(why) => {
                write!(f, "the import was given up: {why}; the same command goes on where it was")
            }
            CliError::SelfTest(failed) => {
                write!(
                    f,
                    "the self-test failed in {failed} of its items: do not trust this build on this machine with data"
                )
            }
            CliError::Check(found) => write!(f, "the check found {found}, as listed"),
            CliError::Input(_) => f.write_str("standard input cannot be read"),
            CliError::Output(_) => f.write_str("standard output cannot be written"),
            CliError::File(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
        }
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CliError::Usage(error) => error.source(),
            CliError::Config(error) => error.source(),
            CliError::Client(error) => error.source(),
            CliError::Run(error) => error.source(),
            CliError::Copy(error) => error.source(),
            CliError::StillRunning(_)
            | CliError::NotBack(_)
            | CliError::SelfTest(_)
            | CliError::Check(_)
            | CliError::File(..) => None,
            CliError::Import(_) | CliError::ImportStopped(_) => None,
            CliError::Input(error) | CliError::Output(error) => Some(error),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        CliError::Client(error)
    }
}

impl From<run::RunError> for CliError {
    fn from(error: run::RunError) -> Self {
        CliError::Run(error)
    }
}

impl From<copy::CopyError> for CliError {
    fn from(error: copy::CopyError) -> Self {
        CliError::Copy(error)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        CliError::Output(error)
    }
}

/// A [`CliError`] and how it is to be told.
#[derive(Debug)]
pub struct Failure {
    /// What failed.
    pub error: CliError,
    json: bool,
}

impl Failure {
    /// What goes to standard error, with its line's end: the chain of errors, or an object of the API's form.
    pub fn told(&self) -> String {
        if self.error.is_silent() {
            return String::new();
        }
        if self.json {
            let (error, remedy) = match &self.error {
                CliError::Client(ClientError::Refused(_, error, remedy)) => (error.clone(), remedy.clone()),
                error => (chain(error), None),
            };
            return format!("{}\n", json!(ErrorAnswer { error, remedy }));
        }
        format!("dustfs: {}\n", show::printable(&chain(&self.error)))
    }
}

/// The error and what caused it, each after a colon.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        Self {
            state: std::env::var_os("DUSTFS_STATE"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
            home: std::env::var_os("HOME"),
            log: std::env::var_os("DUSTFS_LOG"),
        }
    }
}

/// Does what the arguments ask for, the program's own name left out.
pub fn run(args: Vec<OsString>) -> Result<(), Failure> {
    let json = args.iter().any(|arg| arg == "--json");
    let mut out = io::stdout();
    match parse(args, &Environment::of_process()) {
        Ok(Invocation::Help(topic)) => out.write_all(help::help(topic).as_bytes()).map_err(CliError::Output),
        Ok(Invocation::Version) => writeln!(out, "dustfs {}", env!("CARGO_PKG_VERSION")).map_err(CliError::Output),
        Ok(Invocation::Run(globals, command)) => {
            logger::start(globals.level);
            perform(*command, &globals, &mut out)
        }
        Err(error) => Err(CliError::Usage(error)),
    }
    .map_err(|error| Failure { error, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: CliError, json: bool) -> Failure {
        Failure { error, json }
    }

    #[test]
    fn exit_codes_are_those_that_the_help_tells() {
        let usage = parse(["no-such".into()], &Environment::default()).unwrap_err();
        assert_eq!(CliError::Usage(usage).exit_code(), 2);
        assert_eq!(CliError::Config(ConfigError::Unreadable("c".into(), "x".into())).exit_code(), 2);
        assert_eq!(CliError::Client(ClientError::NoNode("/s".into())).exit_code(), 3);
        assert_eq!(CliError::Client(ClientError::Late).exit_code(), 1);
        assert_eq!(CliError::StillRunning(Duration::ZERO).exit_code(), 1);
    }

    #[test]
    fn a_failure_tells_its_whole_chain() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = CliError::Client(ClientError::Unreachable("/s/socket".into(), denied));
        let told = failure(error, false).told();
        assert_eq!(
            told,
            "dustfs: the node's socket /s/socket cannot be used: run this as the node's user: permission denied\n"
        );
        let none = failure(CliError::Client(ClientError::NoNode("/s".into())), false).told();
        assert!(none.contains("start it with `dustfs node --state /s`"), "{none}");
    }

    #[test]
    fn a_failure_is_json_where_that_was_asked_for() {
        let refused = ClientError::Refused(409, "it is\u{1b} mounted".into(), Some("unmount it".into()));
        let told = failure(CliError::Client(refused), true).told();
        assert_eq!(told, "{\"error\":\"it is\\u001b mounted\",\"remedy\":\"unmount it\"}\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_to_tell() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(failure(CliError::Output(gone), false).told(), "");
    }
}
