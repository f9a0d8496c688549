//! Records events first and settles them later, as `docs/reliability.md` promises.
//!
//! An exchange is opened in the store before the receiver has its last byte, and settled when its
//! response has passed. What the store cannot take now is kept in bounded memory and written, in
//! order, when the store works again:
//! - a settlement always: the exchange is open in the store, so nothing is lost if the process
//!   dies;
//! - a whole event when the operator chose [`OnStoreFailure::Pass`]: traffic continues, and the
//!   event is lost only if the process crashes before the store works again. With
//!   [`OnStoreFailure::Refuse`] opening fails instead.
//!
//! **Memory.** All that is held counts towards [`OutboxOptions::held_events`] and
//! [`OutboxOptions::held_bytes`]. When these are reached, no further event and nothing that
//! accompanies a verdict is accepted. Verdicts still are, truncated to a few KiB each, and contents
//! that were decoded late, of 256 KiB at most. Their number is bounded by the events held and the
//! exchanges that were open in the store when it failed. A verdict that waits for a lookup in the
//! store counts as well (see `waiting`).

mod adoption;
mod background;
mod backlog;
mod health;
mod notes;
mod operation;
mod options;
mod submit;
mod target;
mod truncate;
mod waiting;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use as2hook_event::{Event, Verdict};
use as2hook_store::{
    EventStore, NewDelivery, OrderPlace, Payload, RecordChange, Settlement, StoreError, Write,
};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::timeout,
};
use uuid::Uuid;

pub use adoption::Adoption;
pub use health::StoreHealth;
pub use options::{OnStoreFailure, OutboxOptions};
pub use target::{Further, Target};
pub use waiting::StoreWait;

use crate::dispatcher::Wakeups;
use backlog::Backlog;
use health::StoreMonitor;
use notes::withdrawn;
use operation::{Operation, OperationOutcome};
use target::{deliveries, row};

/// The entrance to the store. Clones share everything.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<OutboxState>,
}

/// Where an event is stored now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// On disk.
    Durable,
    /// In memory, until the store works again.
    Held,
    /// Nowhere: the store fails, and the memory for such events is full. Its notification is lost,
    /// counted and logged.
    Dropped,
}

/// Why an exchange could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was failing already; it was not called.
    #[error("{0}")]
    Failing(String),
    /// The store did not respond in time.
    #[error("the store did not answer within {} s", .0.as_secs_f64())]
    Slow(Duration),
    /// The event's payload was not durable in time.
    #[error("the message's payload was not kept within {} s", .0.as_secs_f64())]
    PayloadSlow(Duration),
    /// The event has no JSON form.
    #[error("the event cannot be serialised: {0}")]
    Event(#[from] serde_json::Error),
}

struct OutboxState {
    store: Arc<dyn EventStore>,
    wakeups: Wakeups,
    options: OutboxOptions,
    backlog: Mutex<Backlog>,
    /// The backlog changed.
    changed: Notify,
    monitor: StoreMonitor,
    /// Limits the lookups of waiting verdicts once the store works again.
    lookups: Arc<Semaphore>,
    background: Mutex<Option<JoinHandle<()>>>,
    /// Exchanges left open that cannot be read: each is logged once.
    unreadable: Mutex<HashSet<Uuid>>,
}

// === impl Outbox ===

impl Outbox {
    /// Creates an outbox that wakes a dispatcher through `wakeups`. Spawns the task that writes what
    /// is held; call within a tokio runtime.
    pub fn new(store: Arc<dyn EventStore>, wakeups: Wakeups, options: OutboxOptions) -> Self {
        let backlog = Mutex::new(Backlog::new(options.held_events, options.held_bytes));
        let monitor = StoreMonitor::new(options.on_store_failure == OnStoreFailure::Refuse);
        let shared = Arc::new(OutboxState {
            store,
            wakeups,
            options,
            backlog,
            changed: Notify::new(),
            monitor,
            lookups: Arc::new(Semaphore::new(waiting::AT_ONCE)),
            background: Mutex::default(),
            unreadable: Mutex::default(),
        });
        let outbox = Self { shared };
        let background = tokio::spawn(background::run(outbox.clone()));
        *outbox.shared.background.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
        outbox
    }

    /// Records an exchange whose outcome is not known yet, with the webhooks to notify if it never
    /// is.
    ///
    /// # Errors
    /// With [`OnStoreFailure::Refuse`], when the store does not accept it; the exchange must then
    /// not continue. With `Pass`, a failing store is no error.
    pub async fn open(
        &self,
        event: &Event,
        payload: Payload,
        targets: &[Target],
    ) -> Result<Recorded, OutboxError> {
        self.open_noted(event, payload, targets, Vec::new(), Vec::new()).await
    }

