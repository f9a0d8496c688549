//! The registration of a running worker, which ends however the worker ends.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use super::{DispatcherState, WorkerWakeup};

/// While it exists, no other worker of this webhook runs, and the shutdown waits for this one.
pub(super) struct WorkerRegistration {
    shared: Arc<DispatcherState>,
    webhook: String,
    wakeup: Arc<WorkerWakeup>,
}

/// Runs a future to its end. `None`: it panicked; the panic hook has logged that.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

// === impl WorkerRegistration ===

impl WorkerRegistration {
    pub(super) fn new(
        shared: Arc<DispatcherState>,
        webhook: String,
        wakeup: Arc<WorkerWakeup>,
    ) -> Self {
        Self { shared, webhook, wakeup }
    }
}

impl Drop for WorkerRegistration {
    fn drop(&mut self) {
        let Self { shared, webhook, wakeup } = self;
        // A worker that ended by itself may have a successor by now.
        shared.workers.remove_if(webhook, |_, known| Arc::ptr_eq(known, wakeup));
        shared.running.fetch_sub(1, Ordering::Relaxed);
        shared.worker_ended.notify_waiters();
    }
}
