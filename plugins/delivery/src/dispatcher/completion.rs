//! Stores the outcomes of attempts: all that are waiting in one commit.
//!
//! A record that the store rejects while it accepts others is set aside and retried until it is
//! accepted. Otherwise its delivery would stay claimed by this process, and later deliveries of its
//! order would wait forever.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use as2hook_store::{AttemptRecord, DeliveryQueue};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::Wakeups;

/// Takes records. Blocks when the store cannot keep up, which slows the workers down.
pub(super) struct CompletionBatcher {
    /// Taken when the last worker has ended, which ends the writer.
    records: Mutex<Option<mpsc::Sender<PendingRecord>>>,
}

struct PendingRecord {
    record: AttemptRecord,
    /// The webhook to wake after the commit: the next delivery of the order can be claimed then.
    ring: Option<String>,
    /// Notified after the commit.
    written: Option<oneshot::Sender<()>>,
    failures: u32,
}

/// Rejected records. They are retried without end, so that no delivery stays claimed. They are few
/// and small.
#[derive(Default)]
struct RejectedRecords {
    entries: VecDeque<PendingRecord>,
    /// When they are retried next. `None`: at once.
    next: Option<Instant>,
}

/// The limit for a caller that waits for its record.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most records in one commit.
const BATCH: usize = 256;
/// From this number on, records are written without waiting for more.
const ENOUGH: usize = 64;
/// The wait for more records, when no caller waits for those that are there. Deliveries whose
/// outcome is not stored are made again after a crash, so it is short.
const GATHERING: Duration = Duration::from_millis(20);
/// How often a record fails while others are accepted before it is set aside.
const FAILURES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The wait after a rejected record failed again.
const REJECTED_WAIT: Duration = Duration::from_secs(5);

/// Starts a batcher and its writer, which ends when the batcher is closed and everything is
/// written.
pub(super) fn start(
    store: Arc<dyn DeliveryQueue>,
    wakeups: Wakeups,
    room: usize,
) -> (CompletionBatcher, JoinHandle<()>) {
    let (records, received) = mpsc::channel(room.max(1));
    let writer = tokio::spawn(write(store, wakeups, received));
    (CompletionBatcher { records: Mutex::new(Some(records)) }, writer)
}

// === impl CompletionBatcher ===

impl CompletionBatcher {
    /// Adds a record. When the future is dropped before it completes, nothing was added.
    pub(super) async fn add(&self, record: AttemptRecord, ring: Option<String>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(records) = records {
            // The writer runs as long as the batcher is open.
            let entry = PendingRecord { record, ring, written: None, failures: 0 };
            let _ = records.send(entry).await;
        }
    }

    /// Like [`Self::add`], but waits for the commit, at most [`COMMIT_TIMEOUT`].
    pub(super) async fn add_and_wait(&self, record: AttemptRecord, ring: Option<String>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(records) = records {
            let (written, stored) = oneshot::channel();
            let entry = PendingRecord { record, ring, written: Some(written), failures: 0 };
            let _ = records.send(entry).await;
            // Failed or late: the store is unavailable, and the caller cannot do better.
            let _ = timeout(COMMIT_TIMEOUT, stored).await;
        }
    }

    /// Closes the batcher for new records.
    pub(super) fn close(&self) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

// === impl PendingRecord ===

impl PendingRecord {
    /// Whether a caller or the next delivery of its order waits for the commit.
    fn is_awaited(&self) -> bool {
        self.ring.is_some() || self.written.is_some()
    }
}

// === impl RejectedRecords ===

impl RejectedRecords {
    fn extend(&mut self, entries: Vec<PendingRecord>) {
        for mut entry in entries {
            let delivery = entry.record.delivery;
            tracing::error!(
                delivery,
                "The store rejects an attempt; it is left out of the delivery log, and its \
                 outcome is retried."
            );
            // The outcome matters more than the entry in the delivery log, which has all the fields
            // that a store may reject.
            entry.record.attempt = None;
            self.entries.push_back(entry);
            self.next = None;
        }
    }

    /// Waits until a retry is due; forever when there is no record.
    async fn due(&self) {
        match (self.entries.is_empty(), self.next) {
            (true, _) => std::future::pending().await,
            (false, Some(next)) => sleep_until(next).await,
            (false, None) => {}
        }
    }

