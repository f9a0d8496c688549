//! What the store did not take, in its order, within bounds.
//!
//! Whole events are held while there is room for them in number and in bytes. What ends an exchange is
//! always held, as small as it can be when there is none (see [`shed`]).

use std::collections::{HashMap, HashSet, VecDeque};

use as2hook_store::StoreError;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{
    operation::Operation,
    shed::{self, Shed},
};

/// Operations that wait, first come first written; those of one event stay together.
pub(super) struct Backlog {
    order: VecDeque<Uuid>,
    held: HashMap<Uuid, Held>,
    /// Events whose opening found no room: their settlement means nothing. Each is forgotten when its
    /// exchange ends, so there are no more than exchanges under way.
    lost: HashSet<Uuid>,
    bytes: usize,
    dropped: u64,
    most_events: usize,
    most_bytes: usize,
}

/// A write that is under way.
pub(super) type Running = JoinHandle<Result<(), StoreError>>;

/// The operations of one event.
#[derive(Default)]
struct Held {
    operations: VecDeque<Operation>,
    /// The first of them is under way.
    running: Option<Running>,
    /// Calls since the last turn.
    tries: u32,
    /// Failures while the store took others.
    failures: u32,
    successes_then: u64,
}

// === impl Backlog ===

impl Backlog {
    /// An event is given up when it failed so often while others were taken: the store is well, and
    /// the event is what it cannot take.
    const FAILURES: u32 = 10;
    /// So often one event is tried before the next one's turn.
    const TURN: u32 = 3;

    pub(super) fn new(most_events: usize, most_bytes: usize) -> Self {
        Self {
            order: VecDeque::new(),
            held: HashMap::new(),
            lost: HashSet::new(),
            bytes: 0,
            dropped: 0,
            most_events,
            most_bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn holds(&self, event: Uuid) -> bool {
        self.held.contains_key(&event)
    }

    /// Whether the event's opening was dropped; asked by what ends the exchange, so forgotten now.
    pub(super) fn forget_lost(&mut self, event: Uuid) -> bool {
        self.lost.remove(&event)
    }

    /// Whether there is no room for another event.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= self.most_events || self.bytes >= self.most_bytes
    }

    /// Takes an operation; `None` when there is no room. What ends an exchange is always taken: it may
    /// be open in the store, and without it nobody would be told what became of it.
    pub(super) fn push(
        &mut self,
        mut operation: Operation,
        running: Option<Running>,
    ) -> Option<Shed> {
        let event = operation.event();
        let room = self.most_bytes.saturating_sub(self.bytes);
        let mut shed = Shed::default();
        if operation.is_last() {
            shed = shed::fit(&mut operation, room);
            self.dropped += shed.events;
        } else if self.is_full() || operation.bytes() > room {
            let opens = matches!(operation, Operation::Open(..));
            if !opens || running.is_none() {
                self.dropped += 1;
                if opens {
                    self.lost.insert(event);
                }
                return None;
            }
            // It may yet be written by the call that goes on, and its verdict has to go behind that.
            // Should the call fail, there is nothing left to try again.
            operation = Operation::Discard(event);
        }
        self.bytes += operation.bytes();
        let held = self.held.entry(event).or_insert_with(|| {
            self.order.push_back(event);
            Held::default()
        });
        held.operations.push_back(operation);
        held.running = running.or(held.running.take());
        Some(shed)
    }

    /// The operations whose turn it is, one of each event, with the call to wait for where it is under
    /// way.
    pub(super) fn next(&mut self, most: usize) -> Vec<(Operation, Option<Running>)> {
        let Self { order, held, .. } = self;
        let mut next = Vec::new();
        for event in order.iter().take(most) {
            if let Some(held) = held.get_mut(event)
                && let Some(operation) = held.operations.front()
            {
                next.push((operation.clone(), held.running.take()));
            }
        }
        next
    }

    /// The first operation of this event is written.
    pub(super) fn done(&mut self, event: Uuid) {
        let Some(held) = self.held.get_mut(&event) else { return };
        if let Some(operation) = held.operations.pop_front() {
            self.bytes = self.bytes.saturating_sub(operation.bytes());
        }
        (held.tries, held.failures) = (0, 0);
        if held.operations.is_empty() {
            self.remove(event);
        }
    }

    /// The first operation of this event failed again; `successes` counts what the store took in all,
    /// and `own_fault` says whether the event may be the reason. Returns whether the event is given up.
    pub(super) fn failed(&mut self, event: Uuid, successes: u64, own_fault: bool) -> bool {
        let Some(held) = self.held.get_mut(&event) else { return false };
        // Failures of a store that takes nothing at all do not speak against the event.
        if own_fault && (held.failures == 0 || held.successes_then != successes) {
            held.failures += 1;
            held.successes_then = successes;
        }
        held.tries += 1;
        if held.failures >= Self::FAILURES {
            self.remove(event);
            self.dropped += 1;
            return true;
        }
        // Were it the event's own fault, all others would wait for nothing.
        if held.tries >= Self::TURN {
            held.tries = 0;
            self.order.retain(|other| *other != event);
            self.order.push_back(event);
        }
        false
    }

    fn remove(&mut self, event: Uuid) {
        if let Some(held) = self.held.remove(&event) {
            let left: usize = held.operations.iter().map(Operation::bytes).sum();
            self.bytes = self.bytes.saturating_sub(left);
            self.order.retain(|other| *other != event);
        }
    }
}
