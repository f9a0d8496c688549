//! What ends a process: SIGTERM and SIGINT do; SIGQUIT does when a new process has taken over.

use std::{future::ready, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{
    handover::{OtherProcess, UpgradeSocket},
    sockets::ListeningSockets,
};

/// The signals that have to do with the end, asked for since the start.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// Why the process is to end.
pub(super) enum Stop {
    /// A signal asked for it.
    Signal,
    /// Another one serves.
    HandedOver(OtherProcess),
}

// === impl Signals ===

impl Signals {
    /// Asks for them, and for SIGHUP. Call within a tokio runtime.
    pub(super) fn new() -> io::Result<(Self, Signal)> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        };
        Ok((signals, signal(SignalKind::hangup())?))
    }

    /// Waits until the process is to end. A hand-over that fails is no reason to.
    pub(super) async fn stop(
        &mut self,
        meeting: &UpgradeSocket,
        sockets: &ListeningSockets,
    ) -> Stop {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Signal,
                _ = self.interrupt.recv() => return Stop::Signal,
                _ = self.quit.recv() => {}
            }
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Signal,
                _ = self.interrupt.recv() => return Stop::Signal,
                handed = meeting.offer(|| sockets.offer()) => match handed {
                    Ok(successor) => return Stop::HandedOver(successor),
                    Err(error) => {
                        tracing::error!(%error, "SIGQUIT: the listeners were not handed over; this process continues to serve.");
                    }
                }
            }
        }
    }

    /// Whether a stop signal has come by now.
    pub(super) async fn has_come(&mut self) -> bool {
        // The runtime hears of signals before it hears that a time is over.
        sleep(Duration::from_millis(1)).await;
        tokio::select! {
            biased;
            () = self.stop_signal() => true,
            () = ready(()) => false,
        }
    }

    /// Waits for a stop signal, the first or the next.
    pub(super) async fn stop_signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
