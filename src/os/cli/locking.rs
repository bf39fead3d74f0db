//! `dustfs lock` and `dustfs unlock`: the passphrase is asked for, the node is told, and its new start is waited for.

use std::time::{Duration, Instant};

use super::perform::{Asking, decode, pause};
use super::{CliError, secret};
use crate::lan::api::Call;
use crate::node::status::{State, Status};
use crate::os::http::ClientError;
use crate::seal::state::Passphrase;

impl Asking<'_> {
    /// Locks the node; the first time, and with `change`, a passphrase is set.
    pub(super) fn lock(&mut self, change: bool) -> Result<(), CliError> {
        let status = self.status()?;
        if status.state == State::Locked {
            return self.say("it is locked\n");
        }
        let is_set = status.passphrase == Some(true);
        if change || !is_set {
            let old = if is_set { Some(passphrase("the passphrase as it is")?) } else { None };
            if !is_set {
                eprintln!(
                    "After each start this node will wait for the passphrase. Whoever forgets it loses what is here."
                );
            }
            let new = Passphrase::new(std::mem::take(&mut *secret::ask_new("a new passphrase")?));
            self.client.ask(&Call::Passphrase { old, new: Some(new) })?;
        }
        if change {
            return self.say("the passphrase is set\n");
        }
        self.client.ask(&Call::Lock)?;
        self.wait_for(|state| state == State::Locked)?;
        self.say("locked\n")
    }

    /// Unlocks the node; with `always` it has no passphrase any more.
    pub(super) fn unlock(&mut self, always: bool) -> Result<(), CliError> {
        let status = self.status()?;
        let locked = status.state == State::Locked;
        let is_set = status.passphrase == Some(true);
        if !locked && (!always || !is_set) {
            return self.say("it is not locked\n");
        }
        let given = passphrase("the passphrase")?;
        if locked {
            self.client.ask(&Call::Unlock { passphrase: given.clone(), session: None })?;
            self.wait_for(|state| state != State::Locked)?;
        }
        if !always {
            return self.say("unlocked\n");
        }
        self.client.ask(&Call::Passphrase { old: Some(given), new: None })?;
        self.say("unlocked, and it stays so: there is no passphrase any more\n")
    }

    fn status(&mut self) -> Result<Status, CliError> {
        decode(&self.client.ask(&Call::Status)?)
    }

    /// The node starts anew: while it does, nobody answers.
    fn wait_for(&mut self, is_it: impl Fn(State) -> bool) -> Result<(), CliError> {
        let begun = Instant::now();
        loop {
            match self.status() {
                Ok(status) if is_it(status.state) => return Ok(()),
                Err(error @ CliError::Client(ClientError::Refused(..))) => return Err(error),
                // It is on its way down, or not up yet.
                Ok(_) | Err(_) => {}
            }
            if begun.elapsed() > PATIENCE {
                return Err(CliError::NotBack(PATIENCE));
            }
            pause(LOOK);
        }
    }
}

fn passphrase(prompt: &str) -> Result<Passphrase, CliError> {
    Ok(Passphrase::new(std::mem::take(&mut *secret::ask(prompt)?)))
}

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
