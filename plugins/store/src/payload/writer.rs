//! Writes one payload as it is decoded.

use uuid::Uuid;

use super::{Payloads, seal::Sealer, sink::Sink};
use crate::{model::Payload, store::StoreError};

/// Takes a payload's bytes and makes them durable. Blocks: it is for threads that may wait, those of a
/// runtime of several threads included. Dropped unfinished it removes what it wrote.
pub struct PayloadWriter {
    payloads: Payloads,
    event: Uuid,
    size: u64,
    held: Held,
}

enum Held {
    Memory(Vec<u8>),
    Spilt {
        sink: Sink,
        sealer: Option<Box<Sealer>>,
    },
    /// A write failed, and what was written is removed.
    Failed,
}

// === impl PayloadWriter ===

impl PayloadWriter {
    pub(super) const fn new(payloads: Payloads, event: Uuid) -> Self {
        Self { payloads, event, size: 0, held: Held::Memory(Vec::new()) }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// What its place or its sealing says; every later call fails as well.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.try_write(bytes);
        match &written {
            Ok(()) => self.size += bytes.len() as u64,
            Err(error) => self.fail(error),
        }
        written
    }

    /// Bytes taken so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Makes it durable: when this returns, a power cut does not take it away.
    ///
    /// # Errors
    /// When it cannot, or when a write before failed.
    pub fn finish(mut self) -> Result<Payload, StoreError> {
        match std::mem::replace(&mut self.held, Held::Failed) {
            Held::Memory(bytes) => self.payloads.inline(self.event, bytes.into()),
            Held::Spilt { sink, sealer } => {
                let finished = finish(sink, sealer, self.size);
                match &finished {
                    Ok(_) => self.payloads.gauge.succeeded(),
                    Err(error) => self.fail(error),
                }
                finished
            }
            Held::Failed => Err(StoreError::GivenUp),
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Held::Memory(held) = &mut self.held {
            if held.len() + bytes.len() <= Payload::INLINE_MAX {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            let held = std::mem::take(held);
            let mut sealer = self.payloads.sealer(self.event)?.map(Box::new);
            let mut sink = Sink::open(&self.payloads.place)?;
            if let Some(sealer) = &sealer {
                sink.write(&sealer.header())?;
            }
            pass(&mut sink, &mut sealer, &held)?;
            self.held = Held::Spilt { sink, sealer };
        }
        match &mut self.held {
            Held::Spilt { sink, sealer } => pass(sink, sealer, bytes),
            Held::Memory(_) | Held::Failed => Err(StoreError::GivenUp),
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.held = Held::Failed;
        if !matches!(error, StoreError::GivenUp) {
            self.payloads.gauge.failed(error);
        }
    }
}

impl std::fmt::Debug for PayloadWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadWriter").field("event", &self.event).finish_non_exhaustive()
    }
}

fn pass(sink: &mut Sink, sealer: &mut Option<Box<Sealer>>, bytes: &[u8]) -> Result<(), StoreError> {
    match sealer {
        Some(sealer) => sealer.push(bytes, &mut |sealed| sink.write(sealed)),
        None => sink.write(bytes),
    }
}

fn finish(mut sink: Sink, sealer: Option<Box<Sealer>>, size: u64) -> Result<Payload, StoreError> {
    let Some(sealer) = sealer else { return sink.finish() };
    sealer.finish(&mut |sealed| sink.write(sealed))?;
    let kept = Box::new(sink.finish()?);
    Ok(Payload::Sealed { size, kept })
}
