//! Reads a payload for a delivery.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    CALL_WITHIN, PayloadPlace, Payloads,
    folder::PayloadFile,
    seal::{Opener, SealError},
    sink, volume,
};
use crate::{
    error::{StoreError, seal_error},
    model::Payload,
    pieces::BlobStore,
};

/// Reads a payload's bytes, or a part of them, wherever they are stored: completely, or with an error.
pub struct PayloadReader {
    event: Uuid,
    size: u64,
    /// Bytes before the part that are still to be read.
    skipped: u64,
    /// Bytes of the part that are still to be returned.
    wanted: u64,
    /// Bytes of the payload that are still to be read.
    left: u64,
    stored: StoredBytes,
    /// `None`: it is not sealed.
    opener: Option<Box<Opener>>,
    /// Read in advance, so that a missing payload or a wrong key is noticed early.
    first: Option<Bytes>,
}

/// The bytes as they are stored.
struct StoredBytes {
    source: StoredSource,
    left: u64,
}

enum StoredSource {
    Memory(Bytes),
    File(Arc<PayloadFile>),
    Blobs { pieces: Arc<dyn BlobStore>, id: Uuid, next: u32 },
}

/// The most that is read from a file at once.
const PIECE: usize = 64 * 1024;

// === impl Payloads ===

impl Payloads {
    /// Opens an event's payload for reading; [`Payload::None`] reads as empty.
    ///
    /// # Errors
    /// [`StoreError::Purged`] when it was removed as spent; [`StoreError::Payload`] or
    /// [`StoreError::Blobs`] when it is missing or has another length; [`StoreError::Seal`] when
    /// it cannot be opened.
    pub async fn reader(
        &self,
        event: Uuid,
        payload: &Payload,
    ) -> Result<PayloadReader, StoreError> {
        self.part_reader(event, payload, 0..payload.size()).await
    }

    /// Opens a part of an event's payload, which is shortened to what there is.
    ///
    /// # Errors
    /// As [`Self::reader`].
    pub async fn part_reader(
        &self,
        event: Uuid,
        payload: &Payload,
        part: Range<u64>,
    ) -> Result<PayloadReader, StoreError> {
        let (size, kept, is_sealed) = match payload {
            Payload::Sealed { size, kept } => (*size, &**kept, true),
            plain => (plain.size(), plain, false),
        };
        let mut stored = StoredBytes::open(self, kept).await?;
        let opener = if is_sealed { Some(stored.opener(self, event).await?) } else { None };
        let (start, end) = (part.start.min(size), part.end.min(size));
        let size_of_part = end.saturating_sub(start);
        let mut reader = PayloadReader {
            event,
            size: size_of_part,
            skipped: start,
            wanted: size_of_part,
            left: size,
            stored,
            opener,
            first: None,
        };
        reader.first = reader.advance().await?;
        Ok(reader)
    }
}

// === impl PayloadReader ===

impl PayloadReader {
    /// Returns the length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next bytes. `None`: the payload ended, with its full length.
    ///
    /// # Errors
    /// Those of [`Payloads::reader`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            // The end of the payload is read as well, to see that it is whole.
            if self.wanted == 0 && self.left > 0 {
                return Ok(None);
            }
            let read = match self.first.take() {
                Some(bytes) => Some(bytes),
                None => self.advance().await?,
            };
            let Some(mut bytes) = read else { return Ok(None) };
            let before = bytes.len().min(usize::try_from(self.skipped).unwrap_or(usize::MAX));
            bytes.advance(before);
            self.skipped -= before as u64;
            bytes.truncate(usize::try_from(self.wanted).unwrap_or(usize::MAX));
            self.wanted -= bytes.len() as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, StoreError> {
        let next = self.read().await?;
        let length = next.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let left = self.left.checked_sub(length);
        match (left, &next) {
            (Some(0), None) | (Some(_), Some(_)) => self.left -= length,
            _ => return Err(seal_error(self.event)(SealError::Damaged)),
        }
        Ok(next)
    }

