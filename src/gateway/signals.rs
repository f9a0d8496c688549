//! When to stop: SIGTERM, SIGINT and SIGQUIT drain and exit. Handing the listeners over to a new
//! process is not built in yet, so SIGQUIT does not offer them to anybody.

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Pingora's question when to stop. SIGHUP is not its business: it reloads.
pub(super) struct Signals;

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = listen(SignalKind::terminate());
        let mut interrupt = listen(SignalKind::interrupt());
        let mut quit = listen(SignalKind::quit());
        tokio::select! {
            _ = terminate.recv() => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => ShutdownSignal::GracefulTerminate,
            _ = quit.recv() => ShutdownSignal::GracefulTerminate,
        }
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("the runtime that Pingora waits on has signal handling")
}
