//! Where a payload's bytes go, once it is too large for the event's row.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use super::{CALL_WITHIN, PayloadDir, Place, folder};
use crate::{model::Payload, pieces::Pieces, store::StoreError};

/// Pieces of one payload that are written at once, while the next one fills.
const AT_ONCE: usize = 2;

/// Takes bytes and makes them durable. Dropped unfinished it removes what it wrote.
pub(super) enum Sink {
    File(FileSink),
    Pieces(PieceSink),
}

pub(super) struct FileSink {
    folder: PayloadDir,
    path: PathBuf,
    file: File,
    written: u64,
    finished: bool,
}

pub(super) struct PieceSink {
    pieces: Arc<dyn Pieces>,
    runtime: Handle,
    id: Uuid,
    next: u32,
    filling: BytesMut,
    written: u64,
    puts: JoinSet<Result<(), StoreError>>,
    finished: bool,
}

// === impl Sink ===

impl Sink {
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::Nowhere => Err(StoreError::NoPlace),
            Place::Folder(folder) => FileSink::open(folder).map(Self::File),
            Place::Pieces(pieces, runtime) => {
                Ok(Self::Pieces(PieceSink::new(pieces.clone(), runtime.clone())))
            }
        }
    }

    /// Adds bytes. May block.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::File(sink) => sink.write(bytes),
            Self::Pieces(sink) => sink.write(bytes),
        }
    }

    /// When this returns, all of it is durable. Blocks.
    pub(super) fn finish(self) -> Result<Payload, StoreError> {
        match self {
            Self::File(sink) => sink.finish(),
            Self::Pieces(sink) => sink.finish(),
        }
    }
}

// === impl FileSink ===

impl FileSink {
    fn open(folder: &PayloadDir) -> Result<Self, StoreError> {
        let path = folder.path().join(Uuid::now_v7().to_string());
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| folder::error(&path, source))?;
        Ok(Self { folder: folder.clone(), path, file, written: 0, finished: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| folder::error(&self.path, source))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The file and its name.
    fn finish(mut self) -> Result<Payload, StoreError> {
        self.file.sync_all().map_err(|source| folder::error(&self.path, source))?;
        let path = self.folder.path();
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(|source| folder::error(path, source))?;
        self.finished = true;
        Ok(Payload::File { path: std::mem::take(&mut self.path), size: self.written })
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if !self.finished {
            folder::remove(&self.path);
        }
    }
}

// === impl PieceSink ===

impl PieceSink {
    fn new(pieces: Arc<dyn Pieces>, runtime: Handle) -> Self {
        Self {
            pieces,
            runtime,
            id: Uuid::now_v7(),
            next: 0,
            filling: BytesMut::new(),
            written: 0,
            puts: JoinSet::new(),
            finished: false,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.pieces.size().max(1);
        while !bytes.is_empty() {
            let fit = bytes.len().min(size - self.filling.len());
            let (now, later) = bytes.split_at(fit);
            self.filling.extend_from_slice(now);
            self.written += fit as u64;
            bytes = later;
            if self.filling.len() == size {
                let piece = std::mem::replace(&mut self.filling, BytesMut::with_capacity(size));
                self.put(piece.freeze())?;
            }
        }
        Ok(())
    }

    /// Begins to write a piece; waits while two others are under way.
    fn put(&mut self, piece: Bytes) -> Result<(), StoreError> {
        while let Some(done) = self.puts.try_join_next() {
            flatten(self.id, done)?;
        }
        while self.puts.len() >= AT_ONCE {
            self.wait()?;
        }
        let (id, index) = (self.id, self.next);
        self.next = index.checked_add(1).ok_or_else(|| failed(id, "it has too many pieces"))?;
        let pieces = self.pieces.clone();
        let put = async move {
            let put = timeout(CALL_WITHIN, pieces.put(id, index, piece)).await;
            put.unwrap_or(Err(StoreError::Slow(CALL_WITHIN)))
        };
        self.puts.spawn_on(put, &self.runtime);
        Ok(())
    }

    /// Waits until one more piece is written.
    fn wait(&mut self) -> Result<(), StoreError> {
        let (id, runtime) = (self.id, &self.runtime);
        let next = self.puts.join_next();
        let done = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            // A runtime of one thread would wait for itself.
            Ok(RuntimeFlavor::CurrentThread) => {
                return Err(failed(id, "a payload in pieces needs a thread that may wait"));
            }
            Ok(_) => tokio::task::block_in_place(|| runtime.block_on(next)),
            Err(_) => runtime.block_on(next),
        };
        done.map_or(Ok(()), |done| flatten(id, done))
    }

    fn finish(mut self) -> Result<Payload, StoreError> {
        let last = std::mem::take(&mut self.filling);
        if !last.is_empty() {
            self.put(last.freeze())?;
        }
        while !self.puts.is_empty() {
            self.wait()?;
        }
        self.finished = true;
        Ok(Payload::Stored { id: self.id, size: self.written })
    }
}

impl Drop for PieceSink {
    fn drop(&mut self) {
        if self.finished || self.next == 0 {
            return;
        }
        let (pieces, id) = (self.pieces.clone(), self.id);
        let mut puts = std::mem::take(&mut self.puts);
        self.runtime.spawn(async move {
            // One that is cut off may be carried out all the same, behind the removal. Each ends in time.
            while puts.join_next().await.is_some() {}
            remove(&*pieces, id).await;
        });
    }
}

/// Removes a payload's pieces; what stays is swept later. Whether they are gone.
pub(super) async fn remove(pieces: &dyn Pieces, id: Uuid) -> bool {
    let removed = timeout(CALL_WITHIN, pieces.remove(id)).await;
    match removed.unwrap_or(Err(StoreError::Slow(CALL_WITHIN))) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(payload = %id, %error, "A payload could not be removed.");
            false
        }
    }
}

pub(crate) fn failed(payload: Uuid, reason: impl Into<String>) -> StoreError {
    StoreError::Pieces { payload, reason: reason.into() }
}

fn flatten(
    id: Uuid,
    done: Result<Result<(), StoreError>, tokio::task::JoinError>,
) -> Result<(), StoreError> {
    done.unwrap_or_else(|_| Err(failed(id, "the process stops")))
}
