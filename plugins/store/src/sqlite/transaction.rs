//! Transactions of SQLite: the statements of the common rules, translated.

use std::{
    path::PathBuf,
    pin::pin,
    task::{Context, Poll, Waker},
};

use rusqlite::Connection;
use uuid::Uuid;

use super::{SqliteStore, readers::reply};
use crate::{
    payload::remove_files,
    rows::FromSqlRow,
    store::StoreError,
    transaction::{ChangeExecutor, Reply, Statement, StoreChange, Transaction},
};

/// The transaction of the writing thread.
struct SqliteTransaction<'a>(&'a Connection);

/// Makes a change in the transaction of a connection.
pub(super) fn make<C: StoreChange>(
    connection: &Connection,
    change: &C,
) -> Result<C::Outcome, StoreError> {
    let mut transaction = SqliteTransaction(connection);
    let made = pin!(change.make(&mut transaction));
    // Its statements end at once.
    match made.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(StoreError::Database("a statement did not end".to_owned())),
    }
}

// === impl ChangeExecutor ===

impl ChangeExecutor for SqliteStore {
    async fn change<C: StoreChange>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.writer.run(move |connection| make(connection, &change)).await
    }

    async fn select<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> Result<Vec<R>, StoreError> {
        self.readers.select(statement).await
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
}

// === impl SqliteTransaction ===

impl Transaction for SqliteTransaction<'_> {
    async fn send(&mut self, statements: Vec<Statement>) -> Result<Vec<Reply>, StoreError> {
        statements.into_iter().map(|statement| reply(self.0, statement)).collect()
    }
}
