//! The threads that use the disk of the payload folder.
//!
//! A hanging disk blocks each thread that calls it, in the kernel. Only these few threads call it.
//! A call without a free thread waits in their queue, where it blocks no thread. Reads have threads
//! of their own, so that hanging reads do not block writes.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::Notify,
};

use super::folder;
use crate::store::StoreError;

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

/// The threads of this process.
static VOLUME: LazyLock<Volume> = LazyLock::new(Volume::default);

/// The result of a call, or its future result. When it is dropped before the call begins, the call
/// is not made.
pub(super) struct VolumeCall<T: Send + 'static>(Arc<CallSlot<T>>);

struct CallSlot<T> {
    outcome: Mutex<Option<Result<T, StoreError>>>,
    done: Condvar,
    notify: Notify,
}

struct Volume {
    /// `None`: they could not be started.
    threads: Option<Handle>,
    read_threads: Option<Handle>,
    /// Writes in progress or queued, and their beginnings.
    writes: Mutex<(u64, BTreeMap<u64, Instant>)>,
}

/// Runs a write on one of the threads.
pub(super) fn write<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> VolumeCall<T> {
    // Counts from here: a call without a free thread waits for the disk too.
    let write = VOLUME.begin_write();
    VOLUME.call(VOLUME.threads.as_ref(), move || {
        let _write = write;
        work()
    })
}

/// Runs a read on one of the threads.
pub(super) fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> VolumeCall<T> {
    VOLUME.call(VOLUME.read_threads.as_ref(), work)
}

/// Runs work on one of the threads without waiting for it.
pub(super) fn later(work: impl FnOnce() + Send + 'static) {
    spawn(VOLUME.threads.as_ref(), work);
}

/// Returns why no more is to be written to this folder: it has not completed a write in time.
pub(super) fn stands_still(folder: &Path) -> Option<StoreError> {
    VOLUME.longest_write().filter(|time| *time >= WRITE_WITHIN).map(|time| too_slow(folder, time))
}

/// Returns since when it has not completed a write, with an error to report, if that is long.
pub(super) fn slow(folder: &Path) -> Option<(Duration, StoreError)> {
    let time = VOLUME.longest_write().filter(|time| *time >= SLOW)?;
    Some((time, too_slow(folder, time)))
}

/// Returns the error of a write to this folder that took too long.
pub(super) fn too_slow(folder: &Path, time: Duration) -> StoreError {
    let text = format!("it has not completed a write for {} s: look at its disk", time.as_secs());
    folder::error(folder, std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

// === impl Volume ===

impl Default for Volume {
    fn default() -> Self {
        Self {
            threads: threads("payload", THREADS),
            read_threads: threads("payload-read", READ_THREADS),
            writes: Mutex::default(),
        }
    }
}

impl Volume {
    fn call<T: Send + 'static>(
        &self,
        threads: Option<&Handle>,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> VolumeCall<T> {
        let slot = Arc::new(CallSlot::default());
        let call = VolumeCall(slot.clone());
        spawn(threads, move || {
            // A call whose result is not awaited any more is not begun.
            if Arc::strong_count(&slot) > 1 {
                let outcome = catch_unwind(AssertUnwindSafe(work));
                slot.set(outcome.unwrap_or(Err(StoreError::Closed)));
            }
        });
        call
    }

    fn begin_write(&self) -> WriteUnderWay {
        let mut writes = self.writes();
        let number = writes.0;
        writes.0 += 1;
        writes.1.insert(number, Instant::now());
        WriteUnderWay(number)
    }

    fn longest_write(&self) -> Option<Duration> {
        self.writes().1.values().min().map(Instant::elapsed)
    }

    fn writes(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Instant>)> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts up to this many threads. The first one stays: when none is left and the system refuses
/// another, which also happens while a process terminates, tokio panics.
fn threads(name: &str, count: usize) -> Option<Handle> {
    let runtime = Builder::new_current_thread()
        .thread_name(name)
        .max_blocking_threads(count)
        .thread_keep_alive(KEPT)
        .build()
        .inspect_err(
            |error| tracing::error!(%error, "Threads for payload files could not be started."),
        );
    // It lives as long as the process: its threads may block forever.
    let handle = runtime.ok().map(|runtime| Box::leak(Box::new(runtime)).handle().clone());
    drop(handle.as_ref().map(|handle| handle.spawn_blocking(|| {})));
    handle
}

fn spawn(threads: Option<&Handle>, work: impl FnOnce() + Send + 'static) {
    match threads {
        Some(threads) => drop(threads.spawn_blocking(work)),
        None => work(),
    }
}

/// A write on the threads of this process.
struct WriteUnderWay(u64);

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        VOLUME.writes().1.remove(&self.0);
    }
}

// === impl VolumeCall ===

impl<T: Send + 'static> VolumeCall<T> {
    /// Waits for the result.
    pub(super) async fn done(&self) -> Result<T, StoreError> {
        loop {
            let notified = self.0.notify.notified();
            if let Some(outcome) = self.0.lock().take() {
                return outcome;
            }
            notified.await;
        }
    }

    /// Returns the result. `None`: it is not known yet.
    pub(super) fn try_done(&self) -> Option<Result<T, StoreError>> {
        self.0.lock().take()
    }

    /// Blocks until the result is known. `None`: not in time.
    pub(super) fn wait(&self, within: Duration) -> Option<Result<T, StoreError>> {
        let under_way = |outcome: &mut Option<_>| outcome.is_none();
        let waited = self.0.done.wait_timeout_while(self.0.lock(), within, under_way);
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl<T: Send + 'static> Drop for VolumeCall<T> {
    fn drop(&mut self) {
        // A file whose call is not awaited any more is removed, which blocks.
        if let Some(outcome) = self.try_done() {
            later(move || drop(outcome));
        }
    }
}

// === impl CallSlot ===

impl<T> Default for CallSlot<T> {
    fn default() -> Self {
        Self { outcome: Mutex::new(None), done: Condvar::new(), notify: Notify::new() }
    }
}

impl<T> CallSlot<T> {
    fn set(&self, outcome: Result<T, StoreError>) {
        *self.lock() = Some(outcome);
        self.done.notify_all();
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<T, StoreError>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn hanging_reads_block_no_write_and_a_queued_write_counts_as_in_progress() {
        let hung: Vec<_> = (0..3 * THREADS).map(|_| hang()).collect();
        let hung: Vec<_> = hung.into_iter().map(|(release, work)| (release, read(work))).collect();
        let written = write(|| Ok(7)).wait(Duration::from_secs(60));
        assert_eq!(written.unwrap().unwrap(), 7, "behind reads that hang");
        drop(hung);

        let hung: Vec<_> = (0..=THREADS).map(|_| hang()).collect();
        let hung: Vec<_> = hung.into_iter().map(|(release, work)| (release, write(work))).collect();
        assert_eq!(VOLUME.writes().1.len(), hung.len(), "one of them found no thread");
    }
}
