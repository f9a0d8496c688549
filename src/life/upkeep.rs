//! What was told long ago is forgotten, in small steps beside the traffic.

use std::{sync::Arc, time::Duration};

use as2hook_store::{Payloads, Store, StoreError};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::{config::Retention, snapshot::Live};

/// How often there is something looked for: so often that it is never much.
const EVERY: Duration = Duration::from_secs(10);

/// What one call to the store removes at most. It makes steps of its own of it.
const AT_ONCE: usize = 5_000;

/// How often payloads are looked for that no event names.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Keeps the store within `retention`, for ever.
pub(super) async fn run(live: Arc<Live>, store: Arc<dyn Store>, payloads: Payloads) {
    let (mut failed, mut swept) = (false, Instant::now());
    loop {
        sleep(EVERY).await;
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            if let Err(error) = payloads.sweep(&*store).await {
                tracing::warn!(%error, "Left payloads could not be looked for; trying again later.");
            }
        }
        let retention = live.load().config.retention;
        match forget(&*store, &payloads, &retention).await {
            Ok(removed) => {
                failed = false;
                if removed > 0 {
                    tracing::debug!(removed, "Forgot what was told long ago.");
                }
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "Old events could not be removed; trying on.");
                }
                failed = true;
            }
        }
    }
}

/// Removes what `retention` keeps no longer. Returns how many events, attempts and payloads that were.
/// What fails keeps nothing else from being removed; the first error is returned at the end.
async fn forget(
    store: &dyn Store,
    payloads: &Payloads,
    retention: &Retention,
) -> Result<u64, StoreError> {
    let (events, attempts) = (before(retention.events), before(retention.attempts));
    let (mut all, mut failure) = (0, None);
    loop {
        let done = [
            store.prune(events, AT_ONCE).await,
            store.prune_beyond(retention.count, AT_ONCE).await,
            store.prune_attempts(attempts, AT_ONCE).await,
            payloads.spend(store, before(retention.payloads), AT_ONCE).await,
        ];
        let mut more = false;
        for removed in done {
            match removed {
                Ok(removed) => {
                    all += removed;
                    more |= removed == AT_ONCE as u64;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) => return Err(failure),
            None if !more => return Ok(all),
            None => {}
        }
    }
}

/// The time so long ago, in milliseconds since 1970.
fn before(age: Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::now().as_millisecond().saturating_sub(age)
}
