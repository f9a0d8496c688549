//! Writes a payload's bytes once it is too large for the event's row.

use std::{fs::File, io::Write as _, path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use super::{
    CALL_WITHIN, PayloadDir, PayloadMark, PayloadPlace, folder,
    volume::{self, VolumeCall},
    within_root,
};
use crate::{model::Payload, pieces::BlobStore, store::StoreError};

/// The most pieces of one payload that are written at once while the next one fills.
const AT_ONCE: usize = 2;

/// The least that is written to a file at once.
const BUFFER: usize = 64 * 1024;

/// The most bytes that wait for an earlier write: those kept in memory while they might have fitted
/// into the event's row, and one part of the body.
const MOST: usize = Payload::INLINE_MAX + 2 * BUFFER;

/// Writes bytes and makes them durable. When dropped unfinished, it removes what it wrote.
pub(super) enum PayloadSink {
    File(FileSink),
    Blobs(PieceSink),
}

pub(super) struct FileSink {
    folder: PayloadDir,
    file: FileState,
    filling: Vec<u8>,
    written: u64,
}

enum FileState {
    Idle(PayloadFile),
    /// It is being created or written.
    Busy(VolumeCall<PayloadFile>),
    Failed,
}

/// A payload file. Dropped unfinished it is removed, which blocks.
struct PayloadFile {
    path: PathBuf,
    file: File,
    is_finished: bool,
}

pub(super) struct PieceSink {
    pieces: Arc<dyn BlobStore>,
    runtime: Handle,
    id: Uuid,
    next: u32,
    filling: BytesMut,
    written: u64,
    puts: JoinSet<Result<(), StoreError>>,
    finished: bool,
}

// === impl PayloadSink ===

impl PayloadSink {
    pub(super) fn open(
        place: &PayloadPlace,
        mark: Option<PayloadMark>,
    ) -> Result<Self, StoreError> {
        match place {
            PayloadPlace::Nowhere => Err(StoreError::NoPlace),
            PayloadPlace::Folder(folder) => FileSink::open(folder, mark).map(Self::File),
            PayloadPlace::Blobs(pieces, runtime) => {
                Ok(Self::Blobs(PieceSink::new(pieces.clone(), runtime.clone(), mark)))
            }
        }
    }

    /// Whether the first bytes of a payload may block.
    pub(super) fn may_block_at_first(place: &PayloadPlace, bytes: usize) -> bool {
        match place {
            PayloadPlace::Nowhere => false,
            PayloadPlace::Folder(_) => bytes > MOST,
            PayloadPlace::Blobs(pieces, _) => bytes / pieces.size().max(1) > AT_ONCE,
        }
    }

    /// Whether adding this many bytes may block.
    pub(super) fn may_block(&self, bytes: usize) -> bool {
        match self {
            Self::File(sink) => sink.may_block(bytes),
            Self::Blobs(sink) => sink.may_block(bytes),
        }
    }

    /// Adds bytes. May block.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::File(sink) => sink.write(bytes),
            Self::Blobs(sink) => sink.write(bytes),
        }
    }

    /// Waits until the usual number of bytes can be added without blocking.
    pub(super) async fn ready(&mut self) -> Result<(), StoreError> {
        match self {
            Self::File(sink) => sink.ready().await,
            Self::Blobs(sink) => sink.ready().await,
        }
    }

    /// Returns when everything is durable.
    pub(super) async fn finish(self) -> Result<Payload, StoreError> {
        match self {
            Self::File(sink) => sink.finish().await,
            Self::Blobs(sink) => sink.finish().await,
        }
    }
}

// === impl FileSink ===

impl FileSink {
    fn open(folder: &PayloadDir, mark: Option<PayloadMark>) -> Result<Self, StoreError> {
        if let Some(error) = volume::stands_still(folder.path()) {
            return Err(error);
        }
        let place = folder.clone();
        let made = volume::write(move || {
            let (path, file) = place.create(mark)?;
            Ok(PayloadFile { path, file, is_finished: false })
        });
        let file = FileState::Busy(made);
        Ok(Self { folder: folder.clone(), file, filling: Vec::new(), written: 0 })
    }

    fn may_block(&self, bytes: usize) -> bool {
        matches!(self.file, FileState::Busy(_)) && self.filling.len() + bytes > MOST
    }

