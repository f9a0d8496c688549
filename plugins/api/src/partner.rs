//! The webhooks of partners, as in `docs/api.md`: plain types between the routes and the gateway.

use as2hook_event::SecretString;
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
#[schema(as = PartnerWebhook)]
pub struct PartnerWebhookView {
    /// The partner's number.
    pub partner_id: u64,
    /// Its URL. `None`: it was never configured.
    pub webhook_url: Option<String>,
    /// Whether events are delivered to it.
    pub webhook_enabled: bool,
    /// The subscribed events; empty when none was chosen, which means `message.received`.
    pub webhook_events: Vec<String>,
    /// Whether deliveries are signed.
    pub webhook_secret_set: bool,
}

/// A change by `configure`; fields that are `None` stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Its URL: http or https, without user and password.
    pub url: Option<Uri>,
    /// Empty removes the secret.
    pub secret: Option<SecretString>,
    /// A new webhook is enabled.
    pub enabled: Option<bool>,
    /// A new webhook has none, which means `message.received`.
    pub events: Option<Vec<PartnerEvent>>,
}

/// The result of a test delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The event that was delivered.
    pub event: PartnerEvent,
    /// The status of the endpoint's response.
    pub http_code: Option<u16>,
    /// Why it failed. `None`: the endpoint accepted it.
    pub failure: Option<String>,
}

/// A part of a webhook's attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The number of all attempts.
    pub total: u64,
    /// Newest first.
    pub data: Vec<LogEntry>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogEntry {
    /// The attempt's number in the store.
    pub id: i64,
    /// The `webhook-id` that the endpoint received.
    pub webhook_id: String,
    /// The event that was delivered.
    pub event: String,
    /// The URL.
    pub url: String,
    /// Counts from 1.
    pub attempt: u32,
    /// The outcome for the delivery: delivered, pending (it is retried), dead, held.
    pub status: String,
    /// The status of the endpoint's response.
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
    /// All events, in the order of `docs/api.md`.
    pub const ALL: [Self; 4] =
        [Self::MessageReceived, Self::MessageSent, Self::MdnReceived, Self::SendError];

    /// Returns the event's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
            Self::MessageSent => "message.sent",
            Self::MdnReceived => "mdn.received",
            Self::SendError => "send.error",
        }
    }

    /// Returns the Spanish name: the API's `event_name`.
    pub const fn spanish(self) -> &'static str {
        match self {
            Self::MessageReceived => "mensaje.recibido",
            Self::MessageSent => "mensaje.enviado",
            Self::MdnReceived => "mdn.recibido",
            Self::SendError => "envio.error",
        }
    }

    /// Returns the event of this name, in either language.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| name == event.as_str() || name == event.spanish())
    }
}
