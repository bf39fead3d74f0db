//! A node's two Ed25519 keys (RFC 8032): the member key signs commits and statements, the transport key is TLS's.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::base::{MemberKey, TransportKey};

/// Defines the secret half of a key. Zeroed when dropped.
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $public:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SigningKey);

        impl $name {
            /// The key of a seed: 32 bytes of the operating system's entropy, or what [`Self::seed`] gave.
            pub fn from_seed(seed: [u8; 32]) -> Self {
                Self(SigningKey::from_bytes(&seed))
            }

            /// The seed, for keeping in the ledger and for TLS. It is the whole secret: sealed at rest, never sent.
            pub fn seed(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// The public half.
            pub fn public(&self) -> $public {
                $public(self.0.verifying_key().to_bytes())
            }

            /// Signs `message`. Equal messages give equal signatures.
            pub fn sign(&self, message: &[u8]) -> [u8; 64] {
                self.0.sign(message).to_bytes()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.public())
            }
        }
    };
}

secret!(
    /// Signs what a member says. Sealed under the passphrase where one is set.
    MemberSecret, MemberKey
);
secret!(
    /// The key of the node's TLS certificates. Usable while the box is locked.
    TransportSecret, TransportKey
);

impl MemberSecret {
    /// The same key as a scalar of X25519, for opening envelopes; clamped where it is used.
    pub(super) fn to_scalar_bytes(&self) -> [u8; 32] {
        self.0.to_scalar_bytes()
    }
}

/// True when `key` made `signature` of `message`. Weak keys and signatures that could be altered are refused.
pub fn verify(key: &MemberKey, message: &[u8], signature: &[u8; 64]) -> bool {
    verify_strict(&key.0, message, signature)
}

/// As [`verify`], for a transport key.
pub fn verify_transport(key: &TransportKey, message: &[u8], signature: &[u8; 64]) -> bool {
    verify_strict(&key.0, message, signature)
}

fn verify_strict(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}
