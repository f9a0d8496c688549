//! The task behind the outbox: writes down what is held, and adopts what dead processes left.

use std::{
    future::{Future, poll_fn},
    sync::PoisonError,
    task::Poll,
    time::Duration,
};

use as2hook_store::{
    Before, NewDelivery, Note, NoteChange, Settlement, StoreError, StoredEvent, Write,
};
use as2hook_webhooks::{Event, Verdict};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{Outbox, backlog::Running, operation::Operation};
use crate::time::now;

/// The wait after a failure, doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Events that are written at once, so that they share a commit.
const AT_ONCE: usize = 128;
/// So many unreadable exchanges are told.
const UNREADABLE: usize = 1000;
/// What is written to see whether the store is back.
const PROBE: &str = "outbox:probe";

/// Runs until it is aborted.
pub(super) async fn run(outbox: Outbox) {
    let every = outbox.shared.options.recover_every;
    let mut recovery = interval_at(Instant::now() + every, every);
    recovery.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut wait, mut most) = (FIRST_WAIT, AT_ONCE);
    let mut failed_before = false;
    loop {
        let failing = outbox.shared.gauge.is_failing();
        if failed_before && !failing {
            // What could not be looked for meanwhile is not to wait any longer.
            recovery.reset_immediately();
        }
        failed_before = failing;
        let changed = outbox.shared.changed.notified();
        let next = outbox.backlog().next(most);
        if !next.is_empty() {
            let written = write(&outbox, next).await;
            outbox.shared.changed.notify_waiters();
            match written {
                Written::All => (wait, most) = (FIRST_WAIT, AT_ONCE),
                Written::Some => {
                    (wait, most) = (FIRST_WAIT, AT_ONCE);
                    sleep(wait).await;
                }
                Written::None { one_suffices } => {
                    // Why ask for many when the answer is the same?
                    most = if one_suffices { 1 } else { AT_ONCE };
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        } else if failing {
            // Nobody else finds out that it is back: traffic does not wait for a store that fails.
            tokio::select! {
                () = changed => {}
                () = sleep(wait) => match probe(&outbox).await {
                    Ok(()) => wait = FIRST_WAIT,
                    Err(error) => {
                        outbox.shared.gauge.failed(&error.to_string());
                        wait = (wait * 2).min(LONGEST_WAIT);
                    }
                },
            }
        } else {
            tokio::select! {
                () = changed => {}
                // It takes note of a failure itself.
                _ = recovery.tick() => drop(outbox.recover().await),
            }
        }
    }
}

/// What became of several writes.
enum Written {
    All,
    Some,
    /// `one_suffices`: the store said that none of all others would be taken either.
    None {
        one_suffices: bool,
    },
}

/// Writes these at once. Nobody waits for it, so it takes as long as the store takes.
async fn write(outbox: &Outbox, next: Vec<(Operation, Option<Running>)>) -> Written {
    let shared = &outbox.shared;
    let begun = Instant::now();
    // Somebody waited for it until his patience was over.
    let is_late = next.iter().any(|(_, running)| running.is_some());
    let writes = next.into_iter().map(|(operation, running)| {
        let (event, webhooks) = (operation.event(), operation.webhooks());
        let store = shared.store.clone();
        // Forgetting what is not there writes nothing, so it proves nothing.
        let proves = !matches!(operation, Operation::Discard(_));
        async move {
            let old = running.is_some();
            let result = match running {
                Some(running) => running.await.unwrap_or(Err(StoreError::Closed)),
                None => operation.call(store).await,
            };
            (event, webhooks, result, old, proves)
        }
    });
    let results = all(writes).await;
    let (mut written, mut is_back, mut to_repeat, mut failed) = (0, false, false, Vec::new());
    for (event, webhooks, result, old, proves) in results {
        match result {
            Ok(()) => {
                outbox.backlog().done(event);
                shared.gauge.took();
                outbox.ring(&webhooks);
                written += 1;
                is_back |= proves;
            }
            Err(StoreError::UnknownEvent(_)) => {
                outbox.backlog().done(event);
                shared.gauge.took();
                tracing::error!(%event, "Dropped the verdict of an event that the store does not have.");
                written += 1;
            }
            Err(error) if old => {
                // It may have failed long ago, which says nothing of now; but it may say why.
                if shared.gauge.is_failing() {
                    shared.gauge.failed(&error.to_string());
                }
                to_repeat = true;
            }
            Err(error) => failed.push((event, error)),
        }
    }
    // A store that takes longer than traffic may wait is not back.
    if is_back && !is_late && begun.elapsed() < shared.options.patience {
        shared.gauge.succeeded(outbox.backlog().len());
    }
    let successes = shared.gauge.successes();
    let mut last = None;
    for (event, error) in failed {
        if outbox.backlog().failed(event, successes, !error.may_pass()) {
            tracing::error!(%event, %error, "Gave up an event that the store does not take.");
        } else {
            last = Some(error);
        }
    }
    match last {
        None if to_repeat => Written::Some,
        None => Written::All,
        Some(error) => {
            shared.gauge.failed(&error.to_string());
            match written {
                0 => Written::None { one_suffices: error.may_pass() },
                _ => Written::Some,
            }
        }
    }
}

/// Tries whether the store takes something, and whether it can be read.
async fn probe(outbox: &Outbox) -> Result<(), StoreError> {
    let shared = &outbox.shared;
    let begun = Instant::now();
    let note = Note { key: PROBE.to_owned(), body: Vec::new(), due: None, expires: now() };
    let change = NoteChange { note, before: Before::Any };
    shared.store.apply(vec![Write::Note(change)]).await?;
    shared.store.adopt().await?;
    let patience = shared.options.patience;
    if begun.elapsed() >= patience {
        return Err(StoreError::Slow(patience));
    }
    shared.gauge.took();
    shared.gauge.succeeded(0);
    Ok(())
}

/// Waits for all of these; each is begun before the next, so they reach the store in their order.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut is_ready = true;
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => is_ready = false,
            }
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
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
        // The store gives them again: there is no need to hold more than there is room for.
        if outbox.backlog().is_full() {
            break;
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
