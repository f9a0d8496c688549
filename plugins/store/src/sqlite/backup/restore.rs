//! Puts a backup where a gateway looks for its store.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

use super::{
    BackupError,
    files::{self, Unfinished, failed},
    fresh, of, payloads_of, sql, whole,
};
use crate::store::StoreError;

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Payload files.
    pub payloads: u64,
    /// Payload files that an event names and the backup does not have. A delivery that needs one fails
    /// and says so.
    pub missing: u64,
}

/// How every file of SQLite's begins.
const BEGIN: &[u8; 16] = b"SQLite format 3\0";

/// Puts the backup `from` where the store `database` is to be, and its payload files into the folder
/// `payloads`, whatever they were called where the backup was made. The backup stays as it is. Blocks.
///
/// # Errors
/// When there is a store already, no backup, a damaged one, or a file cannot be read or written. A
/// store is there only once all of it is.
pub fn restore(from: &Path, database: &Path, payloads: &Path) -> Result<Restored, BackupError> {
    if !from.exists() {
        return Err(BackupError::Missing(from.to_owned()));
    }
    // Another database's log would be taken for this one's.
    for ending in ["", "-wal", "-journal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        files::must_be_new(Path::new(&name))?;
    }
    let mut source = open(from)?;
    files::make_folder(files::folder_of(database))?;
    let unfinished = Unfinished::beside(database)?;
    let mut copy =
        OpenOptions::new().write(true).open(&unfinished.file).map_err(failed(database))?;
    files::pour((&mut source, from), (&mut copy, database))?;
    let connection = judged(&unfinished.file, from)?;
    let restored = put_payloads(&payloads_of(from), connection, database, payloads)?;
    copy.sync_all().map_err(failed(database))?;
    unfinished.publish()?;
    Ok(restored)
}

/// Opens what may be a backup.
fn open(from: &Path) -> Result<File, BackupError> {
    let mut file = File::open(from).map_err(failed(from))?;
    let mut begin = [0; BEGIN.len()];
    match file.read_exact(&mut begin) {
        Ok(()) if begin == *BEGIN => {}
        Ok(()) => return Err(BackupError::NotABackup(from.to_owned())),
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::IsADirectory => {
                    BackupError::NotABackup(from.to_owned())
                }
                _ => failed(from)(error),
            });
        }
    }
    file.rewind().map_err(failed(from))?;
    Ok(file)
}

/// Opens the copy of the backup `from`, if it is a store and whole.
fn judged(copy: &Path, from: &Path) -> Result<Connection, BackupError> {
    let look = || {
        let connection = fresh(copy)?;
        let is_store = connection.table_exists(None, "event")?;
        if is_store {
            whole(&connection)?;
        }
        Ok(is_store.then_some(connection))
    };
    match look() {
        Ok(Some(connection)) => Ok(connection),
        Ok(None) => Err(BackupError::NotABackup(from.to_owned())),
        Err(StoreError::Corrupt(reason)) => {
            Err(BackupError::Damaged { path: from.to_owned(), reason })
        }
        Err(error) => Err(of(from)(error)),
    }
}

/// Puts the payload files of a backup into the folder, and tells their events where they are now.
fn put_payloads(
    from: &Path,
    mut connection: Connection,
    database: &Path,
    root: &Path,
) -> Result<Restored, BackupError> {
    files::make_folder(root)?;
    let root = fs::canonicalize(root).map_err(failed(root))?;
    let mut restored = Restored::default();
    let transaction = connection.transaction().map_err(sql(database))?;
    {
        let mut named = transaction
            .prepare("SELECT id, payload_path FROM event WHERE payload_path IS NOT NULL")
            .map_err(sql(database))?;
        let mut moved = transaction
            .prepare("UPDATE event SET payload_path = ?2 WHERE id = ?1")
            .map_err(sql(database))?;
        let rows = named
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
            .map_err(sql(database))?
            .collect::<Result<Vec<(i64, String)>, _>>()
            .map_err(sql(database))?;
        for (id, path) in rows {
            let place = files::within(&PathBuf::from(path));
            let to = root.join(&place);
            match files::put(&from.join(&place), &to)? {
                true => restored.payloads += 1,
                false => restored.missing += 1,
            }
            // Where it is missing too: it may be put there later.
            let not_text = || {
                failed(&to)(io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))
            };
            let text = to.to_str().ok_or_else(not_text)?;
            moved.execute(params![id, text]).map_err(sql(database))?;
        }
    }
    transaction.commit().map_err(sql(database))?;
    connection.close().map_err(|(_, error)| sql(database)(error))?;
    files::sync_tree(&root)?;
    Ok(restored)
}
