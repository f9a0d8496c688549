//! Notes: read and removed. Groups write them.

use super::{database::Database, first, group::key, rows};
use crate::{
    clock::now,
    columns::{length, number},
    record::Record,
    store::StoreError,
};

/// Returns the note of a key, unless it is expired.
pub(super) async fn read(reading: &Database, wanted: &str) -> Result<Option<Record>, StoreError> {
    let sql = "SELECT key, body, due, expires FROM note WHERE key = $1 AND expires > $2";
    let rows = reading.query(sql, &[&key(wanted), &now()]).await?;
    // With the key in full, as the caller passed it.
    let note = |row| rows::note(row).map(|note| Record { key: wanted.to_owned(), ..note });
    Ok(rows.first().map(note).transpose()?)
}

/// Returns the notes that are due at `at`, longest due first.
pub(super) async fn due(
    reading: &Database,
    at: i64,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let sql = "SELECT key, body, due, expires FROM note WHERE due <= $1 ORDER BY due LIMIT $2";
    let rows = reading.query(sql, &[&at, &length(limit)]).await?;
    Ok(rows.iter().map(rows::note).collect::<Result<_, _>>()?)
}

/// Removes up to `limit` notes that are expired at `at`.
pub(super) async fn forget(writing: &Database, at: i64, limit: usize) -> Result<u64, StoreError> {
    let sql = "WITH gone AS (DELETE FROM note WHERE key IN
            (SELECT key FROM note WHERE expires <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1) SELECT count(*) FROM gone";
    let rows = writing.query(sql, &[&at, &length(limit)]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}

/// Removes up to `limit` notes of groups that have more than `keep`.
pub(super) async fn trim(writing: &Database, keep: u64, limit: usize) -> Result<u64, StoreError> {
    let sql = "SELECT trim_records($1, $2)";
    let rows = writing.query(sql, &[&number(keep), &length(limit)]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}
