//! What goes on beside the traffic, from the start to the drain.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::Dispatcher;
use as2hook_store::Payloads;
use tokio::{runtime::Runtime, signal::unix, sync::watch};

use super::{Life, drain::Drain, peer_changes, signals::Signals, upkeep};
use crate::{peers, reload::Reloader, snapshot::Live, timers};
use as2hook_config::watch::Watch;

/// How often the receivers' names are looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);

/// How often a place of payloads that failed is tried.
const PROBE_EVERY: Duration = Duration::from_secs(10);

impl Life {
    /// Begins all of it; the drain at its end ends the process.
    pub(super) fn spawn(self, runtime: &Runtime, hangup: unix::Signal, mut signals: Signals) {
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
        runtime.spawn(upkeep::run(live.clone(), store.clone(), self.payloads.clone()));
        runtime.spawn(probe(self.payloads));
        let newest = live.peers().newest();
        runtime.spawn(tell_dispatcher(generation, newest, dispatcher.clone()));
        if let Some(takeover) = self.takeover {
            runtime.spawn(takeover.take_over());
        }
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
        tokio::time::sleep(LOOKUP_EVERY).await;
        live.load().receivers.refresh().await;
    }
}

/// Notices when the place of large payloads is well again.
async fn probe(payloads: Payloads) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        payloads.probe().await;
    }
}

/// A changed rule may free what its webhook holds, and so may that this gateway's rules are the newest now.
async fn tell_dispatcher(
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
