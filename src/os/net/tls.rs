//! TLS 1.3 between our own nodes: which certificate is shown, which is believed, and in which words one is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms, ring, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

use super::NetError;
use super::stock::Stock;
use crate::base::limits::CERTIFICATE_MAX;
use crate::base::{CircleId, InfoHash, TransportKey, WallTime};
use crate::cert::{self, CertError};
use crate::node::io::{Protocol, Trust, TrustedCircle};

/// ALPN of [`Protocol::Dustfs`].
pub(super) const ALPN_DUSTFS: &[u8] = b"dustfs/1";
/// ALPN of [`Protocol::Invite`].
pub(super) const ALPN_INVITE: &[u8] = b"dustfs-invite/1";
/// ALPN of [`Protocol::Pair`].
pub(super) const ALPN_PAIR: &[u8] = b"dustfs-pair/1";
/// ALPN of [`Protocol::Recover`].
pub(super) const ALPN_RECOVER: &[u8] = b"dustfs-recover/1";
/// The SNI of an invite's dialler, who knows no circle to name.
const INVITE_NAME: &str = "invite.dustfs";
/// The same of the dialler of the other box in the window.
const PAIR_NAME: &str = "pair.dustfs";
/// The same of a recovery sheet's.
const RECOVER_NAME: &str = "recover.dustfs";
/// Stock clients know no ALPN.
const NO_ALPN: &[u8] = &[];
/// Label of the TLS exporter (RFC 8446, 7.5).
pub(super) const EXPORTER: &[u8] = b"EXPORTER-dustfs-1";

