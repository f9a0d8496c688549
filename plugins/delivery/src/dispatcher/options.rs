//! How a dispatcher behaves.

use std::time::Duration;

use as2hook_store::Payloads;

/// How a [`Dispatcher`](super::Dispatcher) behaves. Every field has a default.
#[derive(Clone, Debug)]
pub struct DispatcherOptions {
    /// Attempts under way at once, all webhooks together. With `slow` and `probes` it also bounds the
    /// deliveries in memory and the connections in use.
    pub slots: usize,
    /// Attempts under way at once that have taken longer than a second, all together; besides `slots`.
    pub slow: usize,
    /// Attempts under way at once to webhooks that keep failing, all together; besides `slots`.
    pub probes: usize,
    /// The store is asked at least so often what is due.
    pub poll: Duration,
    /// A webhook that did nothing but fail for so long is disabled, unless its rule says otherwise. This
    /// process has to have seen it fail for as long itself, or for an hour.
    pub disable_after: Duration,
    /// Attempts whose outcome may wait to be written.
    pub ledger: usize,
    /// Who gives payloads back. The default reads those that lie in rows and files, unsealed.
    pub payloads: Payloads,
}

/// A webhook that did nothing but fail for so long is disabled, unless somebody says otherwise: five
/// days.
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
