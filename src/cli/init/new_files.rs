//! Files that are written together, or not at all.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use as2hook_store::private_files::{create_file, create_folder};

use super::CommandError;

/// New files of one folder, for their owner alone.
pub(super) struct NewFiles<'a> {
    folder: &'a Path,
    files: Vec<(String, Vec<u8>)>,
}

// === impl NewFiles ===

impl<'a> NewFiles<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, files: Vec::new() }
    }

    /// `name` is relative to the folder, and may have a folder of its own.
    pub(super) fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.files.push((name.to_owned(), content.into()));
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// Writes all of them.
    ///
    /// # Errors
    /// When one is there already, or cannot be written; then none is left behind.
    pub(super) fn write(&self) -> Result<(), CommandError> {
        // A link that leads nowhere is there, too.
        let is_there = |name: &&str| fs::symlink_metadata(self.folder.join(name)).is_ok();
        let there: Vec<_> = self.names().filter(is_there).collect();
        if !there.is_empty() {
            return Err(CommandError::Failed(format!(
                "{} has {} already, and nothing is overwritten: name another folder, or move what is there",
                self.folder.display(),
                there.join(", ")
            )));
        }
        let mut written = Vec::new();
        for (name, content) in &self.files {
            let path = self.folder.join(name);
            if let Err(error) = write(&path, content, &mut written) {
                for path in written {
                    // The first error says more than one of the cleaning.
                    let _ = fs::remove_file(path);
                }
                let path = path.display();
                return Err(CommandError::Failed(format!("{path} cannot be written: {error}")));
            }
        }
        Ok(())
    }
}

fn write(path: &Path, content: &[u8], written: &mut Vec<PathBuf>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let mut file = create_file(path)?;
    written.push(path.to_owned());
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let mut files = NewFiles::new(&folder);
        files.add("a", "1");
        files.add("keys/b", "2");
        files.write().unwrap();
        let mode =
            |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(["", "a", "keys", "keys/b"].map(mode), [0o700, 0o600, 0o700, 0o600]);
        assert_eq!(fs::read(folder.join("keys/b")).unwrap(), b"2");
    }

    #[test]
    fn existing_file_is_kept_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "old").unwrap();
        let mut files = NewFiles::new(folder.path());
        files.add("a", "1");
        files.add("b", "2");
        let error = files.write().unwrap_err().to_string();
        assert!(error.contains(" has b already"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "old");
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn failure_leaves_no_file_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = NewFiles::new(folder.path());
        files.add("a", "1");
        files.add("a/b", "2");
        let error = files.write().unwrap_err().to_string();
        assert!(error.contains("a/b cannot be written"), "{error}");
        assert!(!folder.path().join("a").exists());
    }
}
