//! The webhooks of partners, as `docs/api.md` has them: plain types between the routes and the
//! gateway.

use std::fmt;

use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

/// An event that a partner's webhook can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartnerEvent {
    /// `message.received`; the default.
    MessageReceived,
    /// `message.sent`
    MessageSent,
    /// `mdn.received`
    MdnReceived,
    /// `send.error`
    SendError,
}

/// A partner's webhook as `get` shows it. The secret never leaves the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PartnerWebhook {
    /// The partner's number.
    pub partner_id: u64,
    /// Where it goes. `None`: it was never configured.
    pub webhook_url: Option<String>,
    /// Whether it is told of anything.
    pub webhook_enabled: bool,
    /// What was subscribed to; empty when nothing was chosen, which means `message.received`.
    pub webhook_events: Vec<String>,
    /// Whether deliveries are signed.
    pub webhook_secret_set: bool,
}

/// What `configure` changes; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Where it goes; http or https, without user and password.
    pub url: Option<Uri>,
    /// Empty takes the secret away.
    pub secret: Option<SecretText>,
    /// A new webhook is enabled.
    pub enabled: Option<bool>,
    /// A new webhook has none, which means `message.received`.
    pub events: Option<Vec<PartnerEvent>>,
}

/// A secret on its way to be encrypted. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// What came of a test delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The event that it told.
    pub event: PartnerEvent,
    /// The endpoint's answer.
    pub http_code: Option<u16>,
    /// Why it failed. `None`: the endpoint took it.
    pub failure: Option<String>,
}

/// Some of a webhook's attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// How many there are in all.
    pub total: u64,
    /// Newest first.
    pub data: Vec<LogEntry>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogEntry {
    /// Of the attempt.
    pub id: i64,
    /// The `webhook-id` that the endpoint got.
    pub webhook_id: String,
    /// What it told.
    pub event: String,
    /// Where it went.
    pub url: String,
    /// From 1.
    pub attempt: u32,
    /// What became of the delivery by it: delivered, pending (it is tried again), dead, held.
    pub status: String,
    /// The endpoint's answer.
    pub http_code: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub next_attempt_at: Option<String>,
}

// === impl PartnerEvent ===

impl PartnerEvent {
    /// Every one, in the order of `docs/api.md`.
    pub const ALL: [Self; 4] =
        [Self::MessageReceived, Self::MessageSent, Self::MdnReceived, Self::SendError];

    /// The event's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
            Self::MessageSent => "message.sent",
            Self::MdnReceived => "mdn.received",
            Self::SendError => "send.error",
        }
    }

    /// The Spanish name: the API's `event_name`.
    pub const fn spanish(self) -> &'static str {
        match self {
            Self::MessageReceived => "mensaje.recibido",
            Self::MessageSent => "mensaje.enviado",
            Self::MdnReceived => "mdn.recibido",
            Self::SendError => "envio.error",
        }
    }

    /// The event of this name, in either language.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| name == event.as_str() || name == event.spanish())
    }
}

// === impl SecretText ===

impl SecretText {
    /// Takes a secret in.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}
