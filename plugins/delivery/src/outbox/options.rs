//! How an outbox behaves.

use std::time::Duration;

/// What happens to traffic while the store cannot take events (`on_store_failure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// It goes on; events wait in memory.
    #[default]
    Pass,
    /// It does not.
    Refuse,
}

/// How an [`Outbox`](super::Outbox) behaves. Every field has a default.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// What opening does when the store fails.
    pub on_store_failure: OnStoreFailure,
    /// How long a call waits for the store before it counts as failing.
    pub patience: Duration,
    /// Events held in memory at most. The verdicts of those that are open in the store come besides.
    pub held_events: usize,
    /// Bytes held in memory at most, in events and small payloads. Beyond it verdicts alone are held, a
    /// few KiB each.
    pub held_bytes: usize,
    /// How often exchanges that a dead process left open are looked for.
    pub recover_every: Duration,
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
        }
    }
}
