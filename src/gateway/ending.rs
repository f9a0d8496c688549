//! How the listeners' connections come to an end, without any exchange being cut off.
//!
//! Pingora 0.9.1 drops every connection on which it is not reading a request at the very moment of the
//! shutdown, also one whose request is in the kernel already, or whose first byte has not come yet. So
//! its own end is never used: connections end here, in two steps.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

/// What the kernel has already is served: an idle connection is closed when nothing has come on it for
/// so long since it was told to close, and with nobody to take over, connections are accepted so long.
pub const GRACE: Duration = Duration::from_millis(50);

/// Whoever has only just connected has so long to begin its first request.
const FRESH: Duration = Duration::from_secs(1);

/// The way out, and how many connections are still open. Clones share everything.
#[derive(Clone, Debug)]
pub struct Ending {
    stage: Arc<watch::Sender<Stage>>,
    open: Arc<AtomicUsize>,
}

/// How far the gateway is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Another process accepts, and every answer is the last on its connection. Idle connections may
    /// still send a request.
    Draining,
    /// Idle connections are closed.
    Closing,
}

/// One open connection; it is counted until it is dropped.
pub(super) struct Open(Ending);

/// Pingora's question when to stop listening.
pub(super) struct Told(watch::Receiver<Stage>);

/// Is done when an idle connection is to be closed.
pub(super) struct Close {
    wait: Option<Wait>,
    /// When the connection was accepted, until it has sent a request.
    accepted: Option<Instant>,
}

enum Wait {
    ForClosing(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
    Until(Pin<Box<Sleep>>),
}

// === impl Ending ===

impl Ending {
    pub(super) fn new() -> Self {
        Self { stage: Arc::new(watch::Sender::new(Stage::Serving)), open: Arc::default() }
    }

    /// Stops accepting connections, which another process does. Every answer from now on tells its
    /// connection's end.
    pub fn drain(&self) {
        self.reach(Stage::Draining);
    }

    /// Stops accepting connections, after [`GRACE`] if that was not so already, and closes those that
    /// are idle or become so.
    pub fn close_idle(&self) {
        self.reach(Stage::Closing);
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    pub(super) fn enter(&self) -> Open {
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self.clone())
    }

    pub(super) fn told(&self) -> Told {
        Told(self.stage.subscribe())
    }

    /// For a connection that was accepted just now.
    pub(super) fn close(&self) -> Close {
        let mut stage = self.stage.subscribe();
        let closing = Box::pin(async move { reached(&mut stage, Stage::Closing).await });
        Close { wait: Some(Wait::ForClosing(closing)), accepted: Some(Instant::now()) }
    }

    fn reach(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl ShutdownSignalWatch for Told {
    async fn recv(&self) -> ShutdownSignal {
        let mut stage = self.0.clone();
        reached(&mut stage, Stage::Draining).await;
        if *stage.borrow() == Stage::Closing {
            tokio::time::sleep(GRACE).await;
        }
        ShutdownSignal::GracefulTerminate
    }
}

// === impl Close ===

impl Close {
    /// The connection has sent a request.
    pub(super) fn used(&mut self) {
        self.accepted = None;
    }

    /// Whether the connection, which is idle, is to be closed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Wait::ForClosing(closing)) = &mut self.wait {
            ready!(closing.as_mut().poll(cx));
            let now = Instant::now();
            let fresh = self.accepted.map_or(now, |accepted| accepted + FRESH);
            self.wait = Some(Wait::Until(Box::pin(sleep_until(fresh.max(now + GRACE)))));
        }
        if let Some(Wait::Until(sleep)) = &mut self.wait {
            ready!(sleep.as_mut().poll(cx));
            self.wait = None;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    if stage.wait_for(|stage| *stage >= wanted).await.is_err() {
        // The gateway is gone, and its connections with it.
        std::future::pending::<()>().await;
    }
}
