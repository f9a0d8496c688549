//! Files of a backup: new, durable, and complete or absent.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::BackupError;
use crate::private_files::{create_file, create_folder, folder_of};

/// A copy under a temporary name until it is complete. Removed when dropped.
pub(super) struct Unfinished<'a> {
    /// The name for errors: the temporary one would mean nothing to the user.
    pub(super) to: &'a Path,
    pub(super) file: PathBuf,
    pub(super) payloads: PathBuf,
}

// === impl Unfinished ===

impl<'a> Unfinished<'a> {
    /// Creates an empty file (0600) in the folder of `to`.
    pub(super) fn beside(to: &'a Path) -> Result<Self, BackupError> {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        let file = PathBuf::from(name);
        create_file(&file).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BackupError::NoFolder(folder_of(to).to_owned()),
            // Left by a backup that was killed.
            io::ErrorKind::AlreadyExists => failed(&file)(source),
            _ => failed(to)(source),
        })?;
        let payloads = super::payloads_of(&file);
        Ok(Self { to, file, payloads })
    }

    /// Gives the durable file its name, unless the name is taken.
    pub(super) fn publish(self) -> Result<(), BackupError> {
        let to = self.to;
        // A rename would overwrite; a link does not.
        fs::hard_link(&self.file, to).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
            _ => failed(to)(source),
        })?;
        fs::remove_file(&self.file).map_err(failed(&self.file))?;
        sync_folder(folder_of(to))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Published files do not have these names any more.
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir_all(&self.payloads);
    }
}

pub(super) fn must_be_new(path: &Path) -> Result<(), BackupError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(BackupError::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Links or copies a payload file. An existing one is the same, because names are never used twice.
/// Returns false when the source does not exist.
pub(super) fn put(from: &Path, to: &Path) -> Result<bool, BackupError> {
    let folder = folder_of(to);
    create_folder(folder).map_err(failed(folder))?;
    let owner = |path: &Path| fs::metadata(path).map(|file| file.uid());
    let link = match (owner(from), owner(folder)) {
        // A link would keep its owner, and the user of the new folder could not read it.
        (Ok(file), Ok(folder)) if file != folder => Err(io::ErrorKind::PermissionDenied.into()),
        (Err(error), _) => Err(error),
        _ => fs::hard_link(from, to),
    };
    match link {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(true),
        // Another disk, or one without links.
        Err(_) => {}
    }
    let mut source = match File::open(from) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(from)(error)),
    };
    // A new file, 0600.
    let mut copy = match create_file(to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(true),
        created => created.map_err(failed(to))?,
    };
    pour((&mut source, from), (&mut copy, to))?;
    copy.sync_all().map_err(failed(to))?;
    Ok(true)
}

/// Copies the contents of a file. Unlike [`io::copy`], it distinguishes errors of the two sides.
pub(super) fn pour(
    (source, from): (&mut File, &Path),
    (copy, to): (&mut File, &Path),
) -> Result<(), BackupError> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => copy.write_all(&buffer[..read]).map_err(failed(to))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(from)(error)),
        }
    }
}

/// Makes the names in a payload folder durable, if it exists.
pub(super) fn sync_tree(root: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(root)(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed(root))?.path();
        if path.is_dir() {
            sync_folder(&path)?;
        }
    }
    sync_folder(root)
}

pub(super) fn sync_folder(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed(path))
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> BackupError {
    |source| BackupError::File { path: path.to_owned(), source }
}
