//! Webhooks, events and deliveries as the admin API shows them. Times are RFC 3339.

use serde::Serialize;
use utoipa::ToSchema;

/// What is looked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The event's kind, such as `message.received`.
    pub event: Option<String>,
    /// AS2 id of the remote side.
    pub partner: Option<String>,
    /// AS2 id of our side.
    pub station: Option<String>,
    /// The webhook's name.
    pub webhook: Option<String>,
    /// Where the delivery stands, such as `dead`.
    pub status: Option<String>,
    /// The AS2 Message-ID.
    pub message_id: Option<String>,
    /// When the event happened at the earliest, in milliseconds since 1970.
    pub from: Option<i64>,
    /// When the event happened, before this.
    pub until: Option<i64>,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// [`Page::next_cursor`] of the page before.
    pub cursor: Option<i64>,
    /// Rows at most.
    pub limit: usize,
}

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where the next page begins. `None`: this is the last.
    pub next_cursor: Option<i64>,
}

/// A webhook in force, with its live state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WebhookView {
    /// Unique.
    pub name: String,
    /// `file` (a rule) or `api` (a partner's webhook).
    pub source: &'static str,
    /// The tenant.
    pub site: String,
    /// Names of events; `*` is all.
    pub events: Vec<&'static str>,
    /// AS2 id of the remote side. `None`: any.
    pub partner: Option<String>,
    /// AS2 id of our side. `None`: any.
    pub station: Option<String>,
    /// `Production` or `Test`. `None`: any.
    pub partner_type: Option<&'static str>,
    /// Where it goes; a query is masked, since it may hold a token.
    pub url: String,
    /// `headers`, `json` or `raw`.
    pub payload: &'static str,
    /// One mask for each secret.
    pub secrets: Vec<&'static str>,
    /// The names of the operator's own headers; values are never shown.
    pub headers: Vec<String>,
    /// `most-specific` or `always`.
    pub route: &'static str,
    /// Attempts in a time at the most, such as `50/s`, made by each gateway. `None`: no limit.
    pub rate: Option<String>,
    /// Seconds of nothing but failures after which it is disabled.
    pub disable_after: u64,
    /// A webhook that is off matches nothing.
    pub enabled: bool,
    /// How it does.
    pub state: WebhookState,
}

/// How a webhook does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct WebhookState {
    /// `healthy`, `retrying`, `disabled` or `orphaned`.
    pub standing: &'static str,
    /// Why it is disabled.
    pub reason: Option<String>,
    /// Since when it fails without a success between.
    pub failing_since: Option<String>,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// Attempts that succeeded since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Deliveries that used up their retries since the start.
    pub dead: u64,
    /// Attempts under way.
    pub in_flight: usize,
    /// When the last attempt ended.
    pub last_attempt: Option<String>,
    /// The status of the last answer.
    pub last_http_code: Option<u16>,
    /// Why the last failed attempt failed.
    pub last_error: Option<String>,
    /// Until when the endpoint asked us to stay away.
    pub paused_until: Option<String>,
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventView {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub event: String,
    /// The tenant.
    pub site: String,
    /// AS2 id of the remote side.
    pub partner: Option<String>,
    /// AS2 id of our side.
    pub station: Option<String>,
    /// The AS2 Message-ID.
    pub message_id: Option<String>,
    /// When it happened.
    pub occurred_at: String,
    /// Whether its outcome is not known yet.
    pub open: bool,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Its number.
    pub id: i64,
    /// The `webhook-id` that the endpoint gets.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// `headers`, `json` or `raw`.
    pub payload: String,
    /// `pending`, `claimed`, `delivered`, `dead`, `held` or `orphaned`.
    pub status: &'static str,
    /// Attempts ever made.
    pub attempts: u32,
    /// Whether somebody asked for it again.
    pub replay: bool,
    /// When it is made next, while it is pending.
    pub next_attempt_at: Option<String>,
    /// What it tells.
    pub event: EventView,
}
