//! A few connections that read in parallel with the writing one.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::HashMap,
    io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use rusqlite::{
    Connection, InterruptHandle, Row, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};

use super::{schema, writer_state::WriterState};
use crate::{
    clock::now,
    rows::{FromSqlRow, SqlRow, SqlValue},
    store::StoreError,
    transaction::{Reply, Statement},
};

/// The pool. Connections are opened when they are first needed.
pub(super) struct Readers {
    /// As many as there are permits. They stay: a thread that is started anew for a call costs more than
    /// the call.
    threads: Option<Runtime>,
    permits: Arc<Semaphore>,
    wait: Duration,
    idle: Arc<IdleConnections>,
}

struct IdleConnections {
    path: PathBuf,
    busy: Duration,
    shared: Arc<WriterState>,
    /// The connections, with the generation of their file.
    connections: Mutex<Vec<(Connection, u64)>>,
}

/// How long an idle thread stays: a year, which is longer than any process runs.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Interrupts a call's work while it runs: later its connection belongs to another call.
#[derive(Clone, Default)]
struct Interruption(Arc<Mutex<Option<InterruptHandle>>>);

// === impl Readers ===

impl Readers {
    pub(super) fn new(
        path: PathBuf,
        shared: Arc<WriterState>,
        options: &super::SqliteOptions,
    ) -> io::Result<Self> {
        let (busy, connections) = (options.busy, Mutex::default());
        let count = options.readers.max(1);
        let threads = Builder::new_current_thread()
            .thread_name("store-read")
            .max_blocking_threads(count)
            .thread_keep_alive(KEPT)
            .build()?;
        Ok(Self {
            threads: Some(threads),
            permits: Arc::new(Semaphore::new(count)),
            wait: options.wait,
            idle: Arc::new(IdleConnections { path, busy, shared, connections }),
        })
    }

    /// Runs `work` on a blocking thread, with a connection that sees everything committed. Work
    /// over the time limit is interrupted: while it reads, the log cannot restart, and grows.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let reading = Interruption::default();
        let read = async {
            let permits = Arc::clone(&self.permits);
            let permit = permits.acquire_owned().await.map_err(|_| StoreError::Closed)?;
            let (idle, reading) = (Arc::clone(&self.idle), reading.clone());
            let threads = self.threads.as_ref().ok_or(StoreError::Closed)?;
            let outcome = threads
                .spawn_blocking(move || {
                    let (connection, generation) = idle.take()?;
                    reading.begins(&connection);
                    let outcome = work(&connection);
                    reading.ends();
                    if let Err(error) = &outcome {
                        idle.shared.failed(error);
                    }
                    idle.lock().push((connection, generation));
                    // Released here and not by the caller, which may be gone long before.
                    drop(permit);
                    outcome
                })
                .await;
            outcome.unwrap_or_else(|error| Err(StoreError::Database(error.to_string())))
        };
        let outcome = tokio::time::timeout(self.wait, read).await;
        outcome.unwrap_or_else(|_| {
            reading.break_off();
            Err(StoreError::Slow(self.wait))
        })
    }

    /// Returns the rows of a statement.
    pub(super) async fn select<T>(&self, statement: Statement) -> Result<Vec<T>, StoreError>
    where
        T: FromSqlRow + Send + 'static,
    {
        self.run(move |connection| rows(connection, &statement)).await
    }

    /// Makes every later call fail with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Returns the rows of a statement.
pub(super) fn rows<T: FromSqlRow>(
    connection: &Connection,
    statement: &Statement,
) -> Result<Vec<T>, StoreError> {
    reply(connection, statement.clone())?.read()
}

