//! What ends a process: SIGTERM and SIGINT do; SIGQUIT does when a new process has taken over.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    handover::{Meeting, Successor},
    sockets::Sockets,
};

/// The signals that have to do with the end, asked for since the start. SIGHUP reloads, elsewhere.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// Why the process is to end.
pub(super) enum Stop {
    /// It was told to.
    Told,
    /// Another one serves.
    HandedOver(Successor),
}

// === impl Signals ===

impl Signals {
    /// Asks for them. Call within a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits until the process is to end. A hand-over that fails is no reason to.
    pub(super) async fn stop(&mut self, meeting: &Meeting, sockets: &Sockets) -> Stop {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Told,
                _ = self.interrupt.recv() => return Stop::Told,
                _ = self.quit.recv() => {}
            }
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Told,
                _ = self.interrupt.recv() => return Stop::Told,
                handed = meeting.offer(sockets) => match handed {
                    Ok(successor) => return Stop::HandedOver(successor),
                    Err(error) => {
                        tracing::error!(%error, "SIGQUIT: not handed over; serving on.");
                    }
                }
            }
        }
    }

    /// Waits for somebody who has waited long enough.
    pub(super) async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
