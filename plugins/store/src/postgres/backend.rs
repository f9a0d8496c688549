//! What only PostgreSQL does: calls in a message's path go through the writer, the others directly to
//! the database.

use std::{
    path::PathBuf,
    sync::{PoisonError, atomic::AtomicI64},
};

use tokio::sync::broadcast;
use uuid::Uuid;

use super::{PostgresStore, first, pieces, writer::CallResult};
use crate::{
    backend::StoreBackend,
    gateways::GatewayChange,
    group::{CallOutcome, ClaimCall, ClaimHolding, StoreCall},
    model::Claimed,
    payload::{PayloadMark, StoreIdentity, remove_files},
    rows::FromSqlRow,
    store::{StoreError, replay_share},
    transaction::{Statement, StoreChange},
};

impl StoreBackend for PostgresStore {
    const PRUNED: usize = 200;

    fn owner(&self) -> i64 {
        self.owner.id().into()
    }

    fn generation(&self) -> &AtomicI64 {
        &self.generation
    }

    async fn change<C: StoreChange>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.changing.change(&change).await?
    }

    async fn perform(&self, call: StoreCall) -> Result<CallOutcome, StoreError> {
        match self.writer.run(call).await? {
            CallResult::Done(outcome) => Ok(outcome),
            CallResult::Claimed(_) => Ok(CallOutcome::Claimed(Vec::new())),
        }
    }

    async fn take(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claim = claim(webhook, now, limit);
        Ok(claimed(self.writer.run(StoreCall::Claim(claim)).await?))
    }

    async fn take_next(&self, webhook: &str, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        Ok(claimed(self.writer.claim_next(claim(webhook, 0, limit)).await?))
    }

    fn holding(&self, delivery: i64) -> Option<ClaimHolding> {
        self.claims.holding(delivery)
    }

    async fn reclaim(&self) -> Result<(), StoreError> {
        self.owner.reclaim().await
    }

    async fn select<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.writing.select(statement).await
    }

    async fn look_up<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.find(statement).await
    }

    async fn find<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.reading.select(statement).await
    }

    async fn remove_payloads(&self, files: Vec<PathBuf>, pieces: Vec<Uuid>) {
        remove_files(self.payload_root.as_deref(), files).await;
        pieces::remove_all(&self.moving, pieces).await;
    }

    async fn shrink(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn used_bytes(&self) -> Result<u64, StoreError> {
        let sql = "SELECT (coalesce((SELECT sum(n) FROM tally WHERE state = 'bytes'), 0)
            + coalesce((SELECT sum(payload_size) FROM event
                WHERE payload_path IS NOT NULL OR payload_pieces IS NOT NULL), 0))::bigint";
        let rows = self.reading.query(sql, &[]).await?;
        Ok(first::<i64>(&rows)?.unsigned_abs())
    }

    async fn identify(&self, root: Option<String>) -> Result<StoreIdentity, StoreError> {
        let made = "UPDATE store_identity
            SET mark = floor(random() * 4294967296)::bigint, database = this_database()
            WHERE database IS DISTINCT FROM this_database()";
        self.writing.query(made, &[]).await?;
        if let Some(root) = &root {
            let used = "INSERT INTO payload_root (path, used_at) VALUES ($1, clock_ms())
                ON CONFLICT (path) DO UPDATE SET used_at = excluded.used_at";
            self.writing.query(used, &[root]).await?;
        }
        let sql = "SELECT uuid, mark, ARRAY(SELECT path FROM payload_root
                WHERE path IS DISTINCT FROM $1 ORDER BY used_at DESC LIMIT 5) FROM store_identity";
        let rows = self.writing.query(sql, &[&root]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Database("it has no id".to_owned()))?;
        Ok(StoreIdentity {
            id: row.try_get(0)?,
            mark: PayloadMark(u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default()),
            former_roots: row
                .try_get::<_, Vec<String>>(2)?
                .into_iter()
                .map(PathBuf::from)
                .collect(),
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<GatewayChange> {
        self.changes.subscribe()
    }

    fn trips(&self) -> Option<u64> {
        Some(self.round_trips())
    }

    async fn shut(&self) {
        self.writer.close().await;
        let mut senders = self.senders.lock().await;
        if senders.is_empty() {
            return;
        }
        let ended = async { while senders.join_next().await.is_some() {} };
        if tokio::time::timeout(self.wait, ended).await.is_err() {
            tracing::warn!("The store is still busy; queued writes may be lost.");
        }
        senders.abort_all();
        self.attendants.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        if let Err(error) = self.owner.release().await {
            // Its lease ends soon, and another process adopts what is left.
            tracing::warn!(
                %error,
                "The store could not release this process's claims; another process takes them \
                 over when the lease ends."
            );
        }
        self.writing.close();
        self.changing.close();
        self.reading.close();
        self.moving.close();
    }
}

fn claim(webhook: &str, now: i64, limit: usize) -> ClaimCall {
    ClaimCall {
        webhook: webhook.to_owned(),
        now,
        limit,
        share: replay_share(limit),
        // The sender gives each attempt its own.
        ticket: 0,
        read_along: i64::from(i32::MAX),
    }
}

fn claimed(result: CallResult) -> Vec<Claimed> {
    match result {
        CallResult::Claimed(taken) => taken.keep(),
        CallResult::Done(_) => Vec::new(),
    }
}
