//! Keys with certificates, made once for each test binary.

use std::sync::LazyLock;

use as2hook_as2::Keyring;
pub use as2hook_messages::Identity;
use openssl::nid::Nid;

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
