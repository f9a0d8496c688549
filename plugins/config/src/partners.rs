//! `stations` and `partners`: our own AS2 identities and the remote ones.

use std::{fmt, time::Duration};

use as2hook_as2::StationKey;
use as2hook_event::{PartnerType, SecretString};
use http::Uri;
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    keys::{self, Archive, CertificateFile, Certificates, Key, PrivateKeyFile},
    section::Section,
    setting::{
        Identifier, List, Maybe, PassphraseFile, SecretText, Setting, Table, Time, Url, Whole,
        Word, seconds, setting,
    },
    value::{FromFile, Value},
};

/// One of our AS2 identities.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Its name in AS2-To and AS2-From, without quotes; case counts. Unique among the stations.
    #[serde(with = "Identifier")]
    pub as2_id: String,
    /// Several during a rollover. With none, what is sent to it is not decoded.
    #[serde(rename = "keys", with = "List::<Table<KeyFiles>>", default)]
    files: Vec<KeyFiles>,
    /// What stands in the files.
    #[serde(skip)]
    pub keys: Vec<StationKey>,
}

/// A certificate with its private key, or both in one PKCS#12 file.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyFiles {
    /// The certificate: PEM or DER.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    certificate: CertificateFile,
    /// Its private key: PEM or DER, RSA or EC.
    #[serde(with = "Maybe::<Key>", default)]
    private_key: Option<PrivateKeyFile>,
    /// A PKCS#12 file with both, instead.
    #[serde(with = "Maybe::<Archive>", default)]
    pkcs12: Option<FromFile<StationKey>>,
    /// The passphrase of a key or a PKCS#12 file that is encrypted.
    #[serde(with = "Maybe::<SecretText>", default)]
    passphrase: Option<SecretString>,
    /// The file of the passphrase.
    #[serde(with = "Maybe::<PassphraseFile>", default)]
    passphrase_file: Option<FromFile<SecretString>>,
}

/// A remote AS2 identity.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// The number that the config API uses. Unique. Without one the API does not know the partner.
    // Signed in every store.
    #[serde(with = "Maybe::<Whole<u64, 1, { i64::MAX.cast_unsigned() }>>", default)]
    pub id: Option<u64>,
    /// Its name in AS2-From and AS2-To, without quotes; case counts. Unique among the partners.
    #[serde(with = "Identifier")]
    pub as2_id: String,
    /// What `X-Partner-Type` says.
    #[serde(rename = "type", with = "Word::<PartnerType>", default)]
    pub partner_type: PartnerType,
    /// What it signs with; several during a rollover, one file each. With none, no signature of it is
    /// verified.
    #[serde(rename = "certificates", with = "List::<SignerFile>", default)]
    files: Vec<CertificateFile>,
    /// What stands in the files.
    #[serde(skip)]
    pub certificates: Vec<X509>,
    /// Where the outbound listener sends messages for it.
    #[serde(with = "Maybe::<Url>", default)]
    pub url: Option<Uri>,
    /// Where else our server's asynchronous MDNs for it may go.
    #[serde(with = "List::<Url>", default)]
    pub mdn_urls: Vec<Uri>,
    /// Whether its asynchronous MDNs pass this gateway (here), so that one that does not come is overdue, or
    /// never do (elsewhere).
    #[serde(with = "Word::<AsyncMdn>", default)]
    async_mdn: AsyncMdn,
    /// Which of its synchronous MDNs counts where a signed one was asked for.
    #[serde(with = "Word::<AcceptedMdn>", default)]
    mdn: AcceptedMdn,
    /// How its https is trusted, and what we show. Default: the system's roots, and nothing.
    #[serde(with = "Maybe::<Table<PartnerTls>>", default)]
    pub tls: Option<PartnerTls>,
    /// The longest wait between two pieces of its response: a synchronous MDN takes its time.
    #[serde(with = "Time", default = "seconds::<300>")]
    pub timeout: Duration,
    /// The tenant it belongs to. Default: the gateway's.
    #[serde(with = "Identifier", default, skip_serializing_if = "String::is_empty")]
    pub site: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum AsyncMdn {
    #[default]
    Here,
    Elsewhere,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum AcceptedMdn {
    #[default]
    Signed,
    Any,
}

/// What an https connection to a partner trusts and shows: files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerTls {
    /// Trusted beside nothing else. Empty: the system's roots, unless a certificate is pinned.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    pub ca: CertificateFile,
    /// With any, it must show one of these. Without `ca` nothing else is asked.
    #[serde(
        rename = "certificate",
        with = "Certificates",
        default,
        skip_serializing_if = "<[_]>::is_empty"
    )]
    pub pinned: CertificateFile,
    /// Our certificate, and those between it and the root.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    client_certificate: CertificateFile,
    /// Its key.
    #[serde(with = "Maybe::<Key>", default)]
    client_key: Option<PrivateKeyFile>,
}

