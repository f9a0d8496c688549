//! The options of an outbox, and the interface that judges adopted exchanges.

use std::{fmt, sync::Arc, time::Duration};

use as2hook_event::{Event, Verdict};
use as2hook_store::Write;
use async_trait::async_trait;

use super::{Outbox, OutboxError};

/// What happens to traffic while the store cannot take events (`on_store_failure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// Traffic continues; events wait in memory.
    #[default]
    Pass,
    /// Traffic is refused.
    Refuse,
}

/// The options of an [`Outbox`]. Every field has a default.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// The behaviour of opening when the store fails.
    pub on_store_failure: OnStoreFailure,
    /// How long a call waits for the store before the store counts as failing.
    pub patience: Duration,
    /// The most events in memory. The verdicts of events that are open in the store are not limited
    /// by it.
    pub held_events: usize,
    /// The most bytes in memory, for events and small payloads. Beyond it only verdicts are held, a
    /// few KiB each.
    pub held_bytes: usize,
    /// The time between two searches for exchanges that terminated processes left open.
    pub recover_every: Duration,
    /// Judges those exchanges. Without it their outcome is only reported as unknown.
    pub adoption: Option<Arc<dyn Adoption>>,
}

/// Judges adopted exchanges: their outcome is unknown, but what an MDN says about its message still
/// holds.
#[async_trait]
pub trait Adoption: fmt::Debug + Send + Sync + 'static {
    /// Returns the verdict and the further writes of the exchange, for one commit. `None`: the
    /// exchange stays open and is judged again later.
    ///
    /// # Errors
    /// When the store cannot be read; the exchange stays open as well.
    async fn judge(
        &self,
        event: &Event,
        outbox: &Outbox,
    ) -> Result<Option<(Verdict, Vec<Write>)>, OutboxError>;
}

// === impl OutboxOptions ===

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            on_store_failure: OnStoreFailure::default(),
            patience: Duration::from_secs(3),
            held_events: 10_000,
            held_bytes: 64 * 1024 * 1024,
            recover_every: Duration::from_secs(10),
            adoption: None,
        }
    }
}
