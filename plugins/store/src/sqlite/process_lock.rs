//! Ownership: each process that has the store open is an owner as long as its lock file is locked.
//! The kernel releases the lock however the process ends.
//!
//! A cleanup job can remove a lock file while its process runs. Each process therefore also holds a
//! shared lock on the database file: an owner without a lock file only counts as terminated when no
//! other process has the file open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::{fd::IntoRawFd as _, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::transaction::make;
use crate::{
    clock::now,
    group::ReleaseClaims,
    private_files::{create_file, folder_of},
    store::StoreError,
};

/// The registration of this process as an owner.
pub(super) struct ProcessLock {
    /// Its number in the tables. The process chooses it, not the database, so that it is the same
    /// in every file that this process opens.
    pub(super) id: i64,
    uuid: Uuid,
    /// Held as long as this process runs.
    lock: Option<LockFile>,
    owners: ProcessLocks,
}

/// Finds the other owners of a database file. Clones share the lock on the file.
#[derive(Clone)]
pub(super) struct ProcessLocks {
    database: PathBuf,
    presence: Arc<Presence>,
}

/// The lock on the database file itself, shared by all processes that have it open. SQLite's locks
/// are of another kind (POSIX) and do not conflict with it.
#[derive(Default)]
struct Presence(Mutex<Option<File>>);

/// An owner whose process has terminated; no other process can reclaim it while this is held.
pub(super) struct TerminatedOwner {
    pub(super) id: i64,
    /// `None`: the file does not exist.
    lock: Option<LockFile>,
}

/// A locked file, which is removed when it is released.
struct LockFile {
    path: PathBuf,
    file: File,
}

// === impl ProcessLock ===

impl ProcessLock {
    /// Creates an owner with a unique number.
    pub(super) fn new(owners: ProcessLocks) -> Self {
        let seconds = now() / 1000;
        // Numbers are never reused: they consist of the time, and random bits for processes of the
        // same second.
        let uuid = Uuid::now_v7();
        let [.., a, b, c, d] = *uuid.as_bytes();
        let id = (seconds << 31) | i64::from(u32::from_be_bytes([a, b, c, d]) >> 1);
        Self { id, uuid, lock: None, owners }
    }

    /// Registers in this file, or makes sure that the registration still holds.
    pub(super) fn register(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let database = &self.owners.database;
        let entered = self.owners.presence.enter(database);
        entered.map_err(|source| open_error(database, source))?;
        if self.lock.is_none() {
            sweep_locks(database, connection)?;
        }
        let uuid = self.uuid.to_string();
        let path = lock_path(database, &uuid);
        // Locked before another process can find it in the table.
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

    /// Releases this process's claims, and removes its registration unless it leaves open
    /// exchanges. The next process takes those over at once: the lock file stays for them,
    /// unlocked.
    pub(super) fn release(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let claims = ReleaseClaims { owner: self.id, is_released: |_, _| true };
        make(&transaction, &claims)?;
        let sql = "DELETE FROM owner
            WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM event WHERE owner = ?1)";
        let struck_off = transaction.execute(sql, [self.id])? > 0;
        transaction.commit()?;
        if let Some(lock) = self.lock.take_if(|_| !struck_off) {
            lock.leave();
        }
        self.owners.presence.leave();
        tracing::debug!(owner = self.id, "Released this process's claims in the store.");
        Ok(())
    }
}

// === impl ProcessLocks ===

impl ProcessLocks {
    /// Creates the owners of a file with a canonical path.
    pub(super) fn of(database: PathBuf) -> Self {
        Self { database, presence: Arc::default() }
    }

