//! Calls that are sent directly, other than the common ones.

use std::{collections::BTreeSet, path::PathBuf};

use uuid::Uuid;

use super::{database::Database, first};
use crate::{
    model::DeliveryState,
    payload::{PayloadMark, StoreIdentity},
    store::{Counts, StoreError},
};

/// Returns those of `files` that no event names. Compares names only, wherever the files are.
pub(super) async fn unnamed_payloads(
    reading: &Database,
    files: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, StoreError> {
    let name = |file: &PathBuf| file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let names: Vec<_> = files.iter().filter_map(name).collect();
    let sql = "SELECT DISTINCT \"right\"(payload_path, 36) FROM event
        WHERE payload_path IS NOT NULL AND \"right\"(payload_path, 36) = ANY ($1)";
    let rows = reading.query(sql, &[&names]).await?;
    let named: BTreeSet<String> =
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let is_named = |file: &PathBuf| name(file).is_some_and(|name| named.contains(&name));
    Ok(files.into_iter().filter(|file| !is_named(file)).collect())
}

/// Returns the identity. `root` is the payload root from now on.
pub(super) async fn identity(
    writing: &Database,
    root: Option<String>,
) -> Result<StoreIdentity, StoreError> {
    let made = "UPDATE store_identity
        SET mark = floor(random() * 4294967296)::bigint, database = this_database()
        WHERE database IS DISTINCT FROM this_database()";
    writing.query(made, &[]).await?;
    if let Some(root) = &root {
        let used = "INSERT INTO payload_root (path, used_at) VALUES ($1, clock_ms())
            ON CONFLICT (path) DO UPDATE SET used_at = excluded.used_at";
        writing.query(used, &[root]).await?;
    }
    let sql = "SELECT uuid, mark, ARRAY(SELECT path FROM payload_root
            WHERE path IS DISTINCT FROM $1 ORDER BY used_at DESC LIMIT 5) FROM store_identity";
    let rows = writing.query(sql, &[&root]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Database("it has no id".to_owned()))?;
    Ok(StoreIdentity {
        id: row.try_get(0)?,
        mark: PayloadMark(u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default()),
        former_roots: row.try_get::<_, Vec<String>>(2)?.into_iter().map(PathBuf::from).collect(),
    })
}

/// Returns those that no event names as its payload.
pub(super) async fn unnamed_pieces(
    reading: &Database,
    payloads: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let sql = "SELECT p FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (p, place)
        WHERE NOT EXISTS (SELECT 1 FROM event WHERE payload_pieces = p) ORDER BY place";
    let rows = reading.query(sql, &[&payloads]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Returns the bytes in use: of the tables, and of payloads elsewhere.
pub(super) async fn bytes(reading: &Database) -> Result<u64, StoreError> {
    let sql = "SELECT (coalesce((SELECT sum(n) FROM tally WHERE state = 'bytes'), 0)
        + coalesce((SELECT sum(payload_size) FROM event
            WHERE payload_path IS NOT NULL OR payload_pieces IS NOT NULL), 0))::bigint";
    let rows = reading.query(sql, &[]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}

/// Returns the figures of one site with these webhooks.
pub(super) async fn counts_of(
    reading: &Database,
    site: &str,
    webhooks: &[String],
) -> Result<Counts, StoreError> {
    let sql = "WITH own AS (SELECT id FROM webhook WHERE name = ANY ($2))
        SELECT (SELECT count(*) FROM delivery
                WHERE webhook IN (SELECT id FROM own) AND state IN ('pending', 'claimed')),
            (SELECT count(*) FROM delivery WHERE webhook IN (SELECT id FROM own)
                AND state IN ('held', 'orphaned', 'dead') AND state = 'dead'),
            (SELECT count(*) FROM event WHERE owner IS NOT NULL AND site = $1),
            (SELECT min(occurred_at) FROM delivery
                WHERE webhook IN (SELECT id FROM own) AND state IN ('pending', 'claimed'))";
    let rows = reading.query(sql, &[&site, &webhooks]).await?;
    let mut counts = Counts::default();
    for row in &rows {
        let number = |column| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
        counts.deliveries =
            vec![(DeliveryState::Pending, number(0)?), (DeliveryState::Dead, number(1)?)];
        counts.open = number(2)?;
        counts.oldest_undelivered = row.try_get(3)?;
    }
    Ok(counts)
}
