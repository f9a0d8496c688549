//! What goes on beside the traffic, from the start to the drain.

use std::{sync::Arc, time::Duration};

use as2hook_api::Handles;
use as2hook_delivery::{Dispatcher, Outbox};
use as2hook_store::{Payloads, Prune, Store, StoreError, clock};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    drain::Drain,
    handover::{OtherProcess, UpgradeSocket},
    peer_changes,
    signals::Signals,
    sockets::ListeningSockets,
};
use crate::{
    partner_webhooks::PartnerWebhookLoader, peers, reload::Reloader, snapshot::Live, timers,
};
use as2hook_config::{Retention, watch::Watch};

/// How often the receivers' names are looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);

/// How often there is something looked for: so often that it is never much.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// What one call to the store removes at most. It makes steps of its own of it.
const AT_ONCE: usize = 5_000;

/// Events that are removed first before it is looked again whether the store takes too many bytes.
const STEP: usize = 16;

/// How often payloads are looked for that no event names.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// How often a place of payloads that failed is tried.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// What goes on beside the traffic.
pub(super) struct Background {
    pub(super) reloader: Arc<Reloader>,
    pub(super) keeper: Arc<PartnerWebhookLoader>,
    pub(super) watch: Watch,
    pub(super) meeting: UpgradeSocket,
    pub(super) sockets: ListeningSockets,
    pub(super) predecessor: Option<OtherProcess>,
    pub(super) payloads: Payloads,
    pub(super) drain: Drain,
    /// The admin listener, until it is another process's.
    pub(super) admin: (TcpListener, Handles, watch::Receiver<bool>),
}

// === impl Background ===

impl Background {
    /// Begins all of it; the drain at its end ends the process.
    pub(super) fn spawn(self, runtime: &Runtime, hangup: unix::Signal, mut signals: Signals) {
        // Until the process ends or another one has the listener: a drain can be watched.
        let (admin, handles, handed_on) = self.admin;
        runtime.spawn(as2hook_api::serve_on(admin, handles, handed_on));
        runtime.spawn(reload_when(self.reloader.clone(), self.watch, hangup));
        runtime.spawn(look_up(self.drain.live.clone()));
        let Drain { live, store, dispatcher, .. } = &self.drain;
        runtime.spawn(peer_changes::run(
            store.changes(),
            self.keeper.clone(),
            dispatcher.clone(),
            peer_changes::EVERY,
        ));
        let generation = self.reloader.generation();
        runtime.spawn(peers::run(live.clone(), store.clone(), generation.clone()));
        runtime.spawn(timers::run(live.clone(), self.drain.outbox.clone(), store.clone()));
        runtime.spawn(upkeep(live.clone(), store.clone(), self.payloads.clone()));
        if let Some(predecessor) = self.predecessor {
            let (outbox, payloads) = (self.drain.outbox.clone(), self.payloads.clone());
            runtime.spawn(take_over(predecessor, outbox, payloads, store.clone()));
        }
        runtime.spawn(probe(self.payloads));
        let newest = live.peers().newest();
        runtime.spawn(rules_changed(generation, newest, dispatcher.clone()));
        runtime.spawn(async move {
            let stop = signals.stop(&self.meeting, &self.sockets).await;
            self.drain.run(stop, self.sockets, signals).await;
        });
    }
}

/// Reloads whenever a file has changed, and at each SIGHUP.
async fn reload_when(reloader: Arc<Reloader>, mut watch: Watch, mut hangup: unix::Signal) {
    let mut sources = reloader.sources();
    loop {
        tokio::select! {
            Some(()) = watch.changed() => {}
            Some(()) = hangup.recv() => {}
            Ok(()) = sources.changed() => {
                watch.rewatch(sources.borrow_and_update().clone());
                continue;
            }
            else => return,
        }
        // Its mistakes are logged, and shown by the status.
        let _ = reloader.reload().await;
    }
}

async fn look_up(live: Arc<Live>) {
    loop {
        sleep(LOOKUP_EVERY).await;
        live.load().receivers.refresh().await;
    }
}

/// Notices when the place of large payloads is well again.
async fn probe(payloads: Payloads) {
    loop {
        sleep(PROBE_EVERY).await;
        payloads.probe().await;
    }
}

/// A changed rule may free what its webhook holds, and so may that this gateway's rules are the newest now.
async fn rules_changed(
    mut generation: watch::Receiver<u64>,
    mut newest: watch::Receiver<bool>,
    dispatcher: Arc<Dispatcher>,
) {
    loop {
        tokio::select! {
            Ok(()) = generation.changed() => {}
            Ok(()) = newest.changed() => {}
            else => return,
        }
        dispatcher.rules_changed();
    }
}

/// Takes over what the process before this one left, as soon as it is gone.
async fn take_over(
    predecessor: OtherProcess,
    outbox: Outbox,
    payloads: Payloads,
    store: Arc<dyn Store>,
) {
    predecessor.gone().await;
    tracing::info!(process = predecessor.number, "The previous process has terminated.");
    // Its locks may fall a moment later than its connection. The periodic look is the net.
    for wait in [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(1)] {
        sleep(wait).await;
        if let Err(error) = outbox.recover().await {
            tracing::warn!(%error, "The previous process's claims and exchanges could not be taken over; trying again.");
        }
    }
    sweep(&payloads, &*store).await;
}

/// Keeps the store within `retention`: removes old events and deliveries, in small steps.
async fn upkeep(live: Arc<Live>, store: Arc<dyn Store>, payloads: Payloads) {
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
        let retention = live.load().config.retention;
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
pub(super) async fn sweep(payloads: &Payloads, store: &dyn Store) {
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
