//! Files of a backup: new, durable, and whole or not there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::BackupError;

/// A copy under a name of its own, until it is whole. Removed when dropped.
pub(super) struct Unfinished<'a> {
    /// Whose name errors have: nobody asked for the other.
    pub(super) to: &'a Path,
    pub(super) file: PathBuf,
    pub(super) payloads: PathBuf,
}

// === impl Unfinished ===

impl<'a> Unfinished<'a> {
    /// Makes an empty file (0600) in the folder of `to`.
    pub(super) fn beside(to: &'a Path) -> Result<Self, BackupError> {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        let file = PathBuf::from(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(
            |source| match source.kind() {
                io::ErrorKind::NotFound => BackupError::NoFolder(folder_of(to).to_owned()),
                // What a backup left that was killed.
                io::ErrorKind::AlreadyExists => failed(&file)(source),
                _ => failed(to)(source),
            },
        )?;
        let payloads = super::payloads_of(&file);
        Ok(Self { to, file, payloads })
    }

    /// Gives the durable file its name, unless something has it already.
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
        // What is published is not under these names any more.
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

/// A payload file's place within a payload folder: below the folder of the process that wrote it.
pub(super) fn within(path: &Path) -> PathBuf {
    let process = path.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(process).join(path.file_name().unwrap_or_default())
}

/// Links or copies a payload file. One that is there already is the same, for names are never used
/// twice. False: there is none to put.
pub(super) fn put(from: &Path, to: &Path) -> Result<bool, BackupError> {
    make_folder(folder_of(to))?;
    match fs::hard_link(from, to) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(true),
        // Another disk, or one that knows no links.
        Err(_) => {}
    }
    let mut source = match File::open(from) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(from)(error)),
    };
    // A new file, 0600.
    let mut copy =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed(to))?;
    pour((&mut source, from), (&mut copy, to))?;
    copy.sync_all().map_err(failed(to))?;
    Ok(true)
}

/// Copies what is in a file. Unlike [`io::copy`], it knows on which side something went wrong.
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

/// Makes a folder (0700) with those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
}

/// Makes the names in a payload folder durable, if there is one.
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

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> BackupError {
    |source| BackupError::File { path: path.to_owned(), source }
}
