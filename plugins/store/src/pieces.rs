//! Large payloads in pieces, in the store's database or in an object store, for gateways that share
//! no disk.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::error::StoreError;

/// Stores payloads in pieces. When a call returns `Ok`, what it wrote survives a power cut. Each
/// call may be repeated with the same arguments.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Returns the size of a piece in bytes; the last one of a payload is smaller.
    fn size(&self) -> usize;

    /// Writes one piece, counted from 0.
    async fn put(&self, payload: Uuid, index: u32, bytes: Bytes) -> Result<(), StoreError>;

    /// Reads one piece. `None`: it does not exist.
    async fn get(&self, payload: Uuid, index: u32) -> Result<Option<Bytes>, StoreError>;

    /// Removes all pieces of a payload, if there are any.
    async fn remove(&self, payload: Uuid) -> Result<(), StoreError>;

    /// Returns payloads whose first piece was written before `before` (milliseconds since 1970),
    /// whether an event names them or not, in the order of their ids; up to `limit` after `after`.
    async fn older(
        &self,
        before: i64,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Whether they are outside of the store, at a place that other stores may use too. Otherwise
    /// they belong to the store whose database they are in.
    fn is_outside(&self) -> bool {
        false
    }

    /// Returns the name of the place, for messages.
    fn place(&self) -> String {
        "the store's own tables".to_owned()
    }

    /// Assigns the place to a store, unless it has an owner. Returns the owner's id.
    async fn claim(&self, store: Uuid) -> Result<Uuid, StoreError> {
        Ok(store)
    }
}
