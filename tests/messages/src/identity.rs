//! Keys with certificates.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use as2hook_as2::StationKey;
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, BigNumRef, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{X509, X509Builder, X509NameBuilder, extension::SubjectKeyIdentifier},
};

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The subject's common name, and the files' name.
    pub name: &'static str,
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

// === impl Identity ===

impl Identity {
    pub fn rsa(name: &'static str, bits: u32) -> Self {
        Self::certify(name, PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    pub fn ec(name: &'static str, curve: Nid) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        Self::certify(name, PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
    }

    pub fn certify(name: &'static str, key: PKey<Private>) -> Self {
        Self::numbered(name, key, &Self::any_number())
    }

    /// With a serial number of any sign.
    pub fn numbered(name: &'static str, key: PKey<Private>, serial: &BigNumRef) -> Self {
        let mut builder = Self::builder(name, &key, serial, None);
        let id = SubjectKeyIdentifier::new();
        let id = id.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(id).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { name, certificate: builder.build(), key }
    }

    /// A positive serial number.
    pub fn any_number() -> BigNum {
        let mut serial = BigNum::new().unwrap();
        serial.rand(127, MsbOption::ONE, false).unwrap();
        serial
    }

    /// A certificate without extensions, not yet signed.
    pub fn builder(
        name: &str,
        key: &PKey<Private>,
        serial: &BigNumRef,
        issuer: Option<&Self>,
    ) -> X509Builder {
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        subject.append_entry_by_text("O", "as2hook tests").unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        let issuer = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(issuer).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(365).unwrap()).unwrap();
        builder.set_pubkey(key).unwrap();
        builder
    }

    /// The certificate's serial number, lower-case hex.
    pub fn serial(&self) -> String {
        let number = self.certificate.serial_number().to_bn().unwrap();
        number.to_hex_str().unwrap().to_ascii_lowercase()
    }

    pub fn station_key(&self) -> StationKey {
        StationKey { certificate: self.certificate.clone(), private_key: self.key.clone() }
    }

    /// Writes `<name>.crt` and `<name>.key` (PEM) and returns where they are.
    pub fn write(&self, folder: &Path) -> io::Result<(PathBuf, PathBuf)> {
        fs::create_dir_all(folder)?;
        let certificate = folder.join(format!("{}.crt", self.name));
        let key = folder.join(format!("{}.key", self.name));
        fs::write(&certificate, self.certificate.to_pem()?)?;
        fs::write(&key, self.key.private_key_to_pem_pkcs8()?)?;
        // As in production: the gateway warns of a key that others can read.
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        Ok((certificate, key))
    }
}
