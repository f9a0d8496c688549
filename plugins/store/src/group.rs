//! A group: the calls of many callers in one transaction. What they name is loaded, the rules decide
//! in memory, and what they changed is saved together with the commit: two round trips in PostgreSQL.
//!
//! # Layout
//! - `call`: the calls, and their results
//! - `load`: the rows that the calls of a group name
//! - `rules`: what each call does with them
//! - `statements`: rows as they are written
//! - `claim`: deliveries are claimed and released
//! - `waiting`: claims that are made with the next commit

pub(crate) mod call;
pub(crate) mod claim;
mod load;
mod rules;
pub(crate) mod statements;
mod waiting;

use self::rules::GroupRules;
pub(crate) use self::{
    call::{CallOutcome, StoreCall},
    claim::{ClaimCall, ClaimHolding, ClaimedRow, ReleaseClaims},
    waiting::{AwaitedCall, WaitingClaims},
};
use crate::{
    store::StoreError,
    transaction::{Statement, StoreChange, Transaction},
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

// === impl CallGroup ===

impl CallGroup {
    /// The approximate limit of bytes in one group.
    pub(crate) const BYTES: usize = 8 * 1024 * 1024;

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
