//! Payloads: what `raw` deliveries send. Small ones are in the event's row, larger ones in a file
//! of a [`PayloadDir`] or in a [`BlobStore`], sealed or not.
//!
//! [`Payloads`] writes and reads them. Where a payload is stored is in its [`Payload`], not in the
//! settings, so the backlog stays readable when a setting changes.
//!
//! # Layout
//! - `folder`: the root folder of payload files: its store, and its sweep
//! - `ownership`: which store a payload place belongs to, and which payloads that store wrote
//! - `writer`: takes a payload while it is decoded
//! - `sink`: writes its bytes once it is too large for the row
//! - `reader`: reads it for a delivery
//! - `seal`: encryption at rest
//! - `health`: whether large payloads can be stored
//! - `volume`: the threads that use the folder's disk

mod folder;
mod health;
pub(crate) mod ownership;
mod reader;
pub(crate) mod seal;
mod sink;
mod volume;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::timeout};
use uuid::Uuid;

pub(crate) use self::ownership::{places, read_id, within_root, write_id};
#[cfg(feature = "s3")]
pub(crate) use self::sink::failed as pieces_failed;
pub use self::{
    folder::PayloadDir,
    health::PayloadHealth,
    ownership::{PayloadMark, StoreIdentity},
    reader::PayloadReader,
    seal::{PayloadKey, SealError},
    writer::PayloadWriter,
};
use self::{health::PayloadHealthMonitor, seal::Sealer};
use crate::{
    clock,
    error::{StoreError, seal_error},
    model::Payload,
    pieces::BlobStore,
    store::Store,
};

/// Writes and reads payloads. Clones are cheap and share the place.
///
/// The default one has no place: it reads files and rows, and stores only what fits into a row.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    place: PayloadPlace,
    key: Option<Arc<PayloadKey>>,
    seals: bool,
    monitor: Arc<PayloadHealthMonitor>,
    /// The store's identity, as last read. `None`: it is not known yet.
    store: Arc<Mutex<Option<StoreIdentity>>>,
}

/// Where large payloads are stored.
#[derive(Clone, Default)]
enum PayloadPlace {
    #[default]
    Nowhere,
    Folder(PayloadDir),
    Blobs(Arc<dyn BlobStore>, Handle),
}

/// How long a piece that no event names is kept: its exchange may still be in progress, or wait in
/// some gateway's memory for the store.
const UNNAMED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How many payloads in pieces one query covers.
const BATCH: usize = 500;

/// How many names the log line of a sweep contains.
const NAMED: usize = 10;

/// The limit for the removal of files.
const REMOVED_WITHIN: Duration = Duration::from_secs(1);

/// The limit of one call to [`BlobStore`].
const CALL_WITHIN: Duration = Duration::from_secs(10);

// === impl Payloads ===

impl Payloads {
    /// Stores large payloads as files.
    pub fn in_folder(folder: PayloadDir) -> Self {
        Self { place: PayloadPlace::Folder(folder), ..Self::default() }
    }

    /// Stores large payloads in pieces, written by tasks on `runtime`.
    pub fn in_pieces(pieces: Arc<dyn BlobStore>, runtime: Handle) -> Self {
        Self { place: PayloadPlace::Blobs(pieces, runtime), ..Self::default() }
    }

    /// Sets the key for opening, and for sealing if that is on.
    #[must_use]
    pub fn with_key(self, key: PayloadKey) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    /// Returns the same place with sealing on or off.
    #[must_use]
    pub fn sealing(&self, seals: bool) -> Self {
        Self { seals, ..self.clone() }
    }

    /// Returns a small payload of an event, for its row.
    ///
    /// # Errors
    /// [`StoreError::Seal`], when it cannot be sealed.
    pub fn inline(&self, event: Uuid, bytes: Bytes) -> Result<Payload, StoreError> {
        let Some(mut sealer) = self.sealer(event)? else { return Ok(Payload::Inline(bytes)) };
        let size = bytes.len() as u64;
        let header = sealer.header();
        let full = sealer.push(&bytes).map_err(seal_error(event))?;
        let last = sealer.finish().map_err(seal_error(event))?;
        let sealed = [&header[..], &full, &last].concat();
        Ok(Payload::Sealed { size, kept: Box::new(Payload::Inline(sealed.into())) })
    }

