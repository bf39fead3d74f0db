//! Makes certificates: a circle's root, leaves, and the self-signed certificate of the invite protocol.

use std::fmt;

use ed25519_dalek::Signer as _;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{CertError, check_chain, check_root, pem};
use crate::base::TransportKey;

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
    let certificate = root_params(serial).self_signed(&SigningKey::new(&seed)).map_err(unmade)?;
    let der = certificate.der().to_vec();
    Ok(Root { secret: RootSecret::from_seed(seed), pem: pem(&der), der })
}

/// Makes the leaf of `subject`, issued by the root with this seed and certificate. `serial` is entropy.
pub fn issue_leaf(
    root_seed: &[u8; 32],
    root_der: &[u8],
    subject: &TransportKey,
    serial: [u8; 16],
) -> Result<Vec<u8>, CertError> {
    let key = SigningKey::new(root_seed);
    if check_root(root_der)? != key.public {
        return Err(CertError::WrongSecret);
    }
    let issuer = Issuer::new(root_params(serial), key);
    let leaf = der(leaf_params(serial).signed_by(&Subject(subject), &issuer))?;
    // A root of another program may have another name, which would break the chain: better here than at the peer's.
    check_chain(&leaf, root_der)?;
    Ok(leaf)
}

/// Makes the certificate of the invite protocol, in which the two do not share a circle yet: it binds nothing, and
/// stands for its key alone.
pub fn self_signed(transport_seed: &[u8; 32]) -> Result<Vec<u8>, CertError> {
    let key = SigningKey::new(transport_seed);
    let mut serial = [0; 16];
    serial.copy_from_slice(&Sha256::digest(key.public)[..16]);
    der(leaf_params(serial).self_signed(&key))
}

pub(super) fn root_params(serial: [u8; 16]) -> CertificateParams {
    let mut params = params("root", serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn leaf_params(serial: [u8; 16]) -> CertificateParams {
    let mut params = params("node", serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![SanType::DnsName("*".try_into().expect("an ASCII name"))];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn params(name: &str, mut serial: [u8; 16]) -> CertificateParams {
    // A positive number of 16 bytes, whatever the entropy (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7F | 0x40;
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(1975, 1, 1);
    params.not_after = rcgen::date_time_ymd(4096, 1, 1);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn der(made: Result<Certificate, rcgen::Error>) -> Result<Vec<u8>, CertError> {
    made.map(|certificate| certificate.der().to_vec()).map_err(unmade)
}

fn unmade(error: rcgen::Error) -> CertError {
    CertError::Unmade(error.to_string())
}

/// A key that signs certificates. rcgen's own would not be zeroed.
pub(super) struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    public: [u8; 32],
}

impl SigningKey {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        Self { public: secret.verifying_key().to_bytes(), secret }
    }
}

impl PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.secret.sign(message).to_vec())
    }
}

/// The key of a leaf, whose secret its owner keeps.
pub(super) struct Subject<'a>(pub(super) &'a TransportKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}