    /// Blocks while too many bytes wait for earlier ones.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        for bytes in bytes.chunks(BUFFER) {
            if let FileState::Busy(call) = &self.file {
                let done = match call.try_done() {
                    None if self.filling.len() + bytes.len() > MOST => {
                        Some(call.wait(volume::WRITE_WITHIN).unwrap_or_else(|| self.too_slow()))
                    }
                    done => done,
                };
                self.take(done)?;
            }
            self.filling.extend_from_slice(bytes);
            self.written += bytes.len() as u64;
            self.pass_on();
        }
        Ok(())
    }

    async fn ready(&mut self) -> Result<(), StoreError> {
        while self.filling.len() >= BUFFER
            && let FileState::Busy(call) = &self.file
        {
            let done = timeout(volume::WRITE_WITHIN, call.done()).await;
            self.take(Some(done.unwrap_or_else(|_| self.too_slow())))?;
            self.pass_on();
        }
        Ok(())
    }

    /// Returns the file by its name within the payload root.
    async fn finish(mut self) -> Result<Payload, StoreError> {
        if let FileState::Busy(call) = &self.file {
            let done = call.done().await;
            self.take(Some(done))?;
        }
        let FileState::Idle(mut file) = std::mem::replace(&mut self.file, FileState::Failed) else {
            return Err(StoreError::GivenUp);
        };
        let (rest, folder) = (std::mem::take(&mut self.filling), self.folder.clone());
        let synced = volume::write(move || {
            file.write(&rest)?;
            let synced = file.file.sync_all();
            synced.map_err(|source| folder::error(&file.path, source))?;
            let path = folder.path();
            let synced = File::open(path).and_then(|folder| folder.sync_all());
            synced.map_err(|source| folder::error(path, source))?;
            Ok(file)
        });
        let mut file = synced.done().await?;
        file.is_finished = true;
        Ok(Payload::File { path: within_root(&file.path), size: self.written })
    }

    /// Takes the file back from a completed write.
    fn take(&mut self, done: Option<Result<PayloadFile, StoreError>>) -> Result<(), StoreError> {
        let Some(done) = done else { return Ok(()) };
        self.file = FileState::Failed;
        self.file = FileState::Idle(done?);
        Ok(())
    }

    /// Starts a write when there are enough bytes and none is in progress.
    fn pass_on(&mut self) {
        if self.filling.len() < BUFFER || !matches!(self.file, FileState::Idle(_)) {
            return;
        }
        if let FileState::Idle(mut file) = std::mem::replace(&mut self.file, FileState::Failed) {
            let bytes = std::mem::take(&mut self.filling);
            self.file = FileState::Busy(volume::write(move || {
                file.write(&bytes)?;
                Ok(file)
            }));
        }
    }

    fn too_slow<T>(&self) -> Result<T, StoreError> {
        Err(volume::too_slow(self.folder.path(), volume::WRITE_WITHIN))
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        // A file that is being written is dropped after the write.
        if let FileState::Idle(file) = std::mem::replace(&mut self.file, FileState::Failed) {
            volume::later(move || drop(file));
        }
    }
}

// === impl PayloadFile ===

impl PayloadFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| folder::error(&self.path, source))
    }
}

impl Drop for PayloadFile {
    fn drop(&mut self) {
        if !self.is_finished {
            folder::remove(&self.path);
        }
    }
}

// === impl PieceSink ===

impl PieceSink {
    fn new(pieces: Arc<dyn BlobStore>, runtime: Handle, mark: Option<PayloadMark>) -> Self {
        Self {
            pieces,
            runtime,
            id: mark.map_or_else(Uuid::now_v7, PayloadMark::name),
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

    fn may_block(&self, bytes: usize) -> bool {
        let full = (self.filling.len() + bytes) / self.pieces.size().max(1);
        full > 0 && self.puts.len() + full > AT_ONCE
    }

    /// Starts to write a piece; waits while two others are in progress.
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

    async fn ready(&mut self) -> Result<(), StoreError> {
        while self.puts.len() >= AT_ONCE
            && let Some(done) = self.puts.join_next().await
        {
            flatten(self.id, done)?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Payload, StoreError> {
        self.ready().await?;
        let last = std::mem::take(&mut self.filling);
        if !last.is_empty() {
            self.put(last.freeze())?;
        }
        while let Some(done) = self.puts.join_next().await {
            flatten(self.id, done)?;
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
            // A cancelled write may still be carried out, after the removal. Each ends within its
            // limit.
            while puts.join_next().await.is_some() {}
            remove(&*pieces, id).await;
        });
    }
}

/// Removes a payload's pieces; the sweep removes what remains. Returns whether they are gone.
pub(super) async fn remove(pieces: &dyn BlobStore, id: Uuid) -> bool {
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
    StoreError::Blobs { payload, reason: reason.into() }
}

fn flatten(
    id: Uuid,
    done: Result<Result<(), StoreError>, tokio::task::JoinError>,
) -> Result<(), StoreError> {
    done.unwrap_or_else(|_| Err(failed(id, "the process stops")))
}
