//! Keeps the store within the config's `retention`, in small steps.

use std::{sync::Arc, time::Duration};

use as2hook_config::Retention;
use as2hook_store::{Payloads, Prune, Store, StoreError, clock};
use tokio::time::{Instant, sleep};

use crate::TapHost;

/// How often there is something looked for: so often that it is never much.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// What one call to the store removes at most. It makes steps of its own of it.
const AT_ONCE: usize = 5_000;

/// Events that are removed first before it is looked again whether the store takes too many bytes.
const STEP: usize = 16;

/// How often payloads are looked for that no event names.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Removes old events and deliveries, until the process ends.
pub async fn run(host: Arc<dyn TapHost>, store: Arc<dyn Store>, payloads: Payloads) {
    let (mut failed, mut swept) = (false, Instant::now());
    loop {
        sleep(UPKEEP_EVERY).await;
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            sweep(&payloads, &*store).await;
        } else if payloads.is_unclaimed() {
            // Started without the store: whose the place is could not be asked.
            log_failure(payloads.claim(&*store).await);
        }
        let retention = host.rules().config.retention;
        match forget(&*store, &payloads, &retention).await {
            Ok(removed) => {
                failed = false;
                if removed > 0 {
                    tracing::debug!(removed, "Removed old events.");
                }
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "Old events could not be removed; trying again.");
                }
                failed = true;
            }
        }
    }
}

/// Removes payloads that no event names. What goes wrong is logged: traffic does not need it.
pub async fn sweep(payloads: &Payloads, store: &dyn Store) {
    log_failure(payloads.sweep(store).await.map(drop));
}

fn log_failure(outcome: Result<(), StoreError>) {
    match outcome {
        Err(error @ StoreError::OtherStore { .. }) => {
            tracing::error!(%error, "Payload removal stopped: the payload folder or bucket belongs to another store.");
        }
        Err(error) => {
            tracing::warn!(%error, "Unreferenced payloads could not be searched for; trying again later.");
        }
        Ok(()) => {}
    }
}

/// Removes what `retention` keeps no longer. Returns how many events, attempts and payloads that were.
/// What fails keeps nothing else from being removed; the first error is returned at the end.
async fn forget(
    store: &dyn Store,
    payloads: &Payloads,
    retention: &Retention,
) -> Result<u64, StoreError> {
    let (mut all, mut failure) = (0, None);
    loop {
        let by_number = store.prune(Prune::EventsBeyond(retention.count), AT_ONCE).await;
        let done = match clock::doubt() {
            // What goes by age waits for a clock that is believed.
            Some(_) => vec![by_number],
            None => vec![
                by_number,
                store.prune(Prune::Events(before(retention.events)), AT_ONCE).await,
                store.prune(Prune::Attempts(before(retention.attempts)), AT_ONCE).await,
                payloads.purge_payloads(store, before(retention.payloads), AT_ONCE).await,
            ],
        };
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
            None if !more => return Ok(all + forget_bytes(store, retention.bytes).await?),
            None => {}
        }
    }
}

/// Removes the oldest events that are done until the store takes no more than `most` bytes, or none of
/// them is left. Returns how many.
async fn forget_bytes(store: &dyn Store, most: u64) -> Result<u64, StoreError> {
    let (mut all, mut step) = (0, STEP);
    while store.bytes().await? > most {
        let removed = store.prune(Prune::EventsBeyond(0), step).await?;
        all += removed;
        if removed < step as u64 {
            break;
        }
        // Few too many go, and many go fast.
        step = (2 * step).min(AT_ONCE);
    }
    Ok(all)
}

/// The time so long ago, in milliseconds since 1970.
fn before(age: Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    clock::now().saturating_sub(age)
}
