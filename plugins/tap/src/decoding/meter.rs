//! Measures the CPU time of one decode, ends it over its budget, and lets other decodes compute in
//! between.

use std::time::{Duration, Instant};

use as2hook_as2::{
    Attachment, ContentReceiver, Decoded, ErrorCode, Fault, Headers, MAX_MEMORY, ProcessingError,
};
use rustix::time::{ClockId, clock_gettime};

use super::{
    super::keeping::PayloadKeeper,
    DECODING, DecodeProgress,
    slots::{DecodeLength, DecodeSlot, DecodeSlots, PARKED},
};
use crate::memory::{Memory, Share};

/// The sink of a decode: keeps what is to be kept, and is called between small amounts of work.
pub(super) struct MeteredSink {
    pub(super) keeper: PayloadKeeper,
    slots: DecodeSlots,
    progress: DecodeProgress,
    /// While the decode computes.
    slot: Option<DecodeSlot>,
    pub(super) memory: (Memory, u64),
    /// Of a message that takes more than is counted for each.
    share: Option<Share>,
    pub(super) budget: CpuBudget,
    /// Set once the budget is spent, for good: more output would admit more.
    spent: Option<Fault>,
    /// This thread's CPU time when it was last read, and when that was.
    read: (Duration, Instant),
    /// CPU time for the piece at work.
    of_piece: Duration,
    /// CPU time since the decode has its slot.
    of_slot: Duration,
}

/// The CPU time that one message may take: a base, and more for each MiB of the body or of what came
/// out of it, whichever is more.
#[derive(Debug)]
pub(super) struct CpuBudget {
    base: Duration,
    used: Duration,
    pub(super) body: u64,
    pub(super) output: u64,
}

/// How much slower the decoder is when it is not optimised.
pub(super) const SLOWER: u32 = if cfg!(debug_assertions) { 8 } else { 1 };

/// A decode computes for so long before others that wait go first.
const QUANTUM: Duration = Duration::from_millis(5);

/// One piece of a usual message takes less.
const LONG: Duration = Duration::from_millis(10 * SLOWER as u64);

/// Reading the clock is a system call: it is not read more often than this.
const READ_EVERY: Duration = Duration::from_micros(200);

/// Added to the budget for each MiB.
const EACH_MIB: Duration = Duration::from_millis(150);

// === impl MeteredSink ===

impl MeteredSink {
    pub(super) fn new(
        keeper: PayloadKeeper,
        slots: DecodeSlots,
        base: Duration,
        memory: (Memory, u64),
    ) -> Self {
        let budget = CpuBudget { base, used: Duration::ZERO, body: 0, output: 0 };
        Self {
            keeper,
            slots,
            progress: DecodeProgress::default(),
            slot: None,
            memory,
            share: None,
            budget,
            spent: None,
            read: (Duration::ZERO, Instant::now()),
            of_piece: Duration::ZERO,
            of_slot: Duration::ZERO,
        }
    }

    /// Signals that the decode goes on, to what waits for it.
    pub(super) fn progress(&self) -> DecodeProgress {
        self.progress.clone()
    }

    /// Waits for a slot, and begins to measure a piece of so many bytes.
    pub(super) async fn begin(&mut self, bytes: usize) {
        self.progress.step();
        self.slot = Some(self.slots.take().await);
        self.progress.step();
        self.begin_without_slot(bytes);
    }

    /// Like [`Self::begin`], for what is decoded at once.
    pub(super) fn begin_without_slot(&mut self, bytes: usize) {
        self.budget.body = self.budget.body.saturating_add(bytes as u64);
        (self.of_piece, self.of_slot) = (Duration::ZERO, Duration::ZERO);
        self.read = (thread_time(), Instant::now());
    }

    /// The piece is done.
    pub(super) fn end(&mut self) {
        self.measure();
        self.slot = None;
    }

