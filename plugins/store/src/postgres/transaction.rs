//! Transactions of several round trips, for changes outside of groups.

use std::{
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
    store::StoreError,
    transaction::{Change, Changes, Moves, Transaction},
};

/// A transaction over one connection.
pub(super) struct PgTransaction<'a> {
    client: &'a Object,
    trips: &'a AtomicU64,
    /// Why a statement failed: nothing else can be executed then.
    failure: Option<DatabaseFailure>,
}

// === impl Changes ===

impl Changes for PostgresStore {
    async fn change<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.writing.change(&change).await
    }

    async fn remove_payloads(&self, files: Vec<PathBuf>, pieces: Vec<Uuid>) {
        remove_files(self.payload_root.as_deref(), files).await;
        pieces::remove_all(&self.moving, pieces).await;
    }
}

// === impl PgTransaction ===

impl<'a> PgTransaction<'a> {
    /// Makes a change. The outer error is the database's: the connection cannot be used any more.
    pub(super) async fn run<C: Change>(
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
}
