//! Which store a payload place belongs to, and which payloads in it that store wrote.
//!
//! A place (a payload root or an S3 prefix) names its store by an id, and other stores are refused
//! there. A payload's own name ends with the mark of the store that wrote it, and nothing without
//! this mark is swept: a copy of a database keeps the id, but gets a mark of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::{
    error::{StoreError, payload_error},
    private_files::create_whole,
};

/// The identity of a store towards its payload places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Its id. Copies of its database have the same.
    pub id: Uuid,
    /// The ending of its payloads' names. Copies of its database have others.
    pub mark: PayloadMark,
    /// Its other payload roots so far, the last one first.
    pub former_roots: Vec<PathBuf>,
}

/// The file with the store's id in a payload root.
const STORE_ID: &str = "store.id";

/// The ending of the names of a store's payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadMark(pub u32);

// === impl PayloadMark ===

impl PayloadMark {
    /// Returns a new name. The part in front of the mark is unique by time, counter and random
    /// bits.
    pub(super) fn name(self) -> Uuid {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[12..].copy_from_slice(&self.0.to_be_bytes());
        Uuid::from_bytes(bytes)
    }

    /// Whether a name ends with it.
    pub(super) fn is_in(self, name: Uuid) -> bool {
        name.as_bytes()[12..] == self.0.to_be_bytes()
    }
}

/// Returns where a payload file may be: below each of `roots`.
pub(crate) fn places<'a>(
    file: &'a Path,
    roots: impl IntoIterator<Item = &'a Path>,
) -> Vec<PathBuf> {
    let name = within_root(file);
    roots.into_iter().map(|root| root.join(&name)).collect()
}

/// Returns a payload file's name within a payload root: the folder of its process, and its own
/// name.
pub(crate) fn within_root(file: &Path) -> PathBuf {
    let process = file.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(process).join(file.file_name().unwrap_or_default())
}

/// Reads the store that a root belongs to. An unreadable id is of no existing store.
pub(crate) fn read_id(root: &Path) -> Result<Option<Uuid>, StoreError> {
    let path = root.join(STORE_ID);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().parse().unwrap_or_default())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(payload_error(&path, source)),
    }
}

/// Writes the id atomically, unless there is one.
pub(crate) fn write_id(root: &Path, id: Uuid) -> io::Result<()> {
    create_whole(&root.join(STORE_ID), &id.to_string())
}
