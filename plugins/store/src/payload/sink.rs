//! Writes a payload's bytes once it is too large for the event's row: in pieces, a few at once.

use std::{os::unix::fs::FileExt as _, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::OnceCell,
    task::{JoinError, JoinSet},
    time::timeout,
};
use uuid::Uuid;

use super::{
    CALL_WITHIN, PayloadDir, PayloadMark, PayloadPlace,
    folder::PayloadFile,
    volume::{self, WRITE_WITHIN},
    within_root,
};
use crate::{error::StoreError, model::Payload, pieces::BlobStore};

/// The least that is written to a file at once.
const BUFFER: usize = 64 * 1024;

/// The most writes of one file at once: what is kept in memory while it might have fitted into the
/// event's row, and one part of the body.
const WRITES: usize = Payload::INLINE_MAX / BUFFER + 2;

/// The most pieces of one payload that are stored at once while the next one fills.
const PUTS: usize = 2;

/// Writes bytes and makes them durable. When dropped unfinished, it removes what it wrote.
pub(super) struct PayloadSink {
    target: SinkTarget,
    runtime: Handle,
    limits: PieceLimits,
    next: u32,
    filling: BytesMut,
    written: u64,
    puts: JoinSet<Result<(), StoreError>>,
    is_finished: bool,
}

/// What bounds the memory of a payload.
#[derive(Clone, Copy)]
pub(super) struct PieceLimits {
    size: usize,
    at_once: usize,
}

#[derive(Clone)]
enum SinkTarget {
    File(Arc<NewFile>),
    Blobs(Arc<dyn BlobStore>, Uuid),
}

/// A file that the first write creates.
struct NewFile {
    folder: PayloadDir,
    mark: Option<PayloadMark>,
    created: OnceCell<Arc<PayloadFile>>,
}

// === impl PayloadSink ===

impl PayloadSink {
    pub(super) fn open(
        place: &PayloadPlace,
        mark: Option<PayloadMark>,
    ) -> Result<Self, StoreError> {
        let (target, runtime) = match place {
            PayloadPlace::Nowhere => return Err(StoreError::NoPlace),
            PayloadPlace::Folder(folder) => {
                volume::check(folder.path())?;
                let (folder, created) = (folder.clone(), OnceCell::new());
                let file = Arc::new(NewFile { folder, mark, created });
                (SinkTarget::File(file), volume::runtime()?)
            }
            PayloadPlace::Blobs(pieces, runtime) => {
                let id = mark.map_or_else(Uuid::now_v7, PayloadMark::name);
                (SinkTarget::Blobs(pieces.clone(), id), runtime.clone())
            }
        };
        Ok(Self {
            target,
            runtime,
            limits: PieceLimits::of(place),
            next: 0,
            filling: BytesMut::new(),
            written: 0,
            puts: JoinSet::new(),
            is_finished: false,
        })
    }

    /// Whether adding this many bytes may block.
    pub(super) fn may_block(&self, bytes: usize) -> bool {
        self.limits.may_block(self.puts.len(), self.filling.len() + bytes)
    }

    /// Adds bytes. May block.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.limits.size;
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

    /// Waits until the usual number of bytes can be added without blocking.
    pub(super) async fn ready(&mut self) -> Result<(), StoreError> {
        while self.puts.len() >= PUTS
            && let Some(done) = self.puts.join_next().await
        {
            flatten(done)?;
        }
        Ok(())
    }

    /// Returns when everything is durable.
    pub(super) async fn finish(mut self) -> Result<Payload, StoreError> {
        self.ready().await?;
        let last = std::mem::take(&mut self.filling);
        if !last.is_empty() {
            self.put(last.freeze())?;
        }
        while let Some(done) = self.puts.join_next().await {
            flatten(done)?;
        }
        let payload = self.target.make_durable(self.written).await?;
        self.is_finished = true;
        Ok(payload)
    }

