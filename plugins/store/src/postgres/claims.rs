//! What this process has claimed: each claim has a ticket, so that one whose outcome nobody learned can
//! be put back, and a delivery is finished by the claim that took it alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::model::Claimed;

/// The claims of this process.
#[derive(Clone, Default)]
pub(super) struct Claims {
    shared: Arc<Shared>,
}

/// How a delivery is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) owner: i32,
    pub(super) ticket: i64,
    /// The lock of its order key.
    pub(super) lane: Option<i32>,
}

/// Deliveries that are claimed and not handed over yet: dropped, they go back.
pub(super) struct Taken {
    ticket: i64,
    claimed: Vec<Claimed>,
    claims: Claims,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was left in [`State::returned`].
    left: Notify,
}

#[derive(Default)]
struct State {
    /// The last ticket that was given out.
    last: i64,
    /// Tickets whose deliveries are not all finished, and how many are left; `None` while the database
    /// has not answered yet.
    live: HashMap<i64, Option<usize>>,
    held: HashMap<i64, Holding>,
    /// Tickets whose deliveries are to go back.
    returned: Vec<i64>,
}

// === impl Claims ===

impl Claims {
    /// A new ticket. It is live until it is dropped by one of the calls below.
    pub(super) fn ticket(&self) -> i64 {
        let mut state = self.state();
        state.last += 1;
        let ticket = state.last;
        state.live.insert(ticket, None);
        ticket
    }

    /// The database gave these to a ticket.
    pub(super) fn took(
        &self,
        ticket: i64,
        owner: i32,
        claimed: Vec<(Claimed, Option<i32>)>,
    ) -> Taken {
        let mut state = self.state();
        if claimed.is_empty() {
            state.live.remove(&ticket);
        } else {
            state.live.insert(ticket, Some(claimed.len()));
        }
        for (one, lane) in &claimed {
            state.held.insert(one.id, Holding { owner, ticket, lane: *lane });
        }
        let claimed = claimed.into_iter().map(|(one, _)| one).collect();
        Taken { ticket, claimed, claims: self.clone() }
    }

    /// Nobody knows what came of a ticket, or nobody waits for it.
    pub(super) fn give_back(&self, ticket: i64) {
        let mut state = self.state();
        state.live.remove(&ticket);
        state.held.retain(|_, holding| holding.ticket != ticket);
        state.returned.push(ticket);
        drop(state);
        self.shared.left.notify_one();
    }

    /// How this process holds a delivery.
    pub(super) fn holding(&self, delivery: i64) -> Option<Holding> {
        self.state().held.get(&delivery).copied()
    }

    /// What became of it is written down.
    pub(super) fn finished(&self, delivery: i64, holding: Holding) {
        let mut state = self.state();
        if state.held.get(&delivery) != Some(&holding) {
            return;
        }
        state.held.remove(&delivery);
        let left = state.live.get_mut(&holding.ticket);
        if let Some(Some(left)) = left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.live.remove(&holding.ticket);
            }
        }
    }

    /// The tickets that are to go back. Those that could not be are [`Self::put_back`].
    pub(super) fn returned(&self) -> Vec<i64> {
        std::mem::take(&mut self.state().returned)
    }

    pub(super) fn put_back(&self, mut tickets: Vec<i64>) {
        self.state().returned.append(&mut tickets);
    }

    /// Waits until something is to go back.
    pub(super) async fn left(&self) {
        self.shared.left.notified().await;
    }

    /// All live tickets, and the last that was given out: claims of this process up to that one that
    /// have none of these belong to nobody.
    pub(super) fn live(&self) -> (Vec<i64>, i64) {
        let state = self.state();
        (state.live.keys().copied().collect(), state.last)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Taken ===

impl Taken {
    /// The caller has them: they do not go back.
    pub(super) fn keep(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.claimed.is_empty() {
            self.claims.give_back(self.ticket);
        }
    }
}
