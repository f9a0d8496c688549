//! Connections to the database, a few for each use. Every call over them is counted and has a
//! deadline.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};
use tokio_postgres::{
    Client, Config, Row,
    types::{IsNull, ToSql, Type, to_sql_checked},
};
use uuid::Uuid;

use super::{
    address::{ConnectFailure, DatabaseAddress},
    error::{DatabaseFailure, FailureKind},
    schema::{READ_COMMITTED, SchemaGate, quoted},
    transaction::PgTransaction,
};
use crate::{
    columns::text,
    rows::{FromSqlRow, SqlRow, SqlValue},
    store::StoreError,
    transaction::{Statement, StoreChange},
};

/// The values of a statement's parameters.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How often a statement is sent that failed for reasons of the connection or of other
/// transactions.
pub(super) const TRIES: usize = 5;

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Database {
    pool: Pool,
    wait: Duration,
    trips: Arc<AtomicU64>,
    gate: SchemaGate,
}

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionUse {
    /// Statements of the rules: each finds a few rows by an index.
    Write,
    /// Lists, where the planner chooses.
    Read,
}

/// Opens connections on the runtime of the store: a caller's runtime may end earlier.
struct ConnectionMaker {
    address: DatabaseAddress,
    runtime: Handle,
    session: String,
}

/// A connection that is discarded unless it is known to be in order.
struct LeasedConnection(Option<Object>);

// === impl Database ===

impl Database {
    pub(super) fn new(
        address: &DatabaseAddress,
        size: usize,
        session: String,
        wait: Duration,
        trips: Arc<AtomicU64>,
        gate: SchemaGate,
    ) -> Result<Self, DatabaseFailure> {
        let runtime = Handle::current();
        let maker = ConnectionMaker { address: address.clone(), runtime, session };
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        // The maker has the address.
        let manager = Manager::from_connect(Config::new(), maker, config);
        let connect = address.connect_limit().min(wait);
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(connect))
            .build()
            .map_err(|error| DatabaseFailure::new(FailureKind::Unreachable, error.to_string()))?;
        Ok(Self { pool, wait, trips, gate })
    }

    /// Returns the rows of a statement.
    pub(super) async fn select<T: FromSqlRow>(
        &self,
        statement: Statement,
    ) -> Result<Vec<T>, StoreError> {
        let values: Vec<_> = statement.values.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let rows = self.query(&statement.sql, &values).await?;
        rows.iter().map(|row| T::read(&mut SqlRow::try_from(row)?)).collect()
    }

    /// Executes one statement and returns its rows: one round trip and one transaction.
    pub(super) async fn query(
        &self,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, DatabaseFailure> {
        self.query_until(Instant::now() + self.wait, sql, values).await
    }

    /// Like [`Self::query`]; fails with [`FailureKind::Slow`] at `deadline`.
    pub(super) async fn query_until(
        &self,
        deadline: Instant,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, DatabaseFailure> {
        let work = async {
            for _ in 1..TRIES {
                match self.query_once(sql, values).await {
                    // The server was restarted or cut idle connections, or another transaction
                    // conflicted. The statement may be repeated.
                    Err(failure) if failure.is_passing() => {}
                    done => return done,
                }
            }
            self.query_once(sql, values).await
        };
        tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(DatabaseFailure::slow(self.wait)))
    }

    /// Makes a change, with the retries and the deadline of [`Self::query`].
    pub(super) async fn change<C: StoreChange>(
        &self,
        change: &C,
    ) -> Result<Result<C::Outcome, StoreError>, DatabaseFailure> {
        let work = async {
            for _ in 1..TRIES {
                match self.change_once(change).await {
                    Err(failure) if failure.is_passing() => {}
                    done => return done,
                }
            }
            self.change_once(change).await
        };
        let slow = |_| Err(DatabaseFailure::slow(self.wait));
        tokio::time::timeout(self.wait, work).await.unwrap_or_else(slow)
    }

    /// Like [`Self::change`], without a deadline, and without a retry when the connection breaks.
    pub(super) async fn change_once<C: StoreChange>(
        &self,
        change: &C,
    ) -> Result<Result<C::Outcome, StoreError>, DatabaseFailure> {
        self.gate.pass()?;
        let mut leased = LeasedConnection(Some(self.pool.get().await?));
        let Some(client) = &leased.0 else {
            return Err(DatabaseFailure::new(FailureKind::Closed, ""));
        };
        let outcome = PgTransaction::run(client, &self.trips, change).await;
        match &outcome {
            Ok(_) => drop(leased.0.take()),
            // Idle connections are most likely broken too.
            Err(failure) if failure.spoils_connection() => {
                self.pool.retain(|_, _| false);
            }
            Err(_) => {}
        }
        outcome
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }

    /// Like [`Self::query`], without a deadline, and without a retry when the connection breaks.
    pub(super) async fn query_once(
        &self,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, DatabaseFailure> {
        self.gate.pass()?;
        let mut leased = LeasedConnection(Some(self.pool.get().await?));
        let Some(client) = &leased.0 else {
            return Err(DatabaseFailure::new(FailureKind::Closed, ""));
        };
        let run = async {
            let statement = client.prepare_cached(sql).await?;
            self.trips.fetch_add(1, Ordering::Relaxed);
            client.query(&statement, values).await
        };
        let rows = run.await.map_err(DatabaseFailure::from);
        match &rows {
            Err(failure) if failure.spoils_connection() => {
                // Idle connections are most likely broken too.
                self.pool.retain(|_, _| false);
            }
            _ => drop(leased.0.take()),
        }
        rows
    }
}

// === impl ConnectionUse ===

impl ConnectionUse {
    /// Returns the settings of each connection.
    pub(super) fn session(self, schema: &str, wait: Duration) -> String {
        let schema = quoted(schema);
        let milliseconds = wait.as_millis();
        // A transaction of a process that is frozen holds locks that all gateways wait for.
        let idle = milliseconds.min(1_000);
        // With a default of "off" no call could promise durability.
        let mut session = format!(
            "SET search_path TO {schema};
            SET statement_timeout TO {milliseconds};
            SET idle_in_transaction_session_timeout TO {idle};
            SET jit TO off;
            {READ_COMMITTED};
            SELECT set_config('synchronous_commit', 'on', false)
                WHERE current_setting('synchronous_commit') = 'off';"
        );
        if self == Self::Write {
            // Without this, a plan made for an empty table would be kept after it has grown, and a
            // claim would sort all waiting rows instead of reading them in the order of the index.
            session += "SET enable_seqscan TO off; SET enable_bitmapscan TO off;
                SET enable_hashjoin TO off; SET enable_mergejoin TO off;
                SET plan_cache_mode TO force_generic_plan;";
        }
        session
    }
}

// === impl ConnectionMaker ===

impl Connect for ConnectionMaker {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        let (address, session) = (self.address.clone(), self.session.clone());
        let limit = address.connect_limit();
        let make = async move {
            let (client, connection) = match address.connect().await {
                Ok(connected) => connected,
                Err(ConnectFailure::Failed(error)) => return Some(Err(error)),
                Err(ConnectFailure::Slow) => return None,
            };
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "A connection to the store ended.");
                }
            });
            let set = client.batch_execute(&session).await;
            Some(set.map(|()| (client, driver)))
        };
        let made = self.runtime.spawn(tokio::time::timeout(limit, make));
        Box::pin(async move {
            match made.await {
                Ok(Ok(Some(made))) => made,
                // The pool's own time limit ends the wait: the error type has no timeout that could
                // be returned here.
                _ => std::future::pending().await,
            }
        })
    }
}

