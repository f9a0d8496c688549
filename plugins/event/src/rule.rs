//! Rules: one value for each entry of `webhooks.yaml`, with its events and its endpoint.

use std::{any::Any, fmt, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use openssl::sha::Sha256;
use serde::{Deserialize, Serialize};

use crate::event::{EventKind, PartnerType};

mod documents;
mod filters;
mod rate;

pub use documents::DocumentType;
pub use filters::{ErrorFilter, Filters, Findings};
pub(crate) use filters::{FilterMask, FilterMatch};
pub use rate::{BadRate, Rate};

/// One webhook: its events and its endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique.
    pub name: String,
    /// The events it subscribes to. `None`: all (`"*"`).
    pub events: Option<Vec<EventKind>>,
    /// AS2 id of the remote side. `None`: any.
    pub partner: Option<String>,
    /// AS2 id of our side. `None`: any.
    pub station: Option<String>,
    /// `None`: any.
    pub partner_type: Option<PartnerType>,
    /// Its filters on documents, signature and errors; only documents count for how specific the rule is.
    pub filters: Filters,
    /// The tenant whose events it receives.
    pub site: String,
    /// Whether it competes with other rules.
    pub route: Route,
    /// A disabled rule matches nothing.
    pub enabled: bool,
    /// Where its notifications go.
    pub endpoint: Endpoint,
}

/// Where and how a webhook is called. An attempt uses the endpoint in force at that time.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// http or https. Of another sink, its name: attempts are logged with it.
    pub url: Uri,
    /// The sink, if it is not http.
    pub sink: Option<SinkChoice>,
    /// Where the URL may point: at public addresses and these networks. `None`: anywhere.
    pub networks: Option<Arc<[IpNet]>>,
    /// What the body contains.
    pub payload: PayloadMode,
    /// Which attachments of its events are kept.
    pub keep: KeptAttachments,
    /// Each signs every delivery; several during a rotation.
    pub secrets: Vec<Secret>,
    /// The operator's own headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Trust and identity for https.
    pub tls: Tls,
    /// Which original headers are passed on.
    pub pass_headers: PassHeaders,
    /// For connect, send and response together; one second more for each MiB of body.
    pub timeout: Duration,
    /// The waits between attempts; there is one more attempt than entries.
    pub retry: Vec<Duration>,
    /// The most attempts at once.
    pub concurrency: usize,
    /// Whether deliveries of a (partner, station) pair wait for each other.
    pub order: Order,
    /// In an order, a delivery that its endpoint refuses for its content (400, 413, 415, 422) is
    /// dead after this time, if another one was accepted since. `None`: only its retries end it.
    pub order_patience: Option<Duration>,
    /// The most attempts in a time. `None`: no limit.
    pub rate: Option<Rate>,
    /// It is disabled when every attempt failed for this long. `None`: the dispatcher's five days.
    pub disable_after: Option<Duration>,
}

/// A sink of a plugin, as a rule chooses it (`sink: {type: …}`).
#[derive(Clone)]
pub struct SinkChoice {
    /// The name it is registered under.
    pub name: &'static str,
    /// The rule's keys, which may hold secrets.
    pub keys: serde_json::Value,
    /// The keys as a value of the sink's own type.
    pub settings: Arc<dyn Any + Send + Sync>,
}

/// Files for https, already read: PEM.
#[derive(Clone, Default, PartialEq)]
pub struct Tls {
    /// The only trusted roots. `None`: the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain.
    pub client_certificate: Option<Vec<u8>>,
    /// Its key.
    pub client_key: Option<Vec<u8>>,
    /// The files they were read from, for messages.
    pub sources: Vec<PathBuf>,
}

/// Key of a signature. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Text that may hold a secret. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretString(String);

/// Which attachments of an event are kept, for deliveries and for download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptAttachments {
    /// What its deliveries need.
    #[default]
    Needed,
    /// Every one.
    All,
}

/// Whether a rule competes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Of all such rules that match, one fires.
    #[default]
    MostSpecific,
    /// Fires in addition.
    Always,
}

/// The format of a webhook's notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PayloadMode {
    /// Its name in the config and in the store.
    pub name: &'static str,
    /// Whether it sends the payload itself, which is kept for it then.
    pub needs_payload: bool,
}

/// Which of the original headers are passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassHeaders {
    /// All that are safe to pass on (`docs/webhooks.md`).
    #[default]
    All,
    /// Only those of AS2.
    As2,
    /// Only these, see [`PassHeaders::named`].
    Named(Vec<String>),
}

/// Whether deliveries wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// They do not.
    #[default]
    None,
    /// One at a time, in order, for each (partner, station).
    Partner,
}

// === impl Rule ===