    /// Returns the owners in `connection` that have terminated. One that may be alive is not
    /// included.
    pub(super) fn find_dead(
        &self,
        connection: &Connection,
        own: i64,
    ) -> Result<Vec<TerminatedOwner>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT id, uuid FROM owner WHERE id <> ?1 ORDER BY id")?;
        let rows = statement.query_map([own], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let mut dead = Vec::new();
        for row in rows {
            let (id, uuid) = row?;
            let path = lock_path(&self.database, &uuid);
            match LockFile::take(&path) {
                Ok(Some(lock)) => dead.push(TerminatedOwner { id, lock: Some(lock) }),
                Ok(None) => {}
                // Without a usable lock file, an owner has terminated only if no other process has
                // the file open.
                Err(_) if self.presence.is_alone() => {
                    let _ = fs::remove_file(&path);
                    dead.push(TerminatedOwner { id, lock: None });
                }
                Err(error) => {
                    let lock = path.display();
                    tracing::warn!(owner = id, %lock, %error, "The lock file of another process cannot \
                        be opened. What that process holds waits until no other process uses the store. \
                        If the file belongs to another user, give it to the one that as2hook runs as: \
                        chown --reference=FOLDER FILE.");
                }
            }
        }
        Ok(dead)
    }
}

// === impl Presence ===

impl Presence {
    /// Locks the file, unless it is locked already.
    fn enter(&self, database: &Path) -> io::Result<()> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|file| is_at(file, database)) {
            return Ok(());
        }
        let file = File::open(database)?;
        share(&file);
        *held = Some(file);
        Ok(())
    }

    /// Whether no other process has the file open.
    fn is_alone(&self) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = held.as_ref() else { return false };
        // flock(2) converts a lock to the other kind.
        let alone = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        share(file);
        alone
    }

    fn leave(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = held.take() {
            let _ = file.unlock();
            // Not closed: closing any descriptor of a file ends all POSIX locks of the process on
            // it, including those of SQLite's connections.
            let _ = file.into_raw_fd();
        }
    }
}

/// Takes a shared lock on a file. Waits while another process tests it. A lock that stays is not by
/// as2hook; lock files alone must do then, as on a file system without such locks.
fn share(file: &File) {
    for _ in 0..100 {
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    tracing::warn!(
        "The database file is locked by another program (flock); end it, so that as2hook \
        can see which of its processes are running."
    );
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.leave();
    }
}

// === impl TerminatedOwner ===

impl TerminatedOwner {
    /// Leaves everything as it was, for the process that takes over.
    pub(super) fn leave(self) {
        if let Some(lock) = self.lock {
            lock.leave();
        }
    }

    /// Releases its claims, and gives its open exchanges to `successor`.
    pub(super) fn reclaim(
        &self,
        connection: &Connection,
        successor: i64,
    ) -> Result<(), StoreError> {
        make(connection, &ReleaseClaims { owner: self.id, is_released: |_, _| true })?;
        connection.execute(
            "UPDATE event SET owner = ?2, adopted = 1 WHERE owner = ?1",
            params![self.id, successor],
        )?;
        connection.execute("DELETE FROM owner WHERE id = ?1", [self.id])?;
        tracing::info!(
            owner = self.id,
            lock = self.lock.is_some(),
            "Recovered the claims and open exchanges of a process that terminated."
        );
        Ok(())
    }
}

// === impl LockFile ===

impl LockFile {
    /// Creates and locks a new one. `None`: it was removed in between; try another name.
    fn create(path: &Path) -> io::Result<Option<Self>> {
        let file = create_file(path)?;
        match file.try_lock() {
            Ok(()) if path.exists() => Ok(Some(Self { path: path.to_owned(), file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Locks an existing one. `None`: its process is alive.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether other processes can see it.
    fn is_there(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Releases the lock without removing the file.
    fn leave(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // A sweep at the next process's start removes what remains.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes lock files that no row names: their process died before it was registered.
fn sweep_locks(database: &Path, connection: &Connection) -> Result<(), StoreError> {
    let Some(name) = database.file_name() else { return Ok(()) };
    let folder = folder_of(database);
    let prefix = format!("{}.owner-", name.to_string_lossy());
    let entries = fs::read_dir(folder).map_err(|source| open_error(folder, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| open_error(folder, source))?;
        let name = entry.file_name();
        let Some(uuid) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else {
            continue;
        };
        // Locked first and looked up then: a process registers while it holds the lock.
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

/// Whether the path leads to this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    let there = fs::metadata(path).map(identity).ok();
    there.is_some() && there == file.metadata().map(identity).ok()
}

fn lock_path(database: &Path, uuid: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".owner-{uuid}"));
    PathBuf::from(path)
}

fn open_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), source }
}
