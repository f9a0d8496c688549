//! Decides which decodes compute: as many at once as there are cores, each for a few milliseconds while
//! others wait.
//!
//! A decode that has computed for little waits in a queue that goes first, and has slots that no other
//! gets, so a message that has just come does not wait behind expensive ones, however many there are.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, task::block_in_place};

/// Threads that wait within a piece, each with its stack. For one more the decode ends that has computed
/// for longest. Half of them are for long decodes alone, so that it is not one that has hardly begun.
pub(super) const PARKED: usize = 256;

/// Threads that wait without their slot for what a decode writes within one piece. One more payload is given
/// up.
const WRITING: usize = 64;

/// So many short decodes go before a long one that waits.
const SHORT_IN_A_ROW: u32 = 3;

/// Limits how many decodes compute at once. Clones share the limit.
#[derive(Clone, Debug)]
pub(super) struct DecodeSlots(Arc<Mutex<Queues>>);

/// The right to compute. It goes to the next decode in the queue when it is dropped.
#[derive(Debug)]
pub(super) struct DecodeSlot {
    slots: Option<DecodeSlots>,
    /// It is one of those for short decodes alone.
    for_short: bool,
}

/// How much a decode has computed for the piece at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeLength {
    /// As much as usual messages take.
    Short,
    /// More than that: so much CPU time.
    Long(Duration),
}

#[derive(Debug, Default)]
struct Queues {
    free: usize,
    /// Free slots for short decodes alone.
    free_for_short: usize,
    short: VecDeque<oneshot::Sender<DecodeSlot>>,
    long: VecDeque<(Duration, oneshot::Sender<DecodeSlot>)>,
    /// Short decodes that went before the first long one.
    in_a_row: u32,
    parked: usize,
    writing: usize,
}

// === impl DecodeSlots ===

impl DecodeSlots {
    /// `for_short`: slots beside the others, for short decodes alone.
    pub(super) fn new(slots: usize, for_short: usize) -> Self {
        let queues = Queues { free: slots, free_for_short: for_short, ..Queues::default() };
        Self(Arc::new(Mutex::new(queues)))
    }

    /// Waits for a slot in the order of the calls; does not wait while one is free.
    pub(super) async fn take(&self) -> DecodeSlot {
        match self.try_take() {
            Ok(slot) => slot,
            Err(turn) => turn.await.expect("a queue keeps what waits until it has a slot"),
        }
    }

    /// A free slot, or a place behind the short decodes that wait.
    fn try_take(&self) -> Result<DecodeSlot, oneshot::Receiver<DecodeSlot>> {
        let mut queues = self.0.lock();
        let for_short = queues.free == 0;
        if for_short && queues.free_for_short == 0 {
            return Err(queues.wait(DecodeLength::Short));
        }
        *queues.free(for_short) -= 1;
        Ok(self.slot(for_short))
    }

    fn slot(&self, for_short: bool) -> DecodeSlot {
        DecodeSlot { slots: Some(self.clone()), for_short }
    }

    /// How many decodes wait for a slot.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let queues = self.0.lock();
        queues.short.len() + queues.long.len()
    }

    fn release(&self, for_short: bool) {
        let mut queues = self.0.lock();
        while let Some(next) = queues.next(for_short) {
            let Err(mut slot) = next.send(self.slot(for_short)) else { return };
            // It does not wait any more; the slot is the next one's.
            slot.slots = None;
        }
        *queues.free(for_short) += 1;
    }
}

// === impl DecodeSlot ===

impl DecodeSlot {
    /// Whether a decode of this length has to give it up: others wait, or it is for short ones alone.
    pub(super) fn is_wanted(&self, length: DecodeLength) -> bool {
        let is_for_others = self.for_short && length != DecodeLength::Short;
        is_for_others || self.slots.as_ref().is_some_and(|slots| !slots.0.lock().is_empty())
    }

