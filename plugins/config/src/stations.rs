//! `stations`: our own AS2 identities, and the keys that open what is sent to them.

use as2hook_as2::StationKey;

use super::{
    as2_id,
    keys::{self, CERTIFICATE, PASSPHRASE, PASSPHRASE_FILE, PRIVATE_KEY},
    read::{Table, Value},
};

/// One of our AS2 identities.
#[derive(Clone)]
pub struct Station {
    /// Unique among the stations.
    pub as2_id: String,
    /// Several during a rollover. With none, what is sent to it is not decoded.
    pub keys: Vec<StationKey>,
}

// === impl Station ===

impl Station {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        let table = value.table(&["as2_id", "keys"])?;
        let keys = table.read_or("keys", Vec::new(), |value| value.each(read_key));
        Some(Self { as2_id: table.need("as2_id", as2_id)?, keys })
    }
}

impl std::fmt::Debug for Station {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Station")
            .field("as2_id", &self.as2_id)
            .field("keys", &self.keys.len())
            .finish()
    }
}

/// A certificate with its private key, or both in one PKCS#12 file.
fn read_key(value: &Value<'_>) -> Option<StationKey> {
    let table = value.table(&[CERTIFICATE, PRIVATE_KEY, "pkcs12", PASSPHRASE, PASSPHRASE_FILE])?;
    let identity = match table.get("pkcs12") {
        Some(archive) => read_archive(&table, &archive)?,
        None => keys::identity(&table)?,
    };
    let certificate = identity.chain.into_iter().next()?;
    Some(StationKey { certificate, private_key: identity.private_key })
}

fn read_archive(table: &Table<'_>, archive: &Value<'_>) -> Option<keys::Identity> {
    for other in [CERTIFICATE, PRIVATE_KEY] {
        if let Some(other) = table.get(other) {
            return other.wrong("`pkcs12` is given too, and holds both; only one may be");
        }
    }
    let passphrase = keys::passphrase(table)?;
    keys::pkcs12(archive, passphrase.as_ref())
}
