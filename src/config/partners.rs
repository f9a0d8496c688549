//! `partners`: remote AS2 identities.

use as2hook_webhooks::PartnerType;
use http::Uri;
use openssl::x509::X509;

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
    /// The tenant it belongs to. Default: the gateway's.
    pub site: String,
}

// === impl Partner ===

impl Partner {
    pub(super) fn read(value: &Value<'_>, default_site: &str) -> Option<Self> {
        const KEYS: &[&str] = &["id", "as2_id", "type", "certificates", "url", "mdn_urls", "site"];
        let table = value.table(KEYS)?;
        let partner_type = table.read_or("type", PartnerType::default(), partner_type);
        let certificates =
            table.read_or("certificates", Vec::new(), |value| value.each(certificate));
        Some(Self {
            // Signed in every store.
            id: table.read("id", |value| value.whole(1, i64::MAX.cast_unsigned())),
            partner_type,
            certificates,
            url: table.read("url", Value::url),
            mdn_urls: table.read_or("mdn_urls", Vec::new(), |value| value.each(Value::url)),
            site: table.read("site", site).unwrap_or_else(|| default_site.to_owned()),
            as2_id: table.need("as2_id", as2_id)?,
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
