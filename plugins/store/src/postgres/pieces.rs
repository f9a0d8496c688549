//! Large payloads, as rows of pieces.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{PostgresStore, lists::length, rows};
use crate::{pieces::Pieces, store::StoreError};

/// A piece, in bytes. Large enough that a round trip weighs little, small enough that many payloads may
/// be on their way at once.
const SIZE: usize = 512 * 1024;

#[async_trait]
impl Pieces for PostgresStore {
    fn size(&self) -> usize {
        SIZE
    }

    async fn put(&self, payload: Uuid, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let sql = "INSERT INTO piece (payload, number, bytes, written_at)
            VALUES ($1, $2, $3, clock_ms()) ON CONFLICT (payload, number) DO NOTHING";
        self.reading.query(sql, &[&payload, &number(payload, index)?, &&bytes[..]]).await?;
        Ok(())
    }

    async fn get(&self, payload: Uuid, index: u32) -> Result<Option<Bytes>, StoreError> {
        let sql = "SELECT bytes FROM piece WHERE payload = $1 AND number = $2";
        let rows = self.reading.query(sql, &[&payload, &number(payload, index)?]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(row.try_get::<_, Vec<u8>>(0)?.into()))
    }

    async fn remove(&self, payload: Uuid) -> Result<(), StoreError> {
        self.reading.query("DELETE FROM piece WHERE payload = $1", &[&payload]).await?;
        Ok(())
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
        let rows = self.reading.query(sql, &[&before, &after, &length(limit)]).await?;
        Ok(rows::ids(&rows)?)
    }
}

fn number(payload: Uuid, index: u32) -> Result<i32, StoreError> {
    i32::try_from(index).map_err(|_| StoreError::Pieces {
        payload,
        reason: format!("there is no piece of number {index}"),
    })
}
