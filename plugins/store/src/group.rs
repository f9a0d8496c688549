//! A group: the calls of many callers in one transaction. What they name is loaded, the rules decide
//! in memory, and what they changed is saved together with the commit: two round trips in PostgreSQL.
//!
//! # Layout
//! - `load`: the rows that the calls of a group name
//! - `rules`: what each call does with them
//! - `statements`: rows as they are written
//! - `claim`: deliveries are claimed and released

pub(crate) mod claim;
mod load;
mod rules;
pub(crate) mod statements;

use std::{collections::BTreeSet, path::PathBuf};

use uuid::Uuid;

pub(crate) use self::claim::{ClaimCall, ClaimHolding, ClaimedRow, ReleaseClaims};
use self::rules::GroupRules;
use crate::{
    model::{AttemptRecord, NewDelivery},
    partner_webhook::UnqueuedDelivery,
    store::StoreError,
    transaction::{Statement, StoreChange, Transaction},
    write::Write,
};

/// The calls of many callers.
#[derive(Default)]
pub(crate) struct CallGroup {
    /// The process that opens and claims.
    pub(crate) owner: i64,
    pub(crate) calls: Vec<StoreCall>,
    /// The first statements, whose result does not matter.
    pub(crate) opening: Vec<Statement>,
    /// The last ones before the commit.
    pub(crate) closing: Vec<Statement>,
}

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
        /// The webhooks of due deliveries that no call of the group claimed.
        due: BTreeSet<String>,
    },
    /// Deliveries that were skipped and are still claimed.
    Finished { held: Vec<i64> },
    /// In the order in which they are to be made.
    Claimed(Vec<ClaimedRow>),
    /// How many deliveries are new.
    Enqueued(u64),
}

// === impl CallGroup ===

impl CallGroup {
    /// Creates a group of one call.
    pub(crate) fn of(owner: i64, call: StoreCall) -> Self {
        Self { owner, calls: vec![call], ..Self::default() }
    }
}

impl StoreChange for CallGroup {
    /// The result of each call.
    type Outcome = Vec<Result<CallOutcome, StoreError>>;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Self::Outcome, StoreError> {
        let mut rules = GroupRules::new(self.owner, load::load(self, transaction).await?);
        let mut outcomes: Vec<_> = self.calls.iter().map(|call| rules.apply(call)).collect();
        let mut saved = rules.saved();
        // Last, so that what the other calls make due can be claimed.
        let first_claim = saved.len();
        saved.extend(self.claims().flat_map(|claim| claim.statements(self.owner)));
        saved.extend(self.closing.iter().cloned());
        let mut replies = transaction.end(saved).await?.into_iter().skip(first_claim);
        for (call, outcome) in self.calls.iter().zip(&mut outcomes) {
            if let StoreCall::Claim(claim) = call {
                let read = replies.by_ref().nth(1).unwrap_or_default();
                *outcome = Ok(CallOutcome::Claimed(claim.read(read)?));
            }
        }
        for outcome in &mut outcomes {
            if let Ok(CallOutcome::Written { due, .. }) = outcome {
                due.retain(|webhook| !self.claims().any(|claim| claim.webhook == *webhook));
            }
        }
        Ok(outcomes)
    }
}

impl CallGroup {
    fn claims(&self) -> impl Iterator<Item = &ClaimCall> {
        self.calls.iter().filter_map(|call| match call {
            StoreCall::Claim(claim) => Some(claim),
            _ => None,
        })
    }
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
