//! Reads a payload for a delivery.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    CALL_WITHIN, PayloadPlace, Payloads, folder,
    seal::{Opener, PayloadKey, SealError},
    sink, volume,
};
use crate::{model::Payload, pieces::BlobStore, store::StoreError};

/// Reads a payload's bytes, wherever they are stored: completely, or with an error.
pub struct PayloadReader {
    event: Uuid,
    size: u64,
    /// Bytes still to be returned.
    left: u64,
    stored: StoredBytes,
    opening: Opening,
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
    File { path: PathBuf, file: OpenFile },
    Blobs { pieces: Arc<dyn BlobStore>, id: Uuid, next: u32 },
}

/// Closed on a thread that may block on the disk.
struct OpenFile(Option<Arc<File>>);

enum Opening {
    /// It is not sealed.
    Plain,
    /// Its header has not been read yet.
    Sealed(Option<Arc<PayloadKey>>),
    Open(Box<Opener>),
    Done,
}

/// The most that is read from a file at once.
const PIECE: usize = 64 * 1024;

// === impl PayloadReader ===

impl PayloadReader {
    pub(super) async fn open(
        payloads: &Payloads,
        event: Uuid,
        payload: &Payload,
    ) -> Result<Self, StoreError> {
        let (size, opening, kept) = match payload {
            Payload::Sealed { size, kept } => {
                (*size, Opening::Sealed(payloads.key.clone()), &**kept)
            }
            plain => (plain.size(), Opening::Plain, plain),
        };
        let stored = StoredBytes::open(payloads, kept).await?;
        let mut reader = Self { event, size, left: size, stored, opening, first: None };
        reader.first = reader.advance().await?;
        Ok(reader)
    }

    /// Returns the whole length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next bytes. `None`: the payload ended, with its full length.
    ///
    /// # Errors
    /// Those of [`Payloads::reader`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.first.take() {
            Some(bytes) => Ok(Some(bytes)),
            None => self.advance().await,
        }
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, StoreError> {
        let next = self.read().await?;
        let length = next.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let left = self.left.checked_sub(length);
        match (left, &next) {
            (Some(0), None) | (Some(_), Some(_)) => self.left -= length,
            _ => return Err(self.seal_error(SealError::Damaged)),
        }
        Ok(next)
    }

    async fn read(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Opening::Sealed(key) = &mut self.opening {
            let key = key.take();
            let (header, rest) = self.stored.header().await?;
            let opener = header.ok_or(SealError::Damaged);
            let opener = opener.and_then(|header| Opener::new(key.as_deref(), self.event, header));
            let mut opener = opener.map_err(|error| self.seal_error(error))?;
            opener.push(&rest);
            self.opening = Opening::Open(Box::new(opener));
        }
        loop {
            let opener = match &mut self.opening {
                Opening::Open(opener) => opener,
                Opening::Plain => return self.stored.next().await,
                Opening::Sealed(_) | Opening::Done => return Ok(None),
            };
            let opened = match opener.next() {
                Ok(None) => match self.stored.next().await? {
                    Some(bytes) => {
                        opener.push(&bytes);
                        continue;
                    }
                    None => {
                        let last = opener.finish();
                        self.opening = Opening::Done;
                        // An empty payload has an empty chunk.
                        last.map(|last| Some(last).filter(|last| !last.is_empty()))
                    }
                },
                opened => opened,
            };
            return opened.map_err(|error| self.seal_error(error));
        }
    }

    fn seal_error(&self, source: SealError) -> StoreError {
        StoreError::Seal { event: self.event, source }
    }
}

impl std::fmt::Debug for PayloadReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadReader").field("size", &self.size).finish_non_exhaustive()
    }
}

// === impl OpenFile ===

impl Drop for OpenFile {
    fn drop(&mut self) {
        let file = self.0.take();
        volume::later(move || drop(file));
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
                let opened = volume::read(move || open_first(places, size));
                let (path, file) = opened.done().await?;
                StoredSource::File { path, file: OpenFile(Some(Arc::new(file))) }
            }
            Payload::Stored { id, .. } => {
                let PayloadPlace::Blobs(pieces, _) = &payloads.place else {
                    let reason = "it is kept in pieces, and the config names no place of such";
                    return Err(sink::failed(*id, reason));
                };
                StoredSource::Blobs { pieces: pieces.clone(), id: *id, next: 0 }
            }
            Payload::Purged => return Err(StoreError::Purged),
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
            StoredSource::File { path, file } => {
                let (path, file, left) = (path.clone(), file.0.clone(), self.left);
                let read = volume::read(move || {
                    let file = file.as_deref().ok_or(StoreError::GivenUp)?;
                    read_file(file, left).map_err(|source| folder::error(&path, source))
                });
                read.done().await?
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

    /// Reads the header of a sealed payload, and the bytes after it. `None`: it is too short.
    async fn header(&mut self) -> Result<(Option<[u8; Opener::HEADER]>, Bytes), StoreError> {
        let mut begun = BytesMut::new();
        while begun.len() < Opener::HEADER {
            let Some(bytes) = self.next().await? else { return Ok((None, Bytes::new())) };
            begun.extend_from_slice(&bytes);
        }
        let rest = begun.split_off(Opener::HEADER).freeze();
        Ok((begun.first_chunk().copied(), rest))
    }
}

/// Opens the file in the first place that has it.
fn open_first(places: Vec<PathBuf>, size: u64) -> Result<(PathBuf, File), StoreError> {
    let mut first = None;
    for path in places {
        match open_file(&path, size) {
            Ok(file) => return Ok((path, file)),
            Err(source) => first = first.or(Some(folder::error(&path, source))),
        }
    }
    Err(first.unwrap_or(StoreError::NoPlace))
}

fn open_file(path: &Path, size: u64) -> io::Result<File> {
    let file = File::open(path)?;
    let found = file.metadata()?.len();
    if found == size {
        return Ok(file);
    }
    let text = format!("it is {found} bytes long and was written with {size}");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
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
