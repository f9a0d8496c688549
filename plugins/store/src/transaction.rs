//! Transactions, in which the rules change rows alike in both databases.

use std::{collections::BTreeSet, path::PathBuf};

use uuid::Uuid;

use crate::{
    model::DeliveryState,
    rows::{FromSqlRow, SqlValue},
    select::Select,
    store::StoreError,
};

/// A transaction of either database.
///
/// Statements are PostgreSQL's. For SQLite are translated: `= ANY ($1)` with a list of numbers,
/// `clock_ms()`, `= true`, `= false` and the locks of rows.
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

    /// Makes sure that only the first of the unfinished deliveries of each order, a webhook and a key, is
    /// unblocked.
    async fn reorder(&mut self, orders: BTreeSet<(i64, String)>) -> Result<(), StoreError>;

    /// Fails when a running gateway has a newer configuration than `generation`; 0 is none. None gets
    /// one before the transaction ends.
    async fn check_newest(&mut self, generation: i64) -> Result<(), StoreError>;

    /// Waits until no other transaction changes the orders of these deliveries. Before their events, as
    /// everywhere.
    async fn lock_orders(&mut self, _deliveries: &[i64]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Waits until no other transaction changes the events of these deliveries.
    async fn lock_events(&mut self, _deliveries: &[i64]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Waits until no other transaction changes configurations.
    async fn lock_configurations(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Notifies the other gateways after the commit.
    async fn notify(&mut self, _what: &str, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A change, made by one transaction. It may be made several times, each time from the same state.
pub(crate) trait StoreChange: Send + Sync + 'static {
    type Outcome: Send + 'static;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Self::Outcome, StoreError>;
}

/// A store in which changes are made.
pub(crate) trait ChangeExecutor {
    async fn change<C: StoreChange>(&self, change: C) -> Result<C::Outcome, StoreError>;

    /// Returns the rows of a statement that finds a few by an index.
    async fn select<R: FromSqlRow + Send + 'static>(
        &self,
        select: Select,
    ) -> Result<Vec<R>, StoreError>;

    /// Returns the rows of a statement that may read many.
    async fn find<R: FromSqlRow + Send + 'static>(
        &self,
        select: Select,
    ) -> Result<Vec<R>, StoreError>;

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
