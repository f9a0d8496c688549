//! Who holds what: each process that has the store open is an owner, alive as long as its lock file
//! is locked. The kernel lets go of the lock however the process ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::deliveries;
use crate::{columns::now, store::StoreError};

/// This process's place among the owners.
pub(super) struct Owner {
    /// Its number in the tables: made here and not by the database, so that it is the same in whatever
    /// file this process comes to work with.
    pub(super) id: i64,
    uuid: Uuid,
    /// Held as long as this process lives.
    lock: Option<LockFile>,
}

/// An owner whose process is gone; nobody else can take its place while this is held.
pub(super) struct DeadOwner {
    pub(super) id: i64,
    /// `None`: the file is gone too.
    lock: Option<LockFile>,
}

/// A file that is locked, and removed when let go.
struct LockFile {
    path: PathBuf,
    file: File,
}

// === impl Owner ===

impl Owner {
    /// A place that is nobody else's.
    pub(super) fn new() -> Self {
        let seconds = now() / 1000;
        // Numbers are never used again: the time, and chance for those that start in the same second.
        let uuid = Uuid::now_v7();
        let [.., a, b, c, d] = *uuid.as_bytes();
        let id = (seconds << 31) | i64::from(u32::from_be_bytes([a, b, c, d]) >> 1);
        Self { id, uuid, lock: None }
    }

    /// Takes the place in this file, or makes sure that it is still held.
    pub(super) fn register(
        &mut self,
        database: &Path,
        connection: &Connection,
    ) -> Result<(), StoreError> {
        if self.lock.is_none() {
            sweep_locks(database, connection)?;
        }
        let uuid = self.uuid.to_string();
        let path = lock_path(database, &uuid);
        // Locked before anybody can learn of it from the table.
        while !self.lock.as_ref().is_some_and(LockFile::is_there) {
            if let Some(lost) = self.lock.take() {
                lost.leave();
            }
            self.lock = LockFile::create(&path).map_err(|source| open_error(&path, source))?;
        }
        let sql = "INSERT INTO owner (id, uuid, started_at) VALUES (?1, ?2, ?3)
            ON CONFLICT (uuid) DO NOTHING";
        connection.execute(sql, params![self.id, uuid, now()])?;
        Ok(())
    }

    /// Frees this process's claims, and strikes it off unless it leaves open exchanges behind.
    pub(super) fn resign(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        deliveries::free(&transaction, self.id)?;
        let sql = "DELETE FROM owner
            WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM event WHERE owner = ?1)";
        transaction.execute(sql, [self.id])?;
        transaction.commit()?;
        tracing::debug!(owner = self.id, "The store's owner resigned.");
        Ok(())
    }
}

// === impl DeadOwner ===

impl DeadOwner {
    /// The owners that are gone, out of those that `connection` knows.
    pub(super) fn find(
        database: &Path,
        connection: &Connection,
        own: i64,
    ) -> Result<Vec<Self>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT id, uuid FROM owner WHERE id <> ?1 ORDER BY id")?;
        let rows = statement.query_map([own], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let mut dead = Vec::new();
        for row in rows {
            let (id, uuid) = row?;
            let path = lock_path(database, &uuid);
            match LockFile::take(&path) {
                Ok(Some(lock)) => dead.push(Self { id, lock: Some(lock) }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    dead.push(Self { id, lock: None });
                }
                Err(source) => return Err(open_error(&path, source)),
            }
        }
        Ok(dead)
    }

    /// Leaves all as it was, for the process that is to take over.
    pub(super) fn leave(self) {
        if let Some(lock) = self.lock {
            lock.leave();
        }
    }

    /// Frees its claims, and makes its open exchanges `heir`'s.
    pub(super) fn bury(&self, connection: &Connection, heir: i64) -> Result<(), StoreError> {
        deliveries::free(connection, self.id)?;
        connection.execute(
            "UPDATE event SET owner = ?2, adopted = 1 WHERE owner = ?1",
            params![self.id, heir],
        )?;
        connection.execute("DELETE FROM owner WHERE id = ?1", [self.id])?;
        tracing::info!(owner = self.id, lock = self.lock.is_some(), "A dead owner was buried.");
        Ok(())
    }
}

// === impl LockFile ===

impl LockFile {
    /// Makes and locks a new one. `None`: somebody who cleans up was faster; try another name.
    fn create(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) if path.exists() => Ok(Some(Self { path: path.to_owned(), file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Locks one that is there. `None`: its process lives.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether others can see it.
    fn is_there(&self) -> bool {
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        let there = fs::metadata(&self.path).map(identity).ok();
        there.is_some() && there == self.file.metadata().map(identity).ok()
    }

    /// Lets go without removing the file.
    fn leave(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // One that stays is swept when the next process starts.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes lock files that no row names: their process died before it was registered.
fn sweep_locks(database: &Path, connection: &Connection) -> Result<(), StoreError> {
    let (Some(folder), Some(name)) = (database.parent(), database.file_name()) else {
        return Ok(());
    };
    let prefix = format!("{}.owner-", name.to_string_lossy());
    let entries = fs::read_dir(folder).map_err(|source| open_error(folder, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| open_error(folder, source))?;
        let name = entry.file_name();
        let Some(uuid) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else {
            continue;
        };
        // Locked first and looked up then: a living one registers while it holds the lock.
        if let Ok(Some(lock)) = LockFile::take(&entry.path()) {
            let known = connection
                .query_row("SELECT 1 FROM owner WHERE uuid = ?1", [uuid], |_| Ok(()))
                .optional()?;
            if known.is_some() {
                lock.leave();
            }
        }
    }
    Ok(())
}

fn lock_path(database: &Path, uuid: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".owner-{uuid}"));
    PathBuf::from(path)
}

fn open_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), source }
}
