//! Certificate profile and chain policy: one self-signed root per circle, leaves issued by it directly, all Ed25519.
//!
//! The profile is what stock SSL-torrent clients take (libtorrent): a leaf has the subjectAltName `*`, is for clients and
//! servers alike, and no intermediate stands between it and the root. A chain proves that a keeper once issued it, and no
//! more: who may do what follows from the roster. Certificates tell nothing: names and dates are the same in all.

mod profile;

use std::fmt;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext,
};

use crate::base::{CircleId, TransportKey};

pub use profile::{Root, RootSecret, create_root, issue_leaf, self_signed};

/// Why a certificate is not taken, or cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertError {
    /// Not a certificate with an Ed25519 key: whose.
    Malformed(&'static str),
    /// The root is not allowed to issue leaves.
    NotAuthority,
    /// The chain does not hold: why, in webpki's words.
    Untrusted(String),
    /// The root's secret is another root's.
    WrongSecret,
    /// A certificate could not be made: why, in rcgen's words.
    Unmade(String),
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertError::Malformed(whose) => write!(f, "{whose} is no certificate of an Ed25519 key"),
            CertError::NotAuthority => f.write_str("the circle's root certificate may not issue others"),
            CertError::Untrusted(why) => {
                write!(f, "the certificate was not issued by the circle's root for this use: {why}")
            }
            CertError::WrongSecret => f.write_str("the root's secret does not belong to the root certificate"),
            CertError::Unmade(why) => write!(f, "the certificate could not be made: {why}"),
        }
    }
}

impl std::error::Error for CertError {}

/// Checks a leaf against a circle's root, DER both, and gives the leaf's key. What must hold: the root is an authority,
/// it signed the leaf itself, the leaf is none, and it is for clients and servers. The clock is not trusted, so dates
/// are compared with a fixed one.
pub fn check_chain(leaf_der: &[u8], root_der: &[u8]) -> Result<TransportKey, CertError> {
    check_root(root_der)?;
    let key = transport_key_of(leaf_der).ok_or(CertError::Malformed("the peer's certificate"))?;
    verify(leaf_der, root_der).map_err(|error| CertError::Untrusted(error.to_string()))?;
    Ok(key)
}

/// Checks that a certificate, DER, can be a circle's root: an authority with an Ed25519 key. Gives that key.
pub fn check_root(root_der: &[u8]) -> Result<[u8; 32], CertError> {
    let key = transport_key_of(root_der).ok_or(CertError::Malformed("the circle's root"))?;
    // webpki does not look at an anchor's own rights, but it refuses an authority in the place of a leaf.
    match verify(root_der, root_der) {
        Err(webpki::Error::CaUsedAsEndEntity) => Ok(key.0),
        _ => Err(CertError::NotAuthority),
    }
}

fn verify(leaf_der: &[u8], root_der: &[u8]) -> Result<(), webpki::Error> {
    let (leaf, root) = (CertificateDer::from(leaf_der), CertificateDer::from(root_der));
    let anchor = webpki::anchor_from_trusted_cert(&root)?;
    EndEntityCert::try_from(&leaf)?.verify_for_usage(
        &[webpki::ring::ED25519],
        &[anchor],
        &[],
        UnixTime::since_unix_epoch(CHECKED_AT),
        BothUsages,
        None,
        None,
    )?;
    Ok(())
}

/// The extended key usage of our leaves: a node is a client and a server.
struct BothUsages;

impl ExtendedKeyUsageValidator for BothUsages {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let (mut client, mut server) = (false, false);
        for id in iter {
            let id = id?;
            client |= id == KeyPurposeId::new(CLIENT_AUTH);
            server |= id == KeyPurposeId::new(SERVER_AUTH);
        }
        if client && server {
            return Ok(());
        }
        let required = if client { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let context = RequiredEkuNotFoundContext { required, present: Vec::new() };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

/// The Ed25519 key of a certificate, DER. Nothing is said about who issued it.
pub fn transport_key_of(der: &[u8]) -> Option<TransportKey> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).ok()?;
    TransportKey::from_slice(certificate.subject_public_key_info().strip_prefix(SPKI)?)
}

/// SHA-256 of a certificate, DER: what invites name.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// A certificate as PEM (RFC 7468). Equal DER gives equal text, since the root's is part of every info-hash.
pub fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(PEM_LINE / 4 * 3) {
        BASE64.encode_append(line, &mut text);
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// An Ed25519 seed as PKCS #8 (RFC 8410), for TLS. It is the whole secret.
pub fn pkcs8_of_seed(seed: &[u8; 32]) -> Vec<u8> {
    [PKCS8, seed].concat()
}

/// The SNI by which our own nodes name a circle to each other: 40 lower-case hex digits, like the info-hash that stock
/// clients send, and of no use to who does not know the circle's id.
pub fn server_name(circle: &CircleId) -> String {
    let hash = Sha256::new().chain_update(SERVER_NAME).chain_update(circle.0).finalize();
    HEXLOWER.encode(&hash[..20])
}

/// When dates are compared: 1 January 2026.
const CHECKED_AT: Duration = Duration::from_secs(1_767_225_600);
/// SubjectPublicKeyInfo of Ed25519 (RFC 8410), before the key.
const SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// PrivateKeyInfo of Ed25519 (RFC 8410), before the seed.
const PKCS8: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// id-kp-clientAuth and id-kp-serverAuth (RFC 5280, section 4.2.1.12).
const CLIENT_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x02";
const SERVER_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x01";
const SERVER_NAME: &[u8] = b"dustfs server name 1\0";
const PEM_LINE: usize = 64;
