//! The id file of a payload root, which names the store that the root belongs to.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{PROCESS, PayloadDir, error, sweep};
use crate::{
    payload::ownership::StoreIdentity,
    private_files::create_file,
    store::{Store, StoreError},
};

/// The file with the store's id in a payload root.
const STORE_ID: &str = "store.id";

impl PayloadDir {
    /// Assigns the root to a store, unless it belongs to one. Returns false when it has no owner
    /// but files that this store does not know; then it stays without one.
    pub(in crate::payload) async fn claim(
        &self,
        store: &dyn Store,
        identity: &StoreIdentity,
    ) -> Result<bool, StoreError> {
        let folder = self.clone();
        let (owner, files) = sweep::blocking(move || {
            let owner = read_id(folder.root())?;
            let files = if owner.is_none() { folder.files_of_others()? } else { Vec::new() };
            Ok((owner, files))
        })
        .await?;
        match owner {
            Some(owner) => return self.must_be(owner, identity.id).map(|()| true),
            None if files.is_empty() => {}
            None => {
                let marked = |file: &PathBuf| name(file).is_some_and(|id| identity.mark.is_in(id));
                if !files.iter().any(marked) {
                    let all = files.len();
                    let unnamed = store.unnamed_payloads(files).await?.len();
                    if unnamed == all {
                        return Ok(false);
                    }
                }
            }
        }
        let (folder, id) = (self.clone(), identity.id);
        let owner = sweep::blocking(move || {
            write_id(folder.root(), id).map_err(|source| error(folder.root(), source))?;
            read_id(folder.root())
        })
        .await?;
        self.must_be(owner.unwrap_or_default(), identity.id).map(|()| true)
    }

    fn must_be(&self, owner: Uuid, store: Uuid) -> Result<(), StoreError> {
        if owner == store {
            return Ok(());
        }
        let place = format!("the payload folder {}", self.root().display());
        Err(StoreError::OtherStore { place, owner, store })
    }

    /// Returns payload files in the folders of other processes, running ones included. Folders of
    /// another user are ignored.
    fn files_of_others(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        for folder in sweep::entries(self.root())? {
            let is_payloads = folder.is_dir() && folder != self.path();
            let of_process =
                folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                    Uuid::parse_str(name.strip_prefix(PROCESS).unwrap_or(name)).is_ok()
                });
            if is_payloads && of_process {
                files.extend(sweep::entries(&folder).into_iter().flatten());
            }
        }
        Ok(files)
    }
}

/// Returns the id in the name of a payload file. `None`: as2hook did not create this file.
pub(super) fn name(file: &Path) -> Option<Uuid> {
    file.file_name()?.to_str().and_then(|name| Uuid::parse_str(name).ok())
}

/// Reads the store that a root belongs to. An unreadable id is of no existing store.
pub(crate) fn read_id(root: &Path) -> Result<Option<Uuid>, StoreError> {
    let path = root.join(STORE_ID);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().parse().unwrap_or_default())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(error(&path, source)),
    }
}

/// Writes the id atomically, unless there is one.
pub(crate) fn write_id(root: &Path, id: Uuid) -> io::Result<()> {
    let (path, beside) = (root.join(STORE_ID), root.join(format!("{STORE_ID}.{}", Uuid::now_v7())));
    let written = (|| {
        let mut file = create_file(&beside)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        match fs::hard_link(&beside, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // The file system has no links.
            Err(_) => fs::rename(&beside, &path),
            Ok(()) => Ok(()),
        }
    })();
    let _ = fs::remove_file(&beside);
    written?;
    fs::File::open(root)?.sync_all()
}