/// Our own key, as rustls wants it, and the ciphers in this machine's order.
pub(super) struct Identity {
    key: Arc<dyn SigningKey>,
    transport: TransportKey,
    self_signed: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// The identity of this seed.
    pub(super) fn new(seed: &[u8; 32]) -> Result<Self, NetError> {
        let words = |error: &dyn fmt::Display| NetError::Identity(error.to_string());
        let pkcs8 = Zeroizing::new(cert::pkcs8_of_seed(seed));
        let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..])).map_err(|error| words(&error))?;
        let self_signed = cert::self_signed(seed).map_err(|error| words(&error))?;
        let transport = cert::transport_key_of(&self_signed).ok_or_else(|| words(&"it makes no certificate"))?;
        Ok(Self { key, transport, self_signed: self_signed.into(), provider: Arc::new(provider()) })
    }

    fn certified(&self, certificate: CertificateDer<'static>) -> Arc<SingleCertAndKey> {
        Arc::new(CertifiedKey::new(vec![certificate], self.key.clone()).into())
    }

    fn server_config(&self, certificate: CertificateDer<'static>, alpn: &[u8], policy: Policy) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3 suites")
            .with_client_cert_verifier(Arc::new(Verifier { policy, provider: self.provider.clone() }))
            .with_cert_resolver(self.certified(certificate));
        config.alpn_protocols = protocols(alpn);
        config.ignore_client_order = !has_aes();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    fn client_config(&self, certificate: CertificateDer<'static>, alpn: &[u8], policy: Policy) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3 suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { policy, provider: self.provider.clone() }))
            .with_client_cert_resolver(self.certified(certificate));
        config.alpn_protocols = protocols(alpn);
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

#[cfg(test)]
impl Identity {
    /// How a stranger dials: with any leaf, believing any certificate with the key `expect`.
    pub(super) fn stranger(&self, leaf: &Bytes, expect: TransportKey) -> Arc<ClientConfig> {
        self.client_config(der(leaf), ALPN_DUSTFS, Policy::Key(expect))
    }

    /// The same of a stock client.
    pub(super) fn stock(&self, leaf: &Bytes, expect: TransportKey) -> Arc<ClientConfig> {
        self.client_config(der(leaf), NO_ALPN, Policy::Key(expect))
    }
}

/// The trust in force, made ready for handshakes.
pub(super) struct Trusted {
    identity: Arc<Identity>,
    circles: BTreeMap<CircleId, Circle>,
    invites: Option<Arc<ServerConfig>>,
    pairing: Option<Arc<ServerConfig>>,
    sheets: BTreeSet<TransportKey>,
}

struct Circle {
    told: TrustedCircle,
    server: Arc<ServerConfig>,
}

/// What a ClientHello is answered with.
pub(super) enum Answer {
    /// A handshake.
    Handshake(Protocol, Arc<ServerConfig>),
    /// A handshake with a stock client that asks the tracker of this circle.
    Tracker(CircleId, Arc<ServerConfig>),
    /// This alert, and the reason for the log.
    Refuse(AlertDescription, &'static str),
}

impl Trusted {
    /// Trust in nobody.
    pub(super) fn nobody(identity: Arc<Identity>) -> Self {
        Self { identity, circles: BTreeMap::new(), invites: None, pairing: None, sheets: BTreeSet::new() }
    }

    /// The trust that was told. A circle whose leaf is not for our key is left out, since no handshake could succeed.
    pub(super) fn new(identity: Arc<Identity>, trust: Trust) -> Self {
        let mut circles = BTreeMap::new();
        for told in trust.circles {
            match cert::transport_key_of(&told.leaf) {
                Some(key) if key == identity.transport => {}
                _ => {
                    log::error!("circle {} is left out: its certificate is not for this node's key", told.circle);
                    continue;
                }
            }
            let policy = Policy::Admitted { root: told.root.clone(), removed: told.removed.clone() };
            let server = identity.server_config(der(&told.leaf), ALPN_DUSTFS, policy);
            circles.insert(told.circle, Circle { told, server });
        }
        let guests = |alpn: &[u8]| identity.server_config(identity.self_signed.clone(), alpn, Policy::Anybody);
        let invites = trust.invites.then(|| guests(ALPN_INVITE));
        let pairing = trust.pairing.then(|| guests(ALPN_PAIR));
        Self { identity, circles, invites, pairing, sheets: trust.sheets }
    }

    /// True while a connection under `protocol` may be held with `key`, whose certificate was checked. Dialled invites were
    /// pinned by their dial. Whom this node has not heard of is held where it dialled: the node tells it nothing.
    pub(super) fn allows(&self, protocol: Protocol, key: &TransportKey, dialled: bool) -> bool {
        match protocol {
            Protocol::Dustfs(circle) => {
                let known = |told: &TrustedCircle| told.allowed.contains(key);
                let refused = |told: &TrustedCircle| dialled || told.removed.contains(key);
                self.circles.get(&circle).is_some_and(|circle| known(&circle.told) || !refused(&circle.told))
            }
            Protocol::Invite => dialled || self.invites.is_some(),
            Protocol::Pair => dialled || self.pairing.is_some(),
            Protocol::Recover => dialled || self.sheets.contains(key),
            Protocol::Torrent(circle, _) => {
                self.circles.get(&circle).is_some_and(|circle| circle.told.guests.contains(key))
            }
        }
    }

    /// Chooses the certificate for a dialler by what it says first.
    /// `here` is where it came to, `from` where it came from.
    pub(super) fn answer<'a>(
        &self,
        server_name: Option<&str>,
        alpn: impl Iterator<Item = &'a [u8]>,
        stock: &dyn Stock,
        here: IpAddr,
        from: IpAddr,
    ) -> Answer {
        let (mut dustfs, mut invite, mut pair, mut recover) = (false, false, false, false);
        for protocol in alpn {
            dustfs |= protocol == ALPN_DUSTFS;
            invite |= protocol == ALPN_INVITE;
            pair |= protocol == ALPN_PAIR;
            recover |= protocol == ALPN_RECOVER;
        }
        if recover {
            return self.answer_sheet();
        }
        if pair {
            return match &self.pairing {
                Some(config) => Answer::Handshake(Protocol::Pair, config.clone()),
                None => Answer::Refuse(AlertDescription::NoApplicationProtocol, "no window for pairing is open"),
            };
        }
        if invite {
            return match &self.invites {
                Some(config) => Answer::Handshake(Protocol::Invite, config.clone()),
                None => Answer::Refuse(AlertDescription::NoApplicationProtocol, "no invite is open"),
            };
        }
        let circle = self.circles.values().find(|circle| Some(&circle.told.server_name[..]) == server_name);
        match circle {
            Some(circle) if dustfs => Answer::Handshake(Protocol::Dustfs(circle.told.circle), circle.server.clone()),
            Some(_) => Answer::Refuse(AlertDescription::NoApplicationProtocol, "it does not offer dustfs/1"),
            None if dustfs => Answer::Refuse(AlertDescription::UnrecognisedName, "it names no circle of this node's"),
            None => self.answer_stock(server_name, stock, here, from),
        }
    }

    /// Who shows the key of a sheet that can be used is let in; all others end in the handshake.
    fn answer_sheet(&self) -> Answer {
        if self.sheets.is_empty() {
            return Answer::Refuse(AlertDescription::NoApplicationProtocol, "no recovery sheet can be used");
        }
        let policy = Policy::Sheet(self.sheets.clone());
        let config = self.identity.server_config(self.identity.self_signed.clone(), ALPN_RECOVER, policy);
        Answer::Handshake(Protocol::Recover, config)
    }

    /// How to dial whoever there is with a recovery sheet's key.
    pub(super) fn dial_sheet(key: &[u8; 32]) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        let sheet = Identity::new(key).map_err(|error| error.to_string())?;
        let name = ServerName::try_from(RECOVER_NAME).map_err(|error| error.to_string())?;
        Ok((sheet.client_config(sheet.self_signed.clone(), ALPN_RECOVER, Policy::Anybody), name))
    }

    /// A stock client offers no protocol: it names a torrent, or the host that a tracker's address has.
    fn answer_stock(&self, server_name: Option<&str>, stock: &dyn Stock, here: IpAddr, from: IpAddr) -> Answer {
        let unknown = |why| Answer::Refuse(AlertDescription::UnrecognisedName, why);
        let config = |id: &CircleId, leaf: &Bytes| {
            let Circle { told, .. } = self.circles.get(id)?;
            let policy = Policy::Guest { root: told.root.clone(), keys: told.guests.clone() };
            Some(self.identity.server_config(der(leaf), &[], policy))
        };
        if let Some(info_hash) = server_name.and_then(info_hash) {
            let served = stock.circle_of(&info_hash).and_then(|id| {
                let leaf = &self.circles.get(&id)?.told.leaf;
                Some((id, config(&id, leaf)?))
            });
            return match served {
                Some((id, config)) => Answer::Handshake(Protocol::Torrent(id, info_hash), config),
                None => unknown("it names no torrent and no circle of this node's"),
            };
        }
        let tracker = stock.tracker(server_name.ok_or(here), from);
        match tracker.and_then(|(id, leaf)| Some((id, config(&id, &leaf)?))) {
            Some((id, config)) => Answer::Tracker(id, config),
            None => unknown("it names no circle of this node's, which answers no announces"),
        }
    }

    /// How to dial `expect` under `protocol`; or why it cannot be.
    pub(super) fn dial(
        &self,
        protocol: Protocol,
        expect: TransportKey,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        let (certificate, alpn, policy, name) = match protocol {
            Protocol::Dustfs(id) => {
                let circle = self.circles.get(&id).ok_or_else(|| format!("this node is not in circle {id}"))?;
                if !circle.told.allowed.contains(&expect) {
                    return Err(format!("key {expect} is not of a member of circle {id}"));
                }
                let policy = Policy::Member { root: circle.told.root.clone(), key: expect };
                (der(&circle.told.leaf), ALPN_DUSTFS, policy, circle.told.server_name.clone())
            }
            Protocol::Invite => {
                (self.identity.self_signed.clone(), ALPN_INVITE, Policy::Key(expect), INVITE_NAME.to_owned())
            }
            Protocol::Pair => (self.identity.self_signed.clone(), ALPN_PAIR, Policy::Key(expect), PAIR_NAME.to_owned()),
            Protocol::Recover => return Err("a recovery sheet dials with its own key".into()),
            Protocol::Torrent(id, info_hash) => {
                let circle = self.circles.get(&id).ok_or_else(|| format!("this node is not in circle {id}"))?;
                if !circle.told.guests.contains(&expect) {
                    return Err(format!("key {expect} is of no stock client of circle {id}"));
                }
                let policy = Policy::Guest { root: circle.told.root.clone(), keys: [expect].into() };
                (der(&circle.told.leaf), NO_ALPN, policy, info_hash.hex())
            }
        };
        let name = ServerName::try_from(name).map_err(|_| "the circle's server name is not a DNS name".to_owned())?;
        Ok((self.identity.client_config(certificate, alpn, policy), name))
    }
}

/// What is offered or taken by ALPN; stock clients know none.
fn protocols(alpn: &[u8]) -> Vec<Vec<u8>> {
    if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] }
}

