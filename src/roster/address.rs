//! Signed address records: where a device says that it can be dialled. They are gossiped, and the newest counts.
//!
//! ```text
//! signed = bencode { b: body, s: Ed25519 of the transport key over "dustfs address 1\0" | body }
//! body   = bencode { a: addresses as "ip:port", n: number, t: transport key }
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};

use crate::base::TransportKey;
use crate::base::limits::{ADDRESS_MAX, ADDRESSES, CIRCLES, MEMBERS};
use crate::wire::control::AddressRecord;
use crate::wire::record::Bytes2;
use crate::wire::{WireError, bencode};

/// What the signature covers besides the body.
const DOMAIN: &[u8] = b"dustfs address 1\0";
const WHAT: &str = "an address record";

/// An address record with the bytes that are stored and sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedAddress {
    /// Whose.
    pub transport: TransportKey,
    /// Greater than in every record of this device before.
    pub number: u64,
    /// The best first, at most [`ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// The whole.
    pub bytes: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "b")]
    body: Bytes2,
    #[serde(rename = "s")]
    signature: Bytes2,
}

impl SignedAddress {
    /// A record of our own, of those addresses that others could dial, the first [`ADDRESSES`]. `sign` is given the
    /// bytes to be signed.
    pub fn sign(
        transport: TransportKey,
        number: u64,
        addresses: &[SocketAddr],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Self {
        let addresses: Vec<SocketAddr> = addresses.iter().copied().filter(can_be_dialled).take(ADDRESSES).collect();
        let texts = addresses.iter().map(SocketAddr::to_string).collect();
        let body = bencode::encode(&AddressRecord { addresses: texts, number, transport });
        let signature = sign(&[DOMAIN, &body].concat());
        let envelope = Envelope { body: Bytes2::from(body), signature: Bytes2::from(&signature[..]) };
        Self { transport, number, addresses, bytes: bencode::encode(&envelope).into() }
    }

    /// Decodes and checks form, limits, every address, and the signature: `verify` is given the transport key, the
    /// signed bytes and the signature.
    pub fn decode(
        bytes: Bytes,
        verify: impl FnOnce(&TransportKey, &[u8], &[u8; 64]) -> bool,
    ) -> Result<Self, WireError> {
        let envelope: Envelope = bencode::decode(WHAT, &bytes, ADDRESS_MAX)?;
        let record: AddressRecord = bencode::decode(WHAT, &envelope.body, ADDRESS_MAX)?;
        if record.addresses.len() > ADDRESSES {
            return Err(WireError::OverLimit("an address record's addresses", record.addresses.len(), ADDRESSES));
        }
        let mut addresses = Vec::with_capacity(record.addresses.len());
        for text in &record.addresses {
            match text.parse() {
                Ok(address) if can_be_dialled(&address) => addresses.push(address),
                _ => return Err(WireError::Malformed(WHAT, format!("{text:?} is no address that can be dialled"))),
            }
        }
        let Ok(signature) = <&[u8; 64]>::try_from(envelope.signature.as_ref() as &[u8]) else {
            return Err(WireError::Malformed(WHAT, "its signature is not 64 bytes".into()));
        };
        if !verify(&record.transport, &[DOMAIN, &envelope.body].concat(), signature) {
            return Err(WireError::Signature(WHAT));
        }
        Ok(Self { transport: record.transport, number: record.number, addresses, bytes })
    }
}

/// False for what no other machine could reach or what a zone on this one decides: no port, no host, many hosts, a scope.
pub fn can_be_dialled(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let scoped = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast && !scoped
}

/// The newest record of each device.
#[derive(Clone, Default, Debug)]
pub struct AddressBook {
    records: BTreeMap<TransportKey, SignedAddress>,
}

impl AddressBook {
    /// Keeps a verified record if it is newer than what is here, and tells whether it was. A full book takes no further
    /// device: have it forget those that are in no circle with [`AddressBook::retain`].
    pub fn learn(&mut self, record: SignedAddress) -> bool {
        let newer = match self.records.get(&record.transport) {
            Some(known) => record.number > known.number,
            None => self.records.len() < MEMBERS * CIRCLES,
        };
        if newer {
            self.records.insert(record.transport, record);
        }
        newer
    }

    /// The newest record of a device.
    pub fn get(&self, transport: &TransportKey) -> Option<&SignedAddress> {
        self.records.get(transport)
    }

    /// The number for the next record of our own; greater than what friends may still remember of us.
    pub fn next_number(&self, transport: &TransportKey) -> u64 {
        self.get(transport).map_or(1, |record| record.number.saturating_add(1))
    }

    /// All records, by transport key.
    pub fn iter(&self) -> impl Iterator<Item = &SignedAddress> {
        self.records.values()
    }

    /// The records that are newer than those of which the peer is known to have the numbers.
    pub fn newer_than<'a>(
        &'a self,
        peer: &'a BTreeMap<TransportKey, u64>,
    ) -> impl Iterator<Item = &'a SignedAddress> + 'a {
        self.iter().filter(|record| peer.get(&record.transport).is_none_or(|known| record.number > *known))
    }

    /// Forgets all devices but these.
    pub fn retain(&mut self, mut keep: impl FnMut(&TransportKey) -> bool) {
        self.records.retain(|transport, _| keep(transport));
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};