// === impl LeasedConnection ===

impl Drop for LeasedConnection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            // A statement in progress must not delay the next call.
            drop(Object::take(object));
        }
    }
}

impl TryFrom<&Row> for SqlRow {
    type Error = tokio_postgres::Error;

    fn try_from(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let value = |(index, column): (usize, &tokio_postgres::Column)| {
            let value = match *column.type_() {
                Type::BOOL => row.try_get::<_, Option<bool>>(index)?.map(|b| i64::from(b).into()),
                Type::INT4 => row.try_get::<_, Option<i32>>(index)?.map(|n| i64::from(n).into()),
                Type::INT8 => row.try_get::<_, Option<i64>>(index)?.map(SqlValue::Number),
                Type::UUID => row.try_get::<_, Option<Uuid>>(index)?.map(SqlValue::Id),
                Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index)?.map(SqlValue::Bytes),
                Type::VOID => None,
                _ => row.try_get::<_, Option<String>>(index)?.map(SqlValue::Text),
            };
            Ok(value.unwrap_or(SqlValue::Null))
        };
        let values = row.columns().iter().enumerate().map(value);
        Ok(values.collect::<Result<Vec<_>, tokio_postgres::Error>>()?.into())
    }
}

impl ToSql for SqlValue {
    fn to_sql(
        &self,
        type_: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) if *type_ == Type::INT4 => {
                i32::try_from(*number)?.to_sql(type_, out)
            }
            Self::Number(number) if *type_ == Type::BOOL => (*number != 0).to_sql(type_, out),
            Self::Number(number) => number.to_sql(type_, out),
            Self::Text(whole) => text(whole).to_sql(type_, out),
            Self::Bytes(bytes) => bytes.to_sql(type_, out),
            Self::Id(id) => id.to_sql(type_, out),
            Self::Numbers(numbers) => numbers.to_sql(type_, out),
            Self::Texts(texts) => {
                texts.iter().map(|one| text(one)).collect::<Vec<_>>().to_sql(type_, out)
            }
            Self::Ids(ids) => ids.to_sql(type_, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
