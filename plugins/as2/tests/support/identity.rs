//! Keys with certificates, made once for each test binary.

use std::sync::LazyLock;

use as2hook_as2::{Keyring, StationKey};
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, BigNumRef},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{X509, X509NameBuilder, extension::SubjectKeyIdentifier},
};

#[derive(Clone)]
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// Of the receiving station.
pub static STATION: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("station", 2048));
/// The station's second key, during a rollover.
pub static STATION_NEXT: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("station", 2048));
pub static STATION_EC: LazyLock<Identity> =
    LazyLock::new(|| Identity::ec("station-ec", Nid::X9_62_PRIME256V1));
pub static PARTNER: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("partner", 2048));
pub static PARTNER_NEXT: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("partner", 2048));
pub static PARTNER_EC: LazyLock<Identity> =
    LazyLock::new(|| Identity::ec("partner-ec", Nid::SECP384R1));
pub static STRANGER: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("stranger", 2048));

impl Identity {
    pub fn rsa(name: &str, bits: u32) -> Self {
        Self::certify(name, PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    pub fn ec(name: &str, curve: Nid) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        Self::certify(name, PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
    }

    pub fn certify(name: &str, key: PKey<Private>) -> Self {
        let mut serial = BigNum::new().unwrap();
        serial.rand(127, openssl::bn::MsbOption::ONE, false).unwrap();
        Self::numbered(name, key, &serial)
    }

    /// With a serial number of any sign.
    pub fn numbered(name: &str, key: PKey<Private>, serial: &BigNumRef) -> Self {
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("O", "as2hook tests").unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(365).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let id = SubjectKeyIdentifier::new();
        let id = id.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(id).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn serial(&self) -> String {
        let number = self.certificate.serial_number().to_bn().unwrap();
        number.to_hex_str().unwrap().to_ascii_lowercase()
    }

    pub fn station_key(&self) -> StationKey {
        StationKey { certificate: self.certificate.clone(), private_key: self.key.clone() }
    }
}

/// The station's keys and the partner's certificates, an old and a new one of each.
pub fn keyring() -> Keyring {
    let mut keyring = Keyring::new();
    for own in [&*STATION_NEXT, &*STATION, &*STATION_EC] {
        keyring.add_key(own.station_key());
    }
    for partner in [&*PARTNER_NEXT, &*PARTNER, &*PARTNER_EC] {
        keyring.add_certificate("PARTNER", partner.certificate.clone());
    }
    keyring
}
