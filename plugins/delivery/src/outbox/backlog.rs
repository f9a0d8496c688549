//! Holds writes that the store did not accept, in order and within bounds.
//!
//! Whole events are held while the limits of events and bytes allow. The end of an exchange is
//! always held, as small as possible when there is no room (see [`fit`]).

use std::collections::{HashMap, HashSet, VecDeque, hash_map::Entry};

use as2hook_event::Verdict;
use as2hook_store::{Payload, Settlement, Write};
use uuid::Uuid;

use super::{Running, event_of};

/// Waiting writes, first come, first served. Those of one event are written one after the other, and
/// so are those that give places in the same order of deliveries.
pub(super) struct Backlog {
    queue: VecDeque<HeldWrites>,
    /// The number of entries of each event.
    events: HashMap<Uuid, usize>,
    next_number: u64,
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

/// The writes of one commit.
struct HeldWrites {
    number: u64,
    /// Those with the lowest are written first: the number, or that of a later turn.
    place: u64,
    event: Uuid,
    writes: Vec<Write>,
    orders: Vec<(String, String)>,
    bytes: usize,
    /// Their call is in progress.
    running: Option<Running>,
    tries: u32,
    /// Failures while the store accepted others.
    failures: u32,
    successes_then: u64,
}

/// A commit whose turn it is.
pub(super) struct NextWrites {
    pub(super) number: u64,
    pub(super) event: Uuid,
    pub(super) writes: Vec<Write>,
    /// The call to wait for, if it is in progress.
    pub(super) running: Option<Running>,
}

/// What was left out of a verdict's writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Truncation {
    /// Anything at all.
    pub(super) any: bool,
    /// Events that are not reported.
    pub(super) events: u64,
}

/// The characters that remain of a text.
const TEXT: usize = 512;
/// The errors that remain in a verdict.
const ERRORS: usize = 4;

// === impl Backlog ===

impl Backlog {
    /// An event is dropped after this many failures while others were accepted: the store works,
    /// and the event is what it rejects.
    const FAILURES: u32 = 10;
    /// How often one event is tried before the next one's turn.
    const TURN: u32 = 3;

    pub(super) fn new(most_events: usize, most_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            events: HashMap::new(),
            next_number: 0,
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
        let verdicts = self.waiting.iter().filter(|event| !self.events.contains_key(event));
        self.events.len() + verdicts.count()
    }

