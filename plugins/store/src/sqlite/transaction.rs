//! Transactions of SQLite: the statements of the common rules, translated.

use std::{
    path::PathBuf,
    pin::pin,
    task::{Context, Poll, Waker},
};

use rusqlite::{Connection, params, params_from_iter};
use uuid::Uuid;

use super::{SqliteStore, readers::read};
use crate::{
    clock::now,
    payload::remove_files,
    rows::{FromSqlRow, SqlValue},
    store::StoreError,
    transaction::{Change, Changes, Moves, Transaction},
};

/// The transaction of the writing thread.
struct SqliteTransaction<'a>(&'a Connection);

// === impl Changes ===

impl Changes for SqliteStore {
    async fn change<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
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
        let (sql, values) = translated(sql, values);
        read(self.0, &sql, &values)
    }

    async fn execute(&mut self, sql: &str, values: Vec<SqlValue>) -> Result<u64, StoreError> {
        let (sql, values) = translated(sql, values);
        Ok(self.0.prepare_cached(&sql)?.execute(params_from_iter(values))? as u64)
    }

    async fn count(&mut self, moves: Moves) -> Result<(), StoreError> {
        write_counts(self.0, &moves)
    }
}

/// Writes the counts, in the transaction of the moves.
pub(super) fn write_counts(connection: &Connection, moves: &Moves) -> Result<(), StoreError> {
    for (state, n) in moves.all() {
        connection
            .prepare_cached("UPDATE tally SET n = n + ?2 WHERE state = ?1")?
            .execute(params![state, n])?;
    }
    Ok(())
}

fn translated(sql: &str, mut values: Vec<SqlValue>) -> (String, Vec<SqlValue>) {
    let sql = sql.split(" FOR UPDATE").next().unwrap_or(sql);
    let mut parts = sql.split("= ANY ($");
    let mut translated = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A list is JSON.
        let (number, rest) = part.split_once(')').unwrap_or((part, ""));
        translated += &format!("IN (SELECT value FROM json_each(${number})){rest}");
    }
    if translated.contains("clock_ms()") {
        values.push(now().into());
        translated = translated.replace("clock_ms()", &format!("${}", values.len()));
    }
    (translated, values)
}