    /// Starts to write a piece; waits while too many others are in progress.
    fn put(&mut self, piece: Bytes) -> Result<(), StoreError> {
        while let Some(done) = self.puts.try_join_next() {
            flatten(done)?;
        }
        while self.puts.len() >= self.limits.at_once {
            self.wait()?;
        }
        let index = self.next;
        self.next = index.checked_add(1).ok_or_else(|| self.target.failed("it is too long"))?;
        let put = self.target.clone().put(index, piece, self.limits.size);
        self.puts.spawn_on(put, &self.runtime);
        Ok(())
    }

    /// Waits until one more piece is written.
    fn wait(&mut self) -> Result<(), StoreError> {
        let runtime = &self.runtime;
        let next = self.puts.join_next();
        let done = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            // A runtime of one thread would wait for itself.
            Ok(RuntimeFlavor::CurrentThread) => {
                return Err(self.target.failed("a large payload needs a thread that may wait"));
            }
            Ok(_) => tokio::task::block_in_place(|| runtime.block_on(next)),
            Err(_) => runtime.block_on(next),
        };
        done.map_or(Ok(()), flatten)
    }
}

impl Drop for PayloadSink {
    fn drop(&mut self) {
        // A file removes itself.
        if let SinkTarget::Blobs(pieces, id) = &self.target
            && !self.is_finished
            && self.next > 0
        {
            let (pieces, id) = (pieces.clone(), *id);
            let mut puts = std::mem::take(&mut self.puts);
            self.runtime.spawn(async move {
                // A cancelled write may still be carried out, after the removal. Each ends within
                // its limit.
                while puts.join_next().await.is_some() {}
                remove(&*pieces, id).await;
            });
        }
    }
}

// === impl PieceLimits ===

impl PieceLimits {
    pub(super) fn of(place: &PayloadPlace) -> Self {
        match place {
            PayloadPlace::Blobs(pieces, _) => Self { size: pieces.size().max(1), at_once: PUTS },
            PayloadPlace::Folder(_) | PayloadPlace::Nowhere => {
                Self { size: BUFFER, at_once: WRITES }
            }
        }
    }

    /// Whether this many bytes may block while so many pieces are in progress.
    pub(super) fn may_block(self, in_progress: usize, bytes: usize) -> bool {
        let full = bytes / self.size;
        full > 0 && in_progress + full > self.at_once
    }
}

// === impl SinkTarget ===

impl SinkTarget {
    /// Writes a piece. All before it have this size.
    async fn put(self, index: u32, piece: Bytes, size: usize) -> Result<(), StoreError> {
        match self {
            Self::Blobs(pieces, id) => {
                let put = timeout(CALL_WITHIN, pieces.put(id, index, piece)).await;
                put.unwrap_or(Err(StoreError::Slow(CALL_WITHIN)))
            }
            Self::File(new) => {
                let write = async {
                    let (folder, mark) = (new.folder.clone(), new.mark);
                    let create = || volume::write(move || folder.create(mark).map(Arc::new));
                    let file = new.created.get_or_try_init(create).await?.clone();
                    let at = u64::from(index) * size as u64;
                    volume::write(move || file.on_disk(|file| file.write_all_at(&piece, at))).await
                };
                let written = timeout(WRITE_WITHIN, write).await;
                written.unwrap_or_else(|_| Err(volume::too_slow(new.folder.path(), WRITE_WITHIN)))
            }
        }
    }

    async fn make_durable(&self, size: u64) -> Result<Payload, StoreError> {
        match self {
            Self::Blobs(_, id) => Ok(Payload::Stored { id: *id, size }),
            Self::File(new) => {
                let file = new.created.get().cloned().ok_or(StoreError::GivenUp)?;
                let path = within_root(file.path());
                volume::write(move || file.keep()).await?;
                Ok(Payload::File { path, size })
            }
        }
    }

    fn failed(&self, reason: &str) -> StoreError {
        match self {
            Self::Blobs(_, id) => failed(*id, reason),
            Self::File(new) => StoreError::Payload {
                path: new.folder.path().to_owned(),
                source: std::io::Error::other(reason),
            },
        }
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

/// A task that did not end was cancelled.
fn flatten(done: Result<Result<(), StoreError>, JoinError>) -> Result<(), StoreError> {
    done.unwrap_or(Err(StoreError::Closed))
}
