//! Large payloads kept in pieces, beside the events or in an object store, for gateways that share no
//! disk.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::store::StoreError;

/// Keeps payloads in pieces. When a call returns `Ok`, what it wrote survives a power cut; each may be
/// repeated with the same arguments.
#[async_trait]
pub trait Pieces: Send + Sync + 'static {
    /// How large a piece should be, in bytes; the last one of a payload is smaller.
    fn size(&self) -> usize;

    /// Writes one piece, counted from 0.
    async fn put(&self, payload: Uuid, index: u32, bytes: Bytes) -> Result<(), StoreError>;

    /// Reads one piece. `None`: there is none of this number.
    async fn get(&self, payload: Uuid, index: u32) -> Result<Option<Bytes>, StoreError>;

    /// Removes all pieces of a payload, if there are any.
    async fn remove(&self, payload: Uuid) -> Result<(), StoreError>;

    /// Payloads whose first piece was written before `before` (milliseconds since 1970), whether an
    /// event names them or not, in the order of their ids; up to `limit` behind `after`.
    async fn older(
        &self,
        before: i64,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError>;
}
