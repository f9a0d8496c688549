//! The decoder's own threads, and the bounded queue of each message.
//!
//! Every message is a task. As many of them compute at once as there are cores, and as many besides that have
//! hardly begun; one that computes for long lets the others go first, within a piece too. So an expensive
//! message holds up its own exchange and no other. The proxy's threads decode nothing but small documents, in
//! which there is nothing to open, and small responses of our own receiver.
//!
//! # Layout
//! - `slots`: which decodes compute
//! - `meter`: the CPU time of one decode, and its budget

mod meter;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use as2hook_as2::{Decoded, Decoder, Headers, Keyring, Options};
use as2hook_store::{Payload, StoreError};
use bytes::Bytes;
use tokio::{
    runtime::{Handle, Runtime},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use self::{meter::MeteredSink, slots::DecodeSlots};
use super::keeping::PayloadKeeper;
use crate::memory::{Memory, Share};
use as2hook_config::Config;

/// BlobStore of up to 64 KiB that wait for the decoder, for each message.
const QUEUE: usize = 8;

/// A piece is part of a block of this size, however small it is itself.
const BLOCK: u64 = 64 * 1024;

/// A document of up to so many bytes is decoded on the thread that calls: to hand it over takes longer.
const AT_ONCE: usize = 16 * 1024;

/// Memory of one usual message in decode, with the piece at work: as measured (`docs/reliability.md`), and
/// most of it the first MiB of a signed part, which is kept until its signature is there. A message that may
/// take more is counted for [`as2hook_as2::MAX_MEMORY`].
pub(crate) const DECODING: u64 = 1536 * 1024;

/// How long the traffic waits for a decoder that makes no progress, before it goes on alone.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the decode of a complete message may make no progress beside the traffic. Waiting for its turn
/// is not counted: it is as long as the decodes before it take, each within its budget.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// The decoder's threads.
pub(crate) struct Decoding {
    runtime: Option<Runtime>,
    slots: DecodeSlots,
}

/// What one decode may use.
#[derive(Clone)]
pub(crate) struct DecodeLimits {
    /// The decoder's own.
    pub options: Options,
    /// CPU time, without what the size adds.
    pub cpu: Duration,
    /// Where its waiting pieces are counted, and the limit in bytes.
    pub memory: (Memory, u64),
}

/// A message on its way through the decoder.
pub(crate) struct DecodeHandle {
    stage: DecodeStage,
    runtime: Handle,
    /// Whether our own receiver sent it.
    is_trusted: bool,
    memory: (Memory, u64),
    progress: DecodeProgress,
    stuck: bool,
}

enum DecodeStage {
    /// Nothing of the body has come.
    New(Box<(Decoder, MeteredSink)>),
    Begun(mpsc::Sender<Piece>, JoinHandle<DecodeOutcome>),
    /// It was taken out, to go on.
    Over,
}

/// The end of a decode. Dropped before, it gives the decode up.
pub(crate) type Finishing = Pin<Box<dyn Future<Output = Result<DecodeOutcome, Lost>> + Send>>;

/// What came out.
pub(crate) struct DecodeOutcome {
    /// What the message is.
    pub decoded: Decoded,
    /// What a `raw` delivery sends.
    pub payload: Result<Payload, StoreError>,
}

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// The decoder panicked; the traffic went on.
    #[error("The decoder failed on this message; please report it")]
    Failed,
    /// The decoder made no progress; the traffic went on.
    #[error("The decoder did not keep up with this message")]
    Stuck,
}

/// How often one decode began or ended to wait for a slot: odd while it waits. Clones count together.
#[derive(Clone, Debug, Default)]
struct DecodeProgress(Arc<AtomicU64>);

struct Piece {
    bytes: Bytes,
    /// The memory that it takes, unless that is counted with the exchange.
    share: Option<Share>,
    /// It is the last, and whether the body is whole.
    end: Option<bool>,
}

// === impl DecodeLimits ===

impl DecodeLimits {
    /// Those of this config.
    pub(crate) fn of(config: &Config, memory: &Memory) -> Self {
        let limits = &config.limits;
        let memory = (memory.clone(), limits.memory);
        Self { options: config.decode_options(), cpu: limits.cpu, memory }
    }
}

// === impl Decoding ===

impl Decoding {
    /// Starts the threads; as many decodes compute at once as there are `cores`, and as many besides that
    /// have hardly begun.
    pub(crate) fn start(cores: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("decode")
            // One more than can compute, so that a new message gets in line at once.
            .worker_threads(2 * cores + 1)
            .enable_time()
            .build()?;
        Ok(Self { runtime: Some(runtime), slots: DecodeSlots::new(cores, cores) })
    }

    /// Begins a message.
    pub(crate) fn feed(
        &self,
        headers: &Headers,
        keyring: Arc<Keyring>,
        keeper: PayloadKeeper,
        limits: DecodeLimits,
    ) -> DecodeHandle {
        let runtime = self.runtime.as_ref().expect("the runtime is there until the drop");
        let sink = MeteredSink::new(keeper, self.slots.clone(), limits.cpu, limits.memory.clone());
        let progress = sink.progress();
        let decoder = Decoder::new(headers, keyring, limits.options);
        DecodeHandle {
            stage: DecodeStage::New(Box::new((decoder, sink))),
            runtime: runtime.handle().clone(),
            is_trusted: false,
            memory: limits.memory,
            progress,
            stuck: false,
        }
    }

