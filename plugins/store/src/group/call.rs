//! The calls that are made in groups, and their results.

use std::{collections::BTreeSet, path::PathBuf};

use uuid::Uuid;

use super::claim::{ClaimCall, ClaimHolding, ClaimedRow};
use crate::{
    model::{AttemptRecord, NewDelivery},
    partner_webhook::UnqueuedDelivery,
    write::Write,
};

/// One call.
pub(crate) enum StoreCall {
    /// All of them or none.
    Writes(Vec<Write>),
    /// Outcomes of claimed deliveries.
    Finish(Vec<(AttemptRecord, ClaimHolding)>),
    Claim(ClaimCall),
    /// Adds deliveries to an event whose outcome is known.
    Enqueue(Uuid, Vec<NewDelivery>),
    /// A delivery that was made outside the queue.
    Log(Box<UnqueuedDelivery>),
}

/// The result of a call.
pub(crate) enum CallOutcome {
    Written {
        /// The payloads of discarded events, to be removed after the commit.
        files: Vec<PathBuf>,
        pieces: Vec<Uuid>,
        /// The webhooks of the deliveries that are due now.
        due: BTreeSet<String>,
    },
    /// Deliveries that were skipped and are still claimed.
    Finished { held: Vec<i64> },
    /// In the order in which they are to be made.
    Claimed(Vec<ClaimedRow>),
    /// How many deliveries are new.
    Enqueued(u64),
}

// === impl StoreCall ===

impl StoreCall {
    /// Returns the approximate number of bytes that it sends.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Writes(writes) => writes.iter().map(Write::bytes).sum(),
            Self::Claim(_) => 100,
            Self::Finish(records) => 500 * records.len(),
            Self::Enqueue(..) | Self::Log(_) => 500,
        }
    }

    /// Returns the webhooks of the deliveries that it makes due.
    pub(crate) fn due(&self) -> BTreeSet<String> {
        let Self::Writes(writes) = self else { return BTreeSet::new() };
        let due = writes.iter().flat_map(Write::deliveries);
        due.map(|delivery| delivery.webhook.clone()).collect()
    }

    /// Returns its first event.
    pub(crate) fn event(&self) -> Option<Uuid> {
        match self {
            Self::Writes(writes) => writes.iter().find_map(Write::event),
            Self::Enqueue(event, _) => Some(*event),
            Self::Finish(_) | Self::Claim(_) | Self::Log(_) => None,
        }
    }
}

// === impl CallOutcome ===

impl CallOutcome {
    /// Leaves out the webhooks whose deliveries were claimed with them, so that none is woken for them.
    pub(crate) fn leave_out(&mut self, claimed: &BTreeSet<String>) {
        if let Self::Written { due, .. } = self {
            due.retain(|webhook| !claimed.contains(webhook));
        }
    }
}
