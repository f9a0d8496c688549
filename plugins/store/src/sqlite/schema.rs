//! Migrations: the tables, as numbered steps; and the settings of connections.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use crate::store::StoreError;

/// One step each; a released step is never changed.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("schema_2.sql")];

/// The length of the log in pages from which a commit writes it back itself, should the checkpoint
/// thread be gone: 256 MiB.
const AUTOCHECKPOINT: u32 = 65_536;

/// The size that the log's file is truncated to when it restarts, after a long reader let it grow.
const LOG_KEPT: u32 = 64 << 20;

/// Opens the connection that writes.
pub(super) fn writable(path: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy)?;
    // The order matters: the first setting only takes effect before the file has a page.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    // When two processes create the file at once, SQLite returns SQLITE_BUSY here without calling
    // the busy handler.
    let deadline = Instant::now() + busy;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Ok(()) => break,
            Err(error) => match StoreError::from(error) {
                StoreError::Busy(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                error => return Err(error),
            },
        }
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    // 16 MiB: a commit looks at every page in it once its tree was balanced.
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn readable(path: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy)?;
    connection.pragma_update(None, "query_only", "ON")?;
    Ok(connection)
}

/// Migrates the tables to this program's version. Several processes may do it at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = version(connection)?;
    if found == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have migrated while this one waited.
    let found = version(&transaction)?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn connect(path: &Path, access: OpenFlags, busy: Duration) -> Result<Connection, StoreError> {
    // No URI names: a `?` in a path is part of the path.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(busy)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Without this, a statement is planned again whenever its LIMIT gets another value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
