//! Removes what dead processes left and no event names.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{PayloadDir, error, lock_path, remove};
use crate::store::{Store, StoreError};

/// Files that the store is asked about at once.
const BATCH: usize = 500;

/// The folder of a dead process, and its lock, so that nobody else sweeps it meanwhile.
struct Left {
    folder: PathBuf,
    lock: PathBuf,
    _held: Option<File>,
}

impl PayloadDir {
    /// Removes the files of dead processes that no event in `store` names; never those of a living
    /// one. Returns how many. Called at start, after [`Store::adopt`], and now and then.
    ///
    /// # Errors
    /// What the store says, and [`StoreError::Payload`] when the folder cannot be read.
    pub async fn sweep(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let folder = self.clone();
        let left = blocking(move || folder.left()).await?;
        let mut removed = 0;
        for left in left {
            let folder = left.folder.clone();
            let files = blocking(move || files(&folder)).await?;
            for batch in files.chunks(BATCH) {
                let orphans = store.unnamed_payloads(batch.to_vec()).await?;
                removed += orphans.len() as u64;
                blocking(move || {
                    orphans.iter().for_each(|path| remove(path));
                    Ok(())
                })
                .await?;
            }
            blocking(move || {
                left.clear();
                Ok(())
            })
            .await?;
        }
        Ok(removed)
    }

    fn left(&self) -> Result<Vec<Left>, StoreError> {
        let root = &self.own.root;
        let mut left = Vec::new();
        for entry in entries(root)? {
            let entry = entry.map_err(|source| error(root, source))?;
            let name = entry.file_name();
            let (true, Some(name)) = (entry.path().is_dir(), name.to_str()) else { continue };
            if uuid::Uuid::parse_str(name).is_err() || name == self.own.name {
                continue;
            }
            let lock = lock_path(root, name);
            match OpenOptions::new().write(true).open(&lock).map(|file| (file.try_lock(), file)) {
                Ok((Ok(()), held)) => {
                    left.push(Left { folder: entry.path(), lock, _held: Some(held) });
                }
                Ok((Err(TryLockError::WouldBlock), _)) => {}
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                    left.push(Left { folder: entry.path(), lock, _held: None });
                }
                Ok((Err(TryLockError::Error(source)), _)) | Err(source) => {
                    return Err(error(&lock, source));
                }
            }
        }
        Ok(left)
    }
}

// === impl Left ===

impl Left {
    /// Removes the folder if nothing is left in it.
    fn clear(self) {
        if fs::remove_dir(&self.folder).is_ok() {
            remove(&self.lock);
        }
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    entries(folder)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(|source| error(folder, source)))
        .collect()
}

fn entries(folder: &Path) -> Result<fs::ReadDir, StoreError> {
    fs::read_dir(folder).map_err(|source| error(folder, source))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|error| Err(StoreError::Database(error.to_string())))
}
