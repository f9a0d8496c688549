//! What goes on beside the traffic, from the start to the drain.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::Dispatcher;
use as2hook_store::Payloads;
use tokio::{runtime::Runtime, signal::unix};

use super::{Life, drain::Drain, following, signals::Signals, upkeep};
use crate::{clockwork, config::watch::Watch, neighbours, reload::Reloader, snapshot::Live};

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
        runtime.spawn(following::run(
            store.changes(),
            self.keeper.clone(),
            dispatcher.clone(),
            following::EVERY,
        ));
        let generation = self.reloader.generation();
        runtime.spawn(neighbours::run(live.clone(), store.clone(), generation));
        runtime.spawn(clockwork::run(self.drain.live.clone(), self.drain.outbox.clone()));
        runtime.spawn(upkeep::run(live.clone(), store.clone(), self.payloads.clone()));
        runtime.spawn(probe(self.payloads));
        runtime.spawn(tell_dispatcher(self.reloader.clone(), self.drain.dispatcher.clone()));
        if let Some(heir) = self.heir {
            runtime.spawn(heir.inherit());
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

/// A changed rule may free what its webhook holds.
async fn tell_dispatcher(reloader: Arc<Reloader>, dispatcher: Arc<Dispatcher>) {
    let mut generation = reloader.generation();
    while generation.changed().await.is_ok() {
        dispatcher.rules_changed();
    }
}