    /// Takes every slot, so that nothing is decoded until what this returns is dropped.
    #[cfg(test)]
    pub(crate) async fn occupy(&self) -> impl Sized + use<> {
        let mut slots = Vec::new();
        for _ in 1..self.runtime.as_ref().unwrap().metrics().num_workers() {
            slots.push(self.slots.take().await);
        }
        slots
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl DecodeHandle ===

impl DecodeHandle {
    /// Lets it be decoded at once while it is small, whatever it is: our own receiver sent it.
    pub(crate) fn trust(&mut self) {
        self.is_trusted = true;
    }

    /// Hands over a piece; waits while the queue is full, unless the decode stands still for 30 s.
    pub(crate) async fn push(&mut self, bytes: Bytes) {
        if !self.stuck {
            let progress = self.progress.clone();
            self.stuck = progress.wait(PATIENCE, self.send(bytes, None)).await.is_none();
        }
    }

    /// The body is complete with these bytes, or was cut off behind them. Ends when it is decoded, or
    /// has stood still for 10 minutes.
    pub(crate) fn finish(mut self, last: Bytes, whole: bool) -> Finishing {
        if last.len() <= AT_ONCE
            && let DecodeStage::New(new) = &self.stage
            && (self.is_trusted || new.0.is_document(&last))
            && let DecodeStage::New(new) = self.stage.take()
        {
            return Box::pin(decode_at_once(*new, last, whole));
        }
        Box::pin(async move {
            if self.stuck {
                return Err(Lost::Stuck);
            }
            let progress = self.progress.clone();
            let rest = async {
                self.send(last, Some(whole)).await;
                match &mut self.stage {
                    DecodeStage::Begun(_, task) => task.await.map_err(|_| Lost::Failed),
                    DecodeStage::New(_) | DecodeStage::Over => Err(Lost::Failed),
                }
            };
            progress.wait(LONGEST, rest).await.ok_or(Lost::Stuck)?
        })
    }

    async fn send(&mut self, bytes: Bytes, end: Option<bool>) {
        if let DecodeStage::New(_) = &self.stage
            && let DecodeStage::New(new) = self.stage.take()
        {
            let (pieces, queue) = mpsc::channel(QUEUE);
            self.stage = DecodeStage::Begun(pieces, self.runtime.spawn(decode(*new, queue)));
        }
        let DecodeStage::Begun(pieces, _) = &self.stage else { return };
        let (memory, limit) = &self.memory;
        let share = match bytes.len() as u64 {
            0 => None,
            length => {
                let share = memory.take(BLOCK.max(length), *limit);
                if share.is_none() {
                    // No room: this message has one piece in the queue at a time, which it was let in
                    // with. A closed queue is a decoder that panicked: its task says so.
                    let _ = pieces.reserve_many(QUEUE).await;
                }
                share
            }
        };
        let _ = pieces.send(Piece { bytes, share, end }).await;
    }
}

impl Drop for DecodeHandle {
    fn drop(&mut self) {
        if let DecodeStage::Begun(_, task) = &self.stage {
            task.abort();
        }
    }
}

// === impl DecodeStage ===

impl DecodeStage {
    fn take(&mut self) -> Self {
        mem::replace(self, Self::Over)
    }
}

// === impl DecodeProgress ===

impl DecodeProgress {
    /// The decode begins to wait for a slot, or has it.
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for `done`. `None`: the decode stood still for so long. Other decodes that go first do not
    /// count, so that none is given up because the machine is busy.
    async fn wait<T>(&self, still: Duration, done: impl Future<Output = T>) -> Option<T> {
        let mut done = pin!(done);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            if let Ok(done) = timeout(still, &mut done).await {
                return Some(done);
            }
            if before.is_multiple_of(2) && before == self.0.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

/// Decodes a whole body on the thread that calls.
async fn decode_at_once(
    (mut decoder, mut sink): (Decoder, MeteredSink),
    body: Bytes,
    whole: bool,
) -> Result<DecodeOutcome, Lost> {
    sink.begin_without_slot(body.len());
    let decode = || {
        decoder.push(&body, &mut sink);
        decoder.finish(whole, &mut sink)
    };
    let mut decoded = catch_unwind(AssertUnwindSafe(decode)).map_err(|_| Lost::Failed)?;
    sink.end();
    sink.report(&mut decoded);
    let payload = sink.keeper.finish(&decoded).await;
    Ok(DecodeOutcome { decoded, payload })
}

async fn decode(
    (mut decoder, mut sink): (Decoder, MeteredSink),
    mut queue: mpsc::Receiver<Piece>,
) -> DecodeOutcome {
    loop {
        let cut = || Piece { bytes: Bytes::new(), share: None, end: Some(false) };
        let Piece { bytes, share, end } = queue.recv().await.unwrap_or_else(cut);
        sink.begin(bytes.len()).await;
        if !bytes.is_empty() {
            decoder.push(&bytes, &mut sink);
            drop((bytes, share));
        }
        if let Some(whole) = end {
            let mut decoded = decoder.finish(whole, &mut sink);
            sink.end();
            sink.report(&mut decoded);
            // No thread waits for a disk or a database.
            let payload = sink.keeper.finish(&decoded).await;
            return DecodeOutcome { decoded, payload };
        }
        sink.end();
        sink.keeper.ready().await;
        tokio::task::yield_now().await;
    }
}
