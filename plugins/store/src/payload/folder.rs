//! The root folder of payload files.
//!
//! Each process writes into a folder of its own below the payload root, and holds a lock on that
//! folder as long as it runs. A lock on the folder itself ends with the process, and a cleanup job
//! cannot remove it as it could a lock file. A folder without a lock was left by a terminated
//! process: files that no event names are orphans, which
//! [`Payloads::sweep`](super::Payloads::sweep) removes.

mod sweep;

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use super::ownership::{PayloadMark, read_id, write_id};
use crate::{
    private_files::{create_file, create_folder},
    store::StoreError,
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
    name: String,
    path: PathBuf,
    /// The open folder, locked.
    lock: Mutex<Option<File>>,
}

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
        let root = root.map_err(|source| error(path, source))?;
        if root.to_str().is_none() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8");
            return Err(error(path, source));
        }
        let name = Self::new_name();
        let path = root.join(&name);
        let own = OwnFolder { root, name, path, lock: Mutex::new(None) };
        let away = made.and_then(|()| own.make()).map_err(|source| error(&own.root, source)).err();
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
        let root = move || {
            let root = folder.root();
            if let Some(owner) = read_id(root)? {
                return Ok(owner);
            }
            write_id(root, store).map_err(|source| error(root, source))?;
            Ok(read_id(root)?.unwrap_or_default())
        };
        sweep::blocking(root).await
    }

    /// Creates a file of this process, and returns its path. Creates the folder again if it was
    /// deleted.
    pub(super) fn create(&self, mark: Option<PayloadMark>) -> Result<(PathBuf, File), StoreError> {
        let name = mark.map_or_else(Uuid::now_v7, PayloadMark::name);
        let path = self.path().join(name.to_string());
        match self.own.make().and_then(|()| create_file(&path)) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(error(&path, source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.own.path
    }
}

// === impl OwnFolder ===

impl OwnFolder {
    /// Creates and locks the folder, unless that is done.
    fn make(&self) -> io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Whether the path leads to this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    let there = fs::metadata(path).map(identity).ok();
    there.is_some() && there == file.metadata().map(identity).ok()
}

pub(super) fn error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Payload { path: path.to_owned(), source }
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
