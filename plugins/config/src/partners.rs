//! `partners`: remote AS2 identities.

use std::time::Duration;

use as2hook_event::PartnerType;
use http::Uri;
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};

use super::{as2_id, keys, read::Value, site};

/// A remote AS2 identity.
#[derive(Clone)]
pub struct Partner {
    /// The number that the config API uses. Unique. Without one the API does not know the partner.
    pub id: Option<u64>,
    /// Unique among the partners.
    pub as2_id: String,
    /// `type`. Default: Production.
    pub partner_type: PartnerType,
    /// What it signs with; several during a rollover. With none, no signature of it is verified.
    pub certificates: Vec<X509>,
    /// Where the outbound listener sends messages for it.
    pub url: Option<Uri>,
    /// Where else our server's asynchronous MDNs for it may go.
    pub mdn_urls: Vec<Uri>,
    /// `async_mdn: here`: its asynchronous MDNs pass through this gateway, so that one that does not come is
    /// overdue. `elsewhere`: never. Default: here.
    pub has_async_mdns_here: bool,
    /// `mdn: any`: a synchronous MDN counts although it is not signed as it was asked for. Default: signed.
    pub accepts_unsigned_mdns: bool,
    /// How its https is trusted, and what we show. Default: the system's roots, and nothing.
    pub tls: Option<PartnerTls>,
    /// The longest wait between two pieces of its response. Default 5 minutes: a synchronous MDN takes
    /// its time.
    pub timeout: Duration,
    /// The tenant it belongs to. Default: the gateway's.
    pub site: String,
}

/// What an https connection to a partner trusts and shows.
#[derive(Clone)]
pub struct PartnerTls {
    /// Trusted beside nothing else. Empty: the system's roots, unless a certificate is pinned.
    pub ca: Vec<X509>,
    /// `certificate`: with any, it must show one of these. Without `ca` nothing else is asked.
    pub pinned: Vec<X509>,
    /// Our certificate, those between it and the root, and its key.
    pub client: Option<(Vec<X509>, PKey<Private>)>,
}

/// See [`Partner::timeout`].
const TIMEOUT: Duration = Duration::from_secs(300);

// === impl Partner ===

impl Partner {
    pub(super) fn read(value: &Value<'_>, default_site: &str) -> Option<Self> {
        const KEYS: &[&str] = &[
            "id",
            "as2_id",
            "type",
            "certificates",
            "url",
            "mdn_urls",
            "async_mdn",
            "mdn",
            "tls",
            "timeout",
            "site",
        ];
        let table = value.table(KEYS)?;
        let partner_type = table.read_or("type", PartnerType::default(), partner_type);
        let certificates =
            table.read_or("certificates", Vec::new(), |value| value.each(certificate));
        let url = table.read("url", Value::url);
        let mdn_urls = table.read_or("mdn_urls", Vec::new(), |value| value.each(Value::url));
        let is_here = |value: &Value<'_>| value.choice(&[("here", true), ("elsewhere", false)]);
        let is_any = |value: &Value<'_>| value.choice(&[("signed", false), ("any", true)]);
        let tls = match table.get("tls") {
            None => Some(None),
            Some(tls) => PartnerTls::read(&tls, url.iter().chain(&mdn_urls)).map(Some),
        };
        Some(Self {
            // Signed in every store.
            id: table.read("id", |value| value.whole(1, i64::MAX.cast_unsigned())),
            partner_type,
            certificates,
            url,
            mdn_urls,
            has_async_mdns_here: table.read_or("async_mdn", true, is_here),
            accepts_unsigned_mdns: table.read_or("mdn", false, is_any),
            timeout: table.read_or("timeout", TIMEOUT, Value::duration),
            site: table.read("site", site).unwrap_or_else(|| default_site.to_owned()),
            as2_id: table.need("as2_id", as2_id)?,
            // With its mistakes noted, nothing goes on to trust another server.
            tls: tls?,
        })
    }
}

impl std::fmt::Debug for Partner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

impl PartnerTls {
    fn read<'a>(value: &Value<'_>, mut urls: impl Iterator<Item = &'a Uri>) -> Option<Self> {
        let table = value.table(&["ca", "certificate", "client_certificate", "client_key"])?;
        if !urls.any(|url| url.scheme_str() == Some("https")) {
            return value.wrong("is of no use: no url of the partner is https");
        }
        let ca = table.read("ca", keys::certificates);
        let pinned = table.read("certificate", keys::certificates);
        let certificate = table.get("client_certificate");
        let key = table.get("client_key");
        let client = match (&certificate, &key) {
            (None, None) => None,
            (Some(place), None) => return place.wrong("`client_key` is missing beside it"),
            (None, Some(place)) => return place.wrong("`client_certificate` is missing beside it"),
            (Some(certificate), Some(key)) => {
                let chain = keys::certificates(certificate);
                let private_key = keys::private_key(key, None);
                let (chain, private_key) = (chain?, private_key?);
                if !keys::belongs(&chain[0], &private_key) {
                    return key.wrong("this private key is not the certificate's");
                }
                Some((chain, private_key))
            }
        };
        // One that could not be read must not turn into none.
        if table.get("ca").is_some() && ca.is_none()
            || table.get("certificate").is_some() && pinned.is_none()
        {
            return None;
        }
        let (ca, pinned) = (ca.unwrap_or_default(), pinned.unwrap_or_default());
        Some(Self { ca, pinned, client })
    }
}

impl std::fmt::Debug for PartnerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartnerTls")
            .field("ca", &self.ca.len())
            .field("pinned", &self.pinned.len())
            .field("client", &self.client.is_some())
            .finish()
    }
}

pub(super) fn partner_type(value: &Value<'_>) -> Option<PartnerType> {
    value.choice(&[("Production", PartnerType::Production), ("Test", PartnerType::Test)])
}

/// One file is one certificate: what stands behind it issued it, and does not sign messages.
fn certificate(value: &Value<'_>) -> Option<X509> {
    let mut found = keys::certificates(value)?;
    if found.len() > 1 {
        value.warn("holds several certificates; the first is used, list one file for each");
    }
    Some(found.swap_remove(0))
}
