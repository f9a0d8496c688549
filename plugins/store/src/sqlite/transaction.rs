//! Transactions of SQLite: the statements of the common rules, translated.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    pin::pin,
    task::{Context, Poll, Waker},
};

use rusqlite::{Connection, params, params_from_iter};
use uuid::Uuid;

use super::{
    SqliteStore, deliveries, queries,
    readers::{read, translated},
};
use crate::{
    payload::remove_files,
    rows::{FromSqlRow, SqlValue},
    select::Select,
    store::StoreError,
    transaction::{ChangeExecutor, Moves, StoreChange, Transaction},
};

/// The transaction of the writing thread.
struct SqliteTransaction<'a>(&'a Connection);

// === impl ChangeExecutor ===

impl ChangeExecutor for SqliteStore {
    async fn change<C: StoreChange>(&self, change: C) -> Result<C::Outcome, StoreError> {
        let work = move |connection: &Connection| {
            let mut transaction = SqliteTransaction(connection);
            let made = pin!(change.make(&mut transaction));
            // Its statements end at once.
            match made.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => Err(StoreError::Database("a statement did not end".to_owned())),
            }
        };
        self.writer.run(work).await
    }

    async fn select<R: FromSqlRow + Send + 'static>(
        &self,
        select: Select,
    ) -> Result<Vec<R>, StoreError> {
        self.readers.select(select).await
    }

    async fn find<R: FromSqlRow + Send + 'static>(
        &self,
        select: Select,
    ) -> Result<Vec<R>, StoreError> {
        self.readers.select(select).await
    }

    /// Pieces are found by [`crate::Payloads::sweep`].
    async fn remove_payloads(&self, files: Vec<PathBuf>, _: Vec<Uuid>) {
        remove_files(self.writer.payload_root(), files).await;
    }
}

// === impl SqliteTransaction ===

impl Transaction for SqliteTransaction<'_> {
    async fn rows<R: FromSqlRow>(
        &mut self,
        sql: &str,
        values: Vec<SqlValue>,
    ) -> Result<Vec<R>, StoreError> {
        read(self.0, sql, values)
    }

    async fn execute(&mut self, sql: &str, values: Vec<SqlValue>) -> Result<u64, StoreError> {
        let (sql, values) = translated(sql, values);
        Ok(self.0.prepare_cached(&sql)?.execute(params_from_iter(values))? as u64)
    }

    async fn count(&mut self, moves: Moves) -> Result<(), StoreError> {
        write_counts(self.0, &moves)
    }

    async fn reorder(&mut self, orders: BTreeSet<(i64, String)>) -> Result<(), StoreError> {
        orders.iter().try_for_each(|(webhook, key)| deliveries::reorder(self.0, *webhook, key))
    }

    async fn check_newest(&mut self, generation: i64) -> Result<(), StoreError> {
        queries::check_newest(self.0, generation)
    }
}

/// Writes the counts, in the transaction of the moves.
pub(super) fn write_counts(connection: &Connection, moves: &Moves) -> Result<(), StoreError> {
    for (state, n) in moves.all() {
        // Claimed deliveries count as pending.
        let state = if state == "claimed" { "pending" } else { state };
        connection
            .prepare_cached("UPDATE tally SET n = n + ?2 WHERE state = ?1")?
            .execute(params![state, n])?;
    }
    Ok(())
}
