//! Certificate profile and chain policy: one self-signed root per circle, leaves issued by it directly, all Ed25519.
//!
//! The profile is what stock SSL-torrent clients take (libtorrent): a leaf has the subjectAltName `*`, is for clients
//! and servers alike, and no intermediate stands between it and the root. A chain proves that a keeper once issued it,
//! and no more: who may do what follows from the roster. Certificates tell nothing: names and dates are the same in all.

#[cfg(test)]
mod oracle;
mod profile;

use std::fmt;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext,
};
use zeroize::Zeroizing;

use crate::base::{CircleId, TransportKey, WallTime};

pub use profile::{Root, RootSecret, create_root, is_guest, issue_guest, issue_leaf, issue_tracker, self_signed};

/// Why a certificate is not taken, or not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertError {
    /// Not a certificate with an Ed25519 key: whose.
    Malformed(&'static str),
    /// The root is not allowed to issue leaves.
    NotAuthority,
    /// The chain does not hold: why, in webpki's words.
    Untrusted(String),
    /// It is a node's, or under another name than stock clients have.
    NotGuest,
    /// Its time is over.
    Ended,
    /// The root's secret is another root's.
    WrongSecret,
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertError::Malformed(whose) => write!(f, "{whose} is no certificate of an Ed25519 key"),
            CertError::NotAuthority => f.write_str("the circle's root certificate may not issue others"),
            CertError::Untrusted(why) => {
                write!(f, "the certificate was not issued by the circle's root for this use: {why}")
            }
            CertError::NotGuest => f.write_str("the certificate is not that of a stock client"),
            CertError::Ended => f.write_str("the certificate has ended: renew it with `dustfs guest`"),
            CertError::WrongSecret => f.write_str("the root's secret does not belong to the root certificate"),
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
    verify(leaf_der, root_der, CHECKED_AT).map_err(|error| CertError::Untrusted(error.to_string()))?;
    Ok(key)
}

/// As [`check_chain`], for the leaf of a stock client, which is no node's and has an end. A clock that is before the
/// date of [`check_chain`] knows none, and is not asked.
pub fn check_guest(leaf_der: &[u8], root_der: &[u8], now: WallTime) -> Result<TransportKey, CertError> {
    check_root(root_der)?;
    let key = transport_key_of(leaf_der).ok_or(CertError::Malformed("the stock client's certificate"))?;
    match verify(leaf_der, root_der, Duration::from_nanos(now.0.max(0) as u64).max(CHECKED_AT)) {
        Ok(()) if is_guest(leaf_der) => Ok(key),
        Ok(()) => Err(CertError::NotGuest),
        Err(webpki::Error::CertExpired { .. }) => Err(CertError::Ended),
        Err(error) => Err(CertError::Untrusted(error.to_string())),
    }
}

/// True where the clock shows a date that a certificate may be dated by.
pub fn knows_date(now: WallTime) -> bool {
    now.0 >= CHECKED_AT.as_nanos() as i64
}

/// Checks that a certificate, DER, can be a circle's root: an authority with an Ed25519 key. Gives that key.
pub fn check_root(root_der: &[u8]) -> Result<[u8; 32], CertError> {
    let key = transport_key_of(root_der).ok_or(CertError::Malformed("the circle's root"))?;
    // webpki does not look at an anchor's own rights, but it refuses an authority in the place of a leaf.
    match verify(root_der, root_der, CHECKED_AT) {
        Err(webpki::Error::CaUsedAsEndEntity) => Ok(key.0),
        _ => Err(CertError::NotAuthority),
    }
}

fn verify(leaf_der: &[u8], root_der: &[u8], at: Duration) -> Result<(), webpki::Error> {
    let (leaf, root) = (CertificateDer::from(leaf_der), CertificateDer::from(root_der));
    let anchor = webpki::anchor_from_trusted_cert(&root)?;
    EndEntityCert::try_from(&leaf)?.verify_for_usage(
        &[webpki::ring::ED25519],
        &[anchor],
        &[],
        UnixTime::since_unix_epoch(at),
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

/// An Ed25519 seed as PKCS #8 in PEM, as stock clients read it. It is the whole secret.
pub fn private_pem(seed: &[u8; 32]) -> Zeroizing<String> {
    let der = Zeroizing::new(pkcs8_of_seed(seed));
    let base64 = Zeroizing::new(BASE64.encode(&der));
    Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *base64))
}

