//! Keys and certificates, made when first asked for and the same for the rest of the process.
//!
//! AS2 identities have RSA keys, since partners' envelopes need them; TLS has P-256, which is fast to make.

use std::sync::LazyLock;

pub use as2hook_messages::Identity;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};

/// The AS2 station behind the gateway.
pub fn station() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("my-own-org", 2048));
    &IDENTITY
}

/// The station's key of before the rollover.
pub fn old_station() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("my-own-org-old", 2048));
    &IDENTITY
}

/// The remote AS2 partner.
pub fn partner() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("acme", 2048));
    &IDENTITY
}

/// An identity that no config names.
pub fn stranger() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("stranger", 2048));
    &IDENTITY
}

/// The authority behind [`server()`] and [`client()`].
pub fn authority() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| tls("authority", None));
    &IDENTITY
}

/// A TLS server on `localhost` and 127.0.0.1.
pub fn server() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| tls("localhost", Some(authority())));
    &IDENTITY
}

/// A TLS client.
pub fn client() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| tls("tls-client", Some(authority())));
    &IDENTITY
}

fn tls(name: &'static str, issuer: Option<&Identity>) -> Identity {
    certify(name, issuer).expect("a key and a certificate of a usual kind")
}

fn certify(name: &'static str, issuer: Option<&Identity>) -> Result<Identity, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut builder = Identity::builder(name, &key, &Identity::any_number(), issuer);
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
    builder.sign(issuer.map_or(&key, |ca| &ca.key), MessageDigest::sha256())?;
    Ok(Identity { name, certificate: builder.build(), key })
}
