//! Which store a payload place belongs to, and which payloads in it that store wrote.
//!
//! A place (a payload root or an S3 prefix) names its store by an id, and other stores are refused
//! there. A payload's own name ends with the mark of the store that wrote it, and nothing without
//! this mark is swept: a copy of a database keeps the id, but gets a mark of its own.

use std::path::{Path, PathBuf};

use uuid::Uuid;

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

/// Returns where a payload file may be: below each of `roots`, by its last two names. A row of an
/// older version has the whole path, which comes last.
pub(crate) fn places<'a>(
    file: &'a Path,
    roots: impl IntoIterator<Item = &'a Path>,
) -> Vec<PathBuf> {
    let name = within_root(file);
    let mut places: Vec<PathBuf> = roots.into_iter().map(|root| root.join(&name)).collect();
    if file.is_absolute() {
        places.push(file.to_owned());
    }
    places
}

/// Returns a payload file's name within a payload root: the folder of its process, and its own
/// name.
pub(crate) fn within_root(file: &Path) -> PathBuf {
    let process = file.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(process).join(file.file_name().unwrap_or_default())
}
