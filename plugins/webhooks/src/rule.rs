//! What an operator wants told, and where: one value for each entry of `webhooks.yaml`.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use serde::{Deserialize, Serialize};

use crate::event::{EventKind, PartnerType};

mod fingerprint;
mod rate;

pub use rate::{BadRate, Rate};

/// One webhook: which events it wants, and its endpoint.
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
    /// The tenant whose events it gets.
    pub site: String,
    /// Whether it competes with other rules.
    pub route: Route,
    /// A rule that is off matches nothing.
    pub enabled: bool,
    /// Where its notifications go.
    pub endpoint: Endpoint,
}

/// Where and how a webhook is called. An attempt uses what is in force when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// http or https.
    pub url: Uri,
    /// What the body holds.
    pub payload: PayloadMode,
    /// Each signs every delivery; several during a rotation.
    pub secrets: Vec<Secret>,
    /// The operator's own headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Trust and identity for https.
    pub tls: Tls,
    /// Which original headers go along.
    pub pass_headers: PassHeaders,
    /// For connect, send and answer together; one second more for each MiB of body.
    pub timeout: Duration,
    /// The waits between attempts; one more attempt than entries is made.
    pub retry: Vec<Duration>,
    /// Attempts under way at once.
    pub concurrency: usize,
    /// Whether deliveries of a (partner, station) pair wait for each other.
    pub order: Order,
    /// Attempts in a time at the most. `None`: as many as it takes.
    pub rate: Option<Rate>,
    /// It is disabled when it did nothing but fail for so long. `None`: the dispatcher's five days.
    pub disable_after: Option<Duration>,
}

/// Files for https, already read: PEM.
#[derive(Clone, Default, PartialEq)]
pub struct Tls {
    /// Trusted beside nothing else. `None`: the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain.
    pub client_certificate: Option<Vec<u8>>,
    /// Its key.
    pub client_key: Option<Vec<u8>>,
    /// Where they were read from, for messages.
    pub sources: Vec<PathBuf>,
}

/// Key of a signature. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Whether a rule competes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Of all such rules that match, one fires.
    #[default]
    MostSpecific,
    /// Fires besides.
    Always,
}

/// The three payload modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadMode {
    /// An empty body.
    #[default]
    Headers,
    /// The metadata.
    Json,
    /// The first attachment, or the MDN.
    Raw,
}

/// Which of the original headers go along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PassHeaders {
    /// All that are safe to pass on (`docs/webhooks.md`).
    #[default]
    All,
    /// The AS2 ones alone.
    As2,
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
}

// === impl Endpoint ===

impl Endpoint {
    /// The waits between attempts unless a rule says otherwise.
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

    /// An endpoint with every default of `conf/webhooks.yaml`.
    pub fn new(url: Uri) -> Self {
        Self {
            url,
            payload: PayloadMode::default(),
            secrets: Vec::new(),
            headers: Vec::new(),
            tls: Tls::default(),
            pass_headers: PassHeaders::default(),
            timeout: Duration::from_secs(15),
            retry: Self::DEFAULT_RETRY.to_vec(),
            concurrency: 16,
            order: Order::default(),
            rate: None,
            disable_after: None,
        }
    }
}

// === impl PayloadMode ===

impl PayloadMode {
    /// The word in the config and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }
}

// === impl Secret ===

impl Secret {
    /// A key from its configured text: behind `whsec_` stands base64, any other text is used as its
    /// bytes (Standard Webhooks).
    ///
    /// # Errors
    /// When what stands behind `whsec_` is not base64, or the key is empty.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let key = match text.strip_prefix("whsec_") {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| BadSecret::NotBase64)?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err(BadSecret::Empty) } else { Ok(Self(key)) }
    }

    /// The key's bytes.
    pub fn key(&self) -> &[u8] {
        &self.0
    }
}

/// A secret that cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// `whsec_` promises base64.
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