    /// Lets those go first that wait, and blocks the thread until it is this decode's turn again. For
    /// threads of a multi-threaded runtime, within a task. `None`: too many wait, and of them this one
    /// has computed for longest, so it has to end.
    pub(super) fn give_way(self, length: DecodeLength) -> Option<Self> {
        let Some(slots) = self.slots.clone() else { return Some(self) };
        let mut turn = {
            let mut queues = slots.0.lock();
            let is_for_others = self.for_short && length != DecodeLength::Short;
            if is_for_others && queues.free > 0 {
                queues.free -= 1;
                drop(queues);
                return Some(slots.slot(false));
            }
            if !is_for_others && queues.is_empty() {
                return Some(self);
            }
            match length {
                DecodeLength::Short if queues.parked >= PARKED / 2 => return Some(self),
                DecodeLength::Long(time)
                    if queues.parked >= PARKED && !queues.end_longest(time) =>
                {
                    return None;
                }
                _ => {}
            }
            queues.parked += 1;
            queues.wait(length)
        };
        drop(self);
        let slot = match turn.try_recv() {
            Ok(slot) => slot,
            Err(_) => block_in_place(|| turn.blocking_recv()).ok()?,
        };
        slots.0.lock().parked -= 1;
        Some(slot)
    }

    /// Whether fewer than 64 are lent.
    pub(super) fn may_be_lent(&self) -> bool {
        self.slots.as_ref().is_none_or(|slots| slots.0.lock().writing < WRITING)
    }

    /// Lets others compute while `work` waits for a disk or a database, and blocks the thread until it is
    /// this decode's turn again. For threads of a multi-threaded runtime, within a task.
    pub(super) fn lend(self, work: impl FnOnce()) -> Self {
        let Some(slots) = self.slots.clone() else {
            work();
            return self;
        };
        slots.0.lock().writing += 1;
        drop(self);
        let slot = block_in_place(|| {
            work();
            match slots.try_take() {
                Ok(slot) => slot,
                Err(turn) => {
                    turn.blocking_recv().expect("a queue keeps what waits until it has a slot")
                }
            }
        });
        slots.0.lock().writing -= 1;
        slot
    }
}

impl Drop for DecodeSlot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.release(self.for_short);
        }
    }
}

// === impl Queues ===

impl Queues {
    fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    fn wait(&mut self, length: DecodeLength) -> oneshot::Receiver<DecodeSlot> {
        let (turn, waiting) = oneshot::channel();
        match length {
            DecodeLength::Short => self.short.push_back(turn),
            DecodeLength::Long(time) => self.long.push_back((time, turn)),
        }
        waiting
    }

    /// Ends the parked decode that has computed for longest. False: that is one at work, of this time.
    fn end_longest(&mut self, time: Duration) -> bool {
        let times = self.long.iter().map(|(time, _)| *time).enumerate();
        let longest = times.max_by_key(|(_, time)| *time).filter(|(_, longest)| *longest >= time);
        let Some((index, _)) = longest else { return false };
        self.parked -= usize::from(self.long.remove(index).is_some());
        true
    }

    fn free(&mut self, for_short: bool) -> &mut usize {
        if for_short { &mut self.free_for_short } else { &mut self.free }
    }

    fn next(&mut self, for_short: bool) -> Option<oneshot::Sender<DecodeSlot>> {
        if for_short {
            return self.short.pop_front();
        }
        if self.short.is_empty() || (self.in_a_row >= SHORT_IN_A_ROW && !self.long.is_empty()) {
            self.in_a_row = 0;
            return self.long.pop_front().map(|(_, next)| next);
        }
        self.in_a_row += u32::from(!self.long.is_empty());
        self.short.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::{DecodeLength::*, *};

    const LONG: DecodeLength = Long(Duration::from_millis(20));

    /// Polls it once.
    async fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
    }

    #[tokio::test]
    async fn free_slot_is_taken_without_waiting_and_the_rest_wait_in_order() {
        let slots = DecodeSlots::new(1, 0);
        let slot = slots.take().await;
        let (mut second, mut third) = (pin!(slots.take()), pin!(slots.take()));
        assert!(poll(&mut second).await.is_pending() && poll(&mut third).await.is_pending());
        drop(slot);
        assert!(poll(&mut third).await.is_pending());
        let Poll::Ready(slot) = poll(&mut second).await else { panic!("it is the second's turn") };
        drop(slot);
        assert!(poll(&mut third).await.is_ready());
    }

    #[tokio::test]
    async fn waiting_decode_that_is_dropped_is_passed_over() {
        let slots = DecodeSlots::new(1, 0);
        let slot = slots.take().await;
        {
            let mut gone = pin!(slots.take());
            assert!(poll(&mut gone).await.is_pending());
        }
        let mut granted = Box::pin(slots.take());
        assert!(poll(&mut granted).await.is_pending());
        drop(slot);
        // It has its slot, and is dropped before it looks.
        drop(granted);
        drop(slots.take().await);
        assert_eq!(slots.waiting(), 0);
        assert_eq!(slots.0.lock().free, 1);
    }

