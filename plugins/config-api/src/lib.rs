//! Who may ask: the HTTP API on the admin listener.
//!
//! | route | token | does |
//! |---|---|---|
//! | `GET /healthz` | no | 200 while the process serves |
//! | `GET /readyz` | no | 200, or 503 and a line for each reason |
//! | `GET /metrics` | no | every figure, for Prometheus |
//! | `POST /api/v1/webhooks/configure` | write | makes or changes a partner's webhook |
//! | `POST /api/v1/webhooks/get` | read | shows it, never its secret |
//! | `POST /api/v1/webhooks/test` | write | makes a test delivery and waits for it |
//! | `POST /api/v1/webhooks/logs` | read | lists its attempts |
//! | `POST /admin/reload` | admin, default site | loads config and rules again |
//! | `GET /admin/status` | read | version, generation, last reload, store, queue |
//! | `GET /admin/webhooks` | read | every webhook with its live state |
//! | `POST /admin/webhooks/{name}/enable` | admin | back into service |
//! | `GET /admin/events`, `GET /admin/deliveries` | read | newest first, filtered, paged |
//! | `POST /admin/deliveries/{id}/replay`, `POST /admin/replay` | admin | made again |
//!
//! A token sees its own site alone. What it asks of the gateway is the trait [`Control`]; nothing here
//! knows Pingora, SQL or AS2.
//!
//! # Layout
//! - [`control`]: what the gateway does for the API
//! - [`partner`]: the webhooks of partners
//! - [`admin`]: webhooks, events and deliveries as they are shown
//! - [`messages`]: what is said, in two languages
//! - [`token`]: who may ask
//! - `throttle`: slows down whoever tries tokens
//! - [`server`]: the listener and its limits
//! - `routes`: the routes in the table above

pub mod admin;
pub mod control;
pub mod messages;
pub mod partner;
pub mod server;
pub mod token;

mod routes;
mod throttle;

pub use self::{
    control::{Control, GatewayView, LastReload, Mistake, Refusal, Reloaded, Status, StoreStatus},
    messages::{Language, Wrong},
    partner::PartnerEvent,
    server::{serve, serve_on},
    token::{Scope, Token, Tokens},
};