/// Executes a statement.
pub(super) fn reply(connection: &Connection, statement: Statement) -> Result<Reply, StoreError> {
    let Statement { sql, sqlite, mut values } = statement;
    let has_single_lists = values.iter().all(|value| match value {
        SqlValue::Numbers(numbers) => numbers.len() == 1,
        SqlValue::Texts(_) | SqlValue::Ids(_) => false,
        _ => true,
    });
    if has_single_lists {
        for value in &mut values {
            if let SqlValue::Numbers(numbers) = value {
                *value = numbers[0].into();
            }
        }
    }
    let translation = match (sqlite, sql) {
        (Some(""), _) => return Ok(Reply::default()),
        (Some(sqlite), _) => Rc::new(Translation { sql: sqlite.to_owned(), has_time: false }),
        (None, Cow::Owned(sql)) => Rc::new(translated(&sql, values.len(), has_single_lists)),
        (None, Cow::Borrowed(sql)) => TRANSLATED.with_borrow_mut(|known| {
            let new = || Rc::new(translated(sql, values.len(), has_single_lists));
            Rc::clone(known.entry((sql, has_single_lists)).or_insert_with(new))
        }),
    };
    if translation.has_time {
        values.push(now().into());
    }
    let mut statement = connection.prepare_cached(&translation.sql)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(SqlRow::try_from(row)?);
    }
    Ok(Reply { rows, changed: connection.changes() })
}

/// A statement in SQLite's words.
pub(super) struct Translation {
    pub(super) sql: String,
    /// Whether its last parameter is the time.
    has_time: bool,
}

thread_local! {
    /// The translations of the program's own statements: to find one takes a tenth of the time.
    static TRANSLATED: RefCell<HashMap<(&'static str, bool), Rc<Translation>>> = RefCell::default();
}

/// Translates a [`Statement`] with so many values. With `has_single_lists` each list is a value: reading a
/// list makes a table.
pub(super) fn translated(sql: &str, values: usize, has_single_lists: bool) -> Translation {
    let mut parts = sql.split("= ANY ($");
    let mut translated = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(')').unwrap_or((part, ""));
        translated += &match has_single_lists {
            true => format!("= ${number}{rest}"),
            // A list is JSON.
            false => format!("IN (SELECT value FROM json_each(${number})){rest}"),
        };
    }
    let has_time = sql.contains("clock_ms()");
    for (from, to) in [
        // Exactly the conditions of the indices.
        ("= false", "= 0"),
        ("= true", "= 1"),
        // One transaction writes at a time.
        (" FOR NO KEY UPDATE", ""),
        (" FOR UPDATE SKIP LOCKED", ""),
        (" FOR UPDATE OF d SKIP LOCKED", ""),
        ("clock_ms()", &format!("${}", values + 1)),
        // SQLite numbers parameters with a dollar sign by their first appearance.
        ("$", "?"),
    ] {
        translated = translated.replace(from, to);
    }
    Translation { sql: translated, has_time }
}

impl TryFrom<&Row<'_>> for SqlRow {
    type Error = StoreError;

    fn try_from(row: &Row<'_>) -> Result<Self, StoreError> {
        let value = |index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null => SqlValue::Null,
                ValueRef::Integer(number) => SqlValue::Number(number),
                ValueRef::Text(_) => SqlValue::Text(row.get(index)?),
                ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.to_owned()),
                ValueRef::Real(_) => return Err(StoreError::Database("a real number".to_owned())),
            })
        };
        let values = (0..row.as_ref().column_count()).map(value);
        Ok(values.collect::<Result<Vec<_>, StoreError>>()?.into())
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let list = |values: serde_json::Value| Ok(values.to_string().into());
        Ok(ToSqlOutput::Borrowed(match self {
            // See [`translated`].
            Self::Numbers(numbers) => return list(numbers.as_slice().into()),
            Self::Texts(texts) => return list(texts.as_slice().into()),
            Self::Ids(ids) => return list(ids.iter().map(|id| id.simple().to_string()).collect()),
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

// === impl IdleConnections ===

impl IdleConnections {
    fn take(&self) -> Result<(Connection, u64), StoreError> {
        self.shared.away()?;
        let now = self.shared.generation.load(Ordering::Relaxed);
        let idle = {
            let mut idle = self.lock();
            idle.retain(|(_, generation)| *generation == now);
            idle.pop()
        };
        idle.map_or_else(|| Ok((schema::readable(&self.path, self.busy)?, now)), Ok)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, u64)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Interruption ===

impl Interruption {
    fn begins(&self, connection: &Connection) {
        *self.lock() = Some(connection.get_interrupt_handle());
    }

    fn ends(&self) {
        *self.lock() = None;
    }

    fn break_off(&self) {
        if let Some(handle) = &*self.lock() {
            handle.interrupt();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<InterruptHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
