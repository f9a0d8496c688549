//! Queued calls in messages' paths, loaded and saved together.

use std::collections::HashMap;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{super::transaction::make, Task, panicked};
use crate::{
    clock::now,
    group::{CallGroup, CallOutcome, StoreCall},
    store::StoreError,
};

/// The approximate limit of bytes in one group.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// One call with what waits for its outcome.
pub(super) struct PendingCall {
    call: StoreCall,
    responder: Box<dyn Responder>,
}

/// Gives the outcome of a call to its caller.
trait Responder: Send {
    fn is_closed(&self) -> bool;
    fn respond(self: Box<Self>, outcome: Result<CallOutcome, StoreError>);
}

struct CallResponder<T, F> {
    sender: oneshot::Sender<Result<T, StoreError>>,
    convert: F,
}

/// Claims that wait for deliveries of their webhooks.
#[derive(Default)]
pub(super) struct WaitingClaims(HashMap<String, PendingCall>);

/// The calls of a transaction.
pub(super) struct CallsTask {
    group: CallGroup,
    responders: Vec<Box<dyn Responder>>,
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

// === impl CallResponder ===

impl<T: Send, F: FnOnce(CallOutcome) -> T + Send> Responder for CallResponder<T, F> {
    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn respond(self: Box<Self>, outcome: Result<CallOutcome, StoreError>) {
        // A caller that is gone needs no result; claims are released on drop.
        let _ = self.sender.send(outcome.map(self.convert));
    }
}

// === impl WaitingClaims ===

impl WaitingClaims {
    /// Adds a claim, in the place of an earlier one of its webhook.
    pub(super) fn add(&mut self, call: PendingCall) {
        if let StoreCall::Claim(claim) = &call.call {
            // Those of workers that have ended.
            self.0.retain(|_, call| !call.responder.is_closed());
            self.0.insert(claim.webhook.clone(), call);
        }
    }

    /// Removes the claims of webhooks for which a call makes deliveries due.
    fn take(&mut self, call: &StoreCall) -> Vec<PendingCall> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut taken: Vec<_> =
            call.due().iter().filter_map(|webhook| self.0.remove(webhook)).collect();
        taken.retain(|call| !call.responder.is_closed());
        for PendingCall { call, .. } in &mut taken {
            if let StoreCall::Claim(claim) = call {
                claim.now = now();
            }
        }
        taken
    }
}

// === impl CallsTask ===

impl CallsTask {
    pub(super) fn new(owner: i64) -> Self {
        let group = CallGroup { owner, ..CallGroup::default() };
        Self { group, responders: Vec::new(), bytes: 0, outcomes: None }
    }

    /// Adds a call, with the claims that wait for it.
    pub(super) fn add_with(&mut self, call: PendingCall, waiting: &mut WaitingClaims) {
        let claims = waiting.take(&call.call);
        self.add(call);
        claims.into_iter().for_each(|claim| self.add(claim));
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
        self.bytes >= GROUP_BYTES
    }
}

impl Task for CallsTask {
    fn run(&mut self, connection: &Connection) -> bool {
        // The result if the rules panic.
        self.outcomes = Some(Err(panicked()));
        let outcomes = make(connection, &self.group);
        let succeeded = outcomes.is_ok();
        self.outcomes = Some(outcomes);
        succeeded
    }

    fn respond(self: Box<Self>, commit: Result<(), StoreError>) {
        let Self { responders, outcomes, .. } = *self;
        let error = match (outcomes, commit) {
            (Some(Ok(outcomes)), Ok(())) => {
                let all = responders.into_iter().zip(outcomes);
                return all.for_each(|(responder, outcome)| responder.respond(outcome));
            }
            // Their own error is more precise than its consequence.
            (Some(Err(error)), _) | (_, Err(error)) => error,
            (None, Ok(())) => StoreError::Closed,
        };
        responders.into_iter().for_each(|responder| responder.respond(Err(error.again())));
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
