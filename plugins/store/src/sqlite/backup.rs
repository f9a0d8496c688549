//! A consistent copy of the store while gateways run, and its restore.
//!
//! A backup is one file, `FILE`, with a folder `FILE.payloads` beside it when payloads are files.
//! It reads within one transaction, so that no other call waits for it and it ends however much is
//! written meanwhile; SQLite's log grows by those writes until then. Payload files are linked, or
//! copied to another disk: they never change once they are complete.

mod files;
mod restore;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Row, backup::StepResult};

use self::files::{Unfinished, failed};
pub use self::restore::{Restored, restore};
use super::{database_file::whole, identity, schema};
use crate::{
    payload::{places, within_root},
    store::StoreError,
};

/// The contents of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// The length of the copy, in bytes.
    pub bytes: u64,
    /// Payload files beside it.
    pub payloads: u64,
    /// Payload files that an event names and that do not exist: removed during the backup, or lost
    /// before.
    pub missing: u64,
}

/// Why a backup or restore failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The target exists already; nothing is ever overwritten.
    #[error("{} exists already; name another, or move it away first", .0.display())]
    Exists(PathBuf),
    /// There is nothing to copy.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// The folder for the new file does not exist.
    #[error("the folder {} is not there; make it first", .0.display())]
    NoFolder(PathBuf),
    /// The file to restore is not a backup.
    #[error("{} is not a backup that `as2hook backup` made", .0.display())]
    NotABackup(PathBuf),
    /// The backup cannot be read completely.
    #[error("{}: the backup is damaged ({reason}); take another one", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The database could not be read or written.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of the database.
        source: StoreError,
    },
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// The pages of one step: 1 MiB.
const PAGES: i32 = 256;

/// The number of steps before an fsync: frequent small ones do not make a gateway's commit wait for
/// gigabytes.
const SYNC_EVERY: u32 = 16;

/// The limit of the wait for another process's lock.
const BUSY: Duration = Duration::from_secs(10);

/// Copies the store at `database` to the new file `to`, which only its owner can read, with the
/// payload files that its events name, from the payload root `payloads` or a former one. Blocks;
/// `progress` is called with the bytes copied so far and in all.
///
/// # Errors
/// When `to` exists, there is no store, it is damaged, or a file cannot be read or written; then
/// nothing is left behind.
pub fn backup(
    database: &Path,
    to: &Path,
    payloads: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackedUp, BackupError> {
    if !database.exists() {
        return Err(BackupError::Missing(database.to_owned()));
    }
    let folder = payloads_of(to);
    files::must_be_new(to)?;
    files::must_be_new(&folder)?;
    let unfinished = Unfinished::beside(to)?;
    let source = schema::readable(database, BUSY).map_err(of(database))?;
    // Everything below is read as of now.
    source.execute_batch("BEGIN").map_err(sql(database))?;
    // First, since a payload may be removed at any moment.
    let mut done = link_payloads(&source, database, payloads, &unfinished.payloads)?;
    copy(&source, database, &unfinished, progress)?;
    done.bytes = fs::metadata(&unfinished.file).map_err(failed(to))?.len();
    if done.payloads > 0 {
        fs::rename(&unfinished.payloads, &folder).map_err(failed(&folder))?;
    }
    // Last: when this file exists, the backup is complete.
    if let Err(error) = unfinished.publish() {
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    Ok(done)
}

/// Returns the folder for the payload files of a backup.
fn payloads_of(file: &Path) -> PathBuf {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".payloads");
    PathBuf::from(folder)
}

fn link_payloads(
    source: &Connection,
    database: &Path,
    payloads: Option<&Path>,
    folder: &Path,
) -> Result<BackedUp, BackupError> {
    let mut done = BackedUp::default();
    let former = identity::roots(source).map_err(of(database))?;
    let roots = || payloads.into_iter().chain(former.iter().map(PathBuf::as_path));
    for (_, path) in payload_files(source).map_err(of(database))? {
        let to = folder.join(within_root(&path));
        let mut put = false;
        for place in places(&path, roots()) {
            put = put || files::put(&place, &to)?;
        }
        match put {
            true => done.payloads += 1,
            false => done.missing += 1,
        }
    }
    files::sync_tree(folder)?;
    Ok(done)
}

/// Returns the numbers of events with a payload file, and its name.
fn payload_files(connection: &Connection) -> Result<Vec<(i64, PathBuf)>, StoreError> {
    let sql = "SELECT id, payload_path FROM event WHERE payload_path IS NOT NULL";
    let mut statement = connection.prepare(sql)?;
    let named = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?.into()));
    Ok(statement.query_map([], named)?.collect::<Result<_, _>>()?)
}

fn copy(
    source: &Connection,
    database: &Path,
    unfinished: &Unfinished<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), BackupError> {
    let (to, file) = (unfinished.to, &unfinished.file);
    let size: u64 = source
        .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))
        .map_err(sql(database))?
        .unsigned_abs();
    let mut copy = fresh(file).map_err(sql(to))?;
    let durable = File::options().write(true).open(file).map_err(failed(to))?;
    {
        let copying = rusqlite::backup::Backup::new(source, &mut copy).map_err(sql(to))?;
        let mut steps = 0;
        let mut moved = Instant::now();
        loop {
            let step = copying.step(PAGES).map_err(sql(to))?;
            let at = copying.progress();
            let all = u64::from(at.pagecount.unsigned_abs());
            let left = u64::from(at.remaining.unsigned_abs());
            progress((all - left.min(all)) * size, all * size);
            match step {
                StepResult::Done => break,
                StepResult::More => moved = Instant::now(),
                _ if moved.elapsed() > BUSY => {
                    let text = "it is locked, so nothing could be copied".to_owned();
                    return Err(of(database)(StoreError::Busy(text)));
                }
                // Another process is creating or migrating the file.
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
            steps += 1;
            if steps % SYNC_EVERY == 0 {
                durable.sync_data().map_err(failed(to))?;
            }
        }
    }
    // Damage in the copy is damage in the store.
    let judged = |error| match error {
        StoreError::Corrupt(_) => of(database)(error),
        error => of(to)(error),
    };
    // One file that is complete by itself for any reader.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(|error| judged(error.into()))?;
    // An unreadable backup is found now, not on the day it is needed.
    whole(&copy).map_err(judged)?;
    copy.close().map_err(|(_, error)| sql(to)(error))?;
    durable.sync_all().map_err(failed(to))
}

/// Opens a new file without durability: it is discarded if anything fails.
fn fresh(path: &Path) -> rusqlite::Result<Connection> {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, access)?;
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    Ok(connection)
}

fn of(path: &Path) -> impl Fn(StoreError) -> BackupError {
    |source| BackupError::Database { path: path.to_owned(), source }
}

fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> BackupError {
    |source| of(path)(StoreError::from(source))
}

#[cfg(test)]
mod tests;
