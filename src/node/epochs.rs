//! The epochs of a circle: keys that are learned, started, kept sealed, and opened late by a node that was locked.

use zeroize::Zeroizing;

use super::Node;
use super::circle::{Circle, Epoch};
use super::io::OpError;
use crate::base::{CircleId, EpochId, Snapshot, Table};
use crate::ledger::values::{CIRCLE_LABEL, CircleSecrets, EpochEntry, Value as _};
use crate::seal::{CircleKey, EpochKeys, MemberSecret, Suite, envelope};
use crate::wire::record::Bytes2;
use crate::wire::statement::{KeyFor, Saying};

/// Time between the members' tries to start an epoch.
const MINT_STEP: std::time::Duration = std::time::Duration::from_secs(2);

/// Keys of earlier epochs that one statement hands out at most: they must fit it with those of all members.
const HANDED_MAX: usize = 256;

impl Circle {
    pub(super) fn secrets(&self) -> CircleSecrets {
        let mut keys: Vec<EpochEntry> = self
            .epochs
            .iter()
            .map(|(id, epoch)| EpochEntry {
                epoch: *id,
                key: Bytes2::from(&epoch.key.0[..]),
                number: epoch.number,
                suite: epoch.keys.suite().number(),
            })
            .collect();
        keys.sort_by_key(|entry| (entry.number, entry.epoch));
        let root = self.root_seed.as_ref().map(|seed| Bytes2::from(&seed[..]));
        CircleSecrets { circle: self.id, keys, root }
    }

    /// Takes the keys that were kept.
    pub(super) fn take_secrets(&mut self, secrets: CircleSecrets) -> Result<(), String> {
        if secrets.circle != self.id {
            return Err("its keys are another's".into());
        }
        let key = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| "one of its keys is not 32 bytes".to_string());
        for epoch in secrets.keys {
            let suite = Suite::from_number(epoch.suite).ok_or("an epoch's suite is unknown")?;
            self.learn_epoch(epoch.epoch, epoch.number, suite, CircleKey(key(&epoch.key)?));
        }
        self.root_seed = secrets.root.map(|seed| key(&seed).map(Zeroizing::new)).transpose()?;
        Ok(())
    }

    /// Opens the epoch keys that were sealed to this member and are not held: to this node while it was locked, or to the
    /// sheet whose place it takes. True when there was one.
    pub(super) fn open_missed(&mut self, member: &MemberSecret) -> bool {
        let before = self.epochs.len();
        let missed: Vec<_> = self
            .roster
            .statements()
            .filter_map(|signed| match &signed.statement.saying {
                Saying::Epoch { number, suite, keys } if !self.epochs.contains_key(&signed.hash) => {
                    let mine = keys.iter().find(|key| key.member == member.public())?;
                    Some((signed.hash, *number, *suite, mine.sealed.clone()))
                }
                _ => None,
            })
            .collect();
        for (id, number, suite, sealed) in missed {
            self.open_key(member, id, number, suite, &sealed);
        }
        self.epochs.len() > before
    }

    /// Opens an epoch's key that was sealed to this node, and the earlier ones that came with it. False when it does not
    /// open.
    fn open_key(&mut self, member: &MemberSecret, id: EpochId, number: u64, suite: u8, sealed: &[u8]) -> bool {
        let opened = Zeroizing::new(envelope::open(member, sealed).unwrap_or_default());
        let (Some((key, earlier)), Some(suite)) = (opened.split_first_chunk::<32>(), Suite::from_number(suite)) else {
            return false;
        };
        self.learn_epoch(id, number, suite, CircleKey(*key));
        self.learn_earlier(earlier);
        true
    }

    /// True when somebody who reads was never given the key of an epoch that is held here.
    pub(super) fn owes_keys(&self) -> bool {
        let mut missed = self.roster.recipients().into_iter();
        missed.any(|member| self.roster.not_given(&member).iter().any(|epoch| self.epochs.contains_key(&epoch.id)))
    }

    /// Takes the keys of earlier epochs that came with a new one: id and key, 32 bytes each.
    fn learn_earlier(&mut self, mut keys: &[u8]) {
        while let Some((id, rest)) = keys.split_first_chunk::<32>() {
            let Some((key, rest)) = rest.split_first_chunk::<32>() else { return };
            keys = rest;
            let id = crate::base::StatementHash(*id);
            let Some(epoch) = self.roster.epoch(&id).filter(|_| !self.epochs.contains_key(&id)) else { continue };
            if let Some(suite) = Suite::from_number(epoch.suite) {
                let number = epoch.number;
                self.learn_epoch(id, number, suite, CircleKey(*key));
            }
        }
    }

    /// Takes an epoch's key.
    pub(super) fn learn_epoch(&mut self, id: EpochId, number: u64, suite: Suite, key: CircleKey) {
        let keys = EpochKeys::derive(&self.id, number, suite, &key);
        self.epochs.insert(id, Epoch { number, key, keys });
    }
}

