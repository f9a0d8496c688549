//! Keeps notifications until they are delivered: three traits, their stores, and the
//! payload files.
//!
//! A store knows nothing of AS2: an event is an opaque `body` with a few columns to find it by, and
//! a delivery is that event on its way to one webhook.
//!
//! # Layout
//! - [`model`]: the rows, as plain types
//! - [`store`]: the traits, and the promise of each call
//! - [`mod@write`]: what is written: each commit is a list of writes
//! - [`record`]: small rows beside events
//! - [`query`]: the queries of the admin API
//! - [`partner_webhook`]: the webhooks of the config API
//! - `transaction`: what the rules of both stores are written over
//! - `group`, `order`: those rules, in a message's path
//! - `moves`, `changes`, `retention`: the others
//! - [`steering`]: deliveries that an operator retries, replays or cancels
//! - `backend`: what each database does itself; `calls`: the calls of both over it
//! - `columns`: plain values as columns of either database
//! - `error`: the errors of a store
//! - `select`, `rows`: the statements that both stores read with, and what comes of them
//! - [`sqlite`]: the embedded store
//! - [`postgres`]: the store that several gateways share
//! - [`payload`]: what `raw` deliveries send: in rows, files or pieces, sealed or not
//! - [`private_files`]: files and folders that only the service user can read
//! - [`secret_key`]: secrets in the rows of a store
//! - [`pieces`]: large payloads for gateways that share no disk
//! - `s3`: pieces in S3, with the feature of that name
//! - [`archive`]: a whole store as plain rows, to move a site
//! - [`gateways`]: the reports of gateways that share a store

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod archive;
mod backend;
mod calls;
mod changes;
mod columns;
mod error;
pub mod gateways;
mod group;
mod lists;
pub mod model;
mod moves;
mod order;
pub mod partner_webhook;
pub mod payload;
pub mod pieces;
pub mod postgres;
pub mod private_files;
pub mod query;
pub mod record;
mod retention;
mod rows;
#[cfg(feature = "s3")]
pub mod s3;
pub mod secret_key;
mod select;
pub mod sqlite;
pub mod steering;
pub mod store;
mod transaction;
pub mod write;

pub use as2hook_event::clock;

pub use archive::{MigrateError, Moved, migrate};
pub use gateways::{GatewayChange, GatewayReport};
pub use model::{
    Attempt, AttemptRecord, AuditEntry, Claimed, DeliveryOutcome, DeliveryState, DueWebhook,
    EventTerms, NewDelivery, NewEvent, Payload, SetAside, Settlement, StoredEvent, WebhookState,
};
pub use partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery};
pub use payload::{
    PayloadDir, PayloadHealth, PayloadKey, PayloadMark, PayloadReader, PayloadWriter, Payloads,
    SealError, StoreIdentity,
};
pub use pieces::BlobStore;
pub use postgres::{PostgresOptions, PostgresStore};
pub use query::{AttemptRow, DeliveryRow, DeliveryTally, EventRow, EventTally, Filter, Page};
pub use record::{Before, Record, RecordChange};
#[cfg(feature = "s3")]
pub use s3::S3Pieces;
pub use secret_key::{SecretKey, SecretKeyError};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use steering::DeliveryChange;
pub use store::{Counts, DeliveryQueue, EventStore, Prune, PurgedPayloads, RAW, Store, StoreError};
pub use write::{OrderPlace, Write};
