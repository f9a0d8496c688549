//! The claims of this process. Each has a ticket, so that a claim with an unknown result can be
//! undone, and so that a delivery is finished only under the claim that took it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{group::ClaimHolding, model::Claimed};

/// The claims of this process.
#[derive(Clone, Default)]
pub(super) struct Claims {
    shared: Arc<ClaimTable>,
}

/// Deliveries that are claimed but not handed over yet: dropping this releases them.
pub(super) struct PgClaimGuard {
    ticket: i64,
    claimed: Vec<Claimed>,
    claims: Claims,
}

#[derive(Default)]
struct ClaimTable {
    state: Mutex<ClaimsState>,
    /// Notified when [`ClaimsState::returned`] has entries.
    tickets_returned: Notify,
}

#[derive(Default)]
struct ClaimsState {
    /// The last ticket issued.
    last: i64,
    /// Tickets with unfinished deliveries, and their number; `None` until the database has
    /// responded.
    live: HashMap<i64, Option<usize>>,
    held: HashMap<i64, ClaimHolding>,
    /// Tickets whose deliveries are to be released.
    returned: Vec<i64>,
}

// === impl Claims ===

impl Claims {
    /// Issues a ticket. It is live until one of the calls below ends it.
    pub(super) fn ticket(&self) -> i64 {
        let mut state = self.state();
        state.last += 1;
        let ticket = state.last;
        state.live.insert(ticket, None);
        ticket
    }

    /// Records the deliveries that the database returned for a ticket.
    pub(super) fn record_claimed(
        &self,
        ticket: i64,
        owner: i64,
        claimed: Vec<Claimed>,
    ) -> PgClaimGuard {
        let mut state = self.state();
        if claimed.is_empty() {
            state.live.remove(&ticket);
        } else {
            state.live.insert(ticket, Some(claimed.len()));
        }
        let holding = ClaimHolding { owner, ticket: Some(ticket) };
        state.held.extend(claimed.iter().map(|one| (one.id, holding)));
        PgClaimGuard { ticket, claimed, claims: self.clone() }
    }

    /// Releases a ticket whose result is unknown or not awaited any more.
    pub(super) fn release(&self, ticket: i64) {
        let mut state = self.state();
        state.live.remove(&ticket);
        state.held.retain(|_, holding| holding.ticket != Some(ticket));
        state.returned.push(ticket);
        drop(state);
        self.shared.tickets_returned.notify_one();
    }

    /// Returns how this process has claimed a delivery.
    pub(super) fn holding(&self, delivery: i64) -> Option<ClaimHolding> {
        self.state().held.get(&delivery).copied()
    }

    /// Records that the outcome of a delivery is stored.
    pub(super) fn finished(&self, delivery: i64, holding: ClaimHolding) {
        let mut state = self.state();
        if state.held.get(&delivery) != Some(&holding) {
            return;
        }
        state.held.remove(&delivery);
        let Some(ticket) = holding.ticket else { return };
        if let Some(Some(left)) = state.live.get_mut(&ticket) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.live.remove(&ticket);
            }
        }
    }

    /// Takes the tickets to release. Those that fail are [`Self::put_back`].
    pub(super) fn returned(&self) -> Vec<i64> {
        std::mem::take(&mut self.state().returned)
    }

    pub(super) fn put_back(&self, mut tickets: Vec<i64>) {
        self.state().returned.append(&mut tickets);
    }

    /// Waits for tickets to release.
    pub(super) async fn until_returned(&self) {
        self.shared.tickets_returned.notified().await;
    }

    /// Returns whether a ticket is live, or not issued yet. Claims of this process with others have no
    /// holder.
    pub(super) fn is_live(&self, ticket: i64) -> bool {
        let state = self.state();
        ticket > state.last || state.live.contains_key(&ticket)
    }

    fn state(&self) -> MutexGuard<'_, ClaimsState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl PgClaimGuard ===

impl PgClaimGuard {
    /// Hands the deliveries to the caller: they are not released on drop.
    pub(super) fn keep(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }
}

impl Drop for PgClaimGuard {
    fn drop(&mut self) {
        if !self.claimed.is_empty() {
            self.claims.release(self.ticket);
        }
    }
}