    async fn read(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(opener) = &mut self.opener else { return self.stored.next().await };
        while !opener.has_chunk()
            && let Some(bytes) = self.stored.next().await?
        {
            opener.push(&bytes);
        }
        opener.next().map_err(seal_error(self.event))
    }
}

impl std::fmt::Debug for PayloadReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadReader").field("size", &self.size).finish_non_exhaustive()
    }
}

// === impl StoredBytes ===

impl StoredBytes {
    async fn open(payloads: &Payloads, payload: &Payload) -> Result<Self, StoreError> {
        let source = match payload {
            Payload::None => StoredSource::Memory(Bytes::new()),
            Payload::Inline(bytes) => StoredSource::Memory(bytes.clone()),
            Payload::File { path, size } => {
                let (places, size) = (payloads.places(path), *size);
                let file = volume::read(move || open_first(places, size)).await?;
                StoredSource::File(Arc::new(file))
            }
            Payload::Stored { id, .. } => {
                let PayloadPlace::Blobs(pieces, _) = &payloads.place else {
                    let reason = "it is kept in pieces, and the config names no place of such";
                    return Err(sink::failed(*id, reason));
                };
                StoredSource::Blobs { pieces: pieces.clone(), id: *id, next: 0 }
            }
            Payload::Purged { .. } => return Err(StoreError::Purged),
            Payload::Sealed { .. } => return Err(StoreError::NoPlace),
        };
        Ok(Self { source, left: payload.size() })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        let bytes = match &mut self.source {
            StoredSource::Memory(bytes) => std::mem::take(bytes),
            StoredSource::File(file) => {
                let (file, left) = (file.clone(), self.left);
                volume::read(move || file.on_disk(|file| read_file(file, left))).await?
            }
            StoredSource::Blobs { pieces, id, next } => {
                let piece = get(&**pieces, *id, *next, self.left).await?;
                *next += 1;
                piece
            }
        };
        self.left -= bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// Reads the header of a sealed payload.
    async fn opener(
        &mut self,
        payloads: &Payloads,
        event: Uuid,
    ) -> Result<Box<Opener>, StoreError> {
        let mut begun = BytesMut::new();
        while begun.len() < Opener::HEADER
            && let Some(bytes) = self.next().await?
        {
            begun.extend_from_slice(&bytes);
        }
        let header = begun.split_first_chunk().ok_or(SealError::Damaged);
        let (header, rest) = header.map_err(seal_error(event))?;
        let opener = Opener::new(payloads.key.as_deref(), event, *header);
        let mut opener = opener.map_err(seal_error(event))?;
        opener.push(rest);
        Ok(Box::new(opener))
    }
}

/// Opens the file in the first place that has it.
fn open_first(places: Vec<PathBuf>, size: u64) -> Result<PayloadFile, StoreError> {
    let mut first = None;
    for path in places {
        match PayloadFile::open(path, size) {
            Ok(file) => return Ok(file),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or(StoreError::NoPlace))
}

fn read_file(mut file: &File, left: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
    let mut piece = vec![0; wanted];
    match file.read(&mut piece)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it was")),
        read => {
            piece.truncate(read);
            Ok(piece.into())
        }
    }
}

async fn get(pieces: &dyn BlobStore, id: Uuid, index: u32, left: u64) -> Result<Bytes, StoreError> {
    let got = timeout(CALL_WITHIN, pieces.get(id, index)).await;
    match got.unwrap_or(Err(StoreError::Slow(CALL_WITHIN)))? {
        Some(piece) if piece.is_empty() || piece.len() as u64 > left => Err(sink::failed(
            id,
            format!("piece {index} has not the length that it was written with"),
        )),
        Some(piece) => Ok(piece),
        None => Err(sink::failed(id, format!("piece {index} is missing"))),
    }
}
