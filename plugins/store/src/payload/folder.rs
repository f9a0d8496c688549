//! The folder of payload files.
//!
//! Each process writes into a folder of its own below the payload folder, next to a lock file that it
//! holds as long as it lives. A folder whose lock nobody holds belongs to a dead process: what no
//! event names in there is an orphan, and [`PayloadDir::sweep`] removes it.

mod sweep;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
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
    _lock: File,
}

// === impl PayloadDir ===

impl PayloadDir {
    /// Opens the folder, and makes it (0700) if need be. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Payload`], when it cannot be made, locked or is not UTF-8.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let attempt = || -> io::Result<OwnFolder> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            let root = fs::canonicalize(path)?;
            if root.to_str().is_none() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"));
            }
            let name = Uuid::now_v7().to_string();
            let lock = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(lock_path(&root, &name))?;
            // A sweep that looks at the lock in this very moment lets go of it again.
            lock.lock()?;
            // Made after the lock is held, for folders are what a sweep goes by.
            let path = root.join(&name);
            DirBuilder::new().mode(0o700).create(&path)?;
            File::open(&root)?.sync_all()?;
            Ok(OwnFolder { root, name, path, _lock: lock })
        };
        let own = attempt().map_err(|source| error(path, source))?;
        Ok(Self { own: Arc::new(own) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.own.path
    }
}

// === impl OwnFolder ===

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // Only an empty folder is removed; its lock stays with the files otherwise, for the sweep.
        if fs::remove_dir(&self.path).is_ok() {
            let _ = fs::remove_file(lock_path(&self.root, &self.name));
        }
    }
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
