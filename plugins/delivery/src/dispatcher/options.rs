//! The options of a dispatcher.

use std::time::Duration;

use as2hook_store::Payloads;

/// The options of a [`Dispatcher`](super::Dispatcher). Every field has a default.
#[derive(Clone, Debug)]
pub struct DispatcherOptions {
    /// The most attempts at once, of all webhooks. With `slow` and `probes` it also bounds the
    /// deliveries in memory and the connections in use.
    pub slots: usize,
    /// The most attempts at once that have taken longer than a second; in addition to `slots`.
    pub slow: usize,
    /// The most attempts at once to webhooks that keep failing; in addition to `slots`.
    pub probes: usize,
    /// The longest time between two polls of the store for due deliveries.
    pub poll: Duration,
    /// How long a webhook may only fail before it is disabled, unless its rule says otherwise. This
    /// process must have seen it fail for as long itself, or for an hour.
    pub disable_after: Duration,
    /// The most outcomes of attempts that wait for a commit.
    pub ledger: usize,
    /// Where payloads are stored. The default reads unsealed payloads from rows and files.
    pub payloads: Payloads,
}

/// The default of [`DispatcherOptions::disable_after`]: five days.
pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

// === impl DispatcherOptions ===

impl Default for DispatcherOptions {
    fn default() -> Self {
        Self {
            slots: 512,
            slow: 2048,
            probes: 64,
            poll: Duration::from_secs(1),
            disable_after: DISABLE_AFTER,
            ledger: 1024,
            payloads: Payloads::default(),
        }
    }
}