    /// Returns the number of events with something to write.
    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether these writes have to wait for held ones of the same event or order.
    pub(super) fn has_before(&self, writes: &[Write]) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let orders = orders(writes);
        self.events.contains_key(&event_of(writes))
            || self.queue.iter().any(|held| held.orders.iter().any(|it| orders.contains(it)))
    }

    /// Whether its verdict is still to come, held or waiting.
    pub(super) fn has_verdict_of(&self, event: Uuid) -> bool {
        self.events.contains_key(&event) || self.waiting.contains(&event)
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

    /// Whether these end an exchange whose opening was dropped. The entry is removed.
    pub(super) fn forget_lost(&mut self, writes: &[Write]) -> bool {
        writes.iter().any(is_end) && self.lost.remove(&event_of(writes))
    }

    /// Whether there is no room for another event.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() + self.waiting.len() >= self.most_events || self.bytes >= self.most_bytes
    }

    /// Adds the writes of one commit; `None` when there is no room. The end of an exchange is always
    /// accepted: the exchange may be open in the store, and without its end the outcome would never
    /// be reported.
    pub(super) fn push(
        &mut self,
        mut writes: Vec<Write>,
        running: Option<Running>,
    ) -> Option<Truncation> {
        let event = event_of(&writes);
        let room = self.most_bytes.saturating_sub(self.bytes);
        let mut truncation = Truncation::default();
        if writes.iter().any(is_end) {
            truncation = fit(&mut writes, room);
            self.dropped += truncation.events;
        } else if self.is_full() || bytes_of(&writes) > room {
            let opens = writes.iter().any(|write| matches!(write, Write::Open(..)));
            if !opens || running.is_none() {
                self.dropped += 1;
                if opens {
                    self.lost.insert(event);
                }
                return None;
            }
            // The call in progress may still write it, and its verdict must follow that. When the
            // call fails, there is nothing to retry.
            writes = vec![Write::Discard(event)];
        }
        let (orders, bytes) = (orders(&writes), bytes_of(&writes));
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += bytes;
        *self.events.entry(event).or_default() += 1;
        let (tries, failures, successes_then) = (0, 0, 0);
        self.queue.push_back(HeldWrites {
            number,
            place: number,
            event,
            writes,
            orders,
            bytes,
            running,
            tries,
            failures,
            successes_then,
        });
        Some(truncation)
    }

    /// Takes the writes whose turn it is, one commit of each event.
    pub(super) fn next(&mut self, most: usize) -> Vec<NextWrites> {
        let (mut events, mut orders) = (HashSet::new(), HashSet::new());
        let mut first = Vec::new();
        for (at, held) in self.queue.iter().enumerate() {
            let is_blocked = held.orders.iter().any(|order| orders.contains(order));
            orders.extend(&held.orders);
            if events.insert(held.event) && !is_blocked {
                first.push((held.place, at));
            }
        }
        first.sort_unstable();
        first.truncate(most);
        let mut take = |at: usize| {
            let held = &mut self.queue[at];
            let (number, event, writes) = (held.number, held.event, held.writes.clone());
            NextWrites { number, event, writes, running: held.running.take() }
        };
        first.into_iter().map(|(_, at)| take(at)).collect()
    }

    /// Records that these are written.
    pub(super) fn done(&mut self, number: u64) {
        if let Ok(at) = self.position(number)
            && let Some(held) = self.queue.remove(at)
        {
            self.forget(&held);
        }
    }

    /// Records that these failed again. `successes` counts all writes that the store accepted, and
    /// `own_fault` says whether the event may be the reason. Returns whether the event is dropped.
    pub(super) fn failed(&mut self, number: u64, successes: u64, own_fault: bool) -> bool {
        let Ok(at) = self.position(number) else { return false };
        let held = &mut self.queue[at];
        // Failures while the store accepts nothing do not count against the event.
        if own_fault && (held.failures == 0 || held.successes_then != successes) {
            held.failures += 1;
            held.successes_then = successes;
        }
        held.tries += 1;
        // If the event is at fault, the others must not wait for it.
        if held.tries.is_multiple_of(Self::TURN) {
            held.place = self.next_number;
            self.next_number += 1;
        }
        if held.failures < Self::FAILURES {
            return false;
        }
        let event = held.event;
        let (dropped, kept): (VecDeque<_>, VecDeque<_>) =
            self.queue.drain(..).partition(|held| held.event == event);
        self.queue = kept;
        dropped.iter().for_each(|held| self.forget(held));
        self.dropped += 1;
        true
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&number, |held| held.number)
    }

    fn forget(&mut self, held: &HeldWrites) {
        self.bytes = self.bytes.saturating_sub(held.bytes);
        if let Entry::Occupied(mut count) = self.events.entry(held.event) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn is_end(write: &Write) -> bool {
    matches!(write, Write::Settle(_) | Write::Discard(_))
}

fn bytes_of(writes: &[Write]) -> usize {
    writes.iter().map(Write::bytes).sum()
}

/// Returns the orders in which these give an event a place: a webhook and an order key each. Later
/// writes of the same order must follow them. A settled event has its place already.
fn orders(writes: &[Write]) -> Vec<(String, String)> {
    let mut orders = Vec::new();
    for write in writes {
        match write {
            Write::Reserve(_, places) => {
                orders.extend(places.iter().map(|it| (it.webhook.clone(), it.order_key.clone())));
            }
            Write::Settle(_) => {}
            other => orders.extend(other.deliveries().iter().filter_map(|delivery| {
                Some((delivery.webhook.clone(), delivery.order_key.clone()?))
            })),
        }
    }
    orders
}

/// Truncates the writes of a verdict to `room` bytes, or to their minimum.
///
/// The exchange is open in the store, and only this process knows the outcome: the verdict itself is
/// always kept, and so is the content of an exchange that was decoded late, because it decided the
/// deliveries. Left out, as far as necessary, are payloads in memory (a partner's MDN may be large),
/// then whole further events and records, and the ends of long texts, which may come from a partner.
fn fit(writes: &mut Vec<Write>, room: usize) -> Truncation {
    let mut truncation = Truncation::default();
    if bytes_of(writes) <= room {
        return truncation;
    }
    let Some(at) = writes.iter().position(|write| matches!(write, Write::Settle(_))) else {
        return truncation;
    };
    truncation.any = true;
    let mut verdict = writes.remove(at);
    if verdict.bytes() > room {
        change(&mut verdict, shorten);
    }
    let mut left = room.saturating_sub(verdict.bytes());
    let mut lost_payload = false;
    let mut contents = 0;
    writes.retain_mut(|write| {
        let is_large = write.bytes() > left;
        if let Write::Replace(event) = write {
            if is_large && event.payload.in_memory() > 0 {
                event.payload = Payload::None;
                lost_payload = true;
            }
            contents += 1;
            left = left.saturating_sub(write.bytes());
            return true;
        }
        if let (true, Write::Publish(event, _)) = (is_large, &mut *write) {
            event.payload = Payload::None;
        }
        let rest = left.checked_sub(write.bytes());
        left = rest.unwrap_or(left);
        truncation.events += u64::from(rest.is_none() && !matches!(write, Write::Record(_)));
        rest.is_some()
    });
    if lost_payload {
        change(&mut verdict, Verdict::lose_payload);
    }
    writes.insert(contents, verdict);
    truncation
}

/// Truncates long texts of a verdict. Its meaning stays.
fn shorten(verdict: &mut Verdict) {
    verdict.errors.truncate(ERRORS);
    let texts = verdict.errors.iter_mut().map(|error| &mut error.message);
    for text in texts.chain(verdict.send_error.as_mut().map(|error| &mut error.message)) {
        *text = text.chars().take(TEXT).collect();
    }
}

fn change(write: &mut Write, edit: impl FnOnce(&mut Verdict)) {
    let Write::Settle(Settlement { verdict, .. }) = write else { return };
    let Ok(mut changed) = serde_json::from_slice::<Verdict>(verdict) else { return };
    edit(&mut changed);
    if let Ok(short) = serde_json::to_vec(&changed) {
        *verdict = short;
    }
}
