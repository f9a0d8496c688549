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
//! store counts as well (see `lookups`).

mod background;
mod backlog;
mod health;
mod lookups;
mod options;
pub mod writes;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use as2hook_store::{Before, EventStore, Record, RecordChange, StoreError, Write};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::timeout,
};
use uuid::Uuid;

pub use health::StoreHealth;
pub use lookups::StoreWait;
pub use options::{Adoption, OnStoreFailure, OutboxOptions};

use crate::dispatcher::Wakeups;
use backlog::Backlog;
use health::StoreMonitor;

/// The entrance to the store. Clones share everything.
///
/// Its calls take the writes of one event, which are one commit. A content that was decoded late
/// stands before the verdict, all else after it.
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

/// Why an exchange could not be opened, or a record not be looked up.
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
    #[error("the store did not respond within {} s", .0.as_secs_f64())]
    Slow(Duration),
    /// The event's payload was not durable in time.
    #[error("the message's payload was not kept within {} s", .0.as_secs_f64())]
    PayloadSlow(Duration),
    /// The event has no JSON form.
    #[error("the event cannot be serialised: {0}")]
    Event(#[from] serde_json::Error),
}

/// A write in progress.
type Running = JoinHandle<Result<Vec<String>, StoreError>>;

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
            lookups: Arc::new(Semaphore::new(lookups::AT_ONCE)),
            background: Mutex::default(),
            unreadable: Mutex::default(),
        });
        let outbox = Self { shared };
        let background = tokio::spawn(background::run(outbox.clone()));
        *outbox.shared.background.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
        outbox
    }

    /// Records an exchange whose outcome is not known yet: a [`Write::Open`], and what is recorded
    /// with it.
    ///
    /// # Errors
    /// With [`OnStoreFailure::Refuse`], when the store does not accept it; the exchange must then
    /// not continue. With `Pass`, a failing store is no error.
    pub async fn open(&self, writes: Vec<Write>) -> Result<Recorded, OutboxError> {
        if !self.refuses() {
            return Ok(self.write(writes).await);
        }
        // Traffic does not wait for a failing store; the background task notices when it works
        // again.
        if let Some(trouble) = self.shared.monitor.trouble() {
            return Err(OutboxError::Failing(trouble));
        }
        let Err((error, running)) = self.attempt(&writes).await else {
            return Ok(Recorded::Durable);
        };
        // The exchange is refused, so it must not stay: it is discarded when the call is over,
        // whatever its result.
        let may_be_committed = match &error {
            OutboxError::Store(error) => error.may_be_committed(),
            _ => true,
        };
        if running.is_some() {
            self.hold(discarded(&writes), running);
        }
        if may_be_committed {
            self.hold(discarded(&writes), None);
        }
        Err(error)
    }

    /// Records a verdict, an event without a pending outcome, or that an open exchange turned out to
    /// be no event. While the store fails it is kept in memory and written later, whatever
    /// [`OnStoreFailure`] is, so the caller has nothing to do.
    pub async fn write(&self, writes: Vec<Write>) -> Recorded {
        let (is_behind, is_lost) = {
            let mut backlog = self.backlog();
            (backlog.has_before(&writes), backlog.forget_lost(&writes))
        };
        if is_lost {
            return Recorded::Dropped;
        }
        // What is held goes first, and only the background task tries a failing store: traffic does
        // not wait for it.
        if is_behind || self.shared.monitor.is_failing() {
            return self.hold(writes, None);
        }
        match self.attempt(&writes).await {
            Ok(()) => Recorded::Durable,
            Err((OutboxError::Store(StoreError::UnknownEvent(event)), _)) => {
                report_unknown(event);
                Recorded::Dropped
            }
            Err((_, running)) => self.hold(writes, running),
        }
    }

    /// Commits these now: nothing is held, and the caller retries after an error.
    ///
    /// # Errors
    /// When the store does not accept them.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.wake(&self.shared.store.commit(writes).await?);
        Ok(())
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
                if self.backlog().len() == 0 {
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

    /// Commits these now, and records the store's health. A call that takes too long is returned:
    /// it is never cancelled, since it may be on its way to the disk, and with a second one beside
    /// it the result would be ambiguous.
    async fn attempt(&self, writes: &[Write]) -> Result<(), (OutboxError, Option<Running>)> {
        let Self { shared } = self;
        let (store, copy) = (shared.store.clone(), writes.to_vec());
        let mut call = Box::pin(async move { store.commit(copy).await });
        let limit = shared.options.patience;
        let (error, running) = match timeout(limit, &mut call).await {
            Ok(Ok(due)) => {
                shared.monitor.took();
                self.wake(&due);
                return Ok(());
            }
            // The store works; the event does not exist.
            Ok(Err(error @ StoreError::UnknownEvent(_))) => {
                shared.monitor.took();
                return Err((error.into(), None));
            }
            Ok(Err(error)) => (OutboxError::Store(error), None),
            Err(_) => (OutboxError::Slow(limit), Some(tokio::spawn(call))),
        };
        shared.monitor.failed(&error.to_string());
        Err((error, running))
    }

    fn hold(&self, writes: Vec<Write>, running: Option<Running>) -> Recorded {
        let event = event_of(&writes);
        let taken = self.backlog().push(writes, running);
        self.shared.changed.notify_waiters();
        let Some(truncation) = taken else {
            self.shared.monitor.lost(event, 1);
            return Recorded::Dropped;
        };
        if truncation.any {
            tracing::debug!(%event, "Truncated a verdict: the memory for events is full.");
        }
        if truncation.events > 0 {
            self.shared.monitor.lost(event, truncation.events);
        }
        Recorded::Held
    }

    fn wake(&self, webhooks: &[String]) {
        for webhook in webhooks {
            self.shared.wakeups.ring(webhook);
        }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the event that these writes are about.
fn event_of(writes: &[Write]) -> Uuid {
    writes.iter().find_map(Write::event).unwrap_or_default()
}

/// Returns the writes that take an opening back, with the records that were not changed since.
fn discarded(opening: &[Write]) -> Vec<Write> {
    let withdrawn = opening.iter().filter_map(|write| {
        let Write::Record(change) = write else { return None };
        let before = Before::Body(change.record.body.clone());
        let record = Record { due: None, expires: 0, ..change.record.clone() };
        Some(Write::Record(RecordChange { record, before }))
    });
    std::iter::once(Write::Discard(event_of(opening))).chain(withdrawn).collect()
}

fn report_unknown(event: Uuid) {
    tracing::error!(%event, "Dropped the verdict of an event that is not in the store.");
}
