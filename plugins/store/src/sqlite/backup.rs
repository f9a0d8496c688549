//! A consistent copy of the store while gateways run, and the way back.
//!
//! A backup is one file, `FILE`, and beside it a folder `FILE.payloads` when payloads are kept in
//! files. It reads within one transaction, so nobody waits for it, and however much is written
//! meanwhile, it ends; SQLite's log grows by what is written until then. Payload files are linked, and
//! copied only where another disk does not allow it: they are never changed once they are whole.

mod files;
mod restore;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, backup::StepResult};

use self::files::{Unfinished, failed};
pub use self::restore::{Restored, restore};
use super::{home::whole, schema};
use crate::store::StoreError;

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// The length of the copy, in bytes.
    pub bytes: u64,
    /// Payload files beside it.
    pub payloads: u64,
    /// Payload files that an event names and that are not there: they were done with in the moment
    /// of the backup, or lost before.
    pub missing: u64,
}

/// Why there is no backup, or none was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something is there already, and nothing is ever overwritten.
    #[error("{} exists already; name another, or move it away first", .0.display())]
    Exists(PathBuf),
    /// There is nothing to copy.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// The folder that the new file is to be in.
    #[error("the folder {} is not there; make it first", .0.display())]
    NoFolder(PathBuf),
    /// What was to be restored is something else.
    #[error("{} is not a backup that `as2hook backup` made", .0.display())]
    NotABackup(PathBuf),
    /// What was to be restored cannot all be read.
    #[error("{}: the backup is damaged ({reason}); take another one", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The database could not be read or written.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: StoreError,
    },
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Pages copied at once: 1 MiB.
const PAGES: i32 = 256;

/// Copied steps after which they are made durable: little by little, so that the fsync of a
/// gateway's commit does not wait for gigabytes.
const SYNC_EVERY: u32 = 16;

/// How long another process's lock is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Copies the store at `database` to the new file `to`, readable by nobody else, with the payload files
/// that its events name. Blocks; `progress` hears now and then how many bytes of how many are copied.
///
/// # Errors
/// When `to` is there already, there is no store, it is damaged, or a file cannot be read or written;
/// then nothing is left behind.
pub fn backup(
    database: &Path,
    to: &Path,
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
    // All below is read as it is now.
    source.execute_batch("BEGIN").map_err(sql(database))?;
    // First, since a payload may be done with at any moment.
    let mut done = link_payloads(&source, database, &unfinished.payloads)?;
    copy(&source, database, &unfinished, progress)?;
    done.bytes = fs::metadata(&unfinished.file).map_err(failed(to))?.len();
    if done.payloads > 0 {
        fs::rename(&unfinished.payloads, &folder).map_err(failed(&folder))?;
    }
    // Last: where this is, all is.
    if let Err(error) = unfinished.publish() {
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    Ok(done)
}

/// Where the payload files of a backup are.
fn payloads_of(file: &Path) -> PathBuf {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".payloads");
    PathBuf::from(folder)
}

fn link_payloads(
    source: &Connection,
    database: &Path,
    folder: &Path,
) -> Result<BackedUp, BackupError> {
    let mut done = BackedUp::default();
    let mut statement = source
        .prepare("SELECT payload_path FROM event WHERE payload_path IS NOT NULL")
        .map_err(sql(database))?;
    let mut rows = statement.query([]).map_err(sql(database))?;
    while let Some(row) = rows.next().map_err(sql(database))? {
        let path = PathBuf::from(row.get::<_, String>(0).map_err(sql(database))?);
        match files::put(&path, &folder.join(files::within(&path)))? {
            true => done.payloads += 1,
            false => done.missing += 1,
        }
    }
    files::sync_tree(folder)?;
    Ok(done)
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
                    let text = "it is locked, and nothing could be copied".to_owned();
                    return Err(of(database)(StoreError::Busy(text)));
                }
                // Somebody makes the file just now, or migrates it.
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
            steps += 1;
            if steps % SYNC_EVERY == 0 {
                durable.sync_data().map_err(failed(to))?;
            }
        }
    }
    // What is damaged in the copy is so in the store.
    let judged = |error| match error {
        StoreError::Corrupt(_) => of(database)(error),
        error => of(to)(error),
    };
    // One file that is whole by itself, whoever opens it.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(|error| judged(error.into()))?;
    // A backup that cannot be read is found out here, and not on the day it is needed.
    whole(&copy).map_err(judged)?;
    copy.close().map_err(|(_, error)| sql(to)(error))?;
    durable.sync_all().map_err(failed(to))
}

/// A connection to a file that nobody else knows: it is thrown away if anything goes wrong.
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
