//! What the gateway does for the API.

use async_trait::async_trait;
use serde::Serialize;

use crate::token::Tokens;

/// Implemented by the gateway.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// The tokens in force.
    fn tokens(&self) -> Tokens;

    /// Loads config and rules again; on any mistake what is in force stays.
    ///
    /// # Errors
    /// Every mistake that was found.
    async fn reload(&self) -> Result<Reloaded, Vec<Mistake>>;

    /// The figures of `GET /admin/status`.
    async fn status(&self) -> Status;

    /// Why the gateway should get no traffic, a sentence each. Empty: it should.
    async fn unready(&self) -> Vec<String>;
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Counts reloads from 1.
    pub generation: u64,
    /// Names of new webhooks.
    pub added: Vec<String>,
    /// Names of webhooks that differ.
    pub changed: Vec<String>,
    /// Names of webhooks that are gone.
    pub removed: Vec<String>,
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// Where in the document, such as `webhooks[2].url`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// `GET /admin/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Of the gateway.
    pub version: &'static str,
    /// Of the snapshot in force.
    pub generation: u64,
    /// SHA-256 of the files it was made of, hex.
    pub hash: String,
    /// Rules in force.
    pub webhooks: usize,
    /// Exchanges under way.
    pub in_flight: usize,
    /// How the last reload went.
    pub last_reload: LastReload,
    /// How the store is.
    pub store: StoreStatus,
}

/// How the last reload went.
#[derive(Clone, Debug, Serialize)]
pub struct LastReload {
    /// RFC 3339.
    pub at: String,
    /// Whether its files are in force.
    pub ok: bool,
    /// Its first mistake.
    pub error: Option<String>,
}

/// How the store is.
#[derive(Clone, Debug, Serialize)]
pub struct StoreStatus {
    /// Whether the last write succeeded.
    pub ok: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// Deliveries that wait or are being made.
    pub queue_depth: u64,
    /// Deliveries that used up their retries.
    pub dead: u64,
    /// Exchanges whose outcome is not known yet.
    pub open_exchanges: u64,
    /// RFC 3339; when the oldest event with an unmade delivery happened.
    pub oldest_undelivered: Option<String>,
    /// Events that wait in memory until the store can take them.
    pub held_in_memory: usize,
}
