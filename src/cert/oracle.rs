//! The same certificates by rcgen, and those that are odd: what `profile` writes is held to them byte by byte.

use ed25519_dalek::Signer as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};

use crate::base::TransportKey;

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

/// An Ed25519 key that signs certificates, made from its seed.
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
