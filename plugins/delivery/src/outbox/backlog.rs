//! Holds operations that the store did not accept, in order and within bounds.
//!
//! Whole events are held while the limits of events and bytes allow. The end of an exchange is
//! always held, as small as possible when there is no room (see [`truncate`]).

use std::collections::{HashMap, HashSet, VecDeque, hash_map::Entry};

use as2hook_store::StoreError;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{
    operation::Operation,
    truncate::{self, Truncation},
};

/// Waiting operations, written first come, first served. Operations of one event stay together, and
/// those that give places in the same order of deliveries are written one after the other.
pub(super) struct Backlog {
    order: VecDeque<Uuid>,
    held: HashMap<Uuid, HeldEvent>,
    /// The events that are to get a place in an order (a webhook and an order key), with one entry
    /// for each such operation. When one fails, none overtakes it.
    queues: HashMap<(String, String), VecDeque<Uuid>>,
    /// Events whose opening found no room: their settlement is meaningless. Each is removed when
    /// its exchange ends, so there are no more than exchanges in progress.
    lost: HashSet<Uuid>,
    /// Events whose verdict waits until the store can be read.
    waiting: HashSet<Uuid>,
    bytes: usize,
    dropped: u64,
    most_events: usize,
    most_bytes: usize,
}

/// A write in progress.
pub(super) type Running = JoinHandle<Result<(), StoreError>>;

/// The operations of one event.
#[derive(Default)]
struct HeldEvent {
    operations: VecDeque<Operation>,
    /// The first of them is in progress.
    running: Option<Running>,
    /// Calls since the last turn.
    tries: u32,
    /// Failures while the store accepted others.
    failures: u32,
    successes_then: u64,
}

// === impl Backlog ===

impl Backlog {
    /// An event is dropped after this many failures while others were accepted: the store works,
    /// and the event is what it rejects.
    const FAILURES: u32 = 10;
    /// How often one event is tried before the next one's turn.
    const TURN: u32 = 3;

    pub(super) fn new(most_events: usize, most_bytes: usize) -> Self {
        Self {
            order: VecDeque::new(),
            held: HashMap::new(),
            queues: HashMap::new(),
            lost: HashSet::new(),
            waiting: HashSet::new(),
            bytes: 0,
            dropped: 0,
            most_events,
            most_bytes,
        }
    }

    /// Returns the number of events that are held or whose verdict waits.
    pub(super) fn len(&self) -> usize {
        let verdicts = self.waiting.iter().filter(|event| !self.held.contains_key(event));
        self.held.len() + verdicts.count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }

    /// Returns the number of events with something to write.
    pub(super) fn events(&self) -> usize {
        self.held.len()
    }

    /// Whether anything is to be written.
    pub(super) fn has_operations(&self) -> bool {
        !self.held.is_empty()
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

    /// Whether an operation has to wait for a held one of the same event or order.
    pub(super) fn is_before(&self, operation: &Operation) -> bool {
        self.holds(operation.event())
            || !self.queues.is_empty()
                && operation.orders().iter().any(|order| self.queues.contains_key(order))
    }

    /// Whether its verdict is still to come, held or waiting.
    pub(super) fn has_verdict_of(&self, event: Uuid) -> bool {
        self.holds(event) || self.waiting.contains(&event)
    }

    /// Registers a waiting verdict. False: there is no room for it.
    pub(super) fn wait(&mut self, event: Uuid, bytes: usize) -> bool {
        let has_room = !self.is_full() && self.bytes.saturating_add(bytes) <= self.most_bytes;
        if has_room {
            self.waiting.insert(event);
            self.bytes += bytes;
        } else {
            self.dropped += 1;
        }
        has_room
    }

    pub(super) fn end_wait(&mut self, event: Uuid, bytes: usize) {
        if self.waiting.remove(&event) {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Whether the event's opening was dropped. Called at the end of the exchange, so the entry is
    /// removed.
    pub(super) fn forget_lost(&mut self, event: Uuid) -> bool {
        self.lost.remove(&event)
    }

    /// Whether there is no room for another event.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() + self.waiting.len() >= self.most_events || self.bytes >= self.most_bytes
    }

    /// Adds an operation; `None` when there is no room. The end of an exchange is always accepted:
    /// the exchange may be open in the store, and without its end the outcome would never be
    /// reported.
    pub(super) fn push(
        &mut self,
        mut operation: Operation,
        running: Option<Running>,
    ) -> Option<Truncation> {
        let event = operation.event();
        let room = self.most_bytes.saturating_sub(self.bytes);
        let mut truncation = Truncation::default();
        if operation.is_last() {
            truncation = truncate::fit(&mut operation, room);
            self.dropped += truncation.events;
        } else if self.is_full() || operation.bytes() > room {
            let opens = matches!(operation, Operation::Open(..));
            if !opens || running.is_none() {
                self.dropped += 1;
                if opens {
                    self.lost.insert(event);
                }
                return None;
            }
            // The call in progress may still write it, and its verdict must follow that. When the
            // call fails, there is nothing to retry.
            operation = Operation::Discard(event, Vec::new());
        }
        self.bytes += operation.bytes();
        for order in operation.orders() {
            self.queues.entry(order).or_default().push_back(event);
        }
        let held = self.held.entry(event).or_insert_with(|| {
            self.order.push_back(event);
            HeldEvent::default()
        });
        held.operations.push_back(operation);
        held.running = running.or(held.running.take());
        Some(truncation)
    }

    /// Takes the operations whose turn it is, one of each event, with the call to wait for if it is
    /// in progress.
    pub(super) fn next(&mut self, most: usize) -> Vec<(Operation, Option<Running>)> {
        let Self { order, held, queues, .. } = self;
        let is_first = |event: &Uuid, order: &(String, String)| {
            queues.get(order).is_none_or(|queue| queue.front() == Some(event))
        };
        let mut next = Vec::new();
        for event in order.iter() {
            if next.len() == most {
                break;
            }
            if let Some(held) = held.get_mut(event)
                && let Some(operation) = held.operations.front()
                && operation.orders().iter().all(|order| is_first(event, order))
            {
                next.push((operation.clone(), held.running.take()));
            }
        }
        next
    }

    /// Records that the first operation of this event is written.
    pub(super) fn done(&mut self, event: Uuid) {
        let Some(held) = self.held.get_mut(&event) else { return };
        let written = held.operations.pop_front();
        (held.tries, held.failures) = (0, 0);
        let is_empty = held.operations.is_empty();
        if let Some(operation) = written {
            self.bytes = self.bytes.saturating_sub(operation.bytes());
            self.leave_queues(&operation);
        }
        if is_empty {
            self.remove(event);
        }
    }

    /// Records that the first operation of this event failed again. `successes` counts all writes
    /// that the store accepted, and `own_fault` says whether the event may be the reason. Returns
    /// whether the event is dropped.
    pub(super) fn failed(&mut self, event: Uuid, successes: u64, own_fault: bool) -> bool {
        let Some(held) = self.held.get_mut(&event) else { return false };
        // Failures while the store accepts nothing do not count against the event.
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
        // If the event is at fault, the others must not wait for it.
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
            held.operations.iter().for_each(|operation| self.leave_queues(operation));
        }
    }

    fn leave_queues(&mut self, operation: &Operation) {
        for order in operation.orders() {
            if let Entry::Occupied(mut queue) = self.queues.entry(order) {
                let event = operation.event();
                if let Some(at) = queue.get().iter().position(|other| *other == event) {
                    queue.get_mut().remove(at);
                }
                if queue.get().is_empty() {
                    queue.remove();
                }
            }
        }
    }
}
