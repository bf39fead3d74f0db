//! What a new member is handed: its certificate, the roster, and the keys that its role may have.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base::limits::{ADDRESS_MAX, CERTIFICATE_MAX, EPOCHS, MEMBERS, STATEMENT_MAX, STATEMENTS, WELCOME_MAX};
use crate::base::{CircleId, EpochId};
use crate::wire::record::Bytes2;
use crate::wire::{WireError, bencode};

/// 32 secret bytes: zeroed when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The circle key of one epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochKey {
    /// The epoch.
    pub epoch: EpochId,
    /// Its number.
    pub number: u64,
    /// Its chunk cipher, as in the epoch's statement.
    pub suite: u8,
    /// The circle key.
    pub key: Secret,
}

/// What a new member is handed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The circle.
    pub circle: CircleId,
    /// Its signed statements, each after those that it names; the founding one is first.
    pub statements: Vec<Bytes>,
    /// The new member's certificate, DER.
    pub leaf: Bytes,
    /// The seed of the root's key, for a keeper.
    pub root_secret: Option<Secret>,
    /// For a role that reads.
    pub epochs: Vec<EpochKey>,
    /// Signed address records.
    pub addresses: Vec<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct WelcomeWire {
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Bytes2>,
    #[serde(rename = "c")]
    circle: CircleId,
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    epochs: Vec<EpochWire>,
    #[serde(rename = "l")]
    leaf: Bytes2,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    root_secret: Option<SecretWire>,
    #[serde(rename = "s")]
    statements: Vec<Bytes2>,
}

#[derive(Serialize, Deserialize)]
struct EpochWire {
    #[serde(rename = "e")]
    epoch: EpochId,
    #[serde(rename = "k")]
    key: SecretWire,
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "s")]
    suite: u8,
}

/// A secret as a byte string, zeroed when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct SecretWire(Bytes2);

impl SecretWire {
    fn new(secret: &Secret) -> Self {
        Self(Bytes2::from(&secret.0[..]))
    }

    fn secret(&self) -> Result<Secret, WireError> {
        let bytes = self.0.as_ref().try_into();
        bytes.map(Secret).map_err(|_| WireError::Malformed(WHAT, "a key of it is not 32 bytes".into()))
    }
}

impl Drop for SecretWire {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Welcome {
    /// The welcome's bytes, or the limit that it is over.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, WireError> {
        self.check()?;
        let list = |all: &[Bytes]| all.iter().map(|bytes| Bytes2::from(&bytes[..])).collect();
        let epochs = self.epochs.iter().map(|epoch| EpochWire {
            epoch: epoch.epoch,
            key: SecretWire::new(&epoch.key),
            number: epoch.number,
            suite: epoch.suite,
        });
        let bytes = Zeroizing::new(bencode::encode(&WelcomeWire {
            addresses: list(&self.addresses),
            circle: self.circle,
            epochs: epochs.collect(),
            leaf: Bytes2::from(&self.leaf[..]),
            root_secret: self.root_secret.as_ref().map(SecretWire::new),
            statements: list(&self.statements),
        }));
        over("a welcome's length in bytes", bytes.len(), WELCOME_MAX - ENVELOPE)?;
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let wire: WelcomeWire = bencode::decode(WHAT, bytes, WELCOME_MAX)?;
        let list = |all: Vec<Bytes2>| all.into_iter().map(|bytes| Bytes::from(bytes.into_vec())).collect();
        let epochs = wire.epochs.iter().map(|epoch| {
            let key = epoch.key.secret()?;
            Ok(EpochKey { epoch: epoch.epoch, number: epoch.number, suite: epoch.suite, key })
        });
        let welcome = Self {
            circle: wire.circle,
            epochs: epochs.collect::<Result<_, WireError>>()?,
            root_secret: wire.root_secret.as_ref().map(SecretWire::secret).transpose()?,
            statements: list(wire.statements),
            leaf: wire.leaf.into_vec().into(),
            addresses: list(wire.addresses),
        };
        welcome.check()?;
        Ok(welcome)
    }

    fn check(&self) -> Result<(), WireError> {
        over("a welcome's statements", self.statements.len(), STATEMENTS)?;
        over("a welcome's epochs", self.epochs.len(), EPOCHS)?;
        over("a welcome's addresses", self.addresses.len(), MEMBERS)?;
        over("a welcome's certificate in bytes", self.leaf.len(), CERTIFICATE_MAX)?;
        for statement in &self.statements {
            over("a roster statement", statement.len(), STATEMENT_MAX)?;
        }
        for address in &self.addresses {
            over("an address record", address.len(), ADDRESS_MAX)?;
        }
        Ok(())
    }
}

fn over(what: &'static str, size: usize, limit: usize) -> Result<(), WireError> {
    if size > limit { Err(WireError::OverLimit(what, size, limit)) } else { Ok(()) }
}

const WHAT: &str = "a welcome";
/// More than the answer's bytes around the welcome.
const ENVELOPE: usize = 128;
