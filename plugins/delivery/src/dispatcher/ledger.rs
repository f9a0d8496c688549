//! Writes down what became of attempts: what is there at once, in one commit.
//!
//! A record that the store does not take beside others is put aside and tried again until it is taken:
//! its delivery stays claimed by this process, and whatever waits for it would wait for ever.

mod aside;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use as2hook_store::{AttemptRecord, Store};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::Bells;
use aside::Aside;

/// Takes records. Waits when the store cannot keep up, which stops the lanes in turn.
pub(super) struct Ledger {
    /// Taken when the last lane has left, which ends the writer.
    records: Mutex<Option<mpsc::Sender<Entry>>>,
}

struct Entry {
    record: AttemptRecord,
    /// Rung when it is written: its end frees others of its order.
    ring: Option<String>,
    /// Told when it is written.
    written: Option<oneshot::Sender<()>>,
    failures: u32,
}

/// For a record that somebody waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most records in one commit.
const BATCH: usize = 256;
/// So many are written without waiting for more.
const ENOUGH: usize = 64;
/// The wait for more of them, when nobody waits for those that are there. What is not written down yet
/// is made again after a crash, so it is short.
const GATHERING: Duration = Duration::from_millis(3);
/// So often a record is tried beside others that are taken before it is put aside.
const FAILURES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A ledger and its writer, which ends when the ledger is closed and everything is written.
pub(super) fn start(store: Arc<dyn Store>, bells: Bells, room: usize) -> (Ledger, JoinHandle<()>) {
    let (records, received) = mpsc::channel(room.max(1));
    let writer = tokio::spawn(write(store, bells, received));
    (Ledger { records: Mutex::new(Some(records)) }, writer)
}

// === impl Ledger ===

impl Ledger {
    /// Hands a record over. Dropped before it returns, nothing was handed over.
    pub(super) async fn enter(&self, record: AttemptRecord, ring: Option<String>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(records) = records {
            // The writer lives as long as the ledger is open.
            let entry = Entry { record, ring, written: None, failures: 0 };
            let _ = records.send(entry).await;
        }
    }

    /// As [`Self::enter`], and waits until it is written, at most [`PATIENCE`].
    pub(super) async fn enter_and_wait(&self, record: AttemptRecord, ring: Option<String>) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(records) = records {
            let (written, told) = oneshot::channel();
            let entry = Entry { record, ring, written: Some(written), failures: 0 };
            let _ = records.send(entry).await;
            // Given up or late: the store is away, and nobody can do better.
            let _ = timeout(PATIENCE, told).await;
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

// === impl Entry ===

impl Entry {
    /// Whether somebody, or the next delivery of its order, goes on when it is written.
    fn is_awaited(&self) -> bool {
        self.ring.is_some() || self.written.is_some()
    }
}

async fn write(store: Arc<dyn Store>, bells: Bells, mut received: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut aside = Aside::default();
    loop {
        tokio::select! {
            count = received.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                write_batch(&store, &bells, &mut received, &mut batch, &mut aside).await;
            }
            () = aside.due() => aside.try_again(&store, &bells).await,
        }
    }
    aside.try_again(&store, &bells).await;
}

/// Writes a batch, with what comes while it is tried.
async fn write_batch(
    store: &Arc<dyn Store>,
    bells: &Bells,
    received: &mut mpsc::Receiver<Entry>,
    batch: &mut Vec<Entry>,
    aside: &mut Aside,
) {
    let mut wait = FIRST_WAIT;
    let mut failed_before = false;
    if batch.len() < ENOUGH && !batch.iter().any(Entry::is_awaited) {
        sleep(GATHERING).await;
        gather(received, batch);
    }
    // What comes meanwhile gathers in the channel and makes the next batch.
    while !batch.is_empty() {
        let error = match finish(store, bells, batch).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if !failed_before {
            tracing::error!(%error, "The store does not take the outcome of attempts.");
            failed_before = true;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        // More of them tell whether it is the store or one record.
        gather(received, batch);
        if wait == LONGEST_WAIT {
            aside.extend(one_by_one(store, bells, batch).await);
        }
    }
    if failed_before {
        tracing::info!("The store takes the outcome of attempts again.");
    }
}

/// Takes what is there, as far as it fits.
fn gather(received: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) {
    while batch.len() < BATCH
        && let Ok(entry) = received.try_recv()
    {
        batch.push(entry);
    }
}

async fn finish(
    store: &Arc<dyn Store>,
    bells: &Bells,
    batch: &mut Vec<Entry>,
) -> Result<(), as2hook_store::StoreError> {
    store.finish(batch.iter().map(|entry| entry.record.clone()).collect()).await?;
    for entry in batch.drain(..) {
        if let Some(webhook) = entry.ring {
            bells.ring(&webhook);
        }
        if let Some(written) = entry.written {
            // Who waits may have gone.
            let _ = written.send(());
        }
    }
    Ok(())
}

/// Finds the record that keeps all others from being written, should there be one. A store that takes
/// some is well; returns what it then does not take three times.
async fn one_by_one(store: &Arc<dyn Store>, bells: &Bells, batch: &mut Vec<Entry>) -> Vec<Entry> {
    let mut written = false;
    let mut left = Vec::new();
    for entry in batch.drain(..) {
        let mut single = vec![entry];
        match finish(store, bells, &mut single).await {
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
