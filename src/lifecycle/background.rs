//! What goes on beside the traffic, from the start to the drain.

use std::{sync::Arc, time::Duration};

use as2hook_api::Handles;
use as2hook_delivery::{Dispatcher, Outbox};
use as2hook_store::{Payloads, Store};
use tokio::{net::TcpListener, runtime::Runtime, signal::unix, sync::watch, time::sleep};

use super::{
    drain::Drain,
    handover::{OtherProcess, UpgradeSocket},
    peer_changes,
    signals::Signals,
    sockets::ListeningSockets,
};
use crate::{
    partner_webhooks::loader::PartnerWebhookLoader,
    peers::REPORT_EVERY,
    reload::Reloader,
    snapshot::Live,
    tap::{retention, storage},
    timers,
};
use as2hook_config::watch::Watch;

/// How often the receivers' names are looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);

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
        runtime.spawn(report(live.clone(), store.clone(), generation.clone()));
        runtime.spawn(timers::run(live.clone(), self.drain.outbox.clone(), store.clone()));
        runtime.spawn(retention::run(live.clone(), store.clone(), self.payloads.clone()));
        if let Some(predecessor) = self.predecessor {
            let (outbox, payloads) = (self.drain.outbox.clone(), self.payloads.clone());
            runtime.spawn(take_over(predecessor, outbox, payloads, store.clone()));
        }
        runtime.spawn(storage::probe(self.payloads));
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
    loop {
        tokio::select! {
            Some(()) = reloader.files.changed(&mut watch) => {}
            Some(()) = hangup.recv() => {}
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

/// Writes and reads reports for ever: every few seconds, and at once when other rules are in force.
async fn report(live: Arc<Live>, store: Arc<dyn Store>, mut generation: watch::Receiver<u64>) {
    loop {
        if let Err(error) = live.report(&*store).await {
            tracing::debug!(%error, "The other gateways could not be heard of.");
        }
        tokio::select! {
            () = sleep(REPORT_EVERY) => {}
            Ok(()) = generation.changed() => {}
        }
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
    retention::sweep(&payloads, &*store).await;
}
