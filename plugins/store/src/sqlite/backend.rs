//! What only SQLite does: each call goes to the writing thread or to a reading connection.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicI64, Ordering},
};

use rusqlite::Connection;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{SqliteStore, identity, process_lock, prune, transaction, writer::SqliteClaimGuard};
use crate::{
    backend::StoreBackend,
    gateways::GatewayChange,
    group::{CallOutcome, ClaimCall, ClaimHolding, StoreCall},
    model::Claimed,
    payload::{StoreIdentity, remove_files},
    rows::FromSqlRow,
    store::{StoreError, replay_share},
    transaction::{Statement, StoreChange},
};

/// Bodies and payloads up to this many bytes are read with the claim, by the thread that all writes
/// wait for; larger ones are read by another.
const READ_ALONG: i64 = 32 * 1024;

impl StoreBackend for SqliteStore {
    const PRUNED: usize = 50;

    fn owner(&self) -> i64 {
        self.owner
    }

    fn generation(&self) -> &AtomicI64 {
        &self.generation
    }

    async fn change<C: StoreChange>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.writer.run(move |connection| transaction::make(connection, &change)).await
    }

    async fn perform(&self, call: StoreCall) -> Result<CallOutcome, StoreError> {
        self.writer.perform(call).await
    }

    async fn take(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let taken = self.writer.take(self.claim_call(webhook, now, limit)).await?;
        self.filled(taken).await
    }

    async fn take_next(&self, webhook: &str, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        let taken = self.writer.take_next(self.claim_call(webhook, 0, limit)).await?;
        self.filled(taken).await
    }

    fn holding(&self, _: i64) -> Option<ClaimHolding> {
        Some(ClaimHolding { owner: self.owner, ticket: None })
    }

    async fn reclaim(&self) -> Result<(), StoreError> {
        let (owners, own) = (self.owners.clone(), self.owner);
        let dead = self.readers.run(move |connection| owners.find_dead(connection, own)).await?;
        if dead.is_empty() {
            return Ok(());
        }
        let reclaim = move |connection: &Connection| {
            dead.iter().try_for_each(|dead| process_lock::reclaim(connection, *dead, own))
        };
        self.writer.run(reclaim).await
    }

    async fn select<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.readers.select(statement).await
    }

    async fn look_up<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.writer.read(statement).await
    }

    async fn find<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.readers.select(statement).await
    }

    /// Pieces are found by [`crate::Payloads::sweep`].
    async fn remove_payloads(&self, files: Vec<PathBuf>, _: Vec<Uuid>) {
        remove_files(self.writer.payload_root(), files).await;
    }

    async fn shrink(&self) -> Result<(), StoreError> {
        prune::shrink_file(&self.readers, &self.writer).await
    }

    async fn used_bytes(&self) -> Result<u64, StoreError> {
        self.readers.run(prune::bytes).await
    }

    async fn identify(&self, root: Option<String>) -> Result<StoreIdentity, StoreError> {
        let path = self.path.clone();
        self.writer
            .run(move |connection| identity::identity(connection, &path, root.as_deref()))
            .await
    }

    fn subscribe(&self) -> broadcast::Receiver<GatewayChange> {
        self.changes.subscribe()
    }

    fn trips(&self) -> Option<u64> {
        None
    }

    async fn shut(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

impl SqliteStore {
    fn claim_call(&self, webhook: &str, now: i64, limit: usize) -> ClaimCall {
        ClaimCall {
            webhook: webhook.to_owned(),
            now,
            limit,
            share: replay_share(limit),
            ticket: self.ticket.fetch_add(1, Ordering::Relaxed) + 1,
            read_along: READ_ALONG,
        }
    }

    async fn filled(&self, taken: SqliteClaimGuard) -> Result<Vec<Claimed>, StoreError> {
        if !taken.is_partial() {
            return Ok(taken.keep());
        }
        Ok(self.readers.run(move |connection| taken.fill(connection)).await?.keep())
    }
}
