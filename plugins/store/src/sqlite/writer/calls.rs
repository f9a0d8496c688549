//! Queued calls in messages' paths, loaded and saved together.

use std::collections::BTreeSet;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{super::transaction::make, Task, panicked};
use crate::{
    clock::now,
    group::{AwaitedCall, CallGroup, CallOutcome, StoreCall, WaitingClaims},
    store::StoreError,
};

/// One call with what waits for its outcome.
pub(super) struct PendingCall {
    call: StoreCall,
    responder: Box<dyn Responder>,
}

/// Gives the outcome of a call to its caller.
trait Responder: Send {
    fn is_closed(&self) -> bool;
    /// Returns whether the caller gets it.
    fn respond(self: Box<Self>, outcome: Result<CallOutcome, StoreError>) -> bool;
}

struct CallResponder<T, F> {
    sender: oneshot::Sender<Result<T, StoreError>>,
    convert: F,
}

/// The calls of a transaction.
pub(super) struct CallsTask {
    group: CallGroup,
    responders: Vec<Box<dyn Responder>>,
    /// Claims that waited, with the places of their calls.
    waited: Vec<(usize, String)>,
    bytes: usize,
    /// `None`: they were not performed.
    outcomes: Option<Result<Vec<Result<CallOutcome, StoreError>>, StoreError>>,
}

// === impl PendingCall ===

impl PendingCall {
    /// The caller gets what `convert` makes of the outcome.
    pub(super) fn new<T: Send + 'static>(
        call: StoreCall,
        reply: oneshot::Sender<Result<T, StoreError>>,
        convert: impl FnOnce(CallOutcome) -> T + Send + 'static,
    ) -> Self {
        Self { call, responder: Box::new(CallResponder { sender: reply, convert }) }
    }
}

impl AwaitedCall for PendingCall {
    fn call(&self) -> &StoreCall {
        &self.call
    }

    fn is_abandoned(&self) -> bool {
        self.responder.is_closed()
    }
}

// === impl CallResponder ===

impl<T: Send, F: FnOnce(CallOutcome) -> T + Send> Responder for CallResponder<T, F> {
    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn respond(self: Box<Self>, outcome: Result<CallOutcome, StoreError>) -> bool {
        // A caller that is gone needs no result; claims are released on drop.
        self.sender.send(outcome.map(self.convert)).is_ok()
    }
}

// === impl CallsTask ===

impl CallsTask {
    pub(super) fn new(owner: i64) -> Self {
        let group = CallGroup { owner, ..CallGroup::default() };
        Self { group, responders: Vec::new(), waited: Vec::new(), bytes: 0, outcomes: None }
    }

    /// Adds a call, with the claims that wait for it.
    pub(super) fn add_with(&mut self, call: PendingCall, waiting: &mut WaitingClaims<PendingCall>) {
        let claims = waiting.take(&call.call);
        self.add(call);
        for claim in claims {
            if let StoreCall::Claim(claim) = &claim.call {
                self.waited.push((self.len(), claim.webhook.clone()));
            }
            self.add(claim);
        }
    }

    fn add(&mut self, PendingCall { call, responder }: PendingCall) {
        self.bytes += call.size();
        self.group.calls.push(call);
        self.responders.push(responder);
    }

    pub(super) fn len(&self) -> usize {
        self.responders.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= CallGroup::BYTES
    }
}

impl Task for CallsTask {
    fn run(&mut self, connection: &Connection) -> bool {
        for (place, _) in &self.waited {
            if let StoreCall::Claim(claim) = &mut self.group.calls[*place] {
                // It takes what any call of the group makes due.
                claim.now = now();
            }
        }
        // The result if the rules panic.
        self.outcomes = Some(Err(panicked()));
        let outcomes = make(connection, &self.group);
        let succeeded = outcomes.is_ok();
        self.outcomes = Some(outcomes);
        succeeded
    }

    fn respond(self: Box<Self>, commit: Result<(), StoreError>) {
        let Self { responders, waited, outcomes, .. } = *self;
        let error = match (outcomes, commit) {
            (Some(Ok(outcomes)), Ok(())) => return respond_all(responders, outcomes, waited),
            // Their own error is more precise than its consequence.
            (Some(Err(error)), _) | (_, Err(error)) => error,
            (None, Ok(())) => StoreError::Closed,
        };
        for responder in responders {
            responder.respond(Err(error.again()));
        }
    }

    fn divide(self: Box<Self>) -> Vec<Box<dyn Task>> {
        if self.len() == 1 {
            return vec![self];
        }
        let Self { group, responders, .. } = *self;
        let calls = group.calls.into_iter().zip(responders);
        let single = |(call, responder)| -> Box<dyn Task> {
            let mut task = Self::new(group.owner);
            task.add(PendingCall { call, responder });
            Box::new(task)
        };
        calls.map(single).collect()
    }
}

/// Responds to claims that waited first: the writes that they waited for need no wake-up, unless their callers
/// are gone.
fn respond_all(
    responders: Vec<Box<dyn Responder>>,
    outcomes: Vec<Result<CallOutcome, StoreError>>,
    waited: Vec<(usize, String)>,
) {
    let mut all: Vec<_> = responders.into_iter().zip(outcomes).map(Some).collect();
    let mut taken = BTreeSet::new();
    for (place, webhook) in waited {
        if let Some((responder, outcome)) = all[place].take()
            && responder.respond(outcome)
        {
            taken.insert(webhook);
        }
    }
    for (responder, mut outcome) in all.into_iter().flatten() {
        if let Ok(outcome) = &mut outcome {
            outcome.leave_out(&taken);
        }
        responder.respond(outcome);
    }
}
