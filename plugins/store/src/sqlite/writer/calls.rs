//! Queued calls in messages' paths, loaded and saved together.

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{super::transaction::make, Task, panicked};
use crate::{
    group::{CallGroup, CallOutcome, StoreCall},
    store::StoreError,
};

/// The approximate limit of bytes in one group.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// One call with its caller.
pub(super) struct QueuedCall {
    call: StoreCall,
    respond: Box<dyn FnOnce(Result<CallOutcome, StoreError>) + Send>,
}

/// The calls of a transaction.
pub(super) struct CallsTask {
    group: CallGroup,
    responds: Vec<Box<dyn FnOnce(Result<CallOutcome, StoreError>) + Send>>,
    bytes: usize,
    /// `None`: they were not performed.
    outcomes: Option<Result<Vec<Result<CallOutcome, StoreError>>, StoreError>>,
}

// === impl QueuedCall ===

impl QueuedCall {
    /// The caller gets what `convert` makes of the outcome.
    pub(super) fn new<T: Send + 'static>(
        call: StoreCall,
        reply: oneshot::Sender<Result<T, StoreError>>,
        convert: impl FnOnce(CallOutcome) -> T + Send + 'static,
    ) -> Self {
        // A caller that is gone needs no result; claims are released on drop.
        let respond = |outcome: Result<_, _>| drop(reply.send(outcome.map(convert)));
        Self { call, respond: Box::new(respond) }
    }
}

// === impl CallsTask ===

impl CallsTask {
    pub(super) fn new(owner: i64) -> Self {
        let group = CallGroup { owner, ..CallGroup::default() };
        Self { group, responds: Vec::new(), bytes: 0, outcomes: None }
    }

    pub(super) fn add(&mut self, QueuedCall { call, respond }: QueuedCall) {
        self.bytes += call.size();
        self.group.calls.push(call);
        self.responds.push(respond);
    }

    pub(super) fn len(&self) -> usize {
        self.responds.len()
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
        let Self { responds, outcomes, .. } = *self;
        let error = match (outcomes, commit) {
            (Some(Ok(outcomes)), Ok(())) => {
                let all = responds.into_iter().zip(outcomes);
                return all.for_each(|(respond, outcome)| respond(outcome));
            }
            // Their own error is more precise than its consequence.
            (Some(Err(error)), _) | (_, Err(error)) => error,
            (None, Ok(())) => StoreError::Closed,
        };
        responds.into_iter().for_each(|respond| respond(Err(error.again())));
    }

    fn divide(self: Box<Self>) -> Vec<Box<dyn Task>> {
        if self.len() == 1 {
            return vec![self];
        }
        let Self { group, responds, .. } = *self;
        let calls = group.calls.into_iter().zip(responds);
        let single = |(call, respond)| -> Box<dyn Task> {
            let mut task = Self::new(group.owner);
            task.add(QueuedCall { call, respond });
            Box::new(task)
        };
        calls.map(single).collect()
    }
}
