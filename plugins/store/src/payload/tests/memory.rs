//! BlobStore in memory that fail, delay and lose data on demand.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::*;

#[derive(Default)]
pub(super) struct MemoryPieces {
    pub(super) kept: Mutex<BTreeMap<(Uuid, u32), Bytes>>,
    pub(super) failing: AtomicBool,
    pub(super) dawdling: AtomicBool,
    at_once: AtomicUsize,
    pub(super) most_at_once: AtomicUsize,
    /// Set when they are outside of any store: their owner.
    pub(super) outside: AtomicBool,
    pub(super) owner: Mutex<Option<Uuid>>,
}

pub(super) const SIZE: usize = 100_000;

impl MemoryPieces {
    pub(super) fn count(&self) -> usize {
        self.kept.lock().unwrap().len()
    }

    fn call(&self, id: Uuid) -> Result<(), StoreError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(sink::failed(id, "the disk is full"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl BlobStore for MemoryPieces {
    fn size(&self) -> usize {
        SIZE
    }

    async fn put(&self, payload: Uuid, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        if self.dawdling.load(Ordering::SeqCst) {
            // Waits for another call beside it, or until there cannot be one.
            let beside = async {
                while self.most_at_once.load(Ordering::SeqCst) < 2 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), beside).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.call(payload)?;
        self.kept.lock().unwrap().insert((payload, index), bytes);
        Ok(())
    }

    async fn get(&self, payload: Uuid, index: u32) -> Result<Option<Bytes>, StoreError> {
        self.call(payload)?;
        Ok(self.kept.lock().unwrap().get(&(payload, index)).cloned())
    }

    async fn remove(&self, payload: Uuid) -> Result<(), StoreError> {
        self.kept.lock().unwrap().retain(|(id, _), _| *id != payload);
        Ok(())
    }

    async fn older(
        &self,
        before: i64,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let made = |id: &Uuid| {
            let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
            i64::try_from(seconds * 1_000 + u64::from(nanos / 1_000_000)).unwrap()
        };
        let kept = self.kept.lock().unwrap();
        let first = kept.keys().filter(|(_, index)| *index == 0).map(|(id, _)| *id);
        let found = first.filter(|id| made(id) < before && after.is_none_or(|after| *id > after));
        Ok(found.take(limit).collect())
    }

    fn is_outside(&self) -> bool {
        self.outside.load(Ordering::SeqCst)
    }

    async fn claim(&self, store: Uuid) -> Result<Uuid, StoreError> {
        match self.is_outside() {
            true => Ok(*self.owner.lock().unwrap().get_or_insert(store)),
            false => Ok(store),
        }
    }
}
