//! Transactions of several round trips, for changes outside of groups.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{PostgresStore, error::DatabaseFailure, pieces};
use crate::{
    payload::remove_files,
    rows::{FromSqlRow, SqlRow, SqlValue},
    select::Select,
    store::StoreError,
    transaction::{ChangeExecutor, Moves, StoreChange, Transaction},
};

/// A transaction over one connection.
pub(super) struct PgTransaction<'a> {
    client: &'a Object,
    trips: &'a AtomicU64,
    /// Why a statement failed: nothing else can be executed then.
    failure: Option<DatabaseFailure>,
}

// === impl ChangeExecutor ===

impl ChangeExecutor for PostgresStore {
    async fn change<C: StoreChange>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.changing.change(&change).await
    }

    async fn select<R: FromSqlRow + Send + 'static>(
        &self,
        select: Select,
    ) -> Result<Vec<R>, StoreError> {
        self.writing.select(select).await
    }

    async fn find<R: FromSqlRow + Send + 'static>(
        &self,
        select: Select,
    ) -> Result<Vec<R>, StoreError> {
        self.reading.select(select).await
    }

    async fn remove_payloads(&self, files: Vec<PathBuf>, pieces: Vec<Uuid>) {
        remove_files(self.payload_root.as_deref(), files).await;
        pieces::remove_all(&self.moving, pieces).await;
    }
}

// === impl PgTransaction ===

impl<'a> PgTransaction<'a> {
    /// Makes a change. The outer error is the database's: the connection cannot be used any more.
    pub(super) async fn run<C: StoreChange>(
        client: &'a Object,
        trips: &'a AtomicU64,
        change: &C,
    ) -> Result<Result<C::Outcome, StoreError>, DatabaseFailure> {
        let mut transaction = Self { client, trips, failure: None };
        transaction.command("BEGIN").await?;
        let outcome = change.make(&mut transaction).await;
        if let Some(failure) = transaction.failure {
            return Err(failure);
        }
        transaction.command(if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        Ok(outcome)
    }

    async fn command(&self, command: &str) -> Result<(), DatabaseFailure> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        Ok(self.client.batch_execute(command).await?)
    }

    /// Executes a statement with one value.
    async fn call(&mut self, sql: &str, value: SqlValue) -> Result<(), StoreError> {
        self.execute(sql, vec![value]).await.map(drop)
    }

    fn failed(&mut self, error: tokio_postgres::Error) -> StoreError {
        let failure = DatabaseFailure::from(error);
        self.failure = Some(failure.clone());
        failure.into()
    }
}

impl Transaction for PgTransaction<'_> {
    async fn rows<R: FromSqlRow>(
        &mut self,
        sql: &str,
        values: Vec<SqlValue>,
    ) -> Result<Vec<R>, StoreError> {
        let values: Vec<_> = values.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let run = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.trips.fetch_add(1, Ordering::Relaxed);
            self.client.query(&statement, &values).await
        };
        let rows = run.await.map_err(|error| self.failed(error))?;
        rows.iter().map(|row| R::read(&mut SqlRow::try_from(row)?)).collect()
    }

    async fn execute(&mut self, sql: &str, values: Vec<SqlValue>) -> Result<u64, StoreError> {
        let values: Vec<_> = values.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let run = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.trips.fetch_add(1, Ordering::Relaxed);
            self.client.execute(&statement, &values).await
        };
        run.await.map_err(|error| self.failed(error))
    }

    async fn count(&mut self, moves: Moves) -> Result<(), StoreError> {
        for (state, n) in moves.all() {
            let sql = "INSERT INTO tally (state, n) VALUES ($1, $2)";
            self.execute(sql, vec![state.into(), n.into()]).await?;
        }
        Ok(())
    }

    async fn reorder(&mut self, orders: BTreeSet<(i64, String)>) -> Result<(), StoreError> {
        let orders = serde_json::json!(orders).to_string();
        self.call("SELECT reorder_all($1::text::jsonb)", orders.as_str().into()).await
    }

    async fn check_newest(&mut self, generation: i64) -> Result<(), StoreError> {
        match self.rows("SELECT is_outdated($1)", vec![generation.into()]).await?.pop() {
            Some((false,)) => Ok(()),
            _ => Err(StoreError::OlderConfiguration),
        }
    }

    async fn lock_orders(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let lanes = "SELECT lock_lanes(ARRAY(SELECT lane FROM delivery
            WHERE id = ANY ($1) AND lane IS NOT NULL))";
        self.call(lanes, SqlValue::Numbers(ids.to_vec())).await
    }

    async fn lock_events(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let events =
            "SELECT 1 FROM event WHERE id IN (SELECT event FROM delivery WHERE id = ANY ($1))
            ORDER BY id FOR NO KEY UPDATE";
        self.call(events, SqlValue::Numbers(ids.to_vec())).await
    }

    async fn lock_configurations(&mut self) -> Result<(), StoreError> {
        self.call("SELECT pg_advisory_xact_lock(1634882404, $1)", 1.into()).await
    }

    async fn notify(&mut self, what: &str, name: &str) -> Result<(), StoreError> {
        let values = vec![what.into(), name.into()];
        self.execute("SELECT notify_gateways($1, $2)", values).await.map(drop)
    }
}
