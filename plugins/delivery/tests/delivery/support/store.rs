//! A store in memory that fails and delays on demand.

mod calls;
mod rows;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use as2hook_store::{
    AttemptRecord, Claimed, DeliveryState, NewDelivery, NewEvent, StoreError, WebhookState,
};
use tokio::sync::oneshot;
use uuid::Uuid;

pub use rows::Delivery;
use rows::{Event, Rows};

#[derive(Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
    /// Every call fails.
    pub failing: AtomicBool,
    /// Opening an exchange commits it, but the call fails.
    pub committing_unseen: AtomicBool,
    /// The delay of every write, in milliseconds.
    pub delay_ms: AtomicU64,
    /// Events that every call rejects.
    pub poison: Mutex<Vec<Uuid>>,
    /// Deliveries whose attempts are not logged.
    pub unlogged: Mutex<Vec<i64>>,
    pub most_claimed: AtomicUsize,
    /// Several processes have it: a commit claims nothing for another process.
    pub is_shared: AtomicBool,
    /// Claims that wait for deliveries of their webhooks, with their limits.
    waiting: Mutex<HashMap<String, WaitingClaim>>,
}

type WaitingClaim = (usize, oneshot::Sender<Vec<Claimed>>);

// === impl MemoryStore ===

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    pub fn delay(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.rows.lock().unwrap().deliveries.clone()
    }

    pub fn event(&self, id: Uuid) -> Option<Event> {
        self.rows.lock().unwrap().events.get(&id).cloned()
    }

    pub fn events(&self) -> usize {
        self.rows.lock().unwrap().events.len()
    }

    pub fn attempts(&self) -> Vec<AttemptRecord> {
        let attempts = &self.rows.lock().unwrap().attempts;
        attempts.iter().filter(|record| record.attempt.is_some()).cloned().collect()
    }

    pub fn state(&self, webhook: &str) -> Option<WebhookState> {
        self.rows.lock().unwrap().states.get(webhook).cloned()
    }

    pub fn count(&self, state: DeliveryState) -> usize {
        self.rows.lock().unwrap().deliveries.iter().filter(|d| d.state == state).count()
    }

    /// Marks everything as left by a terminated process.
    pub fn orphan_everything(&self) {
        let mut rows = self.rows.lock().unwrap();
        for event in rows.events.values_mut().filter(|event| event.open.is_some()) {
            event.left = true;
        }
        let claimed: Vec<usize> = (0..rows.deliveries.len())
            .filter(|i| rows.deliveries[*i].state == DeliveryState::Claimed)
            .collect();
        for index in claimed {
            rows.set(index, DeliveryState::Pending, 0);
        }
    }

    /// Makes waiting retries due.
    pub fn bring_forward(&self) {
        let mut rows = self.rows.lock().unwrap();
        for index in 0..rows.deliveries.len() {
            if rows.deliveries[index].state == DeliveryState::Pending {
                rows.set(index, DeliveryState::Pending, 0);
            }
        }
    }

    /// Adds a backlog without an exchange for each delivery.
    pub fn backlog(&self, event: &NewEvent, webhook: &str, mode: &str, count: usize) {
        let mut rows = self.rows.lock().unwrap();
        let stored = Event { row: event.clone(), verdict: None, open: None, left: false };
        rows.events.insert(event.id, stored);
        for n in 0..count {
            rows.add(
                event.id,
                NewDelivery {
                    webhook_id: format!("msg_{}_{webhook}_{n}", event.id),
                    webhook: webhook.into(),
                    mode: mode.into(),
                    order_key: None,
                    due: 0,
                },
            );
        }
    }

    async fn write(&self, events: &[Uuid]) -> Result<(), StoreError> {
        let delay = self.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let poison = self.poison.lock().unwrap();
        let poisoned = events.iter().any(|event| poison.contains(event));
        if self.failing.load(Ordering::SeqCst) || poisoned {
            return Err(StoreError::Database("disk I/O error".into()));
        }
        Ok(())
    }
}
