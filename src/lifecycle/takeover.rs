//! What a new process does when the one that it took over from is gone.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::Outbox;
use as2hook_store::{Payloads, Store};

use super::{handover::Predecessor, upkeep};

/// Takes over what the process before this one left.
pub(super) struct Takeover {
    pub(super) predecessor: Predecessor,
    pub(super) outbox: Outbox,
    pub(super) payloads: Payloads,
    pub(super) store: Arc<dyn Store>,
}

// === impl Takeover ===

impl Takeover {
    /// As soon as it is gone.
    pub(super) async fn take_over(self) {
        let process = self.predecessor.gone().await;
        tracing::info!(process, "The process before this one is gone.");
        // Its locks may fall a moment later than its connection. The periodic look is the net.
        for wait in [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(1)] {
            tokio::time::sleep(wait).await;
            if let Err(error) = self.outbox.recover().await {
                tracing::warn!(%error, "What it left could not be taken over now.");
            }
        }
        upkeep::sweep(&self.payloads, &*self.store).await;
    }
}
