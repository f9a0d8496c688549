//! Transactions of SQLite: the statements of the common rules, executed by the writing thread.

use std::{
    future::poll_fn,
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use rusqlite::Connection;

use super::readers::reply;
use crate::{
    store::StoreError,
    transaction::{Reply, Statement, StoreChange, Transaction},
};

/// Hands statements to the thread that polls the change, since a connection stays on its thread.
#[derive(Clone, Default)]
struct SqliteTransaction(Arc<Mutex<StatementExchange>>);

#[derive(Default)]
enum StatementExchange {
    #[default]
    Idle,
    Sent(Vec<Statement>),
    Replied(Result<Vec<Reply>, StoreError>),
}

/// Makes a change in the transaction of a connection.
pub(super) fn make<C: StoreChange>(
    connection: &Connection,
    change: &C,
) -> Result<C::Outcome, StoreError> {
    let mut transaction = SqliteTransaction::default();
    let executor = transaction.clone();
    let mut made = pin!(change.make(&mut transaction));
    loop {
        if let Poll::Ready(outcome) = made.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
        let StatementExchange::Sent(statements) = mem::take(&mut *executor.exchange()) else {
            return Err(StoreError::Database("it waits for something else".to_owned()));
        };
        let replies = statements.into_iter().map(|statement| reply(connection, statement));
        let replies = StatementExchange::Replied(replies.collect());
        *executor.exchange() = replies;
    }
}

// === impl SqliteTransaction ===

impl SqliteTransaction {
    fn exchange(&self) -> MutexGuard<'_, StatementExchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transaction for SqliteTransaction {
    async fn send(&mut self, statements: Vec<Statement>) -> Result<Vec<Reply>, StoreError> {
        *self.exchange() = StatementExchange::Sent(statements);
        poll_fn(|_| {
            let mut exchange = self.exchange();
            match mem::take(&mut *exchange) {
                StatementExchange::Replied(replies) => Poll::Ready(replies),
                waiting => {
                    *exchange = waiting;
                    Poll::Pending
                }
            }
        })
        .await
    }
}
