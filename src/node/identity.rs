//! Who a node is: its keys, sealed in the ledger, and opened by the state key when it starts.

use super::io::OpError;
use crate::base::{Snapshot, StoreError, Table};
use crate::ledger::keys;
use crate::ledger::values::{Identity, MEMBER_LABEL, Value as _};
use crate::seal::{MemberSecret, StateKey, TransportSecret};
use crate::wire::record::Bytes2;
use crate::wire::statement::Device;

/// Who this node is.
pub(super) struct Me {
    /// `None` while the node is locked.
    pub(super) secrets: Option<Secrets>,
    pub(super) transport: TransportSecret,
    pub(super) device: Device,
}

/// What a locked node has not.
pub(super) struct Secrets {
    /// Seals what is kept.
    pub(super) state: StateKey,
    pub(super) member: MemberSecret,
}

impl Me {
    /// Reads the keys; without the state key, those that a locked node has.
    pub(super) fn load(store: &impl Snapshot, state: Option<StateKey>) -> Result<Self, StartError> {
        let identity = store.get(Table::Meta, keys::IDENTITY)?.ok_or(StartError::NoIdentity)?;
        let identity = Identity::decode(&identity)?;
        let seed = |bytes: &[u8]| {
            <[u8; 32]>::try_from(bytes).map_err(|_| StartError::Broken("a key in it is not 32 bytes".into()))
        };
        let secrets = match state {
            Some(state) => {
                let opened = state.open(MEMBER_LABEL, &identity.member);
                let opened = opened.map_err(|error| StartError::Broken(error.to_string()))?;
                let member = MemberSecret::from_seed(seed(&opened)?);
                if member.public() != identity.key {
                    return Err(StartError::Broken("the member key is another than the one that is named".into()));
                }
                Some(Secrets { state, member })
            }
            None => None,
        };
        let transport = TransportSecret::from_seed(seed(&identity.transport)?);
        let device = Device { member: identity.key, transport: transport.public(), name: identity.name };
        Ok(Self { secrets, transport, device })
    }

    /// Signs what this member says, and opens what is sealed to it.
    pub(super) fn member(&self) -> Result<&MemberSecret, OpError> {
        self.secrets.as_ref().map(|secrets| &secrets.member).ok_or(OpError::Locked)
    }
}

/// Makes a new identity to be stored by the batch that is returned with it. The seeds and the nonce are the operating
/// system's entropy.
pub fn new_identity(
    name: &str,
    member: [u8; 32],
    transport: [u8; 32],
    state: &StateKey,
    nonce: [u8; 12],
) -> crate::base::Batch {
    let identity = Identity {
        name: name.into(),
        key: MemberSecret::from_seed(member).public(),
        member: Bytes2::from(state.seal(MEMBER_LABEL, nonce, &member)),
        transport: Bytes2::from(&transport[..]),
    };
    let mut batch = crate::base::Batch::default();
    batch.put(Table::Meta, keys::IDENTITY, identity.encode());
    batch
}

/// Why a node cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The ledger cannot be read.
    Store(StoreError),
    /// The ledger holds no identity: `dustfs init` was not run.
    NoIdentity,
    /// Something in the ledger is not what was written.
    Broken(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Store(error) => error.fmt(f),
            StartError::NoIdentity => {
                f.write_str("the state directory holds no node: run `dustfs init --name NAME` first")
            }
            StartError::Broken(why) => {
                write!(f, "the ledger is broken: {why}: keep a copy of the state directory, and pair this node anew")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        StartError::Store(error)
    }
}

impl From<crate::wire::WireError> for StartError {
    fn from(error: crate::wire::WireError) -> Self {
        StartError::Broken(error.to_string())
    }
}
