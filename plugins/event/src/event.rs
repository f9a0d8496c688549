//! Events: one value for each notification, the same for every webhook that receives it.

use std::{fmt, net::IpAddr, ops::Range, str::FromStr};

use as2hook_as2::{Decoded, ErrorCode, Headers, ProcessingError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Something that happened to an AS2 exchange, or to as2hook itself.
///
/// The event of an exchange is stored before the receiver has the whole message; what the response
/// brings comes later as a [`Verdict`], which [`Event::settle`] adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Sorts by time (UUID version 7).
    pub id: Uuid,
    /// The kind. Before the verdict: the kind for an unknown outcome.
    pub kind: EventKind,
    /// When the exchange began.
    pub occurred_at: Timestamp,
    /// Which way the exchange went.
    pub direction: Direction,
    /// The tenant.
    pub site: String,
    /// AS2 id of the remote side, in both directions.
    pub partner: Option<String>,
    /// AS2 id of our side, in both directions.
    pub station: Option<String>,
    /// `Production` for a partner that the config does not know.
    pub partner_type: PartnerType,
    /// The partner's address.
    pub peer: Option<IpAddr>,
    /// The original headers of the AS2 request or of the MDN.
    pub headers: Headers,
    /// The decoded content. `None`: this event has no AS2 content, or it was not decoded.
    pub decoded: Option<Decoded>,
    /// Errors that the decoder did not find (codes 1200, 1400, 1500, ...).
    pub errors: Vec<ProcessingError>,
    /// Why sending failed, for `send.error` and `message.rejected`.
    pub send_error: Option<SendError>,
    /// For an MDN: whether its MIC is that of the message sent. `None`: unknown.
    pub mic_matches: Option<bool>,
    /// The earlier event that this one retracts.
    pub supersedes: Option<Uuid>,
    /// Keys that only this kind of event has; they go into the JSON as they are.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// The outcome of an exchange whose [`Event`] was recorded before its response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The final kind of the event.
    pub kind: EventKind,
    /// Errors to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProcessingError>,
    /// Why sending failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_error: Option<SendError>,
    /// The event that this one retracts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Uuid>,
    /// For an MDN: whether its MIC is that of the message sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mic_matches: Option<bool>,
    /// Keys to add to the event's own.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

words! {
    /// The kinds of events. `docs/events.md` says when each fires.
    #[derive(PartialOrd, Ord)]
    pub enum EventKind {
        /// The receiver responded to an inbound message with 2xx.
        MessageReceived = "message.received",
        /// A partner's MDN arrived.
        MdnReceived = "mdn.received",
        /// An outbound message was accepted by the partner.
        MessageSent = "message.sent",
        /// An outbound exchange failed.
        SendError = "send.error",
        /// The receiver did not accept an inbound message.
        MessageRejected = "message.rejected",
        /// An inbound message arrived again.
        MessageDuplicate = "message.duplicate",
        /// Our receiver's MDN was sent to the partner.
        MdnSent = "mdn.sent",
        /// An asynchronous MDN did not arrive in time.
        MdnOverdue = "mdn.overdue",
        /// A configured certificate expires soon, or has expired.
        CertificateExpiring = "certificate.expiring",
        /// A webhook was disabled.
        WebhookDisabled = "webhook.disabled",
        /// A webhook failed ten times in a row.
        WebhookFailing = "webhook.failing",
        /// The first success of a webhook that failed ten times in a row.
        WebhookRecovered = "webhook.recovered",
        /// A delivery is dead: no attempt is left.
        DeliveryDead = "delivery.dead",
    }
}

words! {
    /// The direction of an exchange, seen from our AS2 server.
    pub enum Direction {
        /// From a partner to us.
        Inbound = "inbound",
        /// From us to a partner.
        Outbound = "outbound",
    }
}

words! {
    /// The value of `X-Partner-Type`.
    #[derive(Default)]
    pub enum PartnerType {
        /// Real documents.
        #[default]
        Production = "Production",
        /// Trial documents.
        Test = "Test",
    }
}

/// Why an exchange failed: `X-Send-Error: <stage>: <text>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendError {
    /// Where it failed.
    pub stage: Stage,
    /// The status of the response, if there was one.
    pub http_status: Option<u16>,
    /// One sentence for a person.
    pub message: String,
}

words! {
    /// Where an exchange failed.
    pub enum Stage {
        /// No connection.
        Connect = "connect",
        /// No TLS session.
        Tls = "tls",
        /// No response in time.
        Timeout = "timeout",
        /// A status that is not 2xx, or not HTTP.
        Http = "http",
        /// The MDN is negative or missing.
        Mdn = "mdn",
        /// The MDN's signature is wrong.
        Signature = "signature",
        /// The MDN has the MIC of another message.
        Mic = "mic",
        /// The gateway terminated before the response.
        Unknown = "unknown",
    }
}

/// Returns the Message-ID of a test's event.
pub fn test_message_id(event: Uuid) -> String {
    format!("<test-{event}@as2hook>")
}

