//! The task behind the outbox: writes down what is held, and adopts what dead processes left.

use std::{sync::PoisonError, time::Duration};

use as2hook_store::{NewDelivery, Settlement, StoreError, StoredEvent};
use as2hook_webhooks::{Event, Verdict};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{Outbox, operation::Operation};

/// The wait after a failure, doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// So many unreadable exchanges are told.
const UNREADABLE: usize = 1000;

/// Runs until it is aborted.
pub(super) async fn run(outbox: Outbox) {
    let every = outbox.shared.options.recover_every;
    let mut recovery = interval_at(Instant::now() + every, every);
    recovery.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wait = FIRST_WAIT;
    loop {
        let changed = outbox.shared.changed.notified();
        let first = outbox.backlog().first();
        let Some((operation, running)) = first else {
            tokio::select! {
                () = changed => {}
                _ = recovery.tick() => if let Err(error) = recover(&outbox).await {
                    tracing::warn!(%error, "Could not look for exchanges that were left open.");
                },
            }
            continue;
        };
        let (event, webhooks) = (operation.event(), operation.webhooks());
        // Nobody waits for this, so it takes as long as the store takes.
        let result = match running {
            Some(running) => match running.await {
                Ok(result) => result,
                Err(_) => Err(StoreError::Closed),
            },
            None => operation.call(outbox.shared.store.clone()).await,
        };
        match result {
            Ok(()) => {
                outbox.backlog().done(event);
                outbox.shared.gauge.succeeded();
                outbox.ring(&webhooks);
                wait = FIRST_WAIT;
            }
            Err(StoreError::UnknownEvent(_)) => {
                outbox.backlog().done(event);
                tracing::error!(%event, "Dropped the verdict of an event that the store does not have.");
            }
            Err(error) => {
                let successes = outbox.shared.gauge.successes();
                if outbox.backlog().failed(event, successes) {
                    tracing::error!(%event, %error, "Gave up an event that the store does not take.");
                } else {
                    outbox.shared.gauge.failed(&error.to_string());
                }
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        outbox.shared.changed.notify_waiters();
    }
}

/// See [`Outbox::recover`].
pub(super) async fn recover(outbox: &Outbox) -> Result<usize, StoreError> {
    let left = outbox.shared.store.adopt().await?;
    let mut recovered = 0;
    for (stored, planned) in left {
        let event = stored.id;
        // Its verdict waits for the store already.
        if outbox.backlog().holds(event) {
            continue;
        }
        match unknown(&stored, planned) {
            Ok(settlement) => {
                outbox.submit(Operation::Settle(settlement, Vec::new())).await;
                recovered += 1;
            }
            // It stays open in the store, where a newer as2hook may read it.
            Err(error) => {
                let mut known =
                    outbox.shared.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() < UNREADABLE && known.insert(event) {
                    tracing::error!(%event, %error, "Cannot read an exchange that was left open.");
                }
            }
        }
    }
    if recovered > 0 {
        tracing::warn!(recovered, "Adopted exchanges whose outcome nobody knows.");
    }
    Ok(recovered)
}

fn unknown(
    stored: &StoredEvent,
    planned: Vec<NewDelivery>,
) -> Result<Settlement, serde_json::Error> {
    let event: Event = serde_json::from_slice(&stored.body)?;
    let verdict = Verdict::unknown(event.direction, event.kind);
    Ok(Settlement {
        event: stored.id,
        kind: verdict.kind.as_str().to_owned(),
        verdict: serde_json::to_vec(&verdict)?,
        deliveries: planned,
    })
}
