//! Notes: removed. Groups write them.

use super::{database::Database, first};
use crate::{
    columns::{length, number},
    store::StoreError,
};

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
