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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn known_answer() {
        let seed = HEXLOWER.decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let secret = MemberSecret::from_seed(seed.try_into().unwrap());
        assert_eq!(secret.public().hex(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = secret.sign(b"");
        assert_eq!(
            HEXLOWER.encode(&signature),
            concat!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            )
        );
        assert!(verify(&secret.public(), b"", &signature));
    }

    #[test]
    fn signatures_of_others_and_of_other_messages_are_refused() {
        let (ours, theirs) = (TransportSecret::from_seed([1; 32]), TransportSecret::from_seed([2; 32]));
        let signature = ours.sign(b"message");
        assert!(verify_transport(&ours.public(), b"message", &signature));
        assert!(!verify_transport(&theirs.public(), b"message", &signature));
        assert!(!verify_transport(&ours.public(), b"massage", &signature));
        for at in 0..64 {
            let mut changed = signature;
            changed[at] ^= 1;
            assert!(!verify_transport(&ours.public(), b"message", &changed), "byte {at}");
        }
    }

    /// The identity as key and as R, with s = 0, satisfies the plain equation for every message.
    #[test]
    fn a_weak_key_signs_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify(&MemberKey(identity), b"anything", &signature));
        assert!(!verify(&MemberKey([0xFF; 32]), b"anything", &signature), "no point at all");
    }

    /// A signature whose s is raised by the group's order satisfies the equation too.
    #[test]
    fn a_signature_has_one_form() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let secret = MemberSecret::from_seed([1; 32]);
        let mut signature = secret.sign(b"message");
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(carry, 0);
        assert!(!verify(&secret.public(), b"message", &signature));
    }

    #[test]
    fn a_seed_gives_the_key_back_and_is_not_printed() {
        let secret = MemberSecret::from_seed([0xAB; 32]);
        assert_eq!(secret.seed(), &[0xAB; 32]);
        assert_eq!(MemberSecret::from_seed(*secret.seed()).public(), secret.public());
        assert_eq!(format!("{secret:?}"), format!("MemberSecret({})", secret.public()));
    }
}
