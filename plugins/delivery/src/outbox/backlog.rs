//! What the store did not take, in its order, within bounds.

use std::collections::{HashMap, HashSet, VecDeque};

use as2hook_store::StoreError;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::operation::Operation;

/// Operations that wait, first come first written; those of one event stay together.
pub(super) struct Backlog {
    order: VecDeque<Uuid>,
    held: HashMap<Uuid, Held>,
    /// Events whose opening found no room: their settlement means nothing.
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
    /// Events remembered as lost; beyond, a settlement is tried in vain.
    const LOST: usize = 100_000;

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

    /// Takes an operation; false when there is no room. What ends an exchange that is held is always
    /// taken: it is small, and without it the event could not be told.
    pub(super) fn push(&mut self, operation: Operation, running: Option<Running>) -> bool {
        let (event, size) = (operation.event(), operation.bytes());
        let known = self.held.contains_key(&event);
        let room = self.held.len() < self.most_events
            && self.bytes.saturating_add(size) <= self.most_bytes;
        if !known && !room {
            self.dropped += 1;
            if !operation.is_last() && self.lost.len() < Self::LOST {
                self.lost.insert(event);
            }
            return false;
        }
        if !known {
            self.order.push_back(event);
        }
        let held = self.held.entry(event).or_default();
        held.operations.push_back(operation);
        held.running = running.or(held.running.take());
        self.bytes += size;
        true
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
