//! Makes certificates (RFC 5280, Ed25519 by RFC 8410): a circle's root, leaves, and the self-signed certificate of the
//! invite protocol. All are of one form, so they are written as they stand here; rcgen writes the same in the tests.

use std::fmt;

use core::net::IpAddr;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{CLIENT_AUTH, CertError, SERVER_AUTH, SPKI, check_chain, check_root, pem, transport_key_of};
use crate::base::{TransportKey, WallTime};

/// The seed of a root's key, which keepers hold. Zeroed when dropped.
#[derive(Clone)]
pub struct RootSecret(Zeroizing<[u8; 32]>);

impl RootSecret {
    /// The secret of a seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The seed, for keeping and for handing to another keeper. It is the whole secret.
    pub fn seed(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

/// A circle's root with its secret.
#[derive(Clone, Debug)]
pub struct Root {
    /// Signs leaves.
    pub secret: RootSecret,
    /// The certificate.
    pub der: Vec<u8>,
    /// The same, as torrents carry it.
    pub pem: String,
}

/// Makes a circle's root. `seed` and `serial` are the operating system's entropy.
pub fn create_root(seed: [u8; 32], serial: [u8; 16]) -> Result<Root, CertError> {
    let key = SigningKey::from_bytes(&seed);
    let public = key.verifying_key().to_bytes();
    let extensions = [
        extension(KEY_USAGE, true, &der(BIT_STRING, &[&[1, KEY_CERT_SIGN | CRL_SIGN]])),
        extension(SUBJECT_KEY_IDENTIFIER, false, &der(OCTET_STRING, &[&key_identifier(&public)])),
        // An authority, over leaves alone.
        extension(BASIC_CONSTRAINTS, true, &der(SEQUENCE, &[&der(BOOLEAN, &[&[0xFF]]), &der(INTEGER, &[&[0]])])),
    ];
    let der = signed(&key, "root", "root", &public, serial, &never(), &extensions.concat());
    check_root(&der)?;
    Ok(Root { secret: RootSecret::from_seed(seed), pem: pem(&der), der })
}

/// Makes the leaf of `subject`, issued by the root with this seed and certificate. `serial` is entropy.
pub fn issue_leaf(
    root_seed: &[u8; 32],
    root_der: &[u8],
    subject: &TransportKey,
    serial: [u8; 16],
) -> Result<Vec<u8>, CertError> {
    issue(root_seed, root_der, "node", subject, serial, &never(), &[])
}

/// Makes the leaf of a stock client, which ends with the day of `until` (UTC). By its name no node takes it for a
/// node's.
pub fn issue_guest(
    root_seed: &[u8; 32],
    root_der: &[u8],
    subject: &TransportKey,
    serial: [u8; 16],
    until: WallTime,
) -> Result<Vec<u8>, CertError> {
    let (year, month, day) = until.date();
    // RFC 5280, 4.1.2.5: dates from 2050 on have four digits of the year.
    let until = match year {
        1950..2050 => der(UTC_TIME, &[format!("{:02}{month:02}{day:02}235959Z", year % 100).as_bytes()]),
        _ => der(GENERALIZED_TIME, &[format!("{year:04}{month:02}{day:02}235959Z").as_bytes()]),
    };
    issue(root_seed, root_der, GUEST, subject, serial, &until, &[])
}

/// Makes the leaf that a node of the key `subject` shows as the host of a tracker, so that stock clients take it: under
/// a DNS name (visible ASCII) or an address.
pub fn issue_tracker(
    root_seed: &[u8; 32],
    root_der: &[u8],
    subject: &TransportKey,
    serial: [u8; 16],
    host: Result<&str, IpAddr>,
) -> Result<Vec<u8>, CertError> {
    let name = match host {
        Ok(name) => der(CONTEXT | 2, &[name.as_bytes()]),
        Err(IpAddr::V4(ip)) => der(CONTEXT | 7, &[&ip.octets()]),
        Err(IpAddr::V6(ip)) => der(CONTEXT | 7, &[&ip.octets()]),
    };
    issue(root_seed, root_der, "node", subject, serial, &never(), &name)
}

fn issue(
    root_seed: &[u8; 32],
    root_der: &[u8],
    subject_name: &str,
    subject: &TransportKey,
    serial: [u8; 16],
    until: &[u8],
    names: &[u8],
) -> Result<Vec<u8>, CertError> {
    let key = SigningKey::from_bytes(root_seed);
    let public = key.verifying_key().to_bytes();
    if check_root(root_der)? != public {
        return Err(CertError::WrongSecret);
    }
    let extensions = leaf_extensions(&public, &subject.0, names);
    let leaf = signed(&key, "root", subject_name, &subject.0, serial, until, &extensions);
    // A root of another program may have another name, which would break the chain: better here than at the peer's.
    check_chain(&leaf, root_der)?;
    Ok(leaf)
}

/// True for the leaf of a stock client, which has that name and is for every torrent of the circle. It is looked for by
/// its bytes: of a certificate that the root did not issue nothing is said.
pub fn is_guest(leaf_der: &[u8]) -> bool {
    let has = |part: &[u8]| leaf_der.windows(part.len()).any(|window| window == part);
    has(&name(GUEST)) && has(&alt_names(&[]))
}

/// Makes the certificate of the invite protocol, in which the two do not share a circle yet: it binds nothing, and
/// stands for its key alone.
pub fn self_signed(transport_seed: &[u8; 32]) -> Result<Vec<u8>, CertError> {
    let key = SigningKey::from_bytes(transport_seed);
    let public = key.verifying_key().to_bytes();
    let mut serial = [0; 16];
    serial.copy_from_slice(&Sha256::digest(public)[..16]);
    let certificate = signed(&key, "node", "node", &public, serial, &never(), &leaf_extensions(&public, &public, &[]));
    match transport_key_of(&certificate) {
        Some(_) => Ok(certificate),
        None => Err(CertError::Malformed("the certificate made for invites")),
    }
}

/// `names` are general names beside `*`, DER.
fn leaf_extensions(issuer: &[u8; 32], subject: &[u8; 32], names: &[u8]) -> Vec<u8> {
    let usages = [der(OBJECT_IDENTIFIER, &[CLIENT_AUTH]), der(OBJECT_IDENTIFIER, &[SERVER_AUTH])];
    [
        extension(AUTHORITY_KEY_IDENTIFIER, false, &der(SEQUENCE, &[&der(CONTEXT, &[&key_identifier(issuer)])])),
        alt_names(names),
        extension(KEY_USAGE, true, &der(BIT_STRING, &[&[7, DIGITAL_SIGNATURE]])),
        extension(EXTENDED_KEY_USAGE, false, &der(SEQUENCE, &[&usages.concat()])),
        extension(SUBJECT_KEY_IDENTIFIER, false, &der(OCTET_STRING, &[&key_identifier(subject)])),
        extension(BASIC_CONSTRAINTS, true, &der(SEQUENCE, &[])),
    ]
    .concat()
}

/// A certificate of the key `subject`, signed by `key`.
fn signed(
    key: &SigningKey,
    issuer_name: &str,
    subject_name: &str,
    subject: &[u8; 32],
    mut serial: [u8; 16],
    until: &[u8],
    extensions: &[u8],
) -> Vec<u8> {
    // A positive number of 16 bytes, whatever the entropy (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7F | 0x40;
    let algorithm = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[ED25519])]);
    let to_be_signed = der(
        SEQUENCE,
        &[
            &der(CONTEXT | CONSTRUCTED, &[&der(INTEGER, &[&[VERSION_3]])]),
            &der(INTEGER, &[&serial]),
            &algorithm,
            &name(issuer_name),
            &der(SEQUENCE, &[&der(UTC_TIME, &[NOT_BEFORE]), until]),
            &name(subject_name),
            // What SPKI opens holds the key as well, and nothing after it.
            &[SPKI, subject].concat(),
            &der(CONTEXT | CONSTRUCTED | 3, &[&der(SEQUENCE, &[extensions])]),
        ],
    );
    let signature = key.sign(&to_be_signed).to_bytes();
    der(SEQUENCE, &[&to_be_signed, &algorithm, &der(BIT_STRING, &[&[0], &signature])])
}

