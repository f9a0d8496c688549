//! The outbox's background task: writes what is held, and adopts exchanges of terminated processes.

use std::{
    future::{Future, poll_fn},
    sync::PoisonError,
    task::Poll,
    time::Duration,
};

use as2hook_event::{Event, Verdict};
use as2hook_store::{Before, Record, RecordChange, StoreError, Write};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use uuid::Uuid;

use super::{Outbox, OutboxError, backlog::NextWrites, event_of, report_unknown, writes};
use crate::time::now;

/// The wait after a failure, doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The most events that are written at once, so that they share a commit.
const AT_ONCE: usize = 128;
/// The most unreadable exchanges that are logged.
const UNREADABLE: usize = 1000;
/// The key that is written to test whether the store works again.
const PROBE: &str = "outbox:probe";

/// Runs until it is aborted.
pub(super) async fn run(outbox: Outbox) {
    let every = outbox.shared.options.recover_every;
    let mut recovery = interval_at(Instant::now() + every, every);
    recovery.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut wait, mut most) = (FIRST_WAIT, AT_ONCE);
    let mut failed_before = false;
    loop {
        let failing = outbox.shared.monitor.is_failing();
        if failed_before && !failing {
            // The search for open exchanges was blocked until now, so it runs at once.
            recovery.reset_immediately();
        }
        failed_before = failing;
        let changed = outbox.shared.changed.notified();
        let next = outbox.backlog().next(most);
        if !next.is_empty() {
            let others_wait = next.len() < outbox.backlog().events().min(most);
            let written = write(&outbox, next).await;
            outbox.shared.changed.notify_waiters();
            match written {
                BatchResult::All => (wait, most) = (FIRST_WAIT, AT_ONCE),
                BatchResult::Some => {
                    (wait, most) = (FIRST_WAIT, AT_ONCE);
                    sleep(wait).await;
                }
                BatchResult::None { one_suffices } => {
                    // While all writes fail alike, one is enough.
                    most = if one_suffices { 1 } else { AT_ONCE };
                    if !one_suffices && others_wait {
                        // All others come after these in an order, so only this write shows whether
                        // the store works, which decides whether a failure counts against the
                        // event. The failure is recorded already.
                        drop(try_store(&outbox).await);
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        } else if failing {
            // Only this task notices that the store works again: traffic does not wait for a
            // failing store.
            tokio::select! {
                () = changed => {}
                () = sleep(wait) => match probe(&outbox).await {
                    Ok(()) => wait = FIRST_WAIT,
                    Err(error) => {
                        outbox.shared.monitor.failed(&error.to_string());
                        wait = (wait * 2).min(LONGEST_WAIT);
                    }
                },
            }
        } else {
            tokio::select! {
                () = changed => {}
                // `recover` records a failure itself.
                _ = recovery.tick() => drop(outbox.recover().await),
            }
        }
    }
}

/// The result of several writes.
enum BatchResult {
    All,
    Some,
    /// `one_suffices`: by its error, the store would reject all others too.
    None {
        one_suffices: bool,
    },
}

/// Writes these at once. No caller waits, so there is no timeout.
async fn write(outbox: &Outbox, next: Vec<NextWrites>) -> BatchResult {
    let shared = &outbox.shared;
    let begun = Instant::now();
    // A caller waited for it until the timeout.
    let is_late = next.iter().any(|(_, _, running)| running.is_some());
    let calls = next.into_iter().map(|(number, writes, running)| async move {
        let event = event_of(&writes);
        // Discarding an unknown event writes nothing, so it proves nothing.
        let proves = !matches!(writes.first(), Some(Write::Discard(_)));
        let is_old = running.is_some();
        let result = match running {
            Some(running) => running.await.unwrap_or(Err(StoreError::Closed)),
            None => shared.store.commit(writes).await,
        };
        (number, event, result, is_old, proves)
    });
    let results = all(calls).await;
    let (mut written, mut is_back, mut to_repeat, mut failed) = (0, false, false, Vec::new());
    for (number, event, result, is_old, proves) in results {
        match result {
            Ok(due) => {
                outbox.backlog().done(number);
                shared.monitor.took();
                outbox.wake(&due);
                written += 1;
                is_back |= proves;
            }
            Err(StoreError::UnknownEvent(unknown)) => {
                outbox.backlog().done(number);
                shared.monitor.took();
                report_unknown(unknown);
                written += 1;
            }
            Err(error) if is_old => {
                // The call may have failed long ago, so the failure does not start an outage; but
                // it may explain one.
                if shared.monitor.is_failing() {
                    shared.monitor.failed(&error.to_string());
                }
                to_repeat = true;
            }
            Err(error) => failed.push((number, event, error)),
        }
    }
    // A store slower than the timeout of traffic does not count as working.
    if is_back && !is_late && begun.elapsed() < shared.options.patience {
        shared.monitor.succeeded(outbox.backlog().len());
    }
    let successes = shared.monitor.successes();
    let mut last = None;
    for (number, event, error) in failed {
        if outbox.backlog().failed(number, successes, !error.may_pass()) {
            tracing::error!(%event, %error, "Dropped an event that the store rejects.");
        } else {
            last = Some(error);
        }
    }
    match last {
        None if to_repeat => BatchResult::Some,
        None => BatchResult::All,
        Some(error) => {
            shared.monitor.failed(&error.to_string());
            match written {
                0 => BatchResult::None { one_suffices: error.may_pass() },
                _ => BatchResult::Some,
            }
        }
    }
}

/// Tests whether the store works again: a write and a read.
async fn probe(outbox: &Outbox) -> Result<(), StoreError> {
    let shared = &outbox.shared;
    let begun = Instant::now();
    try_store(outbox).await?;
    shared.store.adopt().await?;
    let limit = shared.options.patience;
    if begun.elapsed() >= limit {
        return Err(StoreError::Slow(limit));
    }
    shared.monitor.succeeded(0);
    Ok(())
}

/// Tests whether the store accepts a write.
async fn try_store(outbox: &Outbox) -> Result<(), StoreError> {
    let shared = &outbox.shared;
    let record = Record { key: PROBE.to_owned(), body: Vec::new(), due: None, expires: now() };
    let change = RecordChange { record, before: Before::Any };
    shared.store.commit(vec![Write::Record(change)]).await?;
    shared.monitor.took();
    Ok(())
}

/// Waits for all of these; each is started before the next, so they reach the store in order.
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
        if outbox.backlog().has_verdict_of(event) {
            continue;
        }
        // The store returns them again later: no more are held than there is room for.
        if outbox.backlog().is_full() {
            break;
        }
        let opened = match serde_json::from_slice(&stored.body) {
            Ok(opened) => opened,
            // It stays open in the store, where a newer as2hook may read it.
            Err(error) => {
                report_unreadable(outbox, event, &error);
                continue;
            }
        };
        let (verdict, further) = match judge(outbox, &opened).await {
            Ok(Some(judged)) => judged,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(
                    %event,
                    %error,
                    "An adopted exchange stays open until the message of its MDN can be looked up \
                     in the store."
                );
                match error {
                    OutboxError::Store(error) if !error.may_pass() => continue,
                    // The store cannot be read for the others either, and each would wait for it.
                    _ => break,
                }
            }
        };
        match writes::settle_planned(event, &verdict, planned) {
            Ok(settle) => {
                // Held or written: either way it is recovered.
                let _ = outbox.write([vec![settle], further].concat()).await;
                recovered += 1;
            }
            Err(error) => report_unreadable(outbox, event, &error),
        }
    }
    if recovered > 0 {
        tracing::warn!(
            recovered,
            "Recovered exchanges of terminated processes; their outcome is unknown."
        );
    }
    Ok(recovered)
}

/// Returns the verdict on an adopted exchange and its further writes. `None`: not yet.
async fn judge(
    outbox: &Outbox,
    event: &Event,
) -> Result<Option<(Verdict, Vec<Write>)>, OutboxError> {
    match &outbox.shared.options.adoption {
        Some(adoption) => adoption.judge(event, outbox).await,
        None => Ok(Some((Verdict::unknown(event.direction, event.kind), Vec::new()))),
    }
}

fn report_unreadable(outbox: &Outbox, event: Uuid, error: &serde_json::Error) {
    let mut known = outbox.shared.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() < UNREADABLE && known.insert(event) {
        tracing::error!(%event, %error, "Cannot read an exchange that was left open; it stays open in the store.");
    }
}
