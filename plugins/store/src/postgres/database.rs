//! Connections to the database, a few of each kind, and one place where every call over them is
//! counted and has a deadline.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};
use tokio_postgres::{Client, Config, Row, types::ToSql};

use super::{
    address::{Address, Unconnected},
    error::{Failure, Kind},
    gate::Gate,
};

/// The values of a statement's parameters.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How often a statement that came to nothing through no fault of its own is sent.
pub(super) const TRIES: usize = 5;

/// Whoever waited for a lock has to see what was committed meanwhile, whatever the database's default.
pub(super) const READ_COMMITTED: &str = "SET default_transaction_isolation TO 'read committed'";

/// Some connections.
#[derive(Clone)]
pub(super) struct Database {
    pool: Pool,
    wait: Duration,
    trips: Arc<AtomicU64>,
    gate: Gate,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The functions of the schema: each looks a few rows up by their index.
    Write,
    /// Lists, where the planner knows best.
    Read,
}

/// Makes connections, on the runtime that the store was opened on: those that call it may not last.
struct Maker {
    address: Address,
    runtime: Handle,
    session: String,
}

/// A connection that is thrown away unless it is known to be in order.
struct Leased(Option<Object>);

// === impl Database ===

impl Database {
    pub(super) fn new(
        address: &Address,
        size: usize,
        session: String,
        wait: Duration,
        trips: Arc<AtomicU64>,
        gate: Gate,
    ) -> Result<Self, Failure> {
        let runtime = Handle::current();
        let maker = Maker { address: address.clone(), runtime, session };
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        // The maker knows the address.
        let manager = Manager::from_connect(Config::new(), maker, config);
        let connect = address.patience().min(wait);
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(connect))
            .build()
            .map_err(|error| Failure::new(Kind::Unreachable, error.to_string()))?;
        Ok(Self { pool, wait, trips, gate })
    }

    /// Carries one statement out and returns its rows: one round trip, and one transaction.
    pub(super) async fn query(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        self.query_until(Instant::now() + self.wait, sql, values).await
    }

    /// As [`Self::query`]; it fails with [`Kind::Slow`] at `deadline`.
    pub(super) async fn query_until(
        &self,
        deadline: Instant,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let work = async {
            for _ in 1..TRIES {
                match self.query_once(sql, values).await {
                    // Its server was restarted, or cut idle connections; or another transaction was in
                    // the way. What is asked for may be repeated.
                    Err(Failure { kind: Kind::Broken | Kind::Conflict, .. }) => {}
                    done => return done,
                }
            }
            self.query_once(sql, values).await
        };
        tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(Failure::slow(self.wait)))
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }

    /// As [`Self::query`], without a deadline, and without another try where the connection breaks.
    pub(super) async fn query_once(
        &self,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failure> {
        self.gate.pass()?;
        let mut leased = Leased(Some(self.pool.get().await?));
        let Some(client) = &leased.0 else { return Err(Failure::new(Kind::Closed, "")) };
        let run = async {
            let statement = client.prepare_cached(sql).await?;
            self.trips.fetch_add(1, Ordering::Relaxed);
            client.query(&statement, values).await
        };
        let rows = run.await.map_err(Failure::from);
        match &rows {
            Err(failure) if failure.spoils_connection() => {
                // What happened to one has most likely happened to those that lie idle.
                self.pool.retain(|_, _| false);
            }
            _ => drop(leased.0.take()),
        }
        rows
    }
}

// === impl Use ===

impl Use {
    /// What is set once on each connection.
    pub(super) fn session(self, schema: &str, wait: Duration) -> String {
        let schema = quoted(schema);
        let milliseconds = wait.as_millis();
        // A database whose default is "off" would break the promise of every call.
        let mut session = format!(
            "SET search_path TO {schema};
            SET statement_timeout TO {milliseconds};
            SET idle_in_transaction_session_timeout TO {milliseconds};
            SET jit TO off;
            {READ_COMMITTED};
            SELECT set_config('synchronous_commit', 'on', false)
                WHERE current_setting('synchronous_commit') = 'off';"
        );
        if self == Self::Write {
            // A plan made while a table was empty would be kept until it has grown for long; and what is
            // claimed first is to be read in the order of its index, not sorted out of all that waits.
            session += "SET enable_seqscan TO off; SET enable_bitmapscan TO off;
                SET enable_hashjoin TO off; SET enable_mergejoin TO off;
                SET plan_cache_mode TO force_generic_plan;";
        }
        session
    }
}

// === impl Maker ===

impl Connect for Maker {
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
        let patience = address.patience();
        let make = async move {
            let (client, connection) = match address.connect().await {
                Ok(connected) => connected,
                Err(Unconnected::Failed(error)) => return Some(Err(error)),
                Err(Unconnected::Slow) => return None,
            };
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "A connection to the store ended.");
                }
            });
            let set = client.batch_execute(&session).await;
            Some(set.map(|()| (client, driver)))
        };
        let made = self.runtime.spawn(tokio::time::timeout(patience, make));
        Box::pin(async move {
            match made.await {
                Ok(Ok(Some(made))) => made,
                // The pool's own time limit says so, for there is no such error to be made here.
                _ => std::future::pending().await,
            }
        })
    }
}

// === impl Leased ===

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            // Whatever is under way on it must not be waited for by the next call.
            drop(Object::take(object));
        }
    }
}

/// A name as it stands in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