setting!(
    /// One file is one certificate: what stands behind it issued it, and does not sign messages.
    SignerFile: CertificateFile,
    |value| {
        let found = Certificates::read(value)?;
        if found.len() > 1 {
            value.warn("holds several certificates; the first is used, list one file for each");
        }
        Some(found)
    },
    CertificateFile::path
);

// === impl Station ===

impl Section for Station {
    const EXAMPLE: &'static str = "{ as2_id: MY-OWN-ORG }";

    fn judge(&mut self, _: &Value) -> Option<()> {
        self.keys = self.files.iter().filter_map(KeyFiles::key).collect();
        Some(())
    }
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { as2_id, keys, .. } = self;
        f.debug_struct("Station").field("as2_id", as2_id).field("keys", &keys.len()).finish()
    }
}

// === impl KeyFiles ===

impl Section for KeyFiles {
    fn judge(&mut self, table: &Value) -> Option<()> {
        if table.get("pkcs12").is_some() {
            return Some(());
        }
        for key in ["certificate", "private_key"] {
            if table.get(key).is_none() {
                return table.wrong(format!("the key `{key}` is missing"));
            }
        }
        match &self.private_key {
            Some(key) if !self.certificate.is_empty() => {
                keys::judge_identity(table, &self.certificate, key)
            }
            _ => Some(()),
        }
    }
}

impl KeyFiles {
    fn key(&self) -> Option<StationKey> {
        if let Some(archive) = &self.pkcs12 {
            return Some(archive.content.clone());
        }
        let (certificate, key) = (self.certificate.first()?, self.private_key.as_ref()?);
        Some(StationKey { certificate: certificate.clone(), private_key: key.content.clone() })
    }
}

// === impl Partner ===

impl Section for Partner {
    const EXAMPLE: &'static str = "{ as2_id: ACME }";

    fn judge(&mut self, table: &Value) -> Option<()> {
        self.certificates = self.files.iter().filter_map(|file| file.first().cloned()).collect();
        let mut urls = self.url.iter().chain(&self.mdn_urls);
        match table.get("tls") {
            Some(tls) if !urls.any(|url| url.scheme_str() == Some("https")) => {
                tls.wrong("is of no use: no url of the partner is https")
            }
            _ => Some(()),
        }
    }
}

impl Partner {
    /// Whether its asynchronous MDNs pass through this gateway.
    pub fn has_async_mdns_here(&self) -> bool {
        self.async_mdn == AsyncMdn::Here
    }

    /// Whether a synchronous MDN counts although it is not signed as it was asked for.
    pub fn accepts_unsigned_mdns(&self) -> bool {
        self.mdn == AcceptedMdn::Any
    }
}

impl fmt::Debug for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partner")
            .field("id", &self.id)
            .field("as2_id", &self.as2_id)
            .field("partner_type", &self.partner_type)
            .field("certificates", &self.certificates.len())
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

// === impl PartnerTls ===

impl Section for PartnerTls {
    fn judge(&mut self, table: &Value) -> Option<()> {
        keys::judge_client(table, &self.client_certificate, self.client_key.as_ref())
    }
}

impl PartnerTls {
    /// Our certificate, those between it and the root, and its key.
    pub fn client(&self) -> Option<(&[X509], &PKey<Private>)> {
        let key = self.client_key.as_ref()?;
        (!self.client_certificate.is_empty()).then_some((&self.client_certificate, key))
    }
}
