//! Writes one payload as it is decoded.

use uuid::Uuid;

use super::{
    Payloads,
    seal::Sealer,
    sink::{PayloadSink, PieceLimits},
    volume,
};
use crate::{
    error::{StoreError, seal_error},
    model::Payload,
};

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
    Spilt(Box<SpiltPayload>),
    /// A write failed, and what was written has been removed.
    Failed,
}

/// A payload that is too large for the row, sealed if there is a sealer.
struct SpiltPayload {
    event: Uuid,
    sink: PayloadSink,
    sealer: Option<Sealer>,
}

// === impl Payloads ===

impl Payloads {
    /// Starts the payload of an event. A sealed one opens only for this event. Nothing is written
    /// until it is longer than [`Payload::INLINE_MAX`].
    pub fn writer(&self, event: Uuid) -> PayloadWriter {
        let held = PayloadBytes::Memory(Vec::new());
        PayloadWriter { payloads: self.clone(), event, size: 0, held }
    }
}

// === impl PayloadWriter ===

impl PayloadWriter {
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
        if let PayloadBytes::Spilt(spilt) = &mut self.held
            && let Err(error) = spilt.sink.ready().await
        {
            self.fail(&error);
        }
    }

    /// Whether adding this many bytes may wait for a disk or a database.
    pub fn may_block(&self, bytes: usize) -> bool {
        match &self.held {
            PayloadBytes::Memory(held) => {
                PieceLimits::of(&self.payloads.place).may_block(0, held.len() + bytes)
            }
            PayloadBytes::Spilt(spilt) => {
                let sealer = spilt.sealer.as_ref();
                spilt.sink.may_block(sealer.map_or(bytes, |sealer| sealer.output(bytes)))
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
            PayloadBytes::Spilt(spilt) => {
                let finished = spilt.finish(self.size).await;
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
        match &mut self.held {
            PayloadBytes::Memory(held) if held.len() + bytes.len() <= Payload::INLINE_MAX => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            PayloadBytes::Memory(held) => {
                let mut spilt = SpiltPayload::open(&self.payloads, self.event)?;
                spilt.write(held)?;
                spilt.write(bytes)?;
                self.held = PayloadBytes::Spilt(Box::new(spilt));
                Ok(())
            }
            PayloadBytes::Spilt(spilt) => spilt.write(bytes),
            PayloadBytes::Failed => Err(StoreError::GivenUp),
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

// === impl SpiltPayload ===

impl SpiltPayload {
    fn open(payloads: &Payloads, event: Uuid) -> Result<Self, StoreError> {
        let sealer = payloads.sealer(event)?;
        let mut sink = PayloadSink::open(&payloads.place, payloads.mark())?;
        if let Some(sealer) = &sealer {
            sink.write(&sealer.header())?;
        }
        Ok(Self { event, sink, sealer })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.sealer {
            Some(sealer) => {
                let sealed = sealer.push(bytes).map_err(seal_error(self.event))?;
                self.sink.write(&sealed)
            }
            None => self.sink.write(bytes),
        }
    }

    async fn finish(mut self, size: u64) -> Result<Payload, StoreError> {
        let Some(sealer) = self.sealer else { return self.sink.finish().await };
        let last = sealer.finish().map_err(seal_error(self.event))?;
        self.sink.ready().await?;
        self.sink.write(&last)?;
        let kept = Box::new(self.sink.finish().await?);
        Ok(Payload::Sealed { size, kept })
    }
}
