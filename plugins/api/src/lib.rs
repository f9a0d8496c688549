//! The HTTP API on the admin listener.
//!
//! | route | token | does |
//! |---|---|---|
//! | `GET /healthz` | no | 200 while the process serves |
//! | `GET /readyz` | no | 200, or 503 and a line for each reason |
//! | `GET /metrics` | no | every figure, for Prometheus |
//! | `POST /api/v1/webhooks/configure` | write | creates or changes a partner's webhook |
//! | `POST /api/v1/webhooks/get` | read | shows it, never its secret |
//! | `POST /api/v1/webhooks/test` | write | makes a test delivery and waits for it |
//! | `POST /api/v1/webhooks/logs` | read | lists its attempts |
//! | `POST /admin/reload` | admin, default site | loads config and rules again |
//! | `GET /admin/status` | read | version, generation, last reload, store, queue |
//! | `GET /admin/webhooks` | read | every webhook with its live state |
//! | `POST /admin/webhooks/{name}/enable` | admin | back into service |
//! | `GET /admin/events`, `GET /admin/deliveries` | read | newest first, filtered, paged |
//! | `POST /admin/deliveries/{id}/replay`, `POST /admin/replay` | admin | replayed |
//!
//! A token sees only its own site. The trait [`Control`] is the interface to the gateway; this
//! crate does not know Pingora, SQL or AS2.
//!
//! # Layout
//! - [`control`]: the interface to the gateway
//! - [`partner`]: the webhooks of partners
//! - [`admin`]: webhooks, events and deliveries in responses
//! - [`messages`]: the messages in two languages
//! - [`token`]: bearer tokens and their scopes
//! - `throttle`: slows down clients that present bad tokens
//! - [`server`]: the listener and its limits
//! - `connections`: limits the connections
//! - `routes`: the routes in the table above

pub mod admin;
pub mod control;
pub mod messages;
pub mod partner;
pub mod server;
pub mod token;

mod connections;
mod routes;
mod throttle;

pub use self::{
    control::{
        Control, GatewayView, LastReload, Mistake, OutOfService, Refusal, Reloaded, Status,
        StoreStatus,
    },
    messages::{Language, Wrong},
    partner::PartnerEvent,
    server::serve_on,
    token::{Scope, Token, Tokens},
};
