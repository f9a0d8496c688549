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
    sockets::ListeningSockets,
    supervisor,
};
use crate::{
    front::{GracefulShutdown, InFlight, shutdown::GRACE},
    log,
    snapshot::Live,
    tap::Tap,
};

/// How long a process stays at least that has handed its listeners over.
const LINGER: Duration = Duration::from_secs(1);

/// Between two looks at what is still under way.
const GLANCE: Duration = Duration::from_millis(5);

/// Connections that the kernel has are accepted for so long after SIGTERM.
const CALLERS: Duration = Duration::from_secs(1);

/// After a hand-over, messages that are still decoded are waited for, and events that the store does not
/// take are tried, for so long each, unless the process is stopped: the new process cannot know of them.
const HELD_EVENTS: Duration = Duration::from_secs(600);

/// What leaving the store may take.
const FAREWELL: Duration = Duration::from_secs(15);

/// What the last spans may take.
#[cfg(feature = "otel")]
const LAST_SPANS: Duration = Duration::from_secs(1);

/// What has to be brought to an end.
pub(super) struct Drain {
    pub(super) live: Arc<Live>,
    pub(super) store: Arc<dyn Store>,
    pub(super) outbox: Outbox,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) tap: Tap,
    pub(super) in_flight: InFlight,
    pub(super) ending: GracefulShutdown,
    /// True: the admin listener is another process's.
    pub(super) admin: watch::Sender<bool>,
}

/// Stop signals within this time of the first are one.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

// === impl Drain ===

impl Drain {
    /// Finishes what is under way and ends the process: 0 when it is all done or the time for it is
    /// over, 1 at a second signal. A hand-over is not the first: a supervisor signals every
    /// process of a service to stop, and this one has exchanges and events that no other knows of.
    pub(super) async fn run(self, stop: Stop, sockets: ListeningSockets, mut signals: Signals) {
        let (hurry, hurried) = watch::channel(matches!(stop, Stop::Signal));
        let second_signal = async {
            if !*hurry.borrow() {
                signals.stop_signal().await;
                tracing::info!(
                    "Stop signal: finishing open exchanges; no new connections are accepted."
                );
                hurry.send_replace(true);
            }
            // A supervisor and a shell may both pass the first one on.
            let first = Instant::now();
            signals.stop_signal().await;
            while first.elapsed() < ONE_SIGNAL {
                signals.stop_signal().await;
            }
        };
        tokio::select! {
            () = self.finish(&stop, sockets, hurried) => {
                tracing::info!("Stopped.");
                leave(0);
            }
            () = second_signal => {
                tracing::error!("Second stop signal: stopped before the drain was complete.");
                leave(1);
            }
        }
    }

    /// `hurried`: no connection without a request under way is waited for.
    async fn finish(self, stop: &Stop, sockets: ListeningSockets, hurried: watch::Receiver<bool>) {
        let limit = self.live.load().config.drain;
        let deadline = Instant::now() + limit;
        self.ending.last_responses();
        match stop {
            Stop::Signal => {
                supervisor::stopping();
                tracing::info!(in_flight = self.in_flight.count(), "Stopping.");
                self.ending.close_idle();
                // A client that has connected already is not refused, nor one whose handshake is about to end.
                sockets.stop_accepting();
                let (mut left, mut quiet) = (glances(CALLERS.min(limit)), 0);
                while quiet < glances(GRACE) && left > 0 && Instant::now() < deadline {
                    quiet = if sockets.has_callers() { 0 } else { quiet + 1 };
                    left -= 1;
                    sleep(GLANCE).await;
                }
            }
            Stop::HandedOver(successor) => {
                tracing::info!(
                    process = successor.number,
                    in_flight = self.in_flight.count(),
                    "Handed the listeners over; finishing what is under way."
                );
                // What is asked there concerns the new process.
                self.admin.send_replace(true);
            }
        }
        // As long as any copy is open, a new connection is neither refused nor served.
        drop(sockets);
        let stopped = timeout(CALLERS, self.ending.stop_accepting()).await;
        if stopped.is_err() {
            tracing::warn!("The listeners have not stopped in time.");
        }
        // What was accepted last is counted by then. A service manager that sees the old process exit before
        // it hears of the new one stops both, so the old one stays a moment after a hand-over.
        let stays = if matches!(stop, Stop::HandedOver(_)) { LINGER.min(limit / 2) } else { GRACE };
        turns(stays.min(limit), deadline).await;
        if let Stop::HandedOver(_) = stop {
            // A request on a kept connection within this time gets its response, with
            // `Connection: close`.
            tokio::select! {
                () = self.traffic(Instant::now() + limit / 2) => {}
                () = stop_signal(&hurried) => {}
            }
            self.ending.close_idle();
        }
        self.traffic(deadline).await;
        self.tap.end_message_waits();
        if let Stop::HandedOver(_) = stop
            && self.tap.concluding() > 0
        {
            tracing::info!(
                messages = self.tap.concluding(),
                "Waiting for messages that are still being decoded."
            );
            tokio::select! {
                () = self.concluded(Instant::now() + HELD_EVENTS) => {}
                () = stop_signal(&hurried) => {}
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.dispatcher.shutdown(left).await;
        tokio::select! {
            _ = self.outbox.close(left.max(HELD_EVENTS)) => {}
            () = async {
                stop_signal(&hurried).await;
                sleep(left.max(Duration::from_secs(1))).await;
            } => {
                // Counts what is left.
                self.outbox.close(Duration::ZERO).await;
            }
        }
        let farewell = async {
            self.live.peers().leave(&*self.store).await;
            self.store.close().await;
        };
        // A disk or a database that hangs is no reason to stay.
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("The store could not be closed in time.");
        }
        #[cfg(feature = "otel")]
        if let Some(traces) = self.live.traces() {
            traces.flush(LAST_SPANS).await;
        }
    }

    /// Waits until no verdict is outstanding.
    async fn concluded(&self, deadline: Instant) {
        while self.tap.concluding() > 0 && Instant::now() < deadline {
            sleep(GLANCE).await;
        }
    }

    /// Waits until no connection is open and no verdict outstanding.
    async fn traffic(&self, deadline: Instant) {
        while (self.ending.open() > 0 || self.tap.concluding() > 0) && Instant::now() < deadline {
            if self.ending.open() == 0 && self.tap.only_mdns_wait() {
                self.tap.end_message_waits();
            }
            sleep(GLANCE).await;
        }
    }
}

/// Lets others come to their turn for so long, and no longer than until then.
async fn turns(time: Duration, deadline: Instant) {
    let mut left = glances(time);
    while left > 0 && Instant::now() < deadline {
        sleep(GLANCE).await;
        left -= 1;
    }
}

/// How many make up this time. They are counted where the kernel or another thread has to come to its
/// turn: the clock goes on while the whole process stands still, and no thread has had a turn then.
fn glances(time: Duration) -> u128 {
    time.as_millis() / GLANCE.as_millis()
}

/// Waits for a stop signal to this process.
async fn stop_signal(hurried: &watch::Receiver<bool>) {
    if hurried.clone().wait_for(|hurried| *hurried).await.is_err() {
        // Then its end has come already.
        std::future::pending::<()>().await;
    }
}

/// Ends the process.
fn leave(status: i32) -> ! {
    log::flush();
    process::exit(status)
}
