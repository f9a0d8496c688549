//! A lane's place among those that run, which is free again however the lane ends.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use super::{LaneBell, Shared};

/// While it is there, no other lane of this webhook runs, and the shutdown waits for this one.
pub(super) struct Place {
    shared: Arc<Shared>,
    webhook: String,
    bell: Arc<LaneBell>,
}

/// Runs to the end. `None`: it panicked, which is told already.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

// === impl Place ===

impl Place {
    pub(super) fn new(shared: Arc<Shared>, webhook: String, bell: Arc<LaneBell>) -> Self {
        Self { shared, webhook, bell }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { shared, webhook, bell } = self;
        // A lane that left by itself may have a successor by now.
        shared.lanes.remove_if(webhook, |_, known| Arc::ptr_eq(known, bell));
        shared.running.fetch_sub(1, Ordering::Relaxed);
        shared.left.notify_waiters();
    }
}
