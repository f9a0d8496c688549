//! Record first, settle later: the promise of `docs/reliability.md`.
//!
//! An exchange is opened in the store before the receiver has its last byte, and settled when its
//! answer has passed. What the store cannot take right now is kept in bounded memory and written, in
//! its order, when the store is back:
//! - a settlement always: the exchange is open in the store, so nothing is lost if the process dies;
//! - a whole event when the operator chose [`OnStoreFailure::Pass`]: traffic goes on, and only a
//!   crash before the store is back loses it. With [`OnStoreFailure::Refuse`] opening fails instead.
//!
//! **Memory.** All that is held counts towards [`OutboxOptions::held_events`] and
//! [`OutboxOptions::held_bytes`]. When they are reached, no event and nothing that comes with a verdict
//! is taken any more, but verdicts still are, cut down to a few KiB each. There are no more of those
//! than events held, and exchanges that were open in the store when it went away.

mod backlog;
mod health;
mod keeper;
mod notes;
mod operation;
mod options;
mod shed;
mod submit;
mod target;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use as2hook_store::{NoteChange, Payload, Settlement, Store, StoreError};
use as2hook_webhooks::{Event, Verdict};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use uuid::Uuid;

pub use health::StoreHealth;
pub use options::{OnStoreFailure, OutboxOptions};
pub use target::{Further, Target};

use crate::dispatcher::Bells;
use backlog::Backlog;
use health::Gauge;
use operation::{Operation, Outcome};
use target::{deliveries, row};

/// The way into the store. Clones share everything.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

/// Where an event is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// On disk.
    Durable,
    /// In memory, until the store is back.
    Held,
    /// Nowhere: the store fails, and the memory for such events is full. Its notification is lost,
    /// counted and logged.
    Dropped,
}

/// Why an exchange could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store fails already; it was not asked.
    #[error("{0}")]
    Failing(String),
    /// The store did not answer.
    #[error("the store did not answer within {} s", .0.as_secs_f64())]
    Slow(Duration),
    /// The event has no JSON form.
    #[error("the event cannot be serialised: {0}")]
    Event(#[from] serde_json::Error),
}

struct Shared {
    store: Arc<dyn Store>,
    bells: Bells,
    options: OutboxOptions,
    backlog: Mutex<Backlog>,
    /// Something was put into the backlog, or taken out.
    changed: Notify,
    gauge: Gauge,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Exchanges left open that cannot be read: said once.
    unreadable: Mutex<HashSet<Uuid>>,
}

// === impl Outbox ===

impl Outbox {
    /// An outbox that wakes a dispatcher through `bells`. Spawns the task that writes down what is
    /// held; call within a tokio runtime.
    pub fn new(store: Arc<dyn Store>, bells: Bells, options: OutboxOptions) -> Self {
        let backlog = Mutex::new(Backlog::new(options.held_events, options.held_bytes));
        let gauge = Gauge::new(options.on_store_failure == OnStoreFailure::Refuse);
        let shared = Arc::new(Shared {
            store,
            bells,
            options,
            backlog,
            changed: Notify::new(),
            gauge,
            keeper: Mutex::default(),
            unreadable: Mutex::default(),
        });
        let outbox = Self { shared };
        let keeper = tokio::spawn(keeper::run(outbox.clone()));
        *outbox.shared.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
        outbox
    }

    /// Records an exchange whose outcome is not known yet, and who is told if it never is.
    ///
    /// # Errors
    /// With [`OnStoreFailure::Refuse`], when the store does not take it; the exchange must then not
    /// go on. With `Pass` never for the store's sake.
    pub async fn open(
        &self,
        event: &Event,
        payload: Payload,
        targets: &[Target],
    ) -> Result<Recorded, OutboxError> {
        self.open_noted(event, payload, targets, Vec::new()).await
    }

    /// As [`Self::open`], and remembers these in the same commit.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_noted(
        &self,
        event: &Event,
        payload: Payload,
        targets: &[Target],
        notes: Vec<NoteChange>,
    ) -> Result<Recorded, OutboxError> {
        let row = row(event, payload)?;
        let open = Operation::Open(row, deliveries(event.id, targets), notes);
        if !self.refuses() {
            return Ok(self.submit(open).await);
        }
        match self.shared.gauge.trouble() {
            // Nobody waits for a store that fails; the keeper sees when it is back.
            Some(trouble) => Err(OutboxError::Failing(trouble)),
            None => match self.attempt(open).await {
                Outcome::Done => Ok(Recorded::Durable),
                Outcome::Failed(_, error) => {
                    if matches!(error, StoreError::Disk(_) | StoreError::Unreachable(_)) {
                        // A commit whose last step failed may be found done after a crash.
                        self.hold(Operation::Discard(event.id), None);
                    }
                    Err(error.into())
                }
                Outcome::Slow(_, running) => {
                    // It may yet be written. The exchange is refused, so it must not stay: it goes once
                    // the call that goes on is over, however that ends.
                    self.hold(Operation::Discard(event.id), Some(running));
                    self.hold(Operation::Discard(event.id), None);
                    Err(OutboxError::Slow(self.shared.options.patience))
                }
            },
        }
    }

    /// Adds what became of an exchange, and has those told who are to be told. While the store fails
    /// it is kept in memory and written later, so there is nothing for the caller to do about it.
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

    /// As [`Self::settle`], with all else that came of the exchange in the same commit.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub async fn settle_further(
        &self,
        event: Uuid,
        verdict: &Verdict,
        targets: &[Target],
        further: Vec<Further>,
    ) -> Result<Recorded, OutboxError> {
        let settlement = Settlement {
            event,
            kind: verdict.kind.as_str().to_owned(),
            verdict: serde_json::to_vec(verdict)?,
            deliveries: deliveries(event, targets),
        };
        let further = further.into_iter().map(Further::into_write).collect::<Result<_, _>>()?;
        Ok(self.submit(Operation::Settle(settlement, further)).await)
    }

    /// Records an event that has no outcome to wait for, and has it told. Held in memory while the
    /// store fails, whatever [`OnStoreFailure`] says: there is no traffic to refuse.
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

    /// Forgets an open exchange that turned out to be no event.
    pub async fn discard(&self, event: Uuid) -> Recorded {
        self.submit(Operation::Discard(event)).await
    }

    /// Takes over the exchanges that dead processes left open, and tells those who were planned that
    /// their outcome is unknown. Returns how many. To be called at start; goes on by itself then.
    ///
    /// # Errors
    /// When the store cannot say which there are.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let recovered = keeper::recover(self).await;
        if let Err(error) = &recovered {
            self.shared.gauge.failed(&error.to_string());
        }
        recovered
    }

    /// Whether traffic is to be refused when its event cannot be kept.
    pub fn refuses(&self) -> bool {
        self.shared.options.on_store_failure == OnStoreFailure::Refuse
    }

    /// How the store does, for `/readyz` and metrics.
    pub fn health(&self) -> StoreHealth {
        let (held, held_bytes, dropped) = {
            let backlog = self.backlog();
            (backlog.len(), backlog.bytes(), backlog.dropped())
        };
        self.shared.gauge.snapshot(held, held_bytes, dropped)
    }

    /// Writes down what is held, as far as it goes within `drain`, and stops. Returns how many events
    /// are still held: those are lost unless they were open in the store.
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
        // Out of time or not, what is left is counted below.
        let _ = timeout(drain, emptied).await;
        let keeper = self.shared.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        let left = self.backlog().len();
        if left > 0 {
            tracing::error!(left, "Stopped with events in memory that the store did not take.");
        }
        left
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
