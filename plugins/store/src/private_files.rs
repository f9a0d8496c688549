//! Files and folders that only the service user can read.
//!
//! What a process creates as root is given to the owner of its folder, so that a gateway or a
//! `restore` that once ran as root leaves nothing that the service user cannot open later.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
};

use uuid::Uuid;

/// Creates a folder (0700) with its parents. An existing one stays as it is.
///
/// # Errors
/// Those of the system.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_folder(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            give_to_folder_owner(path, &File::open(path)?);
            Ok(())
        }
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a file (0600) and opens it for writing.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when the name is taken; other errors of the system.
pub fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    give_to_folder_owner(path, &file);
    Ok(file)
}

/// Writes a line into a new file (0600), completely or not at all. An existing file stays as it is.
pub(crate) fn create_whole(path: &Path, line: &str) -> io::Result<()> {
    let beside = path.with_extension(format!("new-{}", Uuid::now_v7()));
    let written = (|| {
        let mut file = create_file(&beside)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // The file system has no links.
            Err(_) => fs::rename(&beside, path),
            Ok(()) => Ok(()),
        }
    })();
    // A leftover does no harm.
    let _ = fs::remove_file(&beside);
    written?;
    File::open(folder_of(path))?.sync_all()
}

/// Whether the path leads to this open file.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    let there = fs::metadata(path).map(identity).ok();
    there.is_some() && there == file.metadata().map(identity).ok()
}

/// Returns the folder of a path.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Gives a file or folder that root has just created to the owner of its folder.
fn give_to_folder_owner(path: &Path, file: &File) {
    let given = file.metadata().and_then(|made| {
        if made.uid() != 0 {
            return Ok(());
        }
        let folder = fs::metadata(folder_of(path))?;
        match folder.uid() {
            0 => Ok(()),
            owner => fchown(file, Some(owner), Some(folder.gid())),
        }
    });
    // A container may run as root without the right to do this. It can use the file all the same.
    if let Err(error) = given {
        let path = path.display();
        tracing::warn!(%path, %error, "A new file stays root's; give it to the owner of its folder: \
            chown --reference=FOLDER FILE.");
    }
}
