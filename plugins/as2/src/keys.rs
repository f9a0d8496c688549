//! Whose keys open an envelope, and whose certificates judge a signature.

use std::{collections::HashMap, fmt};

use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};

/// The keys of one configuration, shared by every message that is decoded under it.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Vec<StationKey>,
    certificates: HashMap<String, Vec<X509>>,
}

/// A certificate of ours with its private key.
#[derive(Clone)]
pub struct StationKey {
    /// Recipients are told apart by its issuer, serial and SubjectKeyIdentifier.
    pub certificate: X509,
    /// RSA or EC.
    pub private_key: PKey<Private>,
}

// === impl Keyring ===

impl Keyring {
    /// No keys: layers that need one are told as not decoded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key that may open envelopes; it is picked by recipient identifier, not by trial.
    pub fn add_key(&mut self, key: StationKey) {
        self.keys.push(key);
    }

    /// Adds a certificate that this AS2 id signs with. Several stand side by side during a rollover.
    pub fn add_certificate(&mut self, as2_id: impl Into<String>, certificate: X509) {
        self.certificates.entry(as2_id.into()).or_default().push(certificate);
    }

    /// The keys, in the order they were added.
    pub fn keys(&self) -> &[StationKey] {
        &self.keys
    }

    /// The certificates configured for this AS2 id.
    pub fn certificates(&self, as2_id: &str) -> &[X509] {
        self.certificates.get(as2_id).map_or(&[], Vec::as_slice)
    }

    /// Every configured certificate with the AS2 id it belongs to.
    pub fn all_certificates(&self) -> impl Iterator<Item = (&str, &X509)> {
        self.certificates.iter().flat_map(|(id, all)| all.iter().map(move |c| (id.as_str(), c)))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.keys.len())
            .field("certificates", &self.certificates.len())
            .finish()
    }
}