    #[tokio::test]
    async fn short_decodes_go_first_and_a_long_one_after_three_of_them() {
        let mut queues = Queues::default();
        let mut waiting: Vec<_> = [LONG, LONG, Short, Short, Short, Short, Short]
            .into_iter()
            .map(|length| queues.wait(length))
            .collect();
        let mut order = Vec::new();
        while let Some(next) = queues.next(false) {
            next.send(DecodeSlot { slots: None, for_short: false }).unwrap();
            order.push(waiting.iter_mut().position(|turn| turn.try_recv().is_ok()).unwrap());
        }
        assert_eq!(order, [2, 3, 4, 0, 5, 6, 1]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn new_decode_gets_the_slot_that_an_expensive_one_gives_up_next() {
        let slots = DecodeSlots::new(2, 0);
        // As many expensive decodes as there are slots; each gives way again and again.
        let (give, given) = std::sync::mpsc::channel::<()>();
        let given = Arc::new(Mutex::new(given));
        let ways = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (mut held, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            held.push(slots.take().await);
        }
        for mut slot in held {
            let (given, ways) = (given.clone(), ways.clone());
            busy.push(tokio::task::spawn_blocking(move || {
                while given.lock().recv().is_ok() {
                    ways.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    slot = slot.give_way(LONG).unwrap();
                }
            }));
        }
        let mut order = pin!(slots.take());
        assert!(poll(&mut order).await.is_pending());
        give.send(()).unwrap();
        drop(order.await);
        assert_eq!(ways.load(std::sync::atomic::Ordering::SeqCst), 1);
        drop(give);
        for busy in busy {
            busy.await.unwrap();
        }
        assert_eq!(slots.0.lock().free, 2);
        assert_eq!(slots.0.lock().parked, 0);
    }

    #[tokio::test]
    async fn short_decode_does_not_wait_for_long_ones_and_moves_to_their_slots_once_it_is_long() {
        let slots = DecodeSlots::new(1, 1);
        let expensive = slots.take().await;
        let short = slots.take().await;
        assert!(!expensive.is_wanted(LONG) && !short.is_wanted(Short) && short.is_wanted(LONG));
        let mut next = pin!(slots.take());
        assert!(poll(&mut next).await.is_pending(), "both slots are taken");
        drop(expensive);
        let Poll::Ready(next) = poll(&mut next).await else { panic!("it is its turn") };
        drop(next);
        let long = short.give_way(LONG).unwrap();
        assert!(!long.for_short && !long.is_wanted(LONG));
        let queues = slots.0.lock();
        assert_eq!((queues.free, queues.free_for_short), (0, 1));
    }

    #[tokio::test]
    async fn slot_is_kept_when_no_decode_waits_or_many_do_and_it_has_hardly_computed() {
        let slots = DecodeSlots::new(1, 0);
        let slot = slots.take().await.give_way(LONG).unwrap();
        let mut other = pin!(slots.take());
        assert!(poll(&mut other).await.is_pending());
        slots.0.lock().parked = PARKED / 2;
        let slot = slot.give_way(Short).unwrap();
        assert!(poll(&mut other).await.is_pending());
        drop(slot);
        assert!(poll(&mut other).await.is_ready());
    }

    #[tokio::test]
    async fn decode_that_has_computed_longest_ends_when_too_many_wait() {
        let slots = DecodeSlots::new(1, 0);
        let slot = slots.take().await;
        let mut other = pin!(slots.take());
        assert!(poll(&mut other).await.is_pending());
        slots.0.lock().parked = PARKED;
        let mut parked = slots.0.lock().wait(LONG);
        // The one at work has computed for longer: it ends, and the slot is free for the other.
        assert!(slot.give_way(Long(Duration::from_millis(21))).is_none());
        let Poll::Ready(slot) = poll(&mut other).await else { panic!("it is the other's turn") };
        // One that has computed for less has the place of the one that waits.
        let mut another = pin!(slots.take());
        assert!(poll(&mut another).await.is_pending());
        let way = tokio::task::spawn_blocking(|| slot.give_way(Long(Duration::from_millis(10))));
        let slot = another.await;
        assert_eq!(parked.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
        drop(slot);
        assert!(way.await.unwrap().is_some());
        assert_eq!(slots.0.lock().parked, PARKED - 1);
    }
}
