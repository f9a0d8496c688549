//! as2hook: a reverse proxy in front of any AS2 server that gives it webhooks.
//!
//! Partners' traffic passes unchanged; on the way it is decoded, written down, and delivered to every
//! webhook whose rule matches. The way through is *listener → exchange → decoder → event → rules →
//! outbox → dispatcher → webhook*; the rooms behind the tap are crates of their own under `plugins/`.
//!
//! # Layout
//! - `builder`: the command with formats and sinks of your own
//! - [`cli`]: the command line, a file for each command
//! - [`snapshot`]: what can be reloaded, behind one pointer
//! - [`reload`]: putting changed files in force
//! - [`front`]: listeners, request heads and limits, in front of Pingora
//! - [`proxy`]: Pingora's hooks, and where requests go
//! - [`lifecycle`]: from start to drain
//! - [`peers`]: the gateways of the same store
//! - [`partner_webhooks`]: the webhooks of the config API, compiled
//! - [`observe`]: what happens is counted and logged in one place
//! - [`control`]: what the admin API asks of the gateway
//! - [`log`]: where log lines go
//! - `traces`: traces by OTLP, in builds with the feature `otel`
//! - `handles`: how many file handles traffic may have

mod builder;
pub mod cli;
pub mod control;
pub mod front;
pub mod lifecycle;
pub mod log;
pub mod observe;
pub mod partner_webhooks;
pub mod peers;
pub mod proxy;
mod receiver_health;
pub mod reload;
pub mod snapshot;
#[cfg(feature = "otel")]
pub mod traces;

pub use builder::{Builder, Gateway};

use as2hook_store::secret_key;
use as2hook_tap::{self as tap, memory, timers};

mod handles;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
