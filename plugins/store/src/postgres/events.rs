//! Events: read, and told to more webhooks. They are written and settled in groups.

use std::{collections::BTreeSet, path::PathBuf};

use tokio_postgres::types::Json;
use uuid::Uuid;

use super::{database::Database, first, group::Group, rows};
use crate::{
    model::{NewDelivery, StoredEvent},
    store::StoreError,
};

/// Adds deliveries to an event whose outcome is known. Returns how many are new.
pub(super) async fn tell(
    writing: &Database,
    event: Uuid,
    deliveries: &[NewDelivery],
) -> Result<u64, StoreError> {
    let told = Group::default().deliveries(deliveries);
    let sql = "SELECT tell_counted($1, $2)::bigint";
    let rows = writing.query(sql, &[&event, &Json(&told)]).await?;
    let added: Option<i64> = first(&rows)?;
    added.map(i64::unsigned_abs).ok_or(StoreError::UnknownEvent(event))
}

/// One event as it is kept.
pub(super) async fn read(reading: &Database, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
    let sql = "SELECT e.uuid, c.body, e.verdict, c.payload, e.payload_path, e.payload_size,
            e.payload_pieces, e.payload_sealed, e.payload_spent_at IS NOT NULL
        FROM event e JOIN content c ON c.event = e.id WHERE e.uuid = $1";
    let rows = reading.query(sql, &[&id]).await?;
    Ok(rows.first().map(rows::stored_event).transpose()?)
}

/// Those of `files` that no event names.
pub(super) async fn unnamed_payloads(
    reading: &Database,
    files: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, StoreError> {
    let paths: Vec<_> = files.iter().filter_map(|file| file.to_str()).collect();
    let sql = "SELECT DISTINCT payload_path FROM event WHERE payload_path = ANY ($1)";
    let rows = reading.query(sql, &[&paths]).await?;
    let named: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let named: BTreeSet<_> = named.into_iter().map(PathBuf::from).collect();
    Ok(files.into_iter().filter(|file| !named.contains(file)).collect())
}

/// Those that no event names as its payload.
pub(super) async fn unnamed_pieces(
    reading: &Database,
    payloads: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let sql = "SELECT p FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (p, place)
        WHERE NOT EXISTS (SELECT 1 FROM event WHERE payload_pieces = p) ORDER BY place";
    let rows = reading.query(sql, &[&payloads]).await?;
    Ok(rows::ids(&rows)?)
}
