//! The HTTP API on the admin listener.
//!
//! | route | token | does |
//! |---|---|---|
//! | `GET /healthz` | no | 200 while the process serves |
//! | `GET /readyz` | no | 200, or 503 and a line for each reason |
//! | `GET /metrics` | no | every figure, for Prometheus |
//! | `GET /openapi.json` | no | describes every route |
//! | `POST /api/v1/webhooks/configure` | write | creates or changes a partner's webhook |
//! | `POST /api/v1/webhooks/get` | read | shows it, never its secret |
//! | `POST /api/v1/webhooks/test` | write | makes a test delivery and waits for it |
//! | `POST /api/v1/webhooks/logs` | read | lists its attempts |
//! | `POST /admin/reload` | admin, default site | loads config and rules again |
//! | `GET /admin/status` | read | version, generation, last reload, store, queue |
//! | `GET /admin/webhooks` | read | every webhook with its live state |
//! | `POST /admin/webhooks/{name}/enable` | admin | back into service |
//! | `POST /admin/webhooks/{name}/test` | admin | makes a test delivery and waits for it |
//! | `GET /admin/events`, `GET /admin/deliveries` | read | newest first, filtered, paged |
//! | `GET /admin/events/{id}`, `…/attachments/{n}`, `…/mdn` | read | one, with all that belongs to it |
//! | `GET /admin/deliveries/{id}` | read | one, with its attempts |
//! | `POST /admin/deliveries/{id}/retry`, `/cancel`, `/replay` | admin | made now, given up, made again |
//! | `GET /admin/audit` | read | what callers did |
//! | `/console/` | of a session | pages for people |
//! | `POST /admin/retry`, `/admin/cancel`, `/admin/replay` | admin | the same of all that match |
//!
//! A token sees only its own site. Handlers work on the types of the store, of deliveries and of the
//! config; what only the running gateway knows comes through the trait [`GatewayControl`]. This crate does
//! not know Pingora or SQL.
//!
//! # Layout
//! - `activity`: how much goes on
//! - `gateway`: what the API works on, and what the gateway reports to it
//! - `partner_webhooks`, `test_delivery`: `/api/v1/webhooks`; `partner_events`: the events there
//! - `status`: `/admin/status`, `/admin/reload`
//! - `webhooks`: `/admin/webhooks`
//! - `events`: `/admin/events`, and searches
//! - `event_detail`: one event
//! - `deliveries`: `/admin/deliveries`
//! - `audit`: what callers did
//! - `steering`: what is retried, cancelled and replayed
//! - `metrics`: `/metrics`
//! - `routes`: puts these together; health
//! - `caller`: tokens and their scopes
//! - `throttle`: clients with bad tokens
//! - `fields`: the fields of a JSON body
//! - `console`: pages for people
//! - `error`: what a request is refused with, in two languages
//! - `tap`: the API of a tap in another proxy
//! - `server`: the listener and its limits

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod activity;
mod audit;
mod caller;
mod console;
mod deliveries;
mod error;
mod event_detail;
mod events;
mod fields;
mod gateway;
mod metrics;
mod partner_events;
mod partner_webhooks;
mod routes;
mod server;
mod status;
mod steering;
mod tap;
mod test_delivery;
mod throttle;
mod webhooks;

pub use self::{
    activity::{Activity, AttemptCounts, ExchangeCounts},
    gateway::{GatewayControl, GatewayFigures, Handles, LastReload, PartnerWebhookView, Reloaded},
    partner_webhooks::{is_partner_webhook, leading_keys, partner_webhook_name},
    server::serve_on,
    tap::serve_tap,
};

/// Returns a time of the store as the API shows it.
fn rfc3339(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}
