//! Removes files of terminated processes that no event names.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{PROCESS, PayloadDir, error, remove};
use crate::{
    payload::ownership::PayloadMark,
    store::{Store, StoreError},
};

/// How many files one query covers.
const BATCH: usize = 500;

/// The folder of a terminated process, locked so that no other sweep handles it meanwhile.
struct Abandoned {
    folder: PathBuf,
    _held: File,
}

impl PayloadDir {
    /// Removes files of terminated processes that no event in `store` names and that this store
    /// wrote: their names have its mark. Returns the removed files.
    pub(in crate::payload) async fn sweep(
        &self,
        store: &dyn Store,
        mark: PayloadMark,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.clone();
        let mut removed = Vec::new();
        for abandoned in blocking(move || folder.abandoned()).await? {
            let folder = abandoned.folder.clone();
            let files = match blocking(move || entries(&folder)).await {
                Ok(files) => files,
                Err(error) => {
                    tracing::debug!(%error, "A payload folder cannot be looked through.");
                    continue;
                }
            };
            let is_ours = |file: &PathBuf| marked_by(mark, file);
            let files: Vec<PathBuf> = files.into_iter().filter(is_ours).collect();
            let mut orphans = Vec::new();
            for batch in files.chunks(BATCH) {
                orphans.extend(store.unnamed_payloads(batch.to_vec()).await?);
            }
            removed.extend(
                blocking(move || {
                    orphans.retain(|path| remove(path));
                    // Succeeds if it is empty.
                    let _ = fs::remove_dir(&abandoned.folder);
                    Ok(orphans)
                })
                .await?,
            );
        }
        Ok(removed)
    }

    fn abandoned(&self) -> Result<Vec<Abandoned>, StoreError> {
        let mut abandoned = Vec::new();
        for folder in entries(self.root())? {
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
            if name == self.own.name || !folder.is_dir() {
                continue;
            }
            if name.strip_prefix(PROCESS).is_none_or(|id| Uuid::parse_str(id).is_err()) {
                continue;
            }
            match File::open(&folder).map(|file| (file.try_lock(), file)) {
                Ok((Ok(()), held)) => abandoned.push(Abandoned { folder, _held: held }),
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

/// Whether the name of a payload file ends with the mark.
fn marked_by(mark: PayloadMark, file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.and_then(|name| Uuid::parse_str(name).ok()).is_some_and(|id| mark.is_in(id))
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|source| error(folder, source))?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(|source| error(folder, source)))
        .collect()
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|error| Err(StoreError::Database(error.to_string())))
}