/// The torrent that a stock client names: 40 lower-case hex digits.
fn info_hash(name: &str) -> Option<InfoHash> {
    InfoHash::from_slice(&HEXLOWER.decode(name.as_bytes()).ok()?)
}

fn der(bytes: &Bytes) -> CertificateDer<'static> {
    CertificateDer::from(bytes.to_vec())
}

/// Whose certificate is believed.
#[derive(Debug)]
enum Policy {
    /// A leaf of this root, which only keepers issue, with none of these keys.
    Admitted { root: Bytes, removed: BTreeSet<TransportKey> },
    /// A leaf of this root with this key.
    Member { root: Bytes, key: TransportKey },
    /// A stock client's leaf of this root that has not ended, with one of these keys.
    Guest { root: Bytes, keys: BTreeSet<TransportKey> },
    /// Any certificate with this key.
    Key(TransportKey),
    /// Any certificate with one of these keys of recovery sheets.
    Sheet(BTreeSet<TransportKey>),
    /// Any Ed25519 certificate.
    Anybody,
}

impl Policy {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        // OpenSSL sends what it trusts along.
        let is_root = |other: &CertificateDer<'_>| matches!(self, Policy::Guest { root, .. } if other[..] == root[..]);
        if !others.iter().all(is_root) || leaf.len() > CERTIFICATE_MAX {
            return Err(CertificateError::BadEncoding.into());
        }
        let key = match self {
            Policy::Admitted { root, .. } | Policy::Member { root, .. } => {
                cert::check_chain(leaf, root).map_err(|_| CertificateError::UnknownIssuer)?
            }
            Policy::Guest { root, .. } => {
                let nanos = i64::try_from(now.as_secs()).ok().and_then(|secs| secs.checked_mul(1_000_000_000));
                let checked = cert::check_guest(leaf, root, WallTime(nanos.unwrap_or(i64::MAX)));
                checked.map_err(|error| match error {
                    CertError::Ended => CertificateError::Expired,
                    CertError::NotGuest => CertificateError::NotValidForName,
                    _ => CertificateError::UnknownIssuer,
                })?
            }
            Policy::Key(_) | Policy::Sheet(_) | Policy::Anybody => {
                cert::transport_key_of(leaf).ok_or(CertificateError::BadEncoding)?
            }
        };
        match self {
            Policy::Admitted { removed, .. } if removed.contains(&key) || cert::is_guest(leaf) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Policy::Guest { keys, .. } | Policy::Sheet(keys) if !keys.contains(&key) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Policy::Member { key: expect, .. } | Policy::Key(expect) if *expect != key => {
                Err(CertificateError::Other(OtherError(Arc::new(OtherKey))).into())
            }
            _ => Ok(()),
        }
    }
}

