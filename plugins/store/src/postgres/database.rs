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
    address::Address,
    error::{Failure, Kind},
};

/// The values of a statement's parameters.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Stale connections that one call meets at most before it is told.
const STALE: usize = 8;

/// Some connections.
#[derive(Clone)]
pub(super) struct Database {
    pool: Pool,
    wait: Duration,
    trips: Arc<AtomicU64>,
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
    tls: postgres_openssl::MakeTlsConnector,
    runtime: Handle,
    session: String,
    /// How long all of it may take.
    wait: Duration,
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
    ) -> Result<Self, Failure> {
        let connect = address.config.get_connect_timeout().copied().unwrap_or(wait).min(wait);
        let runtime = Handle::current();
        let maker = Maker { tls: address.tls.clone(), runtime, session, wait: connect };
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(address.config.clone(), maker, config);
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(connect))
            .build()
            .map_err(|error| Failure::new(Kind::Unreachable, error.to_string()))?;
        Ok(Self { pool, wait, trips })
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
            for _ in 0..STALE {
                match self.query_once(sql, values).await {
                    // Its server was restarted, or cut idle connections: what is asked for may be
                    // repeated, and the next connection is a new one at last.
                    Err(Failure { kind: Kind::Broken, .. }) => {}
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
        let mut leased = Leased(Some(self.pool.get().await?));
        let Some(client) = &leased.0 else { return Err(Failure::new(Kind::Closed, "")) };
        let run = async {
            let statement = client.prepare_cached(sql).await?;
            self.trips.fetch_add(1, Ordering::Relaxed);
            client.query(&statement, values).await
        };
        let rows = run.await.map_err(Failure::from);
        if !rows.as_ref().is_err_and(Failure::spoils_connection) {
            leased.0.take();
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
            SELECT set_config('synchronous_commit', 'on', false)
                WHERE current_setting('synchronous_commit') = 'off';"
        );
        if self == Self::Write {
            // A plan made while a table was empty would be kept until it has grown for long.
            session += "SET enable_seqscan TO off; SET enable_hashjoin TO off;
                SET enable_mergejoin TO off; SET plan_cache_mode TO force_generic_plan;";
        }
        session
    }
}

// === impl Maker ===

impl Connect for Maker {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        let (config, tls, session) = (config.clone(), self.tls.clone(), self.session.clone());
        let make = async move {
            let (client, connection) = config.connect(tls).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "A connection to the store ended.");
                }
            });
            client.batch_execute(&session).await?;
            Ok((client, driver))
        };
        let made = self.runtime.spawn(tokio::time::timeout(self.wait, make));
        Box::pin(async move {
            match made.await {
                Ok(Ok(made)) => made,
                // The pool's own time limit says so, for there is no such error to be made here.
                Ok(Err(_)) | Err(_) => std::future::pending().await,
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
