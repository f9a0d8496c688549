//! Claims that wait for the commit that makes deliveries of their webhooks due, and are made with it.

use std::collections::HashMap;

use super::StoreCall;

/// A call of a queue, with what waits for its outcome.
pub(crate) trait AwaitedCall {
    fn call(&self) -> &StoreCall;
    /// Whether its caller is gone.
    fn is_abandoned(&self) -> bool;
}

/// Claims by their webhooks.
pub(crate) struct WaitingClaims<C>(HashMap<String, C>);

// === impl WaitingClaims ===

impl<C> Default for WaitingClaims<C> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<C: AwaitedCall> WaitingClaims<C> {
    /// Adds a claim, in the place of an earlier one of its webhook.
    pub(crate) fn add(&mut self, claim: C) {
        let StoreCall::Claim(call) = claim.call() else { return };
        let webhook = call.webhook.clone();
        if self.0.len() == self.0.capacity() {
            // Before it grows: those of workers that have ended are of no use.
            self.0.retain(|_, claim| !claim.is_abandoned());
        }
        self.0.insert(webhook, claim);
    }

    /// Removes the claims of webhooks for which a call makes deliveries due.
    pub(crate) fn take(&mut self, call: &StoreCall) -> Vec<C> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut taken: Vec<_> =
            call.due().iter().filter_map(|webhook| self.0.remove(webhook)).collect();
        taken.retain(|claim| !claim.is_abandoned());
        taken
    }
}
