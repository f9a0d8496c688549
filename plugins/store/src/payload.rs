//! Payloads: what `raw` deliveries send. Small ones stand in the event's row, larger ones in a file of
//! a [`PayloadDir`] or in [`Pieces`], sealed or not.
//!
//! [`Payloads`] is the one way in and out. How a payload is kept stands in its [`Payload`], not in the
//! settings, so a changed setting leaves the backlog readable.
//!
//! # Layout
//! - `folder`: the folder of payload files, and who sweeps it
//! - `writer`: takes a payload while it is decoded
//! - `sink`: where its bytes go, once it is too large for the row
//! - `reader`: gives it back for a delivery
//! - `seal`: encryption at rest
//! - `health`: whether large payloads can be kept

mod folder;
mod health;
mod reader;
mod seal;
mod sink;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::runtime::Handle;
use uuid::Uuid;

#[cfg(feature = "s3")]
pub(crate) use self::sink::failed as pieces_failed;
pub use self::{
    folder::PayloadDir,
    health::PayloadHealth,
    reader::PayloadReader,
    seal::{PayloadKey, SealError},
    writer::PayloadWriter,
};
use self::{health::Gauge, seal::Sealer};
use crate::{
    model::Payload,
    pieces::Pieces,
    store::{Store, StoreError},
};

/// Keeps payloads and gives them back. Clones are cheap, and the same place.
///
/// The default one has no place: it reads files and rows, and keeps what fits into a row.
#[derive(Clone, Default)]
pub struct Payloads {
    place: Place,
    key: Option<Arc<PayloadKey>>,
    seals: bool,
    gauge: Arc<Gauge>,
}

/// Where large ones go.
#[derive(Clone, Default)]
enum Place {
    #[default]
    Nowhere,
    Folder(PayloadDir),
    Pieces(Arc<dyn Pieces>, Handle),
}

/// A piece that no event names is left alone for so long: its exchange may still be under way, or wait
/// in some gateway's memory for the store.
const UNNAMED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Payloads in pieces that the store is asked about at once.
const BATCH: usize = 500;

/// How long one call to [`Pieces`] may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

// === impl Payloads ===

impl Payloads {
    /// Keeps large ones as files.
    pub fn in_folder(folder: PayloadDir) -> Self {
        Self { place: Place::Folder(folder), ..Self::default() }
    }

    /// Keeps large ones in pieces, which are written by tasks on `runtime`.
    pub fn in_pieces(pieces: Arc<dyn Pieces>, runtime: Handle) -> Self {
        Self { place: Place::Pieces(pieces, runtime), ..Self::default() }
    }

    /// Opens, and seals if it is to, with this key.
    #[must_use]
    pub fn with_key(self, key: PayloadKey) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    /// The same place, which seals what is written, or does not.
    #[must_use]
    pub fn sealing(&self, seals: bool) -> Self {
        Self { seals, ..self.clone() }
    }

    /// Starts the payload of an event. A sealed one opens for this event alone. Nothing is written
    /// before it is longer than [`Payload::INLINE_MAX`].
    pub fn writer(&self, event: Uuid) -> PayloadWriter {
        PayloadWriter::new(self.clone(), event)
    }

    /// A small payload of an event, to be kept in its row.
    ///
    /// # Errors
    /// [`StoreError::Seal`], when it cannot be sealed.
    pub fn inline(&self, event: Uuid, bytes: Bytes) -> Result<Payload, StoreError> {
        let Some(mut sealer) = self.sealer(event)? else { return Ok(Payload::Inline(bytes)) };
        let size = bytes.len() as u64;
        let mut sealed = sealer.header().to_vec();
        let mut take = |chunk: &[u8]| {
            sealed.extend_from_slice(chunk);
            Ok(())
        };
        sealer.push(&bytes, &mut take)?;
        sealer.finish(&mut take)?;
        Ok(Payload::Sealed { size, kept: Box::new(Payload::Inline(sealed.into())) })
    }

    /// Opens an event's payload to be read from its beginning; [`Payload::None`] reads as nothing.
    ///
    /// # Errors
    /// [`StoreError::Spent`] when it is no longer kept; [`StoreError::Payload`] or
    /// [`StoreError::Pieces`] when it is gone, or not as long as it was; [`StoreError::Seal`] when it
    /// does not open.
    pub async fn reader(
        &self,
        event: Uuid,
        payload: &Payload,
    ) -> Result<PayloadReader, StoreError> {
        PayloadReader::open(self, event, payload).await
    }

