//! Large payloads as rows of pieces.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{PostgresStore, database::Database, error::DatabaseFailure};
use crate::{columns::length, pieces::BlobStore, store::StoreError};

/// The bytes of a piece. Large enough that a round trip matters little, small enough that many
/// payloads can be in progress at once.
const SIZE: usize = 512 * 1024;

/// The most pieces that one statement removes, so that each is short.
const STEP: usize = 64;

#[async_trait]
impl BlobStore for PostgresStore {
    fn size(&self) -> usize {
        SIZE
    }

    async fn put(&self, payload: Uuid, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let sql = "INSERT INTO piece (payload, number, bytes, written_at)
            VALUES ($1, $2, $3, clock_ms()) ON CONFLICT (payload, number) DO NOTHING";
        self.moving.query(sql, &[&payload, &number(payload, index)?, &&bytes[..]]).await?;
        Ok(())
    }

    async fn get(&self, payload: Uuid, index: u32) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT bytes FROM piece WHERE payload = $1 AND number = $2";
        let rows = self.moving.query(sql, &[&payload, &number(payload, index)?]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(row.try_get::<_, Vec<u8>>(0)?.into()))
    }

    async fn remove(&self, payload: Uuid) -> Result<(), StoreError> {
        Ok(remove(&self.moving, payload).await?)
    }

    async fn older(
        &self,
        before: i64,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT payload FROM piece
            WHERE number = 0 AND written_at < $1 AND ($2::uuid IS NULL OR payload > $2)
            ORDER BY payload LIMIT $3";
        let rows = self.moving.query(sql, &[&before, &after, &length(limit)]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

/// Removes the pieces of payloads that no event names any more. The sweep removes what remains.
pub(super) async fn remove_all(moving: &Database, payloads: impl IntoIterator<Item = Uuid>) {
    for payload in payloads {
        if let Err(error) = remove(moving, payload).await {
            let error = StoreError::from(error);
            tracing::warn!(%payload, %error, "A payload could not be removed.");
        }
    }
}

/// The first piece goes last: the sweep finds the rest by it.
async fn remove(moving: &Database, payload: Uuid) -> Result<(), DatabaseFailure> {
    let sql = "WITH gone AS (DELETE FROM piece WHERE payload = $1 AND number IN
            (SELECT number FROM piece WHERE payload = $1 ORDER BY number DESC LIMIT $2)
        RETURNING 1) SELECT count(*) FROM gone";
    loop {
        let rows = moving.query(sql, &[&payload, &length(STEP)]).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        if gone.unsigned_abs() < STEP as u64 {
            return Ok(());
        }
    }
}

fn number(payload: Uuid, index: u32) -> Result<i32, StoreError> {
    i32::try_from(index).map_err(|_| StoreError::Blobs {
        payload,
        reason: format!("there is no piece of number {index}"),
    })
}
