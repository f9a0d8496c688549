//! The identity of this store towards its payload places.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::{
    clock::now,
    payload::{PayloadMark, StoreIdentity},
    store::StoreError,
};

/// The most former payload roots that are searched for a file.
const ROOTS: i64 = 5;

/// Returns the identity. `root` is the payload root from now on; `database` is the open file.
pub(super) fn identity(
    connection: &Connection,
    database: &Path,
    root: Option<&str>,
) -> Result<StoreIdentity, StoreError> {
    connection.execute(
        "UPDATE store_identity SET mark = random() & 4294967295, file = ?1 WHERE file IS NOT ?1",
        [file(database)],
    )?;
    let (id, mark) = connection.query_row("SELECT uuid, mark FROM store_identity", [], |row| {
        Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?))
    })?;
    if let Some(root) = root {
        connection.execute(
            "INSERT INTO payload_root (path, used_at) VALUES (?1, ?2)
            ON CONFLICT (path) DO UPDATE SET used_at = ?2",
            params![root, now()],
        )?;
    }
    let mut former_roots = roots(connection)?;
    former_roots.retain(|former| former.to_str() != root);
    let mark = PayloadMark(u32::try_from(mark).unwrap_or_default());
    Ok(StoreIdentity { id: Uuid::from_bytes(id), mark, former_roots })
}

/// Returns the payload roots of the store, the last one first.
pub(super) fn roots(connection: &Connection) -> Result<Vec<PathBuf>, StoreError> {
    let mut statement =
        connection.prepare("SELECT path FROM payload_root ORDER BY used_at DESC LIMIT ?1")?;
    let rows = statement.query_map([ROOTS], |row| row.get::<_, String>(0))?;
    Ok(rows.map(|row| row.map(PathBuf::from)).collect::<Result<_, _>>()?)
}

/// Returns the identity of the file: a copy has another number or creation time.
fn file(database: &Path) -> Option<String> {
    let file = fs::metadata(database).ok()?;
    let made = file.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    Some(format!("{}/{}", file.ino(), made.map_or(0, |made| made.as_nanos())))
}