    /// Removes a payload that no event was written down for. What cannot be removed is swept later.
    pub fn remove(&self, payload: &Payload) {
        match payload {
            Payload::File { path, .. } => folder::remove(path),
            Payload::Stored { id, .. } => {
                if let Place::Pieces(pieces, runtime) = &self.place {
                    let (pieces, id) = (pieces.clone(), *id);
                    runtime.spawn(async move { sink::remove(&*pieces, id).await });
                }
            }
            Payload::Sealed { kept, .. } => self.remove(kept),
            Payload::None | Payload::Inline(_) | Payload::Spent => {}
        }
    }

    /// Takes payloads away that every delivery which needs them has been made with, since before
    /// `before` (milliseconds since 1970): [`Store::spend`], and the pieces with it. Returns how many
    /// events had one, up to `limit`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn spend(
        &self,
        store: &dyn Store,
        before: i64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let spent = store.spend(before, limit).await?;
        if let Place::Pieces(pieces, _) = &self.place {
            for id in spent.pieces {
                sink::remove(&**pieces, id).await;
            }
        }
        Ok(spent.events)
    }

    /// Removes what no event in `store` names: files of dead processes, and pieces that are older than
    /// a day. Returns how many payloads. Called at start, after [`Store::adopt`], and now and then.
    ///
    /// # Errors
    /// What the store says, and what the folder or the pieces say when they cannot be listed.
    pub async fn sweep(&self, store: &dyn Store) -> Result<u64, StoreError> {
        match &self.place {
            Place::Nowhere => Ok(0),
            Place::Folder(folder) => folder.sweep(store).await,
            Place::Pieces(pieces, _) => sweep_pieces(&**pieces, store, UNNAMED_FOR).await,
        }
    }

    /// Whether large payloads can be kept, as far as the last one tells.
    pub fn health(&self) -> PayloadHealth {
        self.gauge.look()
    }

    /// Writes a payload and removes it again, so that [`Self::health`] tells when a place that failed
    /// is well again. Does nothing while all is well.
    pub async fn probe(&self) {
        if self.health().failing_since.is_none() {
            return;
        }
        let payloads = self.sealing(false);
        let tried = tokio::task::spawn_blocking(move || {
            let mut writer = payloads.writer(Uuid::nil());
            writer.write(&[0; Payload::INLINE_MAX + 1])?;
            payloads.remove(&writer.finish()?);
            Ok::<(), StoreError>(())
        });
        // Whatever it says, the gauge has heard it.
        let _ = tried.await;
    }

    /// `None`: it is not to be sealed.
    fn sealer(&self, event: Uuid) -> Result<Option<Sealer>, StoreError> {
        if !self.seals {
            return Ok(None);
        }
        let failed = |source| StoreError::Seal { event, source };
        let key = self.key.as_deref().ok_or_else(|| failed(SealError::NoKey))?;
        Sealer::new(key, event).map(Some).map_err(failed)
    }
}

impl std::fmt::Debug for Payloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match &self.place {
            Place::Nowhere => "nowhere".to_owned(),
            Place::Folder(folder) => folder.path().display().to_string(),
            Place::Pieces(..) => "pieces".to_owned(),
        };
        f.debug_struct("Payloads").field("place", &place).field("seals", &self.seals).finish()
    }
}

async fn sweep_pieces(
    pieces: &dyn Pieces,
    store: &dyn Store,
    unnamed_for: Duration,
) -> Result<u64, StoreError> {
    let before = SystemTime::now().checked_sub(unnamed_for).unwrap_or(SystemTime::UNIX_EPOCH);
    let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let (mut removed, mut after) = (0, None);
    loop {
        let found = pieces.older(before, after, BATCH).await?;
        let Some(last) = found.last().copied() else { return Ok(removed) };
        after = Some(last);
        for orphan in store.unnamed_pieces(found).await? {
            if sink::remove(pieces, orphan).await {
                removed += 1;
            }
        }
    }
}

/// Removes payload files that no row names any more. One that stays is swept at the next start.
pub(crate) async fn remove_files(files: Vec<std::path::PathBuf>) {
    for path in files {
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "A payload file could not be removed.");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