    /// Like [`Self::open`]; the same commit also gives the exchange these places in the orders of
    /// deliveries, and stores these notes.
    ///
    /// # Errors
    /// Like [`Self::open`].
    pub async fn open_noted(
        &self,
        event: &Event,
        payload: Payload,
        targets: &[Target],
        places: Vec<OrderPlace>,
        notes: Vec<RecordChange>,
    ) -> Result<Recorded, OutboxError> {
        let row = row(event, payload)?;
        let refuses = self.refuses();
        let withdrawn = notes.iter().filter(|_| refuses).map(withdrawn).collect();
        let discard = Operation::Discard(event.id, withdrawn);
        let places = (!places.is_empty()).then(|| Write::Reserve(event.id, places));
        let with = places.into_iter().chain(notes.into_iter().map(Write::Record)).collect();
        let open = Operation::Open(row, deliveries(event.id, targets), with);
        if !refuses {
            return Ok(self.submit(open).await);
        }
        match self.shared.monitor.trouble() {
            // Traffic does not wait for a failing store; the background task notices when it works again.
            Some(trouble) => Err(OutboxError::Failing(trouble)),
            None => match self.attempt(open).await {
                OperationOutcome::Done => Ok(Recorded::Durable),
                OperationOutcome::Failed(_, error) => {
                    if error.may_be_committed() {
                        self.hold(discard, None);
                    }
                    Err(error.into())
                }
                OperationOutcome::Slow(_, running) => {
                    // The call may still succeed. The exchange is refused, so it must not stay: it
                    // is discarded when the call is over, whatever its result.
                    self.hold(discard.clone(), Some(running));
                    self.hold(discard, None);
                    Err(OutboxError::Slow(self.shared.options.patience))
                }
            },
        }
    }

    /// Records the outcome of an exchange, and plans deliveries to its targets. While the store
    /// fails, the outcome is kept in memory and written later, so the caller has nothing to do.
    ///
    /// # Errors
    /// When the verdict has no JSON form.
    pub async fn settle(
        &self,
        event: Uuid,
        verdict: &Verdict,
        targets: &[Target],
    ) -> Result<Recorded, OutboxError> {
        self.settle_further(event, verdict, targets, Vec::new()).await
    }

    /// Like [`Self::settle`], with all further writes of the exchange in the same commit.
    ///
    /// # Errors
    /// Like [`Self::settle`].
    pub async fn settle_further(
        &self,
        event: Uuid,
        verdict: &Verdict,
        targets: &[Target],
        further: Vec<Further>,
    ) -> Result<Recorded, OutboxError> {
        Ok(self.settle_planned(event, verdict, deliveries(event, targets), further).await?)
    }

    async fn settle_planned(
        &self,
        event: Uuid,
        verdict: &Verdict,
        deliveries: Vec<NewDelivery>,
        further: Vec<Further>,
    ) -> Result<Recorded, serde_json::Error> {
        let settlement = Settlement {
            event,
            kind: verdict.kind.as_str().to_owned(),
            verdict: serde_json::to_vec(verdict)?,
            deliveries,
        };
        let further = further.into_iter().map(Further::into_write).collect::<Result<_, _>>()?;
        Ok(self.submit(Operation::Settle(settlement, further)).await)
    }

    /// Records an event without a pending outcome, and plans its deliveries. Held in memory while
    /// the store fails, whatever [`OnStoreFailure`] is: there is no traffic to refuse.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub async fn publish(
        &self,
        event: &Event,
        payload: Payload,
        targets: &[Target],
    ) -> Result<Recorded, OutboxError> {
        let row = row(event, payload)?;
        Ok(self.submit(Operation::Publish(row, deliveries(event.id, targets))).await)
    }

    /// Discards an open exchange that turned out to be no event.
    pub async fn discard(&self, event: Uuid) -> Recorded {
        self.submit(Operation::Discard(event, Vec::new())).await
    }

    /// Takes over the exchanges that terminated processes left open, and reports their outcome as
    /// unknown, with the result of [`OutboxOptions::adoption`]. Returns how many. To be called at
    /// start; repeats by itself afterwards.
    ///
    /// # Errors
    /// When the store cannot list them.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let recovered = background::recover(self).await;
        if let Err(error) = &recovered {
            self.shared.monitor.failed(&error.to_string());
        }
        recovered
    }

    /// Whether traffic is to be refused when its event cannot be kept.
    pub fn refuses(&self) -> bool {
        self.shared.options.on_store_failure == OnStoreFailure::Refuse
    }

    /// Returns the health of the store, for `/readyz` and metrics.
    pub fn health(&self) -> StoreHealth {
        let (held, held_bytes, dropped) = {
            let backlog = self.backlog();
            (backlog.len(), backlog.bytes(), backlog.dropped())
        };
        self.shared.monitor.snapshot(held, held_bytes, dropped)
    }

    /// Writes what is held within `drain`, and stops. Returns how many events are still held: those
    /// are lost unless they were open in the store.
    pub async fn close(&self, drain: Duration) -> usize {
        let emptied = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.backlog().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        // Timed out or not, what is left is counted below.
        let _ = timeout(drain, emptied).await;
        let background =
            self.shared.background.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(background) = background {
            background.abort();
        }
        let left = self.backlog().len();
        if left > 0 {
            tracing::error!(
                left,
                "Stopped with events in memory that the store did not accept; those that are \
                 not open in the store are lost."
            );
        }
        left
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