    /// Retries them up to the first failure, which becomes the last in the queue: an unavailable
    /// store does not block the caller for long.
    async fn try_again(&mut self, store: &Arc<dyn DeliveryQueue>, wakeups: &Wakeups) {
        while let Some(entry) = self.entries.pop_front() {
            let mut single = vec![entry];
            if let Err(error) = finish(store, wakeups, &mut single).await {
                tracing::debug!(%error, "The store still rejects an outcome.");
                self.entries.extend(single);
                self.next = Some(Instant::now() + REJECTED_WAIT);
                return;
            }
        }
    }
}

async fn write(
    store: Arc<dyn DeliveryQueue>,
    wakeups: Wakeups,
    mut received: mpsc::Receiver<PendingRecord>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut rejected = RejectedRecords::default();
    loop {
        tokio::select! {
            count = received.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                write_batch(&store, &wakeups, &mut received, &mut batch, &mut rejected).await;
            }
            () = rejected.due() => rejected.try_again(&store, &wakeups).await,
        }
    }
    rejected.try_again(&store, &wakeups).await;
}

/// Writes a batch, together with records that arrive while it is retried.
async fn write_batch(
    store: &Arc<dyn DeliveryQueue>,
    wakeups: &Wakeups,
    received: &mut mpsc::Receiver<PendingRecord>,
    batch: &mut Vec<PendingRecord>,
    rejected: &mut RejectedRecords,
) {
    let mut wait = FIRST_WAIT;
    let mut failed_before = false;
    let gathered = async {
        while batch.len() < ENOUGH && !batch.iter().any(PendingRecord::is_awaited) {
            if received.recv_many(batch, BATCH - batch.len()).await == 0 {
                return;
            }
        }
    };
    // Late or not, what is there is written.
    let _ = timeout(GATHERING, gathered).await;
    // Records that arrive meanwhile wait in the channel and form the next batch.
    while !batch.is_empty() {
        let error = match finish(store, wakeups, batch).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if !failed_before {
            tracing::error!(%error, "The store rejects the outcomes of attempts; they are retried.");
            failed_before = true;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        // More records show whether the store fails or one record.
        gather(received, batch);
        if wait == LONGEST_WAIT {
            rejected.extend(one_by_one(store, wakeups, batch).await);
        }
    }
    if failed_before {
        tracing::info!("The store accepts the outcomes of attempts again.");
    }
}

/// Adds waiting records as far as the batch has room.
fn gather(received: &mut mpsc::Receiver<PendingRecord>, batch: &mut Vec<PendingRecord>) {
    while batch.len() < BATCH
        && let Ok(entry) = received.try_recv()
    {
        batch.push(entry);
    }
}

async fn finish(
    store: &Arc<dyn DeliveryQueue>,
    wakeups: &Wakeups,
    batch: &mut Vec<PendingRecord>,
) -> Result<(), as2hook_store::StoreError> {
    store.finish(batch.iter().map(|entry| entry.record.clone()).collect()).await?;
    for entry in batch.drain(..) {
        if let Some(webhook) = entry.ring {
            wakeups.ring(&webhook);
        }
        if let Some(written) = entry.written {
            // The caller may be gone.
            let _ = written.send(());
        }
    }
    Ok(())
}

/// Writes the records one by one, to find one that makes the whole batch fail. Returns the records
/// that failed [`FAILURES`] times while the store accepted others.
async fn one_by_one(
    store: &Arc<dyn DeliveryQueue>,
    wakeups: &Wakeups,
    batch: &mut Vec<PendingRecord>,
) -> Vec<PendingRecord> {
    let mut written = false;
    let mut left = Vec::new();
    for entry in batch.drain(..) {
        let mut single = vec![entry];
        match finish(store, wakeups, &mut single).await {
            Ok(()) => written = true,
            Err(_) => left.append(&mut single),
        }
    }
    for entry in &mut left {
        entry.failures += u32::from(written);
    }
    let (refused, left) = left.into_iter().partition(|entry| entry.failures >= FAILURES);
    *batch = left;
    refused
}