/// `*`, by which stock clients take a leaf for all torrents of its root, and these general names.
fn alt_names(names: &[u8]) -> Vec<u8> {
    extension(SUBJECT_ALT_NAME, false, &der(SEQUENCE, &[&der(CONTEXT | 2, &[b"*"]), names]))
}

/// The end of a certificate that has none.
fn never() -> Vec<u8> {
    der(GENERALIZED_TIME, &[NOT_AFTER])
}

/// A name of one common name.
fn name(common: &str) -> Vec<u8> {
    let attribute = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[COMMON_NAME]), &der(UTF8_STRING, &[common.as_bytes()])]);
    der(SEQUENCE, &[&der(SET, &[&attribute])])
}

fn extension(identifier: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { der(BOOLEAN, &[&[0xFF]]) } else { Vec::new() };
    der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[identifier]), &critical, &der(OCTET_STRING, &[value])])
}

/// The identifier of a key: the start of the SHA-256 of what holds it (RFC 7093, section 2, method 4).
fn key_identifier(key: &[u8; 32]) -> [u8; 20] {
    let mut identifier = [0; 20];
    identifier.copy_from_slice(&Sha256::new().chain_update(SPKI).chain_update(key).finalize()[..20]);
    identifier
}

/// A value in DER (X.690): its tag, the length of its parts together, the parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("a certificate is shorter than 64 KiB").to_be_bytes();
    let mut value = vec![tag];
    match length {
        [0, short @ 0..0x80] => value.push(short),
        [0, long] => value.extend([0x81, long]),
        [high, low] => value.extend([0x82, high, low]),
    }
    value.extend(content);
    value
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT: u8 = 0x80;
const CONSTRUCTED: u8 = 0x20;

