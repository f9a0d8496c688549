//! How the listeners and their connections come to an end, without any exchange being cut off.
//!
//! Pingora 0.9.1 drops every connection on which it is not reading a request at the very moment of the
//! shutdown, also one whose request is in the kernel already, or whose first byte has not come yet. So
//! its own end is never used: connections end here, one step after the other.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// An idle connection is closed when nothing has come on it for so long since it was asked to close: a
/// request that the kernel has already gets its response.
pub const GRACE: Duration = Duration::from_millis(50);

/// A new connection has so long to begin its first request, and one in its TLS handshake to end that.
const FRESH: Duration = Duration::from_secs(1);

/// The way out, and how many connections are still open. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct GracefulShutdown(Arc<ShutdownState>);

#[derive(Debug, Default)]
struct ShutdownState {
    steps: watch::Sender<Steps>,
    /// Each open connection has a clone.
    open: Arc<()>,
}

/// What the gateway has come to on its way out.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    /// Every response is the last on its connection.
    last_responses: bool,
    /// Connections that are idle are closed.
    close_idle: bool,
    /// No connection is accepted any more.
    deaf: bool,
    /// Listeners that run.
    listeners: usize,
}

/// Pingora's question when to stop listening.
pub(crate) struct ShutdownWatch(watch::Receiver<Steps>);

/// Says when an idle connection is to be closed.
#[derive(Debug)]
pub(crate) struct CloseSignal {
    steps: watch::Receiver<Steps>,
    /// When the connection was accepted, until it has sent a request.
    accepted: Option<Instant>,
    /// When it is to be closed, once that is known.
    at: Option<Instant>,
}

// === impl GracefulShutdown ===

impl GracefulShutdown {
    /// Every response from now on is the last on its connection.
    pub fn last_responses(&self) {
        self.0.steps.send_modify(|steps| steps.last_responses = true);
    }

    /// Closes connections that are idle, and those that become so.
    pub fn close_idle(&self) {
        self.0.steps.send_modify(|steps| steps.close_idle = true);
    }

    /// Stops accepting connections, and waits until the listeners have stopped.
    pub async fn stop_accepting(&self) {
        self.0.steps.send_modify(|steps| steps.deaf = true);
        reached(&mut self.0.steps.subscribe(), |steps| steps.listeners == 0).await;
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.0.open) - 1
    }

    pub(crate) fn is_last_response(&self) -> bool {
        self.0.steps.borrow().last_responses
    }

    /// For a connection that was accepted just now: it counts as open until this is dropped.
    pub(crate) fn enter(&self) -> Arc<()> {
        self.0.open.clone()
    }

    /// A listener is there.
    pub(crate) fn listens(&self) {
        self.0.steps.send_modify(|steps| steps.listeners += 1);
    }

    /// A listener has stopped.
    pub(crate) fn has_stopped(&self) {
        self.0.steps.send_modify(|steps| steps.listeners = steps.listeners.saturating_sub(1));
    }

    pub(crate) fn shutdown_watch(&self) -> ShutdownWatch {
        ShutdownWatch(self.0.steps.subscribe())
    }

    /// Waits until a connection in its TLS handshake is to be closed.
    pub(crate) async fn handshakes_end(&self) {
        reached(&mut self.0.steps.subscribe(), |steps| steps.close_idle).await;
        sleep(FRESH).await;
    }

    /// For a connection that was accepted just now.
    pub(crate) fn close(&self) -> CloseSignal {
        CloseSignal { steps: self.0.steps.subscribe(), accepted: Some(Instant::now()), at: None }
    }
}

#[async_trait]
impl ShutdownSignalWatch for ShutdownWatch {
    async fn recv(&self) -> ShutdownSignal {
        reached(&mut self.0.clone(), |steps| steps.deaf).await;
        ShutdownSignal::GracefulTerminate
    }
}

// === impl CloseSignal ===

impl CloseSignal {
    /// The connection has sent a request.
    pub(crate) fn used(&mut self) {
        self.accepted = None;
    }

    /// Waits until the connection, which is idle, is to be closed.
    pub(crate) async fn closed(&mut self) {
        if self.at.is_none() {
            reached(&mut self.steps, |steps| steps.close_idle).await;
            let now = Instant::now();
            let fresh = self.accepted.map_or(now, |accepted| accepted + FRESH);
            self.at = Some(fresh.max(now + GRACE));
        }
        if let Some(at) = self.at {
            sleep_until(at).await;
        }
    }
}

async fn reached(steps: &mut watch::Receiver<Steps>, wanted: impl Fn(&Steps) -> bool) {
    if steps.wait_for(|steps| wanted(steps)).await.is_err() {
        // The gateway is gone, and its connections with it.
        std::future::pending::<()>().await;
    }
}