    /// Assigns the place to the store, unless it belongs to one. From then on names of payloads end
    /// with the store's mark. Called at start, and again while the store cannot be read.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] when it belongs to another store; errors of the store, the folder
    /// or the pieces.
    pub async fn claim(&self, store: &dyn Store) -> Result<(), StoreError> {
        let root = match &self.place {
            PayloadPlace::Folder(folder) => folder.root().to_str(),
            PayloadPlace::Nowhere | PayloadPlace::Blobs(..) => None,
        };
        let identity = store.identity(root.map(str::to_owned)).await?;
        let id = identity.id;
        *self.store.lock() = Some(identity);
        let (owner, place) = match &self.place {
            PayloadPlace::Nowhere => return Ok(()),
            PayloadPlace::Folder(folder) => {
                (folder.claim(id).await?, format!("the payload folder {:?}", self.place))
            }
            PayloadPlace::Blobs(pieces, _) => (pieces.claim(id).await?, pieces.place()),
        };
        if owner == id { Ok(()) } else { Err(StoreError::OtherStore { place, owner, store: id }) }
    }

    /// Whether [`Self::claim`] must be called again, because the store could not be read.
    pub fn is_unclaimed(&self) -> bool {
        self.store.lock().is_none()
    }

    /// Removes a payload for which no event was stored. The sweep removes what remains.
    pub fn remove(&self, payload: &Payload) {
        match payload {
            Payload::File { path, .. } => {
                if let PayloadPlace::Folder(folder) = &self.place {
                    let path = folder.root().join(within_root(path));
                    volume::later(move || {
                        folder::remove(&path);
                    });
                }
            }
            Payload::Stored { id, .. } => {
                if let PayloadPlace::Blobs(pieces, runtime) = &self.place {
                    let (pieces, id) = (pieces.clone(), *id);
                    runtime.spawn(async move { sink::remove(&*pieces, id).await });
                }
            }
            Payload::Sealed { kept, .. } => self.remove(kept),
            Payload::None | Payload::Inline(_) | Payload::Purged { .. } => {}
        }
    }

