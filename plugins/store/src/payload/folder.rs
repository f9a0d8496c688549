//! The root folder of payload files.
//!
//! Each process writes into a folder of its own below the payload root, and holds a lock on that
//! folder as long as it runs. A lock on the folder itself ends with the process, and a cleanup job
//! cannot remove it as it could a lock file. A folder without a lock was left by a terminated
//! process: files that no event names are orphans, which
//! [`Payloads::sweep`](super::Payloads::sweep) removes.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    ownership::{PayloadMark, read_id, write_id},
    volume,
};
use crate::{
    error::{StoreError, payload_error},
    private_files::{create_file, create_folder, is_at},
    store::Store,
};

/// The folder of payload files. Clones share it.
#[derive(Clone, Debug)]
pub struct PayloadDir {
    own: Arc<OwnFolder>,
}

/// This process's folder, with the lock that shows that the process is running.
#[derive(Debug)]
struct OwnFolder {
    root: PathBuf,
    path: PathBuf,
    /// The open folder, locked.
    lock: Mutex<Option<File>>,
}

/// An open payload file. It is closed, and removed unless it is to be kept, on a thread that may
/// block on the disk.
pub(super) struct PayloadFile {
    path: PathBuf,
    /// Taken by the drop.
    file: Option<File>,
    is_kept: AtomicBool,
}

/// How many files one query of a sweep covers.
const BATCH: usize = 500;

/// The beginning of the name of a process's folder.
const PROCESS: &str = "process-";

/// The beginning of the name of a folder until it is locked. Sweeps ignore it.
const UNLOCKED: &str = "new-";

// === impl PayloadDir ===

impl PayloadDir {
    /// Opens the folder, and creates it (0700) if necessary. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Payload`], when it cannot be created or locked, or its path is not UTF-8.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match Self::open_or_wait(path)? {
            (folder, None) => Ok(folder),
            (_, Some(error)) => Err(error),
        }
    }

    /// Like [`Self::open`], but also returns a folder, with the reason, when it cannot be created
    /// now. Each payload tries again.
    ///
    /// # Errors
    /// Like [`Self::open`], when a later try cannot succeed.
    pub fn open_or_wait(path: &Path) -> Result<(Self, Option<StoreError>), StoreError> {
        let made = create_folder(path);
        let root = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let root = root.map_err(|source| payload_error(path, source))?;
        if root.to_str().is_none() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8");
            return Err(payload_error(path, source));
        }
        let path = root.join(Self::new_name());
        let own = OwnFolder { root, path, lock: Mutex::new(None) };
        let away =
            made.and_then(|()| own.make()).map_err(|source| payload_error(&own.root, source)).err();
        match away {
            Some(error) if !error.may_pass() => Err(error),
            away => Ok((Self { own: Arc::new(own) }, away)),
        }
    }

    /// Returns a new name for a folder.
    pub(crate) fn new_name() -> String {
        format!("{PROCESS}{}", Uuid::now_v7())
    }

    /// Returns the payload root: rows name payload files relative to it.
    pub fn root(&self) -> &Path {
        &self.own.root
    }

    /// Assigns the root to a store, unless it belongs to one. Returns its owner.
    pub(super) async fn claim(&self, store: Uuid) -> Result<Uuid, StoreError> {
        let folder = self.clone();
        let claim = move || {
            let root = folder.root();
            if let Some(owner) = read_id(root)? {
                return Ok(owner);
            }
            write_id(root, store).map_err(|source| payload_error(root, source))?;
            Ok(read_id(root)?.unwrap_or_default())
        };
        volume::write(claim).await
    }

    /// Creates a file of this process. Creates the folder again if it was deleted.
    pub(super) fn create(&self, mark: Option<PayloadMark>) -> Result<PayloadFile, StoreError> {
        let name = mark.map_or_else(Uuid::now_v7, PayloadMark::name);
        let path = self.path().join(name.to_string());
        match self.own.make().and_then(|()| create_file(&path)) {
            Ok(file) => Ok(PayloadFile { path, file: Some(file), is_kept: false.into() }),
            Err(source) => Err(payload_error(&path, source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.own.path
    }

    /// Removes files of terminated processes that no event in `store` names and that this store
    /// wrote: their names have its mark. Returns the removed files.
    pub(super) async fn sweep(
        &self,
        store: &dyn Store,
        mark: PayloadMark,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.clone();
        let mut removed = Vec::new();
        for (folder, held) in volume::read(move || folder.abandoned()).await? {
            let path = folder.clone();
            let mut files = match volume::read(move || entries(&path)).await {
                Ok(files) => files,
                Err(error) => {
                    tracing::debug!(%error, "A payload folder cannot be looked through.");
                    continue;
                }
            };
            files.retain(|file| marked_by(mark, file));
            let mut orphans = Vec::new();
            for batch in files.chunks(BATCH) {
                orphans.extend(store.unnamed_payloads(batch.to_vec()).await?);
            }
            let remove = move || {
                orphans.retain(|path| remove(path));
                // Succeeds if it is empty.
                let _ = fs::remove_dir(&folder);
                drop(held);
                Ok(orphans)
            };
            // However many they are, that is no sign of a slow disk.
            removed.extend(volume::read(remove).await?);
        }
        Ok(removed)
    }

    /// Returns the folders of terminated processes, each with a lock, so that no other sweep handles
    /// it meanwhile.
    fn abandoned(&self) -> Result<Vec<(PathBuf, File)>, StoreError> {
        let mut abandoned = Vec::new();
        for folder in entries(self.root())? {
            let name = folder.file_name().and_then(|name| name.to_str());
            let id = name.and_then(|name| name.strip_prefix(PROCESS));
            if id.is_none_or(|id| Uuid::parse_str(id).is_err()) || !folder.is_dir() {
                continue;
            }
            match File::open(&folder).map(|file| (file.try_lock(), file)) {
                Ok((Ok(()), held)) => abandoned.push((folder, held)),
                Ok((Err(TryLockError::WouldBlock), _)) => {}
                // It may belong to a running process of another user.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let folder = folder.display();
                    tracing::warn!(%folder, %error, "A payload folder of another user is not swept; \
                        give it to the user that as2hook runs as: chown -R.");
                }
                Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                    let folder = folder.display();
                    tracing::debug!(%folder, %error, "A payload folder is not swept.");
                }
            }
        }
        Ok(abandoned)
    }
}

