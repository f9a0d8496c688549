//! Transactions, in which the rules change rows alike in both databases.

use std::borrow::Cow;

use crate::{
    model::DeliveryState,
    rows::{FromSqlRow, SqlRow, SqlValue},
    store::StoreError,
};

/// A transaction of either database.
pub(crate) trait Transaction: Send {
    /// Executes statements in their order. In PostgreSQL they are sent together, in one round trip.
    fn send(
        &mut self,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<Vec<Reply>, StoreError>> + Send;

    /// Like [`Self::send`], and commits: nothing can be executed after it.
    fn end(
        &mut self,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<Vec<Reply>, StoreError>> + Send {
        self.send(statements)
    }

    /// Returns the result of one statement.
    fn ask(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<Reply, StoreError>> + Send {
        async { Ok(self.send(vec![statement]).await?.pop().unwrap_or_default()) }
    }

    /// Returns the rows of a statement.
    fn rows<R: FromSqlRow>(
        &mut self,
        sql: &'static str,
        values: Vec<SqlValue>,
    ) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send {
        let reply = self.ask(Statement::new(sql, values));
        async { reply.await?.read() }
    }

    /// Executes a statement. Returns how many rows it changed.
    fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<SqlValue>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let reply = self.ask(Statement::new(sql, values));
        async { Ok(reply.await?.changed) }
    }
}

/// A statement of PostgreSQL with the values of its parameters, `$1` and so on.
///
/// For SQLite are translated: `= ANY ($1)` with a list of numbers, `clock_ms()`, `true`, `false` and
/// the locks of rows.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: Cow<'static, str>,
    /// What SQLite executes instead; empty: nothing.
    pub(crate) sqlite: Option<&'static str>,
    pub(crate) values: Vec<SqlValue>,
}

/// The result of a statement.
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) rows: Vec<SqlRow>,
    /// How many rows it changed.
    pub(crate) changed: u64,
}

/// A change, made by one transaction. It may be made several times, each time from the same state.
pub(crate) trait StoreChange: Send + Sync + 'static {
    type Outcome: Send + 'static;

    fn make<T: Transaction>(
        &self,
        transaction: &mut T,
    ) -> impl Future<Output = Result<Self::Outcome, StoreError>> + Send;
}

/// The changes of the numbers of deliveries by one transaction, in the order of
/// [`DeliveryState::ALL`]. Claimed deliveries count as pending.
#[derive(Default)]
pub(crate) struct Moves([i64; DeliveryState::ALL.len()]);

// === impl Statement ===

impl Statement {
    pub(crate) fn new(
        sql: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = SqlValue>,
    ) -> Self {
        Self { sql: sql.into(), sqlite: None, values: values.into_iter().collect() }
    }

    /// Creates a statement that SQLite has in other words.
    pub(crate) fn either(
        sql: &'static str,
        sqlite: &'static str,
        values: impl IntoIterator<Item = SqlValue>,
    ) -> Self {
        Self { sqlite: Some(sqlite), ..Self::new(sql, values) }
    }

    /// Creates a statement that only PostgreSQL needs: in SQLite one transaction writes at a time, and
    /// no process is notified.
    pub(crate) fn postgres(sql: &'static str, values: impl IntoIterator<Item = SqlValue>) -> Self {
        Self::either(sql, "", values)
    }

    /// Notifies the other gateways after the commit.
    pub(crate) fn notify(what: &str, name: &str) -> Self {
        Self::postgres("SELECT notify_gateways($1, $2)", [what.into(), name.into()])
    }
}

// === impl Reply ===

impl Reply {
    /// Returns its rows.
    pub(crate) fn read<R: FromSqlRow>(self) -> Result<Vec<R>, StoreError> {
        self.rows.into_iter().map(|mut row| R::read(&mut row)).collect()
    }
}

// === impl Moves ===

impl Moves {
    /// Counts `n` added deliveries in this state.
    pub(crate) fn added(&mut self, state: DeliveryState, n: usize) {
        *self.of(state) += i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// Counts `n` removed deliveries in this state.
    pub(crate) fn removed(&mut self, state: DeliveryState, n: usize) {
        *self.of(state) -= i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// Counts `n` deliveries that moved from one state to another.
    pub(crate) fn moved(&mut self, from: DeliveryState, to: DeliveryState, n: usize) {
        self.removed(from, n);
        self.added(to, n);
    }

    /// Returns the statements that write the changes.
    pub(crate) fn statements(&self) -> impl Iterator<Item = Statement> {
        let all = DeliveryState::ALL.into_iter().zip(self.0).filter(|(_, n)| *n != 0);
        all.map(|(state, n)| {
            let sql = "INSERT INTO tally (state, n) VALUES ($1, $2)";
            let sqlite = "UPDATE tally SET n = n + ?2 WHERE state = ?1";
            Statement::either(sql, sqlite, [state.as_str().into(), n.into()])
        })
    }

    fn of(&mut self, state: DeliveryState) -> &mut i64 {
        let counted = match state {
            DeliveryState::Claimed => DeliveryState::Pending,
            other => other,
        };
        &mut self.0[counted as usize]
    }
}