/// The peer proved another key than the one that was dialled.
#[derive(Debug)]
struct OtherKey;

impl fmt::Display for OtherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another key than expected")
    }
}

impl std::error::Error for OtherKey {}

#[derive(Debug)]
struct Verifier {
    policy: Policy,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
}

/// TLS 1.2 is not negotiated, so its signatures never come.
fn refuse_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

// The dates of nodes' certificates are not looked at: a box without a battery boots in 1970.
impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.policy.check(leaf, others, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.policy.check(leaf, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Ciphers of TLS 1.3 with the faster one first, and of keys and signatures what our certificates have: rustls's own
/// provider would link all that others use.
fn provider() -> CryptoProvider {
    use ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let cipher_suites = if has_aes() {
        vec![TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256]
    } else {
        vec![TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256]
    };
    CryptoProvider {
        cipher_suites,
        kx_groups: vec![ring::kx_group::X25519],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &System,
        key_provider: &System,
    }
}

static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::ring::ED25519])],
};

/// The operating system's entropy, and keys of Ed25519.
#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for System {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        match &key {
            PrivateKeyDer::Pkcs8(pkcs8) => ring::sign::any_eddsa_type(pkcs8),
            _ => Err(rustls::Error::General("only keys of Ed25519 in PKCS #8 are used".into())),
        }
    }
}