/// id-Ed25519 (RFC 8410), id-at-commonName and the extensions (RFC 5280, section 4.2.1).
const ED25519: &[u8] = b"\x2b\x65\x70";
const COMMON_NAME: &[u8] = b"\x55\x04\x03";
const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x0e";
const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
const SUBJECT_ALT_NAME: &[u8] = b"\x55\x1d\x11";
const BASIC_CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";
const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";

/// Bits of KeyUsage, the first one the highest.
const DIGITAL_SIGNATURE: u8 = 1 << 7;
const KEY_CERT_SIGN: u8 = 1 << 2;
const CRL_SIGN: u8 = 1 << 1;
const VERSION_3: u8 = 2;
/// The common name of stock clients.
const GUEST: &str = "guest";
/// Dates that tell nothing, and that no clock comes to.
const NOT_BEFORE: &[u8] = b"750101000000Z";
const NOT_AFTER: &[u8] = b"40960101000000Z";

#[cfg(test)]
mod tests {
    use rcgen::Issuer;

    use super::super::oracle;
    use super::*;

    /// A root is part of every info-hash, and a circle's certificates come from many versions of this program.
    #[test]
    fn another_implementation_writes_the_same() {
        for byte in [0, 1, 0x40, 0x7F, 0x80, 0xFF] {
            let (serial, root_key) = ([byte; 16], oracle::SigningKey::new(&[byte; 32]));
            let root = create_root([byte; 32], serial).unwrap();
            assert_eq!(root.der, &oracle::root_params(serial).self_signed(&root_key).unwrap().der()[..]);

            let subject = TransportKey(SigningKey::from_bytes(&[!byte; 32]).verifying_key().to_bytes());
            let leaf = issue_leaf(&[byte; 32], &root.der, &subject, serial).unwrap();
            let issuer = Issuer::new(oracle::root_params(serial), root_key);
            let theirs = oracle::leaf_params(serial).signed_by(&oracle::Subject(&subject), &issuer).unwrap();
            assert_eq!(leaf, &theirs.der()[..]);

            let key = oracle::SigningKey::new(&[byte; 32]);
            let mut serial = [0; 16];
            let public = SigningKey::from_bytes(&[byte; 32]).verifying_key().to_bytes();
            serial.copy_from_slice(&Sha256::digest(public)[..16]);
            let theirs = oracle::leaf_params(serial).self_signed(&key).unwrap();
            assert_eq!(self_signed(&[byte; 32]).unwrap(), &theirs.der()[..]);
        }
    }

    #[test]
    fn lengths_have_three_forms() {
        assert_eq!(der(4, &[&[1], &[2, 3]]), [4, 3, 1, 2, 3]);
        assert_eq!(der(4, &[&[0; 0x7F]])[..3], [4, 0x7F, 0]);
        assert_eq!(der(4, &[&[0; 0x80]])[..4], [4, 0x81, 0x80, 0]);
        assert_eq!(der(4, &[&[0; 0x102]])[..5], [4, 0x82, 1, 2, 0]);
    }
}
