//! The decoder's own threads, and the bounded queue of each message.
//!
//! Every message is a task that hands its thread on after each piece, so a slow cipher holds up its
//! own exchange and no other, and the proxy's threads never decode.

use std::{sync::Arc, time::Duration};

use as2hook_as2::{Decoded, Decoder, Headers, Keyring, Options};
use as2hook_store::{Payload, StoreError};
use bytes::Bytes;
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle, time::timeout};

use super::keeping::Keeper;
use crate::memory::{Memory, Share};

/// Pieces of up to 64 KiB that wait for the decoder, for each message.
const QUEUE: usize = 8;

/// A piece is part of a block of this size, however small it is itself.
const BLOCK: u64 = 64 * 1024;

/// How long the traffic waits for a decoder that makes no progress, before it goes on alone.
const PATIENCE: Duration = Duration::from_secs(30);

/// The decoder's threads.
pub(super) struct Decoding {
    runtime: Option<Runtime>,
}

/// A message on its way through the decoder.
pub(super) struct Feed {
    pieces: mpsc::Sender<Piece>,
    memory: (Memory, u64),
    task: JoinHandle<Outcome>,
    stuck: bool,
}

/// What came out.
pub(super) struct Outcome {
    /// What the message is.
    pub decoded: Decoded,
    /// What a `raw` delivery sends.
    pub payload: Result<Payload, StoreError>,
}

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    /// The decoder panicked; the traffic went on.
    #[error("The decoder failed on this message; please report it")]
    Failed,
    /// The decoder made no progress; the traffic went on.
    #[error("The decoder did not keep up with this message")]
    Stuck,
}

enum Piece {
    /// With the memory that it takes, unless that is counted with the exchange.
    Data(Bytes, Option<Share>),
    End {
        whole: bool,
    },
}

// === impl Decoding ===

impl Decoding {
    /// Starts the threads.
    pub(super) fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("decode")
            .worker_threads(threads)
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Begins a message. `memory`: where its waiting pieces are counted, and the limit in bytes.
    pub(super) fn feed(
        &self,
        headers: &Headers,
        keyring: Arc<Keyring>,
        options: Options,
        keeper: Keeper,
        memory: (Memory, u64),
    ) -> Feed {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let runtime = self.runtime.as_ref().expect("the runtime is there until the drop");
        let headers = headers.clone();
        let task = runtime.spawn(async move {
            decode(Decoder::new(&headers, keyring, options), queue, keeper).await
        });
        Feed { pieces, memory, task, stuck: false }
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Feed ===

impl Feed {
    /// Hands over a piece; waits while the queue is full.
    pub(super) async fn push(&mut self, bytes: Bytes) {
        let (memory, limit) = &self.memory;
        let share = memory.take(BLOCK.max(bytes.len() as u64), *limit);
        if share.is_none() {
            // No room: this message has one piece in the queue at a time, which it was let in with.
            self.empty().await;
        }
        self.send(Piece::Data(bytes, share)).await;
    }

    /// The body is complete, or was cut off.
    pub(super) async fn finish(mut self, whole: bool) -> Result<Outcome, Lost> {
        self.send(Piece::End { whole }).await;
        if self.stuck {
            return Err(Lost::Stuck);
        }
        match timeout(PATIENCE, &mut self.task).await {
            Ok(done) => done.map_err(|_| Lost::Failed),
            Err(_) => Err(Lost::Stuck),
        }
    }

    /// Waits until the decoder has taken all that waits.
    async fn empty(&mut self) {
        if !self.stuck {
            // A closed queue is a decoder that panicked: `finish` tells.
            self.stuck = timeout(PATIENCE, self.pieces.reserve_many(QUEUE)).await.is_err();
        }
    }

    async fn send(&mut self, piece: Piece) {
        if !self.stuck {
            // A closed queue is a decoder that panicked: `finish` tells.
            self.stuck = timeout(PATIENCE, self.pieces.send(piece)).await.is_err();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn decode(
    mut decoder: Decoder,
    mut queue: mpsc::Receiver<Piece>,
    mut keeper: Keeper,
) -> Outcome {
    let whole = loop {
        match queue.recv().await {
            Some(Piece::Data(bytes, share)) => {
                keeper.body(&bytes);
                decoder.push(&bytes, &mut keeper);
                drop((bytes, share));
            }
            Some(Piece::End { whole }) => break whole,
            None => break false,
        }
        tokio::task::yield_now().await;
    };
    let decoded = decoder.finish(whole, &mut keeper);
    // An fsync may take long: the other messages' thread must not wait for it.
    let payload = tokio::task::block_in_place(|| keeper.finish(&decoded));
    Outcome { decoded, payload }
}
