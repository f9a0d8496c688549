//! Ownership: each process that has the store open is an owner as long as it locks one byte of the
//! database file, whose offset is the owner's number. The kernel releases the lock however the
//! process ends, and no cleanup job can remove it.
//!
//! The locks are of open file descriptions (`F_OFD_SETLK`), so two stores in one process are two
//! owners, and far behind the bytes that SQLite locks.

use std::{
    fs::{File, OpenOptions},
    io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

use super::transaction::make;
use crate::{clock::now, group::ReleaseClaims, private_files::is_at, store::StoreError};

/// The registration of this process as an owner.
pub(super) struct ProcessLock {
    /// Its number in the tables. The process chooses it, not the database, so that it is the same
    /// in every file that this process opens.
    pub(super) id: i64,
    owners: ProcessLocks,
}

/// The locks on a database file. Clones share this process's.
#[derive(Clone)]
pub(super) struct ProcessLocks {
    database: PathBuf,
    file: Arc<Mutex<Option<LockedFile>>>,
}

/// An open database file with the locks of this process. Its descriptor is never closed: closing any
/// descriptor of a file ends all POSIX locks of the process on it, including those of SQLite's
/// connections.
struct LockedFile {
    file: ManuallyDrop<File>,
    /// When it took the place of an earlier file.
    replaced: Option<Instant>,
}

/// Behind the bytes that SQLite locks, and in front of every number.
const FIRST: i64 = 1 << 32;

/// How long the other processes may take to lock their numbers in a file that replaced an earlier one:
/// each does so when it writes next, which is every few seconds.
const REGISTERED_WITHIN: Duration = Duration::from_secs(15);

// === impl ProcessLock ===

impl ProcessLock {
    /// Creates an owner with a unique number.
    pub(super) fn new(owners: ProcessLocks) -> Self {
        // Numbers are never reused: they consist of the time in seconds, and random bits for
        // processes of the same second.
        let [.., a, b, c, d] = Uuid::now_v7().into_bytes();
        let id = ((now() / 1000) << 31) | i64::from(u32::from_be_bytes([a, b, c, d]) >> 1);
        Self { id, owners }
    }

    /// Registers in this file, or makes sure that the registration still holds.
    pub(super) fn register(&mut self, connection: &Connection) -> Result<(), StoreError> {
        // Locked before another process can find it in the table.
        self.owners.lock(self.id)?;
        let sql = "INSERT INTO owner (id, started_at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
        connection.execute(sql, params![self.id, now()])?;
        Ok(())
    }

    /// Releases this process's claims, and removes its registration unless it leaves open
    /// exchanges. The next process takes those over at once.
    pub(super) fn release(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        make(&transaction, &ReleaseClaims { owner: self.id, is_released: |_, _| true })?;
        let sql = "DELETE FROM owner
            WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM event WHERE owner = ?1)";
        transaction.execute(sql, [self.id])?;
        transaction.commit()?;
        *self.owners.file.lock() = None;
        tracing::debug!(owner = self.id, "Released this process's claims in the store.");
        Ok(())
    }
}

// === impl ProcessLocks ===

impl ProcessLocks {
    /// Creates the locks on a file with a canonical path.
    pub(super) fn of(database: PathBuf) -> Self {
        Self { database, file: Arc::default() }
    }

    /// Whether no other process has the file open.
    pub(super) fn is_alone(&self) -> Result<bool, StoreError> {
        self.with_file(|file| file.map_or(Ok(false), |file| file.is_free(FIRST, 0)))
    }

    /// Returns the owners in `connection` that have terminated. One that may be alive is not
    /// included.
    pub(super) fn find_dead(
        &self,
        connection: &Connection,
        own: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT id FROM owner WHERE id <> ?1 ORDER BY id")?;
        let others = statement.query_map([own], |row| row.get(0))?;
        let others: Vec<i64> = others.collect::<Result<_, _>>()?;
        self.with_file(|file| {
            let Some(file) = file else { return Ok(Vec::new()) };
            if file.replaced.is_some_and(|at| at.elapsed() < REGISTERED_WITHIN) {
                return Ok(Vec::new());
            }
            let mut dead = Vec::new();
            for id in others {
                if file.is_free(id, 1)? {
                    dead.push(id);
                }
            }
            Ok(dead)
        })
    }

    /// Locks a number in the file that is there now.
    fn lock(&self, id: i64) -> Result<(), StoreError> {
        let database = &self.database;
        let mut held = self.file.lock();
        let locked = match &*held {
            Some(locked) if is_at(&locked.file, database) => locked.lock(id),
            earlier => LockedFile::open(database, earlier.is_some())
                .and_then(|file| held.insert(file).lock(id)),
        };
        locked.map_err(|source| StoreError::Open { path: database.clone(), source })
    }

    fn with_file<T>(
        &self,
        work: impl FnOnce(Option<&LockedFile>) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        work(self.file.lock().as_ref())
            .map_err(|source| StoreError::Open { path: self.database.clone(), source })
    }
}

/// Releases the claims of an owner that has terminated, and gives its open exchanges to `successor`.
pub(super) fn reclaim(
    connection: &Connection,
    dead: i64,
    successor: i64,
) -> Result<(), StoreError> {
    make(connection, &ReleaseClaims { owner: dead, is_released: |_, _| true })?;
    connection.execute(
        "UPDATE event SET owner = ?2, adopted = 1 WHERE owner = ?1",
        params![dead, successor],
    )?;
    connection.execute("DELETE FROM owner WHERE id = ?1", [dead])?;
    tracing::info!(
        owner = dead,
        "Recovered the claims and open exchanges of a process that terminated."
    );
    Ok(())
}

// === impl LockedFile ===

impl LockedFile {
    fn open(database: &Path, replaces: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(database)?;
        Ok(Self { file: ManuallyDrop::new(file), replaced: replaces.then(Instant::now) })
    }

    fn lock(&self, id: i64) -> io::Result<()> {
        fcntl(&*self.file, FcntlArg::F_OFD_SETLK(&bytes(libc::F_WRLCK, id, 1)))?;
        Ok(())
    }

    /// Whether no other process has locked any of these numbers. `length` 0: all behind the first.
    fn is_free(&self, first: i64, length: i64) -> io::Result<bool> {
        let mut found = bytes(libc::F_WRLCK, first, length);
        fcntl(&*self.file, FcntlArg::F_OFD_GETLK(&mut found))?;
        Ok(i32::from(found.l_type) == libc::F_UNLCK)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        let _ = fcntl(&*self.file, FcntlArg::F_OFD_SETLK(&bytes(libc::F_UNLCK, 0, 0)));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "libc has these small numbers as `int`")]
fn bytes(kind: libc::c_int, first: i64, length: i64) -> libc::flock {
    let (kind, whence) = (kind as i16, libc::SEEK_SET as i16);
    libc::flock { l_type: kind, l_whence: whence, l_start: first, l_len: length, l_pid: 0 }
}
