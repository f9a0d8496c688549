//! Writes one payload as it is decoded.

use uuid::Uuid;

use super::{Payloads, seal::Sealer, sink::PayloadSink, volume};
use crate::{model::Payload, store::StoreError};

/// Takes a payload's bytes and makes them durable. Adding many at once may block: it is for threads
/// that may block, including those of a multi-threaded runtime. When dropped unfinished, it removes
/// what it wrote.
pub struct PayloadWriter {
    payloads: Payloads,
    event: Uuid,
    size: u64,
    held: PayloadBytes,
}

enum PayloadBytes {
    Memory(Vec<u8>),
    Spilt {
        sink: PayloadSink,
        sealer: Option<Box<Sealer>>,
    },
    /// A write failed, and what was written has been removed.
    Failed,
}

// === impl PayloadWriter ===

impl PayloadWriter {
    pub(super) const fn new(payloads: Payloads, event: Uuid) -> Self {
        Self { payloads, event, size: 0, held: PayloadBytes::Memory(Vec::new()) }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// Those of its place or of the sealing; every later call fails as well.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.try_write(bytes);
        match &written {
            Ok(()) => self.size += bytes.len() as u64,
            Err(error) => self.fail(error),
        }
        written
    }

    /// Waits until the usual number of bytes can be added without blocking. Errors are returned by
    /// a later call.
    pub async fn ready(&mut self) {
        if let PayloadBytes::Spilt { sink, .. } = &mut self.held
            && let Err(error) = sink.ready().await
        {
            self.fail(&error);
        }
    }

    /// Whether adding this many bytes may wait for a disk or a database.
    pub fn may_block(&self, bytes: usize) -> bool {
        match &self.held {
            PayloadBytes::Memory(held) => {
                PayloadSink::may_block_at_first(&self.payloads.place, held.len() + bytes)
            }
            PayloadBytes::Spilt { sink, sealer } => {
                sink.may_block(sealer.as_ref().map_or(bytes, |sealer| sealer.output(bytes)))
            }
            PayloadBytes::Failed => false,
        }
    }

    /// Abandons the payload, because its place is too slow.
    pub fn give_up(&mut self) {
        self.fail(&StoreError::Slow(volume::WRITE_WITHIN));
    }

    /// Returns the number of bytes so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Makes the payload durable: when this returns, it survives a power cut.
    ///
    /// # Errors
    /// When that fails, or when an earlier write failed.
    pub async fn finish(mut self) -> Result<Payload, StoreError> {
        match std::mem::replace(&mut self.held, PayloadBytes::Failed) {
            PayloadBytes::Memory(bytes) => self.payloads.inline(self.event, bytes.into()),
            PayloadBytes::Spilt { sink, sealer } => {
                let finished = finish(sink, sealer, self.size).await;
                match &finished {
                    Ok(_) => self.payloads.monitor.succeeded(),
                    Err(error) => self.fail(error),
                }
                finished
            }
            PayloadBytes::Failed => Err(StoreError::GivenUp),
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let PayloadBytes::Memory(held) = &mut self.held {
            if held.len() + bytes.len() <= Payload::INLINE_MAX {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            let held = std::mem::take(held);
            let mut sealer = self.payloads.sealer(self.event)?.map(Box::new);
            let mut sink = PayloadSink::open(&self.payloads.place, self.payloads.mark())?;
            if let Some(sealer) = &sealer {
                sink.write(&sealer.header())?;
            }
            pass(&mut sink, &mut sealer, &held)?;
            self.held = PayloadBytes::Spilt { sink, sealer };
        }
        match &mut self.held {
            PayloadBytes::Spilt { sink, sealer } => pass(sink, sealer, bytes),
            PayloadBytes::Memory(_) | PayloadBytes::Failed => Err(StoreError::GivenUp),
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.held = PayloadBytes::Failed;
        if !matches!(error, StoreError::GivenUp) {
            self.payloads.monitor.failed(error);
        }
    }
}

impl std::fmt::Debug for PayloadWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadWriter").field("event", &self.event).finish_non_exhaustive()
    }
}

fn pass(
    sink: &mut PayloadSink,
    sealer: &mut Option<Box<Sealer>>,
    bytes: &[u8],
) -> Result<(), StoreError> {
    match sealer {
        Some(sealer) => sealer.push(bytes, &mut |sealed| sink.write(sealed)),
        None => sink.write(bytes),
    }
}

async fn finish(
    mut sink: PayloadSink,
    sealer: Option<Box<Sealer>>,
    size: u64,
) -> Result<Payload, StoreError> {
    let Some(sealer) = sealer else { return sink.finish().await };
    sink.ready().await?;
    sealer.finish(&mut |sealed| sink.write(sealed))?;
    let kept = Box::new(sink.finish().await?);
    Ok(Payload::Sealed { size, kept })
}
