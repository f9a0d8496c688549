//! Migrations: the tables and functions, as numbered steps, and the gate that blocks calls until they
//! are made.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio_postgres::{Client, GenericClient};

use super::{
    address::DatabaseAddress,
    error::{DatabaseFailure, FailureKind},
};
use crate::store::StoreError;

/// One step each; a released step is never changed, and neither is a released function, because
/// gateways of several versions may run at once: a new version gets a new name.
const MIGRATIONS: &[&str] = &[
    concat!(
        // Functions may use others below them.
        "SET LOCAL check_function_bodies TO off;\n",
        include_str!("schema.sql"),
        include_str!("functions.sql"),
    ),
    include_str!("schema_2.sql"),
];

/// The limit of a migration, including the wait for another gateway's.
pub(super) const DEADLINE: Duration = Duration::from_secs(120);

/// The pause before another attempt, after a deadlock with a running gateway, or a wait for a lock.
const AGAIN: Duration = Duration::from_secs(2);

/// The pause between two tries while the database is unavailable.
const PAUSE: Duration = Duration::from_secs(1);

/// After waiting for a lock, a statement must see what was committed meanwhile, whatever the
/// database's default.
pub(super) const READ_COMMITTED: &str = "SET default_transaction_isolation TO 'read committed'";

/// Blocks calls until the tables are migrated, with the reason; `None`: it is open, permanently. A
/// gateway that is started while its database is unavailable begins to work when the database is
/// reachable. Clones share the state.
#[derive(Clone)]
pub(super) struct SchemaGate(Arc<RwLock<Option<DatabaseFailure>>>);

// === impl SchemaGate ===

impl SchemaGate {
    /// Lets a call through, or returns why not.
    pub(super) fn pass(&self) -> Result<(), DatabaseFailure> {
        self.0.read().clone().map_or(Ok(()), Err)
    }

    pub(super) fn open(&self) {
        *self.0.write() = None;
    }

    pub(super) fn shut(&self, error: &StoreError) {
        *self.0.write() = Some(error.into());
    }

    /// Migrates, until it succeeds.
    pub(super) async fn keep_trying(self, address: DatabaseAddress, schema: String) {
        loop {
            tokio::time::sleep(PAUSE).await;
            match migrate(&address, &schema).await {
                Ok(()) => break,
                Err(error) => self.shut(&error),
            }
        }
        self.open();
        tracing::info!("The store's database is reachable again.");
    }
}

impl Default for SchemaGate {
    fn default() -> Self {
        let failure = DatabaseFailure::new(FailureKind::Unreachable, "no server was asked yet");
        Self(Arc::new(RwLock::new(Some(failure))))
    }
}

/// Migrates the schema to this program's version. Several processes may do it at once: each waits
/// for the one before it, and has nothing left to do.
pub(super) async fn migrate(address: &DatabaseAddress, schema: &str) -> Result<(), StoreError> {
    let work = async {
        let (mut client, connection) = address.connect().await.map_err(DatabaseFailure::from)?;
        let driver = tokio::spawn(connection);
        let outcome = loop {
            match bring_up(&mut client, schema).await {
                // A running gateway conflicted, or something else holds the tables: everything was rolled back.
                Err(failure)
                    if matches!(failure.kind, FailureKind::Conflict | FailureKind::Busy) =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                outcome => break outcome.map_err(StoreError::from).flatten(),
            }
        };
        drop(client);
        driver.abort();
        outcome
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(StoreError::Slow(DEADLINE)))
}

async fn bring_up(
    client: &mut Client,
    schema: &str,
) -> Result<Result<(), StoreError>, DatabaseFailure> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let set = format!(
        "SET statement_timeout TO {}; SET search_path TO {}; {READ_COMMITTED}",
        DEADLINE.as_millis(),
        quoted(schema)
    );
    client.batch_execute(&set).await?;
    let number: i32 = client
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await?
        .try_get(0)?;
    if number < 130_000 {
        let text = format!("PostgreSQL 13 or later is needed, and this is {}", number / 10_000);
        return Ok(Err(StoreError::Database(text)));
    }
    // An up-to-date schema is neither changed nor locked: the user needs no right to create tables
    // then.
    if version(client).await? == Some(known) {
        return Ok(Ok(()));
    }
    let transaction = client.transaction().await?;
    // Held until the commit.
    let lock = "SELECT pg_advisory_xact_lock(1634882400, hashtext($1))";
    transaction.execute(lock, &[&schema]).await?;
    let there = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    if transaction.query_opt(there, &[&schema]).await?.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA {}", quoted(schema))).await?;
    }
    // Another gateway may have created or migrated the tables while this one waited.
    let found = match version(&transaction).await? {
        Some(found) => found,
        None => {
            let table = "CREATE TABLE migration (
                version int PRIMARY KEY,
                made_at timestamptz NOT NULL DEFAULT clock_timestamp()
            )";
            transaction.batch_execute(table).await?;
            0
        }
    };
    if found > known {
        return Ok(Err(StoreError::TooNew { found, known }));
    }
    if 0 < found && found < known {
        // What waits for a table's lock makes everybody else wait behind it, so it does not wait for long; but
        // longer than the second after which the server cancels a vacuum that is in its way. In the order in
        // which running gateways lock rows.
        let lock =
            "SET LOCAL lock_timeout TO '2s'; LOCK TABLE event, delivery IN ACCESS EXCLUSIVE MODE";
        transaction.batch_execute(lock).await?;
    }
    for (number, step) in (1_i32..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(step).await?;
        transaction.execute("INSERT INTO migration (version) VALUES ($1)", &[&number]).await?;
    }
    transaction.commit().await?;
    Ok(Ok(()))
}

/// Returns the version of the tables. `None`: there are none yet.
async fn version(client: &impl GenericClient) -> Result<Option<i64>, DatabaseFailure> {
    let there = "SELECT to_regclass('migration') IS NOT NULL";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let found = "SELECT coalesce(max(version), 0)::bigint FROM migration";
    Ok(Some(client.query_one(found, &[]).await?.try_get(0)?))
}

/// Quotes a name for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
