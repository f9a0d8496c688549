//! The folder of payload files.
//!
//! Each process writes into a folder of its own below the payload folder, next to a lock file that it
//! holds as long as it lives. A folder whose lock nobody holds belongs to a dead process: what no
//! event names in there is an orphan, and [`PayloadDir::sweep`] removes it.

mod sweep;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use crate::store::StoreError;

/// Where payload files are kept. Clones are the same place.
#[derive(Clone, Debug)]
pub struct PayloadDir {
    own: Arc<OwnFolder>,
}

/// This process's folder, and the lock that says that it lives.
#[derive(Debug)]
struct OwnFolder {
    root: PathBuf,
    name: String,
    path: PathBuf,
    lock: Mutex<Option<File>>,
}

// === impl PayloadDir ===

impl PayloadDir {
    /// Opens the folder, and makes it (0700) if need be. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Payload`], when it cannot be made, locked or is not UTF-8.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match Self::open_or_wait(path)? {
            (folder, None) => Ok(folder),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`Self::open`], and has a folder too when it cannot be made just now: with the reason. It is
    /// tried again with each payload.
    ///
    /// # Errors
    /// As [`Self::open`], when waiting would not help.
    pub fn open_or_wait(path: &Path) -> Result<(Self, Option<StoreError>), StoreError> {
        let made = create_root(path);
        let root = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let root = root.map_err(|source| error(path, source))?;
        if root.to_str().is_none() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8");
            return Err(error(path, source));
        }
        let name = Uuid::now_v7().to_string();
        let path = root.join(&name);
        let own = OwnFolder { root, name, path, lock: Mutex::new(None) };
        let away = made.and_then(|()| own.make()).map_err(|source| error(&own.root, source)).err();
        match away {
            Some(error) if !error.may_pass() => Err(error),
            away => Ok((Self { own: Arc::new(own) }, away)),
        }
    }

    /// A new file in it. Its folder is made again where somebody has deleted it.
    pub(super) fn create(&self) -> Result<(PathBuf, File), StoreError> {
        let path = self.path().join(Uuid::now_v7().to_string());
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let opened = open().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => self.own.make().and_then(|()| open()),
            _ => Err(error),
        });
        match opened {
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
    /// Makes the folder and what belongs to it, or as much of it as somebody has deleted.
    fn make(&self) -> io::Result<()> {
        create_root(&self.root)?;
        let path = lock_path(&self.root, &self.name);
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let there = fs::metadata(&path).map(|file| (file.dev(), file.ino())).ok();
        let held = lock.as_ref().and_then(|file| file.metadata().ok());
        if there.is_none() || there != held.map(|file| (file.dev(), file.ino())) {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            // A sweep that looks at the lock in this very moment lets go of it again.
            file.lock()?;
            *lock = Some(file);
        }
        // Made after the lock is held, for folders are what a sweep goes by.
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::open(&self.root)?.sync_all()
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // Only an empty folder is removed; its lock stays with the files otherwise, for the sweep.
        if fs::remove_dir(&self.path).is_ok() {
            let _ = fs::remove_file(lock_path(&self.root, &self.name));
        }
    }
}

fn create_root(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock_path(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.lock"))
}

pub(super) fn error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Payload { path: path.to_owned(), source }
}

/// Removes a file that no row names any more. One that stays is swept at the next start.
pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "A payload file could not be removed.");
        }
        _ => {}
    }
}
