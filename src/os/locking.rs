//! Locking and unlocking: what is asked about the passphrase, carried out on the key file, and how the program goes on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::lan::api::{ApiError, Outcome};
use crate::ledger::key::StoredKey;
use crate::os::handover::Handed;
use crate::os::key;
use crate::os::state::StateDir;
use crate::seal::state::{Cost, Passphrase};
use crate::seal::{KeySlot, SealError, StateKey};

/// How the program goes on when the node has ended.
#[derive(Debug)]
pub enum Ending {
    /// It ends.
    Stop,
    /// It starts anew, locked or with what was handed over.
    Restart(Option<Handed>),
}

/// See the module.
pub struct Locking {
    state: StateDir,
    /// What the node runs with; `None` while it is locked.
    key: Option<StateKey>,
    /// One at a time: hashing a passphrase takes a box's memory.
    stored: Arc<tokio::sync::Mutex<StoredKey>>,
    stop: Arc<Notify>,
    ending: Mutex<Ending>,
}

impl Locking {
    /// Of a node that runs with this key, or none; `stop` ends it.
    pub fn new(state: StateDir, stored: StoredKey, key: Option<StateKey>, stop: Arc<Notify>) -> Self {
        let stored = Arc::new(tokio::sync::Mutex::new(stored));
        Self { state, key, stored, stop, ending: Mutex::new(Ending::Stop) }
    }

    /// True when a passphrase is set; `None` while it is being changed.
    pub fn has_passphrase(&self) -> Option<bool> {
        self.stored.try_lock().ok().map(|stored| matches!(*stored, StoredKey::Slot(_)))
    }

    /// How the program goes on, asked once it is told to stop.
    pub fn ending(&self) -> Ending {
        std::mem::replace(&mut *self.ending.lock().unwrap_or_else(PoisonError::into_inner), Ending::Stop)
    }

    /// Ends the node, to start it anew without its keys.
    ///
    /// # Errors
    /// 409 where it is locked already, or there is no passphrase that could unlock it.
    pub async fn lock(&self) -> Result<Outcome, ApiError> {
        if self.key.is_none() {
            return Err(ApiError::new(409, "the box is locked already"));
        }
        if matches!(*self.stored.lock().await, StoredKey::Plain(_)) {
            return Err(ApiError::new(409, "there is no passphrase that would unlock it").with_remedy("set one first"));
        }
        self.restart(None);
        Ok(Outcome::Done)
    }

    /// Opens the key slot and ends the node, to start it anew with the key.
    ///
    /// # Errors
    /// 403 when the passphrase is another, 409 where the box is not locked.
    pub async fn unlock(&self, passphrase: Passphrase, session: Option<[u8; 16]>) -> Result<Outcome, ApiError> {
        if self.key.is_some() {
            return Err(ApiError::new(409, "the box is not locked"));
        }
        let stored = self.stored.clone().lock_owned().await;
        let StoredKey::Slot(slot) = stored.clone() else {
            return Err(ApiError::new(500, "a locked box has no key slot"));
        };
        let key = blocking(move || slot.open(&passphrase)).await?;
        self.restart(Some(Handed { key, session }));
        Ok(Outcome::Done)
    }

    /// Sets the passphrase, changes it, or with no new one takes it away. The box stays as it is, unlocked.
    ///
    /// # Errors
    /// 403 when the old one is another, 400 when the new one is too short or too long, 423 while the box is locked.
    pub async fn change(&self, old: Option<Passphrase>, new: Option<Passphrase>) -> Result<Outcome, ApiError> {
        let Some(key) = self.key.clone() else {
            return Err(ApiError::new(423, "the box is locked").with_remedy("unlock it first"));
        };
        let mut stored = self.stored.clone().lock_owned().await;
        match (&*stored, old) {
            (StoredKey::Plain(_), _) => {}
            (StoredKey::Slot(slot), Some(old)) => {
                let slot = slot.clone();
                blocking(move || slot.open(&old)).await?;
            }
            (StoredKey::Slot(_), None) => {
                return Err(ApiError::new(403, "there is a passphrase already").with_remedy("give that one, too"));
            }
        }
        let changed = match new {
            None => StoredKey::Plain(key),
            Some(new) => {
                let mut entropy = [0; 28];
                getrandom::fill(&mut entropy)
                    .map_err(|error| ApiError::new(500, format!("the system gives no randomness: {error}")))?;
                let (mut salt, mut nonce) = ([0; 16], [0; 12]);
                salt.copy_from_slice(&entropy[..16]);
                nonce.copy_from_slice(&entropy[16..]);
                StoredKey::Slot(blocking(move || KeySlot::new(&key, &new, Cost::BOX, salt, nonce)).await?)
            }
        };
        key::store(&self.state, &changed).map_err(|error| ApiError::new(500, error.to_string()))?;
        *stored = changed;
        Ok(Outcome::Done)
    }

    fn restart(&self, handed: Option<Handed>) {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Ending::Restart(handed);
        self.stop.notify_one();
    }
}

/// Hashes beside the runtime's thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SealError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::new(500, error.to_string()))?;
    done.map_err(|error| match error {
        SealError::Forged(_) => ApiError::new(403, "this is not the passphrase").with_remedy("try again"),
        SealError::Passphrase => ApiError::bad(error.to_string()),
        other => ApiError::new(500, other.to_string()),
    })
}