    /// The CPU time that the message took so far.
    #[cfg(test)]
    pub(super) fn used(&self) -> Duration {
        self.budget.used
    }

    /// The part of its budget that it took so far.
    #[cfg(test)]
    pub(super) fn share_used(&self) -> f64 {
        self.budget.used.as_secs_f64() / self.budget.limit().as_secs_f64()
    }

    /// Adds the error that the budget was spent, where the decoder dropped it with the layer that it was
    /// about.
    pub(super) fn report(&self, decoded: &mut Decoded) {
        if let Some(fault) = &self.spent
            && !decoded.errors.iter().any(|error| error.code == ErrorCode::Limit)
        {
            decoded.errors.push(ProcessingError::from(fault));
        }
    }

    fn measure(&mut self) {
        let now = thread_time();
        let took = now.saturating_sub(self.read.0);
        self.read = (now, Instant::now());
        self.budget.used += took;
        self.of_piece += took;
        self.of_slot += took;
    }
}

impl ContentReceiver for MeteredSink {
    fn body(&mut self, bytes: &[u8]) {
        self.keeper.body(bytes);
    }

    fn begin(&mut self, index: usize, name: Option<&str>, headers: &Headers) {
        self.keeper.begin(index, name, headers);
    }

    fn data(&mut self, index: usize, bytes: &[u8]) {
        if !self.keeper.may_block(index, bytes.len()) {
            return self.keeper.data(index, bytes);
        }
        // Within a piece there is nothing to wait for but a thread of its own.
        if self.slot.as_ref().is_some_and(|slot| !slot.may_be_lent()) {
            return self.keeper.give_up();
        }
        self.measure();
        let (keeper, progress) = (&mut self.keeper, &self.progress);
        let mut keep = || {
            keeper.data(index, bytes);
            progress.step();
        };
        match self.slot.take() {
            Some(slot) => self.slot = Some(slot.lend(keep)),
            None => keep(),
        }
        self.progress.step();
        self.of_slot = Duration::ZERO;
    }

    fn end(&mut self, index: usize, attachment: &Attachment) {
        self.keeper.end(index, attachment);
    }

    fn checkpoint(&mut self, output: u64) -> Result<(), Fault> {
        self.budget.output = output;
        if self.read.1.elapsed() >= READ_EVERY {
            self.measure();
            let length = match self.of_piece < LONG {
                true => DecodeLength::Short,
                false => DecodeLength::Long(self.of_piece),
            };
            if self.of_slot >= QUANTUM
                && let Some(slot) = self.slot.take_if(|slot| slot.is_wanted(length))
            {
                self.progress.step();
                self.slot = slot.give_way(length);
                self.progress.step();
                self.of_slot = Duration::ZERO;
                if self.slot.is_none() {
                    let what = "expensive messages in decode";
                    self.spent = Some(Fault::Limit { what, limit: PARKED as u64 });
                }
            }
        }
        if self.spent.is_none() {
            self.spent = self.budget.check().err();
        }
        self.spent.clone().map_or(Ok(()), Err)
    }

    fn grow(&mut self) -> Result<(), Fault> {
        let (memory, limit) = &self.memory;
        self.share = memory.take(MAX_MEMORY - DECODING, *limit);
        match self.share {
            Some(_) => Ok(()),
            None => Err(Fault::Limit { what: "bytes of memory for all messages", limit: *limit }),
        }
    }
}

// === impl CpuBudget ===

impl CpuBudget {
    pub(super) fn limit(&self) -> Duration {
        let mib = u32::try_from(self.body.max(self.output) >> 20).unwrap_or(u32::MAX);
        self.base.saturating_add(EACH_MIB.saturating_mul(mib)).saturating_mul(SLOWER)
    }

    fn check(&self) -> Result<(), Fault> {
        let limit = self.limit();
        if self.used <= limit {
            return Ok(());
        }
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Err(Fault::CpuTime { limit })
    }
}

/// The CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}
