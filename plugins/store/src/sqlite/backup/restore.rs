//! Restores a backup to the place of a gateway's store.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{
    BackupError,
    files::{self, Unfinished, failed},
    fresh, of, payload_files, payloads_of, schema, sql, whole,
};
use crate::{
    payload::{PayloadDir, read_id, within_root, write_id},
    private_files::{create_folder, folder_of},
    store::StoreError,
};

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Payload files.
    pub payloads: u64,
    /// Payload files that an event names and the backup does not contain. A delivery that needs one
    /// fails with an error.
    pub missing: u64,
}

/// The beginning of every SQLite file.
const BEGIN: &[u8; 16] = b"SQLite format 3\0";

/// Copies the backup `from` to the place of the store `database`, and its payload files into the
/// folder `payloads`, whatever their names were. The backup stays as it is. Blocks.
///
/// # Errors
/// When there is a store already, no backup, a damaged one, or a file cannot be read or written.
/// The store only exists once it is complete.
pub fn restore(from: &Path, database: &Path, payloads: &Path) -> Result<Restored, BackupError> {
    if !from.exists() {
        return Err(BackupError::Missing(from.to_owned()));
    }
    // SQLite would use another database's log for this one.
    for ending in ["", "-wal", "-journal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        files::must_be_new(Path::new(&name))?;
    }
    let mut source = open(from)?;
    let data = folder_of(database);
    create_folder(data).map_err(failed(data))?;
    let unfinished = Unfinished::beside(database)?;
    let mut copy =
        OpenOptions::new().write(true).open(&unfinished.file).map_err(failed(database))?;
    files::pour((&mut source, from), (&mut copy, database))?;
    let mut connection = judged(&unfinished.file, from)?;
    schema::migrate(&mut connection).map_err(of(from))?;
    let restored = put_payloads(&payloads_of(from), connection, database, payloads)?;
    copy.sync_all().map_err(failed(database))?;
    unfinished.publish()?;
    Ok(restored)
}

/// Opens a possible backup.
fn open(from: &Path) -> Result<File, BackupError> {
    let file = File::open(from).map_err(failed(from))?;
    let mut begin = [0; BEGIN.len()];
    match file.read_exact_at(&mut begin, 0) {
        Ok(()) if begin == *BEGIN => Ok(file),
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::IsADirectory
            ) =>
        {
            Err(failed(from)(error))
        }
        _ => Err(BackupError::NotABackup(from.to_owned())),
    }
}

/// Opens the copy of the backup `from`, if it is a complete store.
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

/// Copies the payload files of a backup into a new folder of the payload root, and writes their
/// names into the events. Files of another store there stay untouched: names of folders are never
/// used twice.
fn put_payloads(
    from: &Path,
    mut connection: Connection,
    database: &Path,
    root: &Path,
) -> Result<Restored, BackupError> {
    create_folder(root).map_err(failed(root))?;
    let root = fs::canonicalize(root).map_err(failed(root))?;
    let folder = PathBuf::from(PayloadDir::new_name());
    let mut restored = Restored::default();
    let mut named = payload_files(&connection).map_err(of(database))?;
    for (_, path) in &mut named {
        let kept = within_root(path);
        // Also if it is missing: it may be put there later.
        *path = folder.join(kept.file_name().unwrap_or_default());
        match files::put(&from.join(&kept), &root.join(&path))? {
            true => restored.payloads += 1,
            false => restored.missing += 1,
        }
    }
    // The restored store gets the root from now on: the store that it belonged to has been moved
    // away.
    let owner = read_id(&root).map_err(of(&root))?.filter(|id| !id.is_nil());
    let id = rename_payloads(&mut connection, owner, &named).map_err(of(database))?;
    if owner.is_none() {
        write_id(&root, id).map_err(failed(&root))?;
    }
    connection.close().map_err(|(_, error)| sql(database)(error))?;
    files::sync_tree(&root)?;
    Ok(restored)
}

/// Writes the names of payload files into events, and the id of the store if it is to have another.
/// Returns the id.
fn rename_payloads(
    connection: &mut Connection,
    id: Option<Uuid>,
    named: &[(i64, PathBuf)],
) -> Result<Uuid, StoreError> {
    let transaction = connection.transaction()?;
    if let Some(id) = id {
        transaction.execute("UPDATE store_identity SET uuid = ?1", [id.as_bytes()])?;
    }
    for (event, path) in named {
        let mut rename =
            transaction.prepare_cached("UPDATE event SET payload_path = ?2 WHERE id = ?1")?;
        rename.execute(params![event, path.to_str()])?;
    }
    let id = transaction.query_row("SELECT uuid FROM store_identity", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(Uuid::from_bytes(id))
}
