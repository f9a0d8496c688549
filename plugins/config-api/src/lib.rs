//! Who may ask: the HTTP API on the admin listener.
//!
//! | route | token | does |
//! |---|---|---|
//! | `GET /healthz` | no | 200 while the process serves |
//! | `GET /readyz` | no | 200, or 503 and a line for each reason |
//! | `POST /admin/reload` | admin, default site | loads config and rules again |
//! | `GET /admin/status` | read | version, generation, last reload, store, queue |
//!
//! What it asks of the gateway is the trait [`Control`]; nothing here knows Pingora, SQL or AS2.
//!
//! # Layout
//! - [`control`]: what the gateway does for the API
//! - [`token`]: who may ask
//! - [`server`]: the listener and its limits
//! - `routes`: the routes in the table above

pub mod control;
pub mod server;
pub mod token;

mod routes;

pub use self::{
    control::{Control, LastReload, Mistake, Reloaded, Status, StoreStatus},
    server::serve,
    token::{Scope, Token, Tokens},
};