// === impl OwnFolder ===

impl OwnFolder {
    /// Creates and locks the folder, unless that is done.
    fn make(&self) -> io::Result<()> {
        let mut lock = self.lock.lock();
        if lock.as_ref().is_some_and(|held| is_at(held, &self.path)) {
            return Ok(());
        }
        create_folder(&self.root)?;
        let folder = match File::open(&self.path) {
            // It was deleted, and another process created it.
            Ok(folder) => {
                lock_folder(&folder, &self.path)?;
                folder
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let unlocked = self.root.join(format!("{UNLOCKED}{}", Uuid::now_v7()));
                create_folder(&unlocked)?;
                let folder = File::open(&unlocked)?;
                lock_folder(&folder, &self.path)?;
                fs::rename(&unlocked, &self.path)?;
                folder
            }
            Err(error) => return Err(error),
        };
        *lock = Some(folder);
        File::open(&self.root)?.sync_all()
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // Removes only an empty folder; the next sweep handles others.
        let _ = fs::remove_dir(&self.path);
    }
}

// === impl PayloadFile ===

impl PayloadFile {
    /// Opens a complete file for reading, if it has this length.
    pub(super) fn open(path: PathBuf, size: u64) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(|source| payload_error(&path, source))?;
        let file = Self { path, file: Some(file), is_kept: true.into() };
        file.on_disk(|open| match open.metadata()?.len() {
            found if found == size => Ok(()),
            found => {
                let text = format!("it is {found} bytes long and was written with {size}");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        })?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads or writes. Blocks.
    pub(super) fn on_disk<T>(
        &self,
        work: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let file = self.file.as_ref().ok_or(StoreError::Closed)?;
        work(file).map_err(|source| payload_error(&self.path, source))
    }

    /// Makes the file durable. It is not removed any more. Blocks.
    pub(super) fn keep(&self) -> Result<(), StoreError> {
        self.on_disk(File::sync_all)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| payload_error(folder, source))?;
        self.is_kept.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for PayloadFile {
    fn drop(&mut self) {
        let (path, file) = (std::mem::take(&mut self.path), self.file.take());
        let is_kept = self.is_kept.load(Ordering::Relaxed);
        volume::later(move || {
            drop(file);
            if !is_kept {
                remove(&path);
            }
        });
    }
}

/// Locks a folder. Some network file systems do not support that: sweeps skip the folders there.
fn lock_folder(folder: &File, path: &Path) -> io::Result<()> {
    match folder.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(path = %path.display(), %error, "A payload folder cannot be locked.");
            Ok(())
        }
    }
}

/// Removes a file that no row names any more. A sweep at the next start removes what remains.
pub(super) fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => {
            tracing::debug!(path = %path.display(), "Removed a payload file.");
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "A payload file could not be removed.");
            false
        }
    }
}

/// Whether the name of a payload file ends with the mark.
fn marked_by(mark: PayloadMark, file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.and_then(|name| Uuid::parse_str(name).ok()).is_some_and(|id| mark.is_in(id))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|source| payload_error(folder, source))?;
    entries
        .map(|entry| {
            entry.map(|entry| entry.path()).map_err(|source| payload_error(folder, source))
        })
        .collect()
}
