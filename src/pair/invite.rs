//! The text of an invite, as people copy it.
//!
//! ```text
//! text = "dustfs1-" | base32, lower case, no padding, of: content | checksum(4)
//! content = bencode { a: addresses, c: circle's name, k: transport key, m: minutes, s: secret(16) }
//! address = IPv4(4) | port(2), or IPv6(16) | port(2), BE
//! checksum = the first bytes of SHA-256 of content
//! ```

use std::fmt;

use core::net::{IpAddr, SocketAddr};
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::PairError;
use crate::base::TransportKey;
use crate::base::limits::{INVITE_ADDRESSES, INVITE_TEXT_MAX};
use crate::wire::record::Bytes2;
use crate::wire::{WireError, bencode, statement};

/// What an invite's text says. The secret is zeroed when dropped and never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InviteText {
    /// Where the inviter may be dialled, most likely first; at most
    /// [`INVITE_ADDRESSES`](crate::base::limits::INVITE_ADDRESSES) are written.
    #[zeroize(skip)]
    pub addresses: Vec<SocketAddr>,
    /// The inviter's key, which its certificate must have.
    #[zeroize(skip)]
    pub key: TransportKey,
    /// Known to whoever holds the text.
    pub secret: [u8; 16],
    /// How long it was open from when it was made, for people; the inviter's uptime decides.
    #[zeroize(skip)]
    pub minutes: u16,
    /// The circle's name, for people.
    #[zeroize(skip)]
    pub circle: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "a")]
    addresses: Vec<Bytes2>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    circle: Option<String>,
    #[serde(rename = "k")]
    key: TransportKey,
    #[serde(rename = "m")]
    minutes: u16,
    #[serde(rename = "s")]
    secret: Bytes2,
}

impl InviteText {
    /// Reads a text: white space and capitals do not matter.
    pub fn parse(text: &str) -> Result<Self, PairError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).take(INVITE_TEXT_MAX + 1).collect();
        let text = text.to_ascii_uppercase();
        if text.len() > INVITE_TEXT_MAX {
            return Err(PairError::NotInvite);
        }
        let (version, encoded) =
            text.strip_prefix(NAME).and_then(|rest| rest.split_once('-')).ok_or(PairError::NotInvite)?;
        match version.parse() {
            Ok(VERSION) => {}
            Ok(version) if version > VERSION => return Err(PairError::Newer(version)),
            _ => return Err(PairError::NotInvite),
        }
        let bytes = BASE32_NOPAD.decode(encoded.as_bytes()).map_err(|_| PairError::Damaged)?;
        let (content, checksum) = bytes.split_last_chunk().ok_or(PairError::Damaged)?;
        if *checksum != check(content) {
            return Err(PairError::Damaged);
        }
        Self::decode(content)
    }

    fn decode(content: &[u8]) -> Result<Self, PairError> {
        let refuse = |why: &str| Err(PairError::Message(WireError::Malformed("the invite", why.into())));
        let mut content: Content = bencode::decode("the invite", content, INVITE_TEXT_MAX)?;
        if content.addresses.len() > INVITE_ADDRESSES {
            return Err(WireError::OverLimit("an invite's addresses", content.addresses.len(), INVITE_ADDRESSES).into());
        }
        let Some(addresses) = content.addresses.iter().map(|bytes| address(bytes)).collect() else {
            return refuse("it has an address that is none");
        };
        let Ok(secret) = content.secret.as_ref().try_into() else {
            return refuse("its secret is not 16 bytes");
        };
        content.secret.zeroize();
        if let Some(circle) = &content.circle {
            statement::check_label(circle)?;
        }
        Ok(Self { addresses, key: content.key, secret, minutes: content.minutes, circle: content.circle })
    }

    /// The text, on one line.
    pub fn text(&self) -> String {
        let content = bencode::encode(&Content {
            addresses: self.addresses.iter().take(INVITE_ADDRESSES).map(|at| Bytes2::from(compact(at))).collect(),
            circle: self.circle.clone(),
            key: self.key,
            minutes: self.minutes,
            secret: Bytes2::from(&self.secret[..]),
        });
        let bytes = [&content[..], &check(&content)].concat();
        format!("{NAME}{VERSION}-{}", BASE32_NOPAD.encode(&bytes)).to_lowercase()
    }
}

impl fmt::Debug for InviteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteText")
            .field("addresses", &self.addresses)
            .field("key", &self.key)
            .field("minutes", &self.minutes)
            .field("circle", &self.circle)
            .finish_non_exhaustive()
    }
}

pub(super) fn check(content: &[u8]) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::digest(content).into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

pub(super) fn compact(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes
}

pub(super) fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

const NAME: &str = "DUSTFS";
const VERSION: u32 = 1;
