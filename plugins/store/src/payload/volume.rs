//! The threads that use the disk of the payload folder.
//!
//! A hanging disk blocks each thread that calls it, in the kernel. Only these few threads call it.
//! A call without a free thread waits in their queue, where it blocks no thread. Reads have threads
//! of their own, so that hanging reads do not block writes.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
};

use crate::error::{StoreError, payload_error};

/// How long a write may take before its payload is abandoned. Shorter than the limit of traffic for
/// a decode without progress, so that only the payload is lost.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(25);

/// A write that takes longer makes the gateway unready.
const SLOW: Duration = Duration::from_secs(5);

/// The most threads that a hanging disk can block: of writes and removals, and of reads.
const THREADS: usize = 16;
const READ_THREADS: usize = 8;
/// How long an idle thread stays: a year, which is longer than any process runs.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The threads of this process. `None`: they could not be started.
static WRITERS: LazyLock<Option<Handle>> = LazyLock::new(|| {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(1);
    threads(runtime, "payload", THREADS)
});
/// No task runs here, so that it needs no thread for them.
static READERS: LazyLock<Option<Handle>> =
    LazyLock::new(|| threads(Builder::new_current_thread(), "payload-read", READ_THREADS));

/// The writes in progress or queued, with their beginnings, in their order.
static WRITES: Mutex<(u64, BTreeMap<u64, Instant>)> = Mutex::new((0, BTreeMap::new()));

/// Runs a write on one of the threads. When dropped before that begins, it is not begun.
pub(super) async fn write<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // Counts from here: a call without a free thread waits for the disk too.
    let write = WriteUnderWay::begin();
    let work = move || {
        let _write = write;
        work()
    };
    run(&WRITERS, work).await
}

/// Like [`write`], for reads and what else may take its time.
pub(super) async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    run(&READERS, work).await
}

/// Runs work on one of the threads without waiting for it.
pub(super) fn later(work: impl FnOnce() + Send + 'static) {
    match &*WRITERS {
        Some(threads) => drop(threads.spawn_blocking(work)),
        None => work(),
    }
}

/// Returns a runtime for tasks that wait for these threads.
pub(super) fn runtime() -> Result<Handle, StoreError> {
    WRITERS.clone().ok_or(StoreError::Closed)
}

/// Checks that this folder is to be written to: that it has completed each write in time.
pub(super) fn check(folder: &Path) -> Result<(), StoreError> {
    match longest_write().filter(|time| *time >= WRITE_WITHIN) {
        Some(time) => Err(too_slow(folder, time)),
        None => Ok(()),
    }
}

/// Returns since when it has not completed a write, with an error to report, if that is long.
pub(super) fn slow(folder: &Path) -> Option<(Duration, StoreError)> {
    let time = longest_write().filter(|time| *time >= SLOW)?;
    Some((time, too_slow(folder, time)))
}

/// Returns the error of a write to this folder that took too long.
pub(super) fn too_slow(folder: &Path, time: Duration) -> StoreError {
    let text = format!("it has not completed a write for {} s: look at its disk", time.as_secs());
    payload_error(folder, io::Error::new(io::ErrorKind::TimedOut, text))
}

fn longest_write() -> Option<Duration> {
    WRITES.lock().1.values().next().map(Instant::elapsed)
}

async fn run<T: Send + 'static>(
    threads: &Option<Handle>,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let threads = threads.as_ref().ok_or(StoreError::Closed)?;
    // Unlike a handle, a set cancels what has not begun when it is dropped.
    let mut call = JoinSet::new();
    call.spawn_blocking_on(work, threads);
    call.join_next().await.and_then(Result::ok).unwrap_or(Err(StoreError::Closed))
}

/// Starts a runtime with up to this many threads for calls, which stay: when none is left and the system
/// refuses another, which also happens while a process terminates, tokio panics.
fn threads(mut runtime: Builder, name: &str, count: usize) -> Option<Handle> {
    let runtime = runtime
        .thread_name(name)
        .max_blocking_threads(count)
        .thread_keep_alive(KEPT)
        .enable_time()
        .build()
        .inspect_err(
            |error| tracing::error!(%error, "Threads for payload files could not be started."),
        );
    // It lives as long as the process: its threads may block forever.
    runtime.ok().map(|runtime| Box::leak(Box::new(runtime)).handle().clone())
}

/// A write on the threads of this process.
struct WriteUnderWay(u64);

// === impl WriteUnderWay ===

impl WriteUnderWay {
    fn begin() -> Self {
        let mut writes = WRITES.lock();
        let number = writes.0;
        writes.0 += 1;
        writes.1.insert(number, Instant::now());
        Self(number)
    }
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        WRITES.lock().1.remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A call that hangs until the sender is dropped.
    fn hang() -> (Sender<()>, impl FnOnce() -> Result<(), StoreError> + Send + 'static) {
        let (release, released) = channel::<()>();
        (release, move || {
            let _ = released.recv();
            Ok(())
        })
    }

    #[tokio::test]
    async fn hanging_reads_block_no_write_and_a_queued_write_counts_as_in_progress() {
        let hung: Vec<_> = (0..3 * THREADS).map(|_| hang()).collect();
        let hung: Vec<_> =
            hung.into_iter().map(|(release, work)| (release, tokio::spawn(read(work)))).collect();
        let written = tokio::time::timeout(Duration::from_secs(60), write(|| Ok(7))).await;
        assert_eq!(written.unwrap().unwrap(), 7, "behind reads that hang");
        drop(hung);

        let hung: Vec<_> = (0..=THREADS).map(|_| hang()).collect();
        let hung: Vec<_> =
            hung.into_iter().map(|(release, work)| (release, tokio::spawn(write(work)))).collect();
        // One of them finds no thread.
        let all = async {
            while longest_write().is_none() || WRITES.lock().1.len() < hung.len() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        assert_eq!(WRITES.lock().1.len(), hung.len());
    }
}
