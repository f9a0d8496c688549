//! Webhooks, events and deliveries as the admin API shows them. Times are RFC 3339.

use serde::Serialize;
use utoipa::ToSchema;

/// The conditions of a search; a field that is `None` matches everything.
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
    /// The delivery's state, such as `dead`.
    pub status: Option<String>,
    /// The AS2 Message-ID.
    pub message_id: Option<String>,
    /// The earliest time of the event, in milliseconds since 1970.
    pub from: Option<i64>,
    /// The time before which the event happened.
    pub until: Option<i64>,
}

/// The requested part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// [`ListPage::next_cursor`] of the previous page.
    pub cursor: Option<i64>,
    /// The most rows.
    pub limit: usize,
}

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListPage<T> {
    /// The rows.
    pub data: Vec<T>,
    /// The cursor of the next page. `None`: this is the last one.
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
    /// The signature statuses of its filter. `None`: any.
    pub signature: Option<Vec<&'static str>>,
    /// The processing errors of its filter: `none`, `any`, or codes separated by commas. `None`:
    /// any and none.
    pub errors: Option<String>,
    /// Its URL; a query is masked, since it may hold a token.
    pub url: String,
    /// `headers`, `json` or `raw`.
    pub payload: &'static str,
    /// One mask for each secret.
    pub secrets: Vec<&'static str>,
    /// The names of the operator's own headers; values are never shown.
    pub headers: Vec<String>,
    /// `most-specific` or `always`.
    pub route: &'static str,
    /// The most attempts in a time, such as `50/s`, made by each gateway. `None`: no limit.
    pub rate: Option<String>,
    /// Seconds of nothing but failures after which it is disabled.
    pub disable_after: u64,
    /// A disabled webhook matches nothing.
    pub enabled: bool,
    /// Its health.
    pub state: HealthView,
}

/// The health of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = WebhookState)]
pub struct HealthView {
    /// `healthy`, `retrying`, `disabled` or `orphaned`.
    pub standing: &'static str,
    /// Why it is disabled.
    pub reason: Option<String>,
    /// The time of the first failure since the last success.
    pub failing_since: Option<String>,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// Attempts that succeeded since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Deliveries that used up their retries since the start.
    pub dead: u64,
    /// Attempts in progress.
    pub in_flight: usize,
    /// When the last attempt ended.
    pub last_attempt: Option<String>,
    /// The status of the last response.
    pub last_http_code: Option<u16>,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// The end of the pause that the endpoint asked for.
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
    /// The `webhook-id` that the endpoint receives.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// `headers`, `json` or `raw`.
    pub payload: String,
    /// `pending`, `claimed`, `delivered`, `dead`, `held` or `orphaned`.
    pub status: &'static str,
    /// All attempts.
    pub attempts: u32,
    /// Whether it is a replay.
    pub replay: bool,
    /// The time of the next attempt, while it is pending.
    pub next_attempt_at: Option<String>,
    /// The event that it delivers.
    pub event: EventView,
}
