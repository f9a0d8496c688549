//! Keys and certificates, made when first asked for and the same for the rest of the process.
//!
//! AS2 identities have RSA keys, since partners' envelopes need them; TLS has P-256, which is fast to make.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// A certificate and its private key.
#[derive(Debug)]
pub struct Identity {
    /// The subject's common name, and the files' name.
    pub name: &'static str,
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

/// The AS2 station behind the gateway.
pub fn station() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| rsa("my-own-org"));
    &IDENTITY
}

/// The station's key of before the rollover.
pub fn old_station() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| rsa("my-own-org-old"));
    &IDENTITY
}

/// The remote AS2 partner.
pub fn partner() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| rsa("acme"));
    &IDENTITY
}

/// An identity that no config names.
pub fn stranger() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| rsa("stranger"));
    &IDENTITY
}

/// The authority behind [`server()`] and [`client()`].
pub fn authority() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| make("authority", curve(), None));
    &IDENTITY
}

/// A TLS server on `localhost` and 127.0.0.1.
pub fn server() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> =
        LazyLock::new(|| make("localhost", curve(), Some(authority())));
    &IDENTITY
}

/// A TLS client.
pub fn client() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> =
        LazyLock::new(|| make("tls-client", curve(), Some(authority())));
    &IDENTITY
}

// === impl Identity ===

impl Identity {
    /// Writes `<name>.crt` and `<name>.key` (PEM) and returns where they are.
    pub fn write(&self, folder: &Path) -> io::Result<(PathBuf, PathBuf)> {
        fs::create_dir_all(folder)?;
        let certificate = folder.join(format!("{}.crt", self.name));
        let key = folder.join(format!("{}.key", self.name));
        fs::write(&certificate, self.certificate.to_pem().map_err(io::Error::other)?)?;
        fs::write(&key, self.key.private_key_to_pem_pkcs8().map_err(io::Error::other)?)?;
        Ok((certificate, key))
    }

    /// The certificate's serial number, lower-case hex.
    pub fn serial(&self) -> String {
        let number = self.certificate.serial_number().to_bn().unwrap();
        crate::http::hex(&number.to_vec())
    }
}

fn rsa(name: &'static str) -> Identity {
    make(name, Rsa::generate(2048).and_then(PKey::from_rsa), None)
}

fn curve() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn make(
    name: &'static str,
    key: Result<PKey<Private>, ErrorStack>,
    issuer: Option<&Identity>,
) -> Identity {
    let key = key.expect("a key of a usual kind");
    let certificate = certify(name, &key, issuer).expect("a certificate of a usual kind");
    Identity { name, certificate, key }
}

fn certify(name: &str, key: &PKey<Private>, issuer: Option<&Identity>) -> Result<X509, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    subject.append_entry_by_text("O", "as2hook tests")?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(120, MsbOption::ONE, false)?;

    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer.map_or(&*subject, |ca| ca.certificate.subject_name()))?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(365)?)?;
    if name == "authority" {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().build()?)?;
    }
    if name == "localhost" {
        let context = builder.x509v3_context(issuer.map(|ca| &*ca.certificate), None);
        let names =
            SubjectAlternativeName::new().dns("localhost").ip("127.0.0.1").build(&context)?;
        builder.append_extension(names)?;
    }
    builder.sign(issuer.map_or(key, |ca| &ca.key), MessageDigest::sha256())?;
    Ok(builder.build())
}