    use super::*;

    fn verify(key: &TransportKey, bytes: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&key.0).is_ok_and(|key| key.verify(bytes, &Signature::from_bytes(signature)).is_ok())
    }

    fn record(seed: u8, number: u64, addresses: &[&str]) -> SignedAddress {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let transport = TransportKey(key.verifying_key().to_bytes());
        SignedAddress::sign(transport, number, &addresses, |bytes| key.sign(bytes).to_bytes())
    }

    fn forge(addresses: Vec<String>) -> Result<SignedAddress, WireError> {
        let key = SigningKey::from_bytes(&[1; 32]);
        let transport = TransportKey(key.verifying_key().to_bytes());
        let body = bencode::encode(&AddressRecord { addresses, number: 1, transport });
        let signature = key.sign(&[DOMAIN, &body].concat()).to_bytes();
        let envelope = Envelope { body: Bytes2::from(body), signature: Bytes2::from(&signature[..]) };
        SignedAddress::decode(bencode::encode(&envelope).into(), verify)
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record = record(1, 7, &["192.0.2.1:7000", "[2001:db8::1]:7000", "127.0.0.1:9"]);
        assert_eq!(SignedAddress::decode(record.bytes.clone(), verify), Ok(record));
        let empty = self::record(1, 8, &[]);
        assert_eq!(SignedAddress::decode(empty.bytes.clone(), verify), Ok(empty));
    }

    #[test]
    fn our_own_record_has_only_what_can_be_dialled() {
        let record = record(1, 1, &["0.0.0.0:7", "192.0.2.1:0", "192.0.2.1:7"]);
        assert_eq!(record.addresses, ["192.0.2.1:7".parse().unwrap()]);
        let many: Vec<String> = (1..40).map(|port| format!("192.0.2.1:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let record = self::record(1, 1, &many);
        assert_eq!(record.addresses.len(), ADDRESSES);
        assert!(SignedAddress::decode(record.bytes, verify).is_ok());
    }

    #[test]
    fn bad_records_are_refused() {
        for bad in [
            "0.0.0.0:7",
            "[::]:7",
            "[::ffff:0.0.0.0]:7",
            "224.0.0.1:7",
            "[ff02::1]:7",
            "255.255.255.255:7",
            "192.0.2.1:0",
            "[fe80::1%3]:7",
            "192.0.2.1",
            "example.org:7",
            "",
            "1:2:3",
        ] {
            assert!(matches!(forge(vec![bad.into()]), Err(WireError::Malformed(..))), "{bad}");
        }
        assert!(forge(vec!["192.0.2.1:7".into(); 16]).is_ok());
        assert!(matches!(forge(vec!["192.0.2.1:7".into(); 17]), Err(WireError::OverLimit(_, 17, 16))));
        assert!(matches!(forge(vec!["1".repeat(3_000)]), Err(WireError::OverLimit(..))));

        let good = record(1, 7, &["192.0.2.1:7"]);
        for at in 0..good.bytes.len() {
            let mut bytes = good.bytes.to_vec();
            bytes[at] ^= 1;
            assert!(SignedAddress::decode(bytes.into(), verify).is_err(), "byte {at} flipped");
            assert!(SignedAddress::decode(good.bytes.slice(..at), verify).is_err(), "cut at {at}");
        }
        let other = record(2, 7, &["192.0.2.1:7"]);
        let mut envelope: Envelope = bencode::decode("x", &good.bytes, 9_999).unwrap();
        envelope.signature = bencode::decode::<Envelope>("x", &other.bytes, 9_999).unwrap().signature;
        let forged = SignedAddress::decode(bencode::encode(&envelope).into(), verify);
        assert_eq!(forged, Err(WireError::Signature(WHAT)));
    }

    #[test]
    fn the_book_keeps_the_newest_and_tells_what_a_peer_lacks() {
        let mut book = AddressBook::default();
        let (old, new, other) = (record(1, 1, &[]), record(1, 2, &[]), record(2, 5, &[]));
        assert!(book.learn(old.clone()) && book.learn(new.clone()) && book.learn(other.clone()));
        assert!(!book.learn(old.clone()) && !book.learn(new.clone()));
        assert_eq!(book.get(&old.transport), Some(&new));
        assert_eq!(book.next_number(&old.transport), 3);
        assert_eq!(book.next_number(&TransportKey([0; 32])), 1);
        let peer = BTreeMap::from([(old.transport, 1), (other.transport, 5)]);
        assert_eq!(book.newer_than(&peer).collect::<Vec<_>>(), [&new]);
        book.retain(|transport| *transport == other.transport);
        assert_eq!(book.iter().collect::<Vec<_>>(), [&other]);
    }

    #[test]
    fn a_full_book_takes_no_further_device() {
        let mut book = AddressBook::default();
        let blank = |n: usize, number| {
            let mut transport = TransportKey([0; 32]);
            transport.0[..8].copy_from_slice(&n.to_be_bytes());
            SignedAddress { transport, number, addresses: Vec::new(), bytes: Bytes::new() }
        };
        assert!((0..MEMBERS * CIRCLES).all(|n| book.learn(blank(n, 1))));
        assert!(!book.learn(blank(MEMBERS * CIRCLES, 1)));
        assert!(book.learn(blank(3, 2)));
    }
}
