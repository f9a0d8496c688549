//! The end of a process: what is under way is finished, in the order in which it depends on each other.

use std::{
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_delivery::{Dispatcher, Outbox};
use as2hook_store::Store;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    signals::{Signals, Stop},
    sockets::Sockets,
    supervisor,
};
use crate::{
    gateway::{Ending, InFlight, ending::GRACE},
    snapshot::Live,
    tap::Tap,
};

/// Between two looks at what is still under way.
const GLANCE: Duration = Duration::from_millis(5);

/// Connections that the kernel has are accepted for so long after SIGTERM.
const CALLERS: Duration = Duration::from_secs(1);

/// After a hand-over the old process stays for so long at least: a connection that it has accepted may
/// still be in its TLS handshake, and nobody waits for its end.
const LINGER: Duration = Duration::from_secs(1);

/// After a hand-over, events that the store does not take are tried for so long: the new process cannot
/// know of them.
const HELD_EVENTS: Duration = Duration::from_secs(600);

/// What has to be brought to an end.
pub(super) struct Drain {
    pub(super) live: Arc<Live>,
    pub(super) store: Arc<dyn Store>,
    pub(super) outbox: Outbox,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) tap: Tap,
    pub(super) in_flight: InFlight,
    pub(super) ending: Ending,
    /// True: the admin listener is another process's.
    pub(super) admin: watch::Sender<bool>,
}

// === impl Drain ===

impl Drain {
    /// Finishes what is under way and ends the process: 0 when it is all done or the time for it is
    /// over, 1 when it is told a second time.
    pub(super) async fn run(self, stop: Stop, sockets: Sockets, mut signals: Signals) {
        tokio::select! {
            () = self.finish(&stop, sockets) => {
                tracing::info!("Stopped.");
                process::exit(0);
            }
            () = signals.told() => {
                tracing::error!("Told to stop again: stopped in the middle of the drain.");
                process::exit(1);
            }
        }
    }

    async fn finish(self, stop: &Stop, sockets: Sockets) {
        let limit = self.live.load().config.drain;
        let deadline = Instant::now() + limit;
        self.ending.last_answers();
        match stop {
            Stop::Told => {
                supervisor::stopping();
                tracing::info!(in_flight = self.in_flight.count(), "Stopping.");
                self.ending.close_idle();
                // Who has connected already is not refused.
                let callers = Instant::now() + CALLERS.min(limit);
                while sockets.has_callers() && Instant::now() < callers {
                    sleep(GLANCE).await;
                }
            }
            Stop::HandedOver(successor) => {
                tracing::info!(
                    process = successor.process(),
                    in_flight = self.in_flight.count(),
                    "Handed the listeners over; finishing what is under way."
                );
                // What is asked there concerns the new process.
                self.admin.send_replace(true);
            }
        }
        // As long as any copy is open, who connects is neither refused nor served.
        drop(sockets);
        let stopped = timeout(CALLERS, self.ending.stop_accepting()).await;
        if stopped.is_err() {
            tracing::warn!("The listeners have not stopped in time.");
        }
        match stop {
            // What was accepted last is counted by then.
            Stop::Told => sleep(GRACE.min(limit)).await,
            Stop::HandedOver(_) => {
                sleep(LINGER.min(limit / 2)).await;
                // Who sends on a kept connection within this time is answered, and told to connect anew.
                self.traffic(Instant::now() + limit / 2).await;
                self.ending.close_idle();
            }
        }
        self.traffic(deadline).await;
        let left = deadline.saturating_duration_since(Instant::now());
        self.dispatcher.shutdown(left).await;
        let for_held = match stop {
            Stop::Told => left.max(Duration::from_secs(1)),
            Stop::HandedOver(_) => left.max(HELD_EVENTS),
        };
        self.outbox.close(for_held).await;
        self.live.neighbours().leave(&*self.store).await;
        self.store.close().await;
    }

    /// Waits until no connection is open and no verdict outstanding.
    async fn traffic(&self, deadline: Instant) {
        while (self.ending.open() > 0 || self.tap.concluding() > 0) && Instant::now() < deadline {
            sleep(GLANCE).await;
        }
    }
}