impl<S: Snapshot> Node<S> {
    /// Starts an epoch with a fresh circle key, sealed to all who read now. With it each is handed the keys of earlier
    /// epochs that it was never given, such as one that was started while it was being admitted elsewhere: what was
    /// sealed under it is the new member's to read as well.
    pub(super) fn mint_epoch(
        &mut self,
        id: &CircleId,
        suite: Suite,
        key: CircleKey,
        envelope_entropy: [u8; 32],
    ) -> Result<(), OpError> {
        let nonce = self.fresh_nonce();
        let circle = self.circles.get_mut(id).ok_or(OpError::NotFound)?;
        let number = circle.roster.next_epoch_number();
        let mut sealed = Vec::new();
        let mut handed = 0;
        for (at, member) in circle.roster.recipients().into_iter().enumerate() {
            use sha2::{Digest, Sha256};
            let entropy =
                Sha256::new().chain_update(envelope_entropy).chain_update((at as u64).to_be_bytes()).finalize().into();
            let mut keys = Zeroizing::new(key.0.to_vec());
            for epoch in circle.roster.not_given(&member) {
                if let Some(held) = circle.epochs.get(&epoch.id).filter(|_| handed < HANDED_MAX) {
                    keys.extend_from_slice(&epoch.id.0);
                    keys.extend_from_slice(&held.key.0);
                    handed += 1;
                }
            }
            match envelope::seal_to(&member, entropy, &keys) {
                Ok(bytes) => sealed.push(KeyFor { member, sealed: Bytes2::from(bytes) }),
                // A key that is no point on the curve can never open anything: it gets nothing.
                Err(error) => log::warn!("no epoch key for member {member}: {error}"),
            }
        }
        let saying = Saying::Epoch { number, suite: suite.number(), keys: sealed };
        let statement = circle.roster.say(self.me.device.member, nonce, saying);
        let member = self.me.member()?;
        let statement = statement.sign(|bytes| member.sign(bytes));
        circle.learn_epoch(statement.hash, number, suite, key);
        self.learn_statement(id, statement, None).map_err(OpError::Invalid)?;
        self.save_circle(id);
        Ok(())
    }

    /// Writes what the ledger keeps of a circle.
    pub(super) fn save_circle(&mut self, id: &CircleId) {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.fresh()[..12]);
        let Some(circle) = self.circles.get(id) else { return };
        let secrets = match &self.me.secrets {
            Some(secrets) => {
                let plain = Zeroizing::new(circle.secrets().encode());
                Bytes2::from(secrets.state.seal(CIRCLE_LABEL, nonce, &plain))
            }
            None => circle.sealed.clone().unwrap_or_default(),
        };
        self.ledger.put(Table::Circles, id.0.to_vec(), circle.entry(secrets).encode());
        self.flush_soon();
    }

    /// Where no epoch is usable, those who write start one: the first of them at once, the others after a while each.
    pub(super) fn plan_epoch(&mut self, id: &CircleId) {
        let now = self.now.instant;
        let locked = self.is_locked();
        let Some(circle) = self.circles.get_mut(id) else { return };
        if locked || !circle.roster.needs_epoch() && !circle.owes_keys() {
            circle.mint = None;
            return;
        }
        let mut writers = circle.roster.present().filter(|member| member.role.writes());
        if let Some(place) = writers.position(|member| member.device.member == circle.me) {
            circle.mint.get_or_insert(now + MINT_STEP * (place as u32 + 1));
        }
    }

    /// Starts the epochs that are due.
    pub(super) fn mint_due(&mut self) {
        let now = self.now.instant;
        let due: Vec<_> = self.circles.values().filter(|circle| circle.mint.is_some_and(|at| at <= now)).collect();
        let due: Vec<_> = due.into_iter().map(|circle| (circle.id, circle.latest_suite())).collect();
        for (id, suite) in due {
            if let Some(circle) = self.circles.get_mut(&id) {
                circle.mint = None;
            }
            let (key, envelope) = (CircleKey(self.fresh()), self.fresh());
            if let Err(error) = self.mint_epoch(&id, suite, key, envelope) {
                log::error!("no new epoch could be started: {error}");
                self.plan_epoch(&id);
            }
        }
    }

    /// Opens the epoch key that was sealed to us, if there is one.
    pub(super) fn open_epoch(&mut self, id: &CircleId, epoch: EpochId, number: u64, suite: u8, sealed: &[KeyFor]) {
        let Some(circle) = self.circles.get_mut(id) else { return };
        if circle.epochs.contains_key(&epoch) {
            return;
        }
        let Some(mine) = sealed.iter().find(|key| key.member == self.me.device.member) else { return };
        // While the node is locked the statement keeps it.
        let Ok(member) = self.me.member() else { return };
        if circle.open_key(member, epoch, number, suite, &mine.sealed) {
            self.save_circle(id);
            self.reload_tree(id);
        } else {
            log::warn!("the key of epoch {number} does not open for this node");
        }
    }
}
