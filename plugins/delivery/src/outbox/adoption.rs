//! The interface that judges exchanges left open by terminated processes.

use std::fmt;

use as2hook_event::{Event, Verdict};
use async_trait::async_trait;

use super::{Further, Outbox, OutboxError};

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
    ) -> Result<Option<(Verdict, Vec<Further>)>, OutboxError>;
}
