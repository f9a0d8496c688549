//! Transactions, in which the rules change rows alike in both databases.

use std::path::PathBuf;

use uuid::Uuid;

use crate::{
    model::DeliveryState,
    rows::{FromSqlRow, SqlValue},
    store::StoreError,
};

/// A transaction of either database.
///
/// Statements are PostgreSQL's. For SQLite `$1`, `= ANY ($1)` with a list of numbers, `clock_ms()` and the
/// lock at the end of a statement are translated.
pub(crate) trait Transaction {
    /// Returns the rows of a statement.
    async fn rows<R: FromSqlRow>(
        &mut self,
        sql: &str,
        values: Vec<SqlValue>,
    ) -> Result<Vec<R>, StoreError>;

    /// Executes a statement. Returns how many rows it changed.
    async fn execute(&mut self, sql: &str, values: Vec<SqlValue>) -> Result<u64, StoreError>;

    /// Adds to the numbers of deliveries in each state.
    async fn count(&mut self, moves: Moves) -> Result<(), StoreError>;
}

/// A change, made by one transaction. It may be made several times, each time from the same state.
pub(crate) trait Change: Send + Sync + 'static {
    type Outcome: Send + 'static;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Self::Outcome, StoreError>;
}

/// A store in which changes are made.
pub(crate) trait Changes {
    async fn change<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError>;

    /// Removes payloads that no event names any more.
    async fn remove_payloads(&self, files: Vec<PathBuf>, pieces: Vec<Uuid>);
}

/// The changes of the numbers of deliveries by one transaction, in the order of
/// [`DeliveryState::ALL`].
#[derive(Default)]
pub(crate) struct Moves([i64; DeliveryState::ALL.len()]);

// === impl Moves ===

impl Moves {
    /// Counts `n` added deliveries in this state.
    pub(crate) fn added(&mut self, state: DeliveryState, n: usize) {
        self.0[state as usize] += i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// Counts `n` removed deliveries in this state.
    pub(crate) fn removed(&mut self, state: DeliveryState, n: usize) {
        self.0[state as usize] -= i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// Counts `n` deliveries that moved from one state to another.
    pub(crate) fn moved(&mut self, from: DeliveryState, to: DeliveryState, n: usize) {
        self.removed(from, n);
        self.added(to, n);
    }

    /// Returns the changes that are not zero.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let all = DeliveryState::ALL.into_iter().zip(self.0);
        all.filter(|(_, n)| *n != 0).map(|(state, n)| (state.as_str(), n))
    }
}
