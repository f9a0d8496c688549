//! Records that the store does not take, although it takes others.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use as2hook_store::Store;
use tokio::time::{Instant, sleep_until};

use super::{Entry, finish};
use crate::dispatcher::Bells;

/// Tried again and again, so that no delivery stays claimed for good. They are few and small.
#[derive(Default)]
pub(super) struct Aside {
    entries: VecDeque<Entry>,
    /// When they are tried next. `None`: at once.
    next: Option<Instant>,
}

/// The wait after one of them failed again.
const WAIT: Duration = Duration::from_secs(5);

// === impl Aside ===

impl Aside {
    pub(super) fn extend(&mut self, entries: Vec<Entry>) {
        for mut entry in entries {
            let delivery = entry.record.delivery;
            tracing::error!(
                delivery,
                "Left an attempt out of the log that the store does not take; its outcome is kept."
            );
            // What became of the delivery is worth more than its line in the log, which holds all that
            // a store may find fault with.
            entry.record.attempt = None;
            self.entries.push_back(entry);
            self.next = None;
        }
    }

    /// Waits until they are to be tried; for ever when there are none.
    pub(super) async fn due(&self) {
        match (self.entries.is_empty(), self.next) {
            (true, _) => std::future::pending().await,
            (false, Some(next)) => sleep_until(next).await,
            (false, None) => {}
        }
    }

    /// Tries them up to the first that fails, which comes last the next time: a store that is away by
    /// now keeps nobody waiting for long.
    pub(super) async fn try_again(&mut self, store: &Arc<dyn Store>, bells: &Bells) {
        while let Some(entry) = self.entries.pop_front() {
            let mut single = vec![entry];
            if let Err(error) = finish(store, bells, &mut single).await {
                tracing::debug!(%error, "The store still does not take an outcome.");
                self.entries.extend(single);
                self.next = Some(Instant::now() + WAIT);
                return;
            }
        }
    }
}