/// A name that is not an event's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event \"{0}\"; the events are {list}", list = EventKind::list())]
pub struct UnknownEvent(pub String);

// === impl Event ===

impl Event {
    /// Creates an event of as2hook itself: of now, and of no exchange.
    pub fn new(kind: EventKind) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind,
            occurred_at: Timestamp::now(),
            direction: Direction::Outbound,
            site: String::new(),
            partner: None,
            station: None,
            partner_type: PartnerType::Production,
            peer: None,
            headers: Headers::new(),
            decoded: None,
            errors: Vec::new(),
            send_error: None,
            mic_matches: None,
            supersedes: None,
            extra: serde_json::Map::new(),
        }
    }

    /// Adds the outcome of the exchange.
    pub fn settle(&mut self, verdict: Verdict) {
        self.kind = verdict.kind;
        self.errors.extend(verdict.errors);
        self.send_error = verdict.send_error.or(self.send_error.take());
        self.supersedes = verdict.supersedes.or(self.supersedes);
        self.mic_matches = verdict.mic_matches.or(self.mic_matches);
        self.extra.extend(verdict.extra);
    }

    /// Returns all processing errors, the decoder's first.
    pub fn processing_errors(&self) -> impl Iterator<Item = &ProcessingError> {
        self.decoded.iter().flat_map(|d| &d.errors).chain(&self.errors)
    }

    /// Returns where an attachment, counted from 0, is among the kept bytes: attachments are kept one behind the
    /// other, all or the first. The range may be beyond what is kept. `None`: it has no such attachment.
    pub fn attachment_range(&self, index: usize) -> Option<Range<u64>> {
        let attachments = &self.decoded.as_ref()?.attachments;
        let size = attachments.get(index)?.size;
        let start: u64 = attachments[..index].iter().map(|attachment| attachment.size).sum();
        Some(start..start.saturating_add(size))
    }

    /// Returns which of the kept bytes a `raw` delivery sends: the first attachment, or a whole MDN.
    pub fn raw_range(&self, kept: u64) -> Range<u64> {
        let first = self.attachment_range(0).filter(|_| self.kind == EventKind::MessageReceived);
        first.filter(|first| first.end <= kept).unwrap_or(0..kept)
    }

    /// Whether it is of a test that was sent over the API.
    pub fn is_test(&self) -> bool {
        self.extra.get("test") == Some(&serde_json::Value::Bool(true))
    }

    /// Returns the id that a webhook gets for this event on every attempt and replay, and after a
    /// crash.
    pub fn webhook_id(&self, webhook: &str) -> String {
        webhook_id(self.id, webhook)
    }
}

/// Returns the `webhook-id` of an event for a webhook: derived from both, so that it never differs.
pub fn webhook_id(event: Uuid, webhook: &str) -> String {
    format!("msg_{}", Uuid::new_v5(&event, webhook.as_bytes()).simple())
}

// === impl Verdict ===

impl Verdict {
    /// Creates an event of this kind, without errors.
    pub fn of(kind: EventKind) -> Self {
        Self {
            kind,
            errors: Vec::new(),
            send_error: None,
            supersedes: None,
            mic_matches: None,
            extra: serde_json::Map::new(),
        }
    }

    /// Records that the payload was decoded but there was no room for it.
    pub fn lose_payload(&mut self) {
        const TEXT: &str = "The payload was not kept: there was no room while the store failed";
        self.errors.push(ProcessingError::new(ErrorCode::NotDecoded, TEXT));
    }

    /// Creates the verdict for a gateway that terminated before the response: the outcome is
    /// unknown.
    pub fn unknown(direction: Direction, kind: EventKind) -> Self {
        const TEXT: &str = "Outcome unknown: the gateway stopped before the response came";
        match direction {
            Direction::Inbound => {
                let error = ProcessingError::new(ErrorCode::OutcomeUnknown, TEXT);
                Self { errors: vec![error], ..Self::of(kind) }
            }
            Direction::Outbound => {
                let error =
                    SendError { stage: Stage::Unknown, http_status: None, message: TEXT.into() };
                Self { send_error: Some(error), ..Self::of(EventKind::SendError) }
            }
        }
    }
}

// === impl EventKind ===

impl EventKind {
    /// Whether a `raw` delivery of this event sends stored bytes: the first attachment's, or the
    /// MDN's. For other events it sends the JSON, and nothing has to be stored.
    pub const fn sends_payload(self) -> bool {
        matches!(self, Self::MessageReceived | Self::MdnReceived | Self::MdnSent)
    }

    /// Whether it is about a webhook or its deliveries, and not about traffic.
    pub const fn is_about_webhooks(self) -> bool {
        matches!(
            self,
            Self::WebhookDisabled
                | Self::WebhookFailing
                | Self::WebhookRecovered
                | Self::DeliveryDead
        )
    }

    fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        known.ok_or_else(|| UnknownEvent(name.to_owned()))
    }
}