impl Rule {
    /// Whether it subscribes to this event.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.events.as_ref().is_none_or(|events| events.contains(&kind))
    }

    /// Returns a hash that is equal for two rules exactly when they do not differ: SHA-256 in
    /// lower-case hex over every field, including the secrets and the contents of the TLS files.
    /// The order of `events` and the paths of files do not count.
    ///
    /// It does not reveal a secret, but weak secrets could be guessed with it: it belongs into the
    /// store, not into a response or a log.
    pub fn fingerprint(&self) -> String {
        let Self { name, events, partner, station, partner_type, site, route, enabled, .. } = self;
        let Endpoint { url, payload, keep, secrets, headers, tls, pass_headers, timeout, .. } =
            &self.endpoint;
        let Endpoint { retry, concurrency, order, order_patience, rate, disable_after, .. } =
            &self.endpoint;
        let Tls { ca, client_certificate, client_key, sources: _ } = tls;
        let mut events = events.clone();
        if let Some(events) = &mut events {
            events.sort_unstable();
            events.dedup();
        }
        let (filters, payload, rate) =
            (self.filters.mask(), payload.name, rate.map(|rate| rate.to_string()));
        let texts = format!(
            "{name:?} {events:?} {partner:?} {station:?} {partner_type:?} {filters:?} {site:?} {route:?} \
             {enabled} {url:?} {payload:?} {keep:?} {pass_headers:?} {timeout:?} {retry:?} {concurrency} {order:?} \
             {order_patience:?} {rate:?} {disable_after:?}"
        );
        let mut hash = Sha256::new();
        // With their lengths, so that two different rules never feed it the same bytes.
        let mut feed = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), value] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        };
        feed("", texts.as_bytes());
        for document in self.filters.documents.iter().flatten() {
            feed("a document", document.to_string().as_bytes());
        }
        // What is no text, or is not shown. No header has a name with a blank.
        secrets.iter().for_each(|secret| feed("a secret", secret.key()));
        for (name, pem) in [("a ca", ca), ("a chain", client_certificate), ("a key", client_key)] {
            if let Some(pem) = pem {
                feed(name, pem);
            }
        }
        headers.iter().for_each(|(name, value)| feed(name.as_str(), value.as_bytes()));
        if let Some(SinkChoice { name, keys, .. }) = &self.endpoint.sink {
            feed("a sink", format!("{name} {keys}").as_bytes());
        }
        as2hook_as2::hex::encode(&hash.finish())
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The default waits between attempts.
    pub const DEFAULT_RETRY: [Duration; 9] = [
        Duration::from_secs(5),
        Duration::from_secs(5 * 60),
        Duration::from_secs(30 * 60),
        Duration::from_secs(2 * 3600),
        Duration::from_secs(5 * 3600),
        Duration::from_secs(10 * 3600),
        Duration::from_secs(14 * 3600),
        Duration::from_secs(20 * 3600),
        Duration::from_secs(24 * 3600),
    ];

    /// Whether requests to both go to the same place with the same credentials. What one target
    /// says of itself (410, `Retry-After`, a failure) then holds for the other.
    pub fn has_target_of(&self, other: &Self) -> bool {
        self.url == other.url
            && self.sink == other.sink
            && self.tls == other.tls
            && self.secrets == other.secrets
            && self.headers == other.headers
    }

    /// Returns how long an attempt may take: the `timeout`, plus one second for each MiB of body.
    pub fn time_allowed(&self, body_size: u64) -> Duration {
        const MIB: u64 = 1024 * 1024;
        self.timeout.saturating_add(Duration::from_millis(body_size.saturating_mul(1000) / MIB))
    }

    /// Creates an endpoint with every default of `conf/webhooks.yaml`.
    pub fn new(url: Uri) -> Self {
        Self {
            url,
            sink: None,
            networks: None,
            payload: PayloadMode::HEADERS,
            keep: KeptAttachments::default(),
            secrets: Vec::new(),
            headers: Vec::new(),
            tls: Tls::default(),
            pass_headers: PassHeaders::default(),
            timeout: Duration::from_secs(15),
            retry: Self::DEFAULT_RETRY.to_vec(),
            concurrency: 16,
            order: Order::default(),
            order_patience: None,
            rate: None,
            disable_after: None,
        }
    }
}

// === impl PassHeaders ===

impl PassHeaders {
    /// Creates the set of headers with these names, in any case; every character except letters and
    /// digits counts as `-`. `AS2-From`, `AS2-To`, `Message-ID` and `Subject` are always passed on.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Named(names.into_iter().map(folded).collect())
    }
}

// === impl PayloadMode ===

impl PayloadMode {
    /// An empty body.
    pub const HEADERS: Self = Self { name: "headers", needs_payload: false };
    /// The metadata.
    pub const JSON: Self = Self { name: "json", needs_payload: false };
    /// The first attachment, or the MDN.
    pub const RAW: Self = Self { name: "raw", needs_payload: true };
}

// === impl SinkChoice ===

impl PartialEq for SinkChoice {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.keys == other.keys
    }
}

impl fmt::Debug for SinkChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkChoice").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Secret ===

impl Secret {
    /// Parses a key from its configured text: base64 after `whsec_`, otherwise the bytes of the
    /// text (Standard Webhooks).
    ///
    /// # Errors
    /// When the text after `whsec_` is not base64, or the key is empty.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let key = match text.strip_prefix("whsec_") {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| BadSecret::NotBase64)?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err(BadSecret::Empty) } else { Ok(Self(key)) }
    }

    /// Returns the key's bytes.
    pub fn key(&self) -> &[u8] {
        &self.0
    }
}

// === impl SecretString ===

impl SecretString {
    /// Returns the text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(***)")
    }
}

/// A secret that cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// The text after `whsec_` must be base64.
    #[error("what stands behind whsec_ is not base64")]
    NotBase64,
    /// Nothing to sign with.
    #[error("a secret must not be empty")]
    Empty,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// Returns the name of a header as the most careless receiver could read it.
pub fn folded(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
}

#[cfg(test)]
mod tests;