/// Has the CPU instructions for AES-GCM? Where std cannot tell (32-bit ARM, MIPS) it has none that ring would use well.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Why a handshake that we dialled failed, for people.
pub(super) fn dial_words(error: &io::Error, protocol: Protocol, peer: &dyn fmt::Display) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(InvalidCertificate(CertificateError::Other(other))) if other.0.is::<OtherKey>() => {
            format!("the peer at {peer} has another key than expected")
        }
        Some(InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("the certificate of the peer at {peer} is not of this circle")
        }
        Some(InvalidCertificate(_)) => format!("the certificate of the peer at {peer} is not one of DustFS"),
        Some(AlertReceived(AlertDescription::UnrecognisedName)) => format!("the peer at {peer} is not in this circle"),
        Some(AlertReceived(AlertDescription::NoApplicationProtocol)) if protocol == Protocol::Invite => {
            format!("the peer at {peer} has no invite open: ask for a new one")
        }
        Some(AlertReceived(AlertDescription::NoApplicationProtocol | AlertDescription::AccessDenied))
            if protocol == Protocol::Recover =>
        {
            format!(
                "the node at {peer} knows no such sheet: it was used or removed, another was printed since, or it is of another circle"
            )
        }
        Some(AlertReceived(AlertDescription::NoApplicationProtocol)) if protocol == Protocol::Pair => {
            format!("the box at {peer} has no window open: press both")
        }
        Some(AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            format!("the peer at {peer} does not speak dustfs/1: update it")
        }
        Some(AlertReceived(AlertDescription::UnknownCA)) => {
            format!("the peer at {peer} refused our certificate: for it, another root makes the circle")
        }
        Some(AlertReceived(AlertDescription::AccessDenied)) => {
            format!("the peer at {peer} refused our key: for it, this device is not in the circle")
        }
        Some(AlertReceived(alert)) => format!("the peer at {peer} refused the handshake: {alert:?}"),
        Some(error) => format!("the handshake with the peer at {peer} failed: {error}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the peer at {peer} hung up in the handshake")
        }
        None => format!("the handshake with the peer at {peer} failed: {error}"),
    }
}

/// Why a handshake that came in was refused, for the log.
pub(super) fn accept_words(error: &io::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, NoCertificatesPresented};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(NoCertificatesPresented) => "it shows no certificate".into(),
        Some(InvalidCertificate(CertificateError::UnknownIssuer)) => "its certificate is not of the circle".into(),
        Some(InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            "its key is not on the circle's roster, or was removed".into()
        }
        Some(InvalidCertificate(CertificateError::NotValidForName)) => {
            "its certificate is not that of a stock client".into()
        }
        Some(InvalidCertificate(CertificateError::Expired)) => "its certificate has ended: renew it".into(),
        Some(InvalidCertificate(_)) => "its certificate is not one of DustFS".into(),
        Some(InvalidMessage(_)) => "it does not speak TLS".into(),
        Some(AlertReceived(AlertDescription::CertificateUnknown)) => "it expected another key than ours".into(),
        Some(AlertReceived(alert)) => format!("it refused us: {alert:?}"),
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it hung up in the handshake".into(),
        None => error.to_string(),
    }
}
