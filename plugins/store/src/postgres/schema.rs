//! The tables and functions, as numbered steps, and how they are brought up to date.

use std::time::Duration;

use tokio_postgres::Client;

use super::{
    address::Address,
    database::{READ_COMMITTED, quoted},
    error::Failure,
};
use crate::store::StoreError;

/// One step each; a step that was released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
    include_str!("schema/006.sql"),
    include_str!("schema/007.sql"),
    include_str!("schema/008.sql"),
];

/// How long all of it may take, waiting for another gateway's included.
pub(super) const DEADLINE: Duration = Duration::from_secs(120);

/// Brings the schema up to what this program knows. Safe when several processes do it at once: each
/// waits for the one before it, and finds nothing left to do.
pub(super) async fn migrate(address: &Address, schema: &str) -> Result<(), StoreError> {
    let work = async {
        let (mut client, connection) = address.connect().await.map_err(Failure::from)?;
        let driver = tokio::spawn(connection);
        let outcome = bring_up(&mut client, schema).await;
        drop(client);
        driver.abort();
        outcome
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or(Err(StoreError::Slow(DEADLINE)))
}

async fn bring_up(client: &mut Client, schema: &str) -> Result<(), StoreError> {
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
        return Err(StoreError::Database(text));
    }
    let transaction = client.transaction().await?;
    // Held to the commit.
    let lock = "SELECT pg_advisory_xact_lock(1634882400, hashtext($1))";
    transaction.execute(lock, &[&schema]).await?;
    let there = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    if transaction.query_opt(there, &[&schema]).await?.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA {}", quoted(schema))).await?;
    }
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS migration (
                version int PRIMARY KEY,
                made_at timestamptz NOT NULL DEFAULT clock_timestamp()
            )",
        )
        .await?;
    let found = "SELECT coalesce(max(version), 0)::bigint FROM migration";
    let found: i64 = transaction.query_one(found, &[]).await?.try_get(0)?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (number, step) in (1_i32..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(step).await?;
        transaction.execute("INSERT INTO migration (version) VALUES ($1)", &[&number]).await?;
    }
    transaction.commit().await?;
    Ok(())
}