    /// Removes payloads, with their pieces, for which all deliveries that need them were made
    /// before `before` (milliseconds since 1970): [`Store::purge_payloads`]. Returns the number of their
    /// events, up to `limit`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn purge_payloads(
        &self,
        store: &dyn Store,
        before: i64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let spent = store.purge_payloads(before, limit).await?;
        if let PayloadPlace::Blobs(pieces, _) = &self.place {
            for id in spent.blobs {
                sink::remove(&**pieces, id).await;
            }
        }
        Ok(spent.events)
    }

    /// Removes payloads that this store wrote and none of its events names: files of terminated
    /// processes, and pieces older than a day. Returns how many. Called at start, after
    /// [`crate::EventStore::adopt`], and periodically.
    ///
    /// # Errors
    /// Those of [`Self::claim`], which runs first: nothing is removed from a place of another
    /// store.
    pub async fn sweep(&self, store: &dyn Store) -> Result<u64, StoreError> {
        self.claim(store).await?;
        let Some(mark) = self.mark() else { return Ok(0) };
        let removed: Vec<String> = match &self.place {
            PayloadPlace::Nowhere => Vec::new(),
            PayloadPlace::Folder(folder) => {
                let files = folder.sweep(store, mark).await?;
                files.iter().map(|file| within_root(file).display().to_string()).collect()
            }
            // While the clock is doubted they may be younger than they seem.
            PayloadPlace::Blobs(..) if clock::is_doubted() => Vec::new(),
            PayloadPlace::Blobs(pieces, _) => {
                let age = i64::try_from(UNNAMED_FOR.as_millis()).unwrap_or(i64::MAX);
                let before = clock::now().saturating_sub(age);
                let removed = sweep_pieces(&**pieces, store, mark, before).await?;
                removed.iter().map(Uuid::to_string).collect()
            }
        };
        if !removed.is_empty() {
            let first =
                removed.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let removed = removed.len();
            tracing::info!(removed, place = ?self.place, first, "Removed payloads that no event names: \
                a process terminated before it recorded their event, or before it removed them.");
        }
        Ok(removed.len() as u64)
    }

    /// Returns whether large payloads can be stored, by the last one.
    pub fn health(&self) -> PayloadHealth {
        let health = self.monitor.look();
        match (&self.place, health.failing_since) {
            (PayloadPlace::Folder(folder), None) => {
                PayloadHealth::slow(folder.path()).unwrap_or(health)
            }
            _ => health,
        }
    }

    /// Writes and removes a test payload, so that [`Self::health`] shows when a failed place works
    /// again. Does nothing while it works.
    pub async fn probe(&self) {
        if self.health().failing_since.is_none() {
            return;
        }
        let mut writer = self.sealing(false).writer(Uuid::nil());
        // The gauge records the result.
        if writer.write(&[0; Payload::INLINE_MAX + 1]).is_ok()
            && let Ok(payload) = writer.finish().await
        {
            self.remove(&payload);
        }
    }

    /// Returns the ending of new names. `None`: the store could not be read yet; payloads written
    /// until then are never swept.
    fn mark(&self) -> Option<PayloadMark> {
        self.store.lock().as_ref().map(|store| store.mark)
    }

    /// Returns where a payload file may be, the likeliest place first.
    fn places(&self, file: &Path) -> Vec<PathBuf> {
        let former = self.store.lock().as_ref().map(|store| store.former_roots.clone());
        let own = match &self.place {
            PayloadPlace::Folder(folder) => Some(folder.root()),
            PayloadPlace::Nowhere | PayloadPlace::Blobs(..) => None,
        };
        let former = former.unwrap_or_default();
        places(file, own.into_iter().chain(former.iter().map(PathBuf::as_path)))
    }

    /// `None`: it is not to be sealed.
    fn sealer(&self, event: Uuid) -> Result<Option<Sealer>, StoreError> {
        if !self.seals {
            return Ok(None);
        }
        let sealer = self.key.as_deref().ok_or(SealError::NoKey);
        let sealer = sealer.and_then(|key| Sealer::new(key, event));
        sealer.map(Some).map_err(seal_error(event))
    }
}

impl std::fmt::Debug for PayloadPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nowhere => f.write_str("nowhere"),
            Self::Folder(folder) => write!(f, "{}", folder.root().display()),
            Self::Blobs(pieces, _) => f.write_str(&pieces.place()),
        }
    }
}

/// Removes the store's pieces that were written before a time, in Unix milliseconds, and that no
/// event names.
async fn sweep_pieces(
    pieces: &dyn BlobStore,
    store: &dyn Store,
    mark: PayloadMark,
    before: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let (mut removed, mut after) = (Vec::new(), None);
    loop {
        let mut found = pieces.older(before, after, BATCH).await?;
        let Some(last) = found.last().copied() else { return Ok(removed) };
        after = Some(last);
        // BlobStore in the store's own tables belong to it, whatever their names.
        found.retain(|id| !pieces.is_outside() || mark.is_in(*id));
        for orphan in store.unnamed_blobs(found).await? {
            if sink::remove(pieces, orphan).await {
                removed.push(orphan);
            }
        }
    }
}

/// Removes payload files that no row names any more, only from the store's payload root. A sweep at
/// the next start removes what remains. The wait is bounded, in case the disk hangs.
pub(crate) async fn remove_files(root: Option<&Path>, files: Vec<PathBuf>) {
    let Some(root) = root else { return };
    let files: Vec<PathBuf> = files.iter().map(|file| root.join(within_root(file))).collect();
    if files.is_empty() {
        return;
    }
    let removed = volume::write(move || {
        for file in files {
            folder::remove(&file);
        }
        Ok(())
    });
    // Nothing depends on the result.
    let _ = timeout(REMOVED_WITHIN, removed).await;
}

#[cfg(test)]
mod tests;
