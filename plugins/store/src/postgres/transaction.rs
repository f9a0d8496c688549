//! Transactions of PostgreSQL: all statements that are known at once are sent together.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
};

use deadpool_postgres::Object;
use futures_util::{TryStreamExt as _, future::maybe_done};

use super::error::DatabaseFailure;
use crate::{
    rows::SqlRow,
    store::StoreError,
    transaction::{Reply, Statement, StoreChange, Transaction},
};

/// A transaction over one connection.
pub(super) struct PgTransaction<'a> {
    client: &'a Object,
    trips: &'a AtomicU64,
    phase: TransactionPhase,
    /// Why a statement failed: nothing else can be executed then.
    failure: Option<DatabaseFailure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TransactionPhase {
    /// `BEGIN` is sent with the first statements.
    New,
    Begun,
    Ended,
}

// === impl PgTransaction ===

impl<'a> PgTransaction<'a> {
    /// Makes a change. The outer error is the database's: the connection cannot be used any more.
    pub(super) async fn run<C: StoreChange>(
        client: &'a Object,
        trips: &'a AtomicU64,
        change: &C,
    ) -> Result<Result<C::Outcome, StoreError>, DatabaseFailure> {
        let mut transaction = Self { client, trips, phase: TransactionPhase::New, failure: None };
        let outcome = change.make(&mut transaction).await;
        if let Some(failure) = transaction.failure {
            return Err(failure);
        }
        if transaction.phase == TransactionPhase::Begun {
            let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
            transaction.exchange(vec![Statement::new(end, [])]).await?;
        }
        Ok(outcome)
    }

    /// Sends statements, in their order, before it waits for the first result.
    async fn exchange(&self, statements: Vec<Statement>) -> Result<Vec<Reply>, DatabaseFailure> {
        let mut prepared = Vec::with_capacity(statements.len());
        for statement in &statements {
            prepared.push(self.client.prepare_cached(&statement.sql).await?);
        }
        self.trips.fetch_add(1, Ordering::Relaxed);
        let mut executing = Vec::with_capacity(statements.len());
        for (statement, prepared) in statements.iter().zip(&prepared) {
            executing.push(Box::pin(maybe_done(self.execute(prepared, statement))));
        }
        // Each is sent when it is first polled. Behind one that cannot be encoded none is, so that no
        // commit goes out without it.
        poll_fn(|cx| {
            for one in &mut executing {
                let _ = one.as_mut().poll(cx);
                if one.as_mut().output_mut().is_some_and(|reply| reply.is_err()) {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
        let mut replies = Vec::with_capacity(executing.len());
        for mut one in executing {
            one.as_mut().await;
            // The first failure is the reason for those after it.
            replies.extend(one.as_mut().take_output().transpose()?);
        }
        Ok(replies)
    }

    async fn execute(
        &self,
        prepared: &tokio_postgres::Statement,
        statement: &Statement,
    ) -> Result<Reply, DatabaseFailure> {
        let mut stream = pin!(self.client.query_raw(prepared, &statement.values).await?);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await? {
            rows.push(SqlRow::try_from(&row)?);
        }
        Ok(Reply { rows, changed: stream.rows_affected().unwrap_or_default() })
    }

    async fn within(
        &mut self,
        statements: Vec<Statement>,
        ends: bool,
    ) -> Result<Vec<Reply>, StoreError> {
        let begins = self.phase == TransactionPhase::New;
        let begin = begins.then(|| Statement::new("BEGIN", []));
        let end = ends.then(|| Statement::new("COMMIT", []));
        let count = statements.len();
        if count == 0 && !ends {
            return Ok(Vec::new());
        }
        self.phase = if ends { TransactionPhase::Ended } else { TransactionPhase::Begun };
        let all = begin.into_iter().chain(statements).chain(end).collect();
        match self.exchange(all).await {
            Ok(replies) => Ok(replies.into_iter().skip(usize::from(begins)).take(count).collect()),
            Err(failure) => {
                self.failure = Some(failure.clone());
                Err(failure.into())
            }
        }
    }
}

impl Transaction for PgTransaction<'_> {
    async fn send(&mut self, statements: Vec<Statement>) -> Result<Vec<Reply>, StoreError> {
        self.within(statements, false).await
    }

    async fn end(&mut self, statements: Vec<Statement>) -> Result<Vec<Reply>, StoreError> {
        self.within(statements, true).await
    }
}