/// The seed in what [`private_pem`] wrote.
pub fn seed_of_private_pem(pem: &str) -> Option<Zeroizing<[u8; 32]>> {
    let line = pem.lines().nth(1)?;
    let der = Zeroizing::new(BASE64.decode(line.as_bytes()).ok()?);
    der.strip_prefix(PKCS8)?.try_into().ok().map(Zeroizing::new)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer};

    use super::oracle::{SigningKey, Subject, leaf_params, root_params};
    use super::*;

    const SEED: [u8; 32] = [1; 32];
    const SERIAL: [u8; 16] = [0; 16];

    fn root() -> Root {
        create_root(SEED, SERIAL).unwrap()
    }

    fn key(seed: u8) -> TransportKey {
        TransportKey(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
    }

    /// A certificate of the key of seed 2, issued by the root but with other parameters than ours.
    fn odd_leaf(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = leaf_params(SERIAL);
        change(&mut params);
        let issuer = Issuer::new(root_params(SERIAL), SigningKey::new(&SEED));
        params.signed_by(&Subject(&key(2)), &issuer).unwrap().der().to_vec()
    }

    fn words(result: Result<TransportKey, CertError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_leaf_of_the_root_is_taken_and_gives_its_key() {
        let root = root();
        let leaf = issue_leaf(root.secret.seed(), &root.der, &key(2), [0xFF; 16]).unwrap();
        assert_eq!(check_chain(&leaf, &root.der), Ok(key(2)));
        assert_eq!(transport_key_of(&leaf), Some(key(2)));
        assert_eq!(check_root(&root.der), Ok(key(1).0));
        // The subjectAltName extension: its OID, then a sequence of one DNSName, which is exactly `*`.
        let san = b"\x06\x03\x55\x1d\x11\x04\x05\x30\x03\x82\x01\x2a";
        assert!(leaf.windows(san.len()).any(|window| window == san));
        assert_eq!(leaf, issue_leaf(root.secret.seed(), &root.der, &key(2), [0xFF; 16]).unwrap(), "deterministic");
        assert_ne!(leaf, issue_leaf(root.secret.seed(), &root.der, &key(2), [0xFE; 16]).unwrap(), "serial");
    }

    #[test]
    fn every_serial_makes_a_certificate() {
        for byte in [0, 1, 0x7F, 0x80, 0xFF] {
            let root = create_root(SEED, [byte; 16]).unwrap();
            assert!(issue_leaf(&SEED, &root.der, &key(2), [byte; 16]).is_ok(), "{byte}");
        }
    }

    #[test]
    fn another_root_is_refused_although_it_has_the_same_name() {
        let other = create_root([9; 32], SERIAL).unwrap();
        let leaf = issue_leaf(&[9; 32], &other.der, &key(2), SERIAL).unwrap();
        assert!(words(check_chain(&leaf, &root().der)).contains("InvalidSignature"));
        assert_eq!(issue_leaf(&[9; 32], &root().der, &key(2), SERIAL), Err(CertError::WrongSecret));
        assert!(check_chain(&self_signed(&[2; 32]).unwrap(), &root().der).is_err());
    }

    #[test]
    fn no_byte_of_a_leaf_can_be_changed() {
        let root = root();
        let leaf = issue_leaf(&SEED, &root.der, &key(2), SERIAL).unwrap();
        for at in 0..leaf.len() {
            let mut changed = leaf.clone();
            changed[at] ^= 1;
            assert!(check_chain(&changed, &root.der).is_err(), "byte {at}");
            assert!(check_chain(&leaf[..at], &root.der).is_err(), "cut at {at}");
        }
        assert!(check_chain(&[&leaf[..], &[0]].concat(), &root.der).is_err());
    }

    #[test]
    fn a_leaf_is_no_authority_and_an_authority_no_leaf() {
        let root = root();
        let leaf = issue_leaf(&SEED, &root.der, &key(2), SERIAL).unwrap();
        let below = Issuer::new(leaf_params(SERIAL), SigningKey::new(&[2; 32]));
        let below = leaf_params(SERIAL).signed_by(&Subject(&key(3)), &below).unwrap();
        assert_eq!(check_chain(below.der(), &leaf), Err(CertError::NotAuthority));
        assert!(words(check_chain(below.der(), &root.der)).contains("UnknownIssuer"));
        assert!(words(check_chain(&root.der, &root.der)).contains("CaUsedAsEndEntity"));
        let authority = odd_leaf(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert!(words(check_chain(&authority, &root.der)).contains("CaUsedAsEndEntity"));
        assert_eq!(check_root(&self_signed(&SEED).unwrap()), Err(CertError::NotAuthority));
    }

    #[test]
    fn a_leaf_must_be_for_clients_and_servers() {
        for usages in [vec![], vec![ExtendedKeyUsagePurpose::ClientAuth], vec![ExtendedKeyUsagePurpose::ServerAuth]] {
            let leaf = odd_leaf(|params| params.extended_key_usages = usages.clone());
            assert!(words(check_chain(&leaf, &root().der)).contains("RequiredEkuNotFound"), "{usages:?}");
        }
    }

    fn day(days: i64) -> WallTime {
        WallTime(days * 86_400_000_000_000)
    }

    #[test]
    fn a_stock_clients_leaf_ends_with_its_day() {
        let root = root();
        // 2026-11-22.
        let today = 20_779;
        let leaf = issue_guest(&SEED, &root.der, &key(2), SERIAL, day(today)).unwrap();
        assert!(is_guest(&leaf));
        let second = WallTime(1_000_000_000);
        assert_eq!(check_guest(&leaf, &root.der, day(today)), Ok(key(2)));
        assert_eq!(check_guest(&leaf, &root.der, WallTime(day(today + 1).0 - second.0)), Ok(key(2)));
        assert_eq!(check_guest(&leaf, &root.der, day(today + 1)), Err(CertError::Ended));
        // A box that does not know the date does not refuse by it.
        assert_eq!(check_guest(&leaf, &root.der, WallTime(0)), Ok(key(2)));
        assert!(!knows_date(WallTime(0)) && knows_date(day(today)));
        let late = issue_guest(&SEED, &root.der, &key(2), SERIAL, day(36_500)).unwrap();
        assert_eq!(check_guest(&late, &root.der, day(36_500)), Ok(key(2)));
        assert_eq!(check_guest(&late, &root.der, day(36_501)), Err(CertError::Ended));
    }

    #[test]
    fn who_is_no_stock_client_is_not_taken_for_one() {
        let root = root();
        let node = issue_leaf(&SEED, &root.der, &key(2), SERIAL).unwrap();
        assert_eq!(check_guest(&node, &root.der, day(20_779)), Err(CertError::NotGuest));
        let named = |name: &str| {
            odd_leaf(|params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(rcgen::DnType::CommonName, "guest");
                params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
            })
        };
        assert_eq!(check_guest(&named("*"), &root.der, day(20_779)), Ok(key(2)));
        assert_eq!(check_guest(&named("elsewhere"), &root.der, day(20_779)), Err(CertError::NotGuest));
        let other = create_root([9; 32], SERIAL).unwrap();
        let theirs = issue_guest(&[9; 32], &other.der, &key(2), SERIAL, day(30_000)).unwrap();
        assert!(matches!(check_guest(&theirs, &root.der, day(20_779)), Err(CertError::Untrusted(_))));
    }

    #[test]
    fn a_tracker_has_the_name_that_it_was_asked_under() {
        let root = root();
        let tracker = |host| issue_tracker(&SEED, &root.der, &key(2), SERIAL, host).unwrap();
        let has = |leaf: &[u8], name: &str| {
            let der = CertificateDer::from(leaf);
            let name = rustls::pki_types::ServerName::try_from(name).unwrap();
            EndEntityCert::try_from(&der).unwrap().verify_is_valid_for_subject_name(&name).is_ok()
        };
        let attic = tracker(Ok("attic.example.org"));
        assert_eq!(check_chain(&attic, &root.der), Ok(key(2)));
        assert!(has(&attic, "attic.example.org") && !has(&attic, "10.0.0.1") && !is_guest(&attic));
        assert!(has(&tracker(Err([10, 0, 0, 1].into())), "10.0.0.1"));
        assert!(has(&tracker(Err("2001:db8::1".parse().unwrap())), "2001:db8::1"));
    }

    #[test]
    fn a_private_key_comes_back_from_its_text() {
        let pem = private_pem(&SEED);
        assert_eq!(seed_of_private_pem(&pem).as_deref(), Some(&SEED));
        let theirs = rcgen::PublicKeyData::der_bytes(&SigningKey::new(&SEED)).to_vec();
        assert_eq!(theirs, key(1).0);
        for broken in ["", "x\ny\n", &pem[..60], &pem.replace('M', "?")] {
            assert_eq!(seed_of_private_pem(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn dates_are_compared_with_a_fixed_one() {
        let dated = |from, to| {
            odd_leaf(|params| {
                params.not_before = rcgen::date_time_ymd(from, 1, 1);
                params.not_after = rcgen::date_time_ymd(to, 1, 1);
            })
        };
        assert_eq!(check_chain(&dated(2026, 2027), &root().der), Ok(key(2)));
        assert!(words(check_chain(&dated(1975, 2025), &root().der)).contains("CertExpired"));
        assert!(words(check_chain(&dated(2027, 4096), &root().der)).contains("CertNotValidYet"));
    }

    #[test]
    fn a_key_that_is_not_ed25519_is_refused() {
        let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = Issuer::new(root_params(SERIAL), SigningKey::new(&SEED));
        let leaf = leaf_params(SERIAL).signed_by(&p256, &issuer).unwrap();
        assert_eq!(transport_key_of(leaf.der()), None);
        assert_eq!(check_chain(leaf.der(), &root().der), Err(CertError::Malformed("the peer's certificate")));
        let root = root_params(SERIAL).self_signed(&p256).unwrap();
        assert_eq!(check_root(root.der()), Err(CertError::Malformed("the circle's root")));
    }

    #[test]
    fn tls_takes_certificates_and_keys() {
        let leaf = self_signed(&[2; 32]).unwrap();
        assert_eq!(transport_key_of(&leaf), Some(key(2)));
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8_of_seed(&[2; 32]));
        let provider = rustls::crypto::ring::default_provider();
        let certified = rustls::sign::CertifiedKey::from_der(vec![leaf.into()], private.into(), &provider).unwrap();
        certified.keys_match().unwrap();
    }

    #[test]
    fn the_texts_are_what_others_read() {
        let root = root();
        assert_eq!(root.pem, pem(&root.der));
        let certificate = root_params(SERIAL).self_signed(&SigningKey::new(&SEED)).unwrap();
        assert_eq!(root.pem, certificate.pem().replace("\r\n", "\n"), "as another encoder writes it");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(HEXLOWER.encode(&fingerprint(b"")), empty);
        let name = server_name(&CircleId([7; 32]));
        assert_ne!(name, server_name(&CircleId([8; 32])));
        assert!(name.len() == 40 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        assert!(rustls::pki_types::ServerName::try_from(name).is_ok());
        assert!(format!("{root:?}").contains("RootSecret(..)"), "no secret is printed");
    }

    proptest! {
        #[test]
        fn garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(transport_key_of(&garbage), None);
            prop_assert!(check_chain(&garbage, &garbage).is_err());
            prop_assert!(check_root(&garbage).is_err());
        }

        #[test]
        fn a_torn_certificate_never_panics(at in 0..400_usize, to: u8, cut in 0..400_usize) {
            let mut leaf = self_signed(&[2; 32]).unwrap();
            let at = at % leaf.len();
            leaf[at] = to;
            leaf.truncate(cut);
            let _ = transport_key_of(&leaf);
            prop_assert!(check_chain(&leaf, &leaf).is_err());
        }
    }
}
