//! The embedded store: one SQLite file, one thread that writes, a few connections that read.
//!
//! Two processes may share one file, as they do during an upgrade without downtime; a network file
//! system may not be between them. Open it after the process has forked into the background: locks
//! do not follow a fork.

mod archive;
pub mod backup;
mod calls;
mod checkpoint;
mod deliveries;
mod error;
mod events;
mod gateways;
mod home;
mod lists;
mod notes;
mod options;
mod owner;
mod partner_webhooks;
mod prune;
mod queries;
mod readers;
mod schema;
mod shifts;
mod steps;
mod tally;
mod writer;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::broadcast;

pub use self::options::SqliteOptions;
use self::{
    checkpoint::Checkpointer, home::Home, readers::Readers, writer::Shared, writer::Writer,
};
use crate::{gateways::Change, store::StoreError};

/// The store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    owner: i64,
    /// Nobody tells one process what another wrote into the file, so this stays silent.
    changes: broadcast::Sender<Change>,
    writer: Writer,
    readers: Readers,
    _checkpointer: Checkpointer,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the store, and makes it with its folders if need be. Blocks: a large file that was not
    /// closed well is looked through first.
    ///
    /// # Errors
    /// [`StoreError::Open`] when a file or folder cannot be made, [`StoreError::TooNew`], and what
    /// the database says.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        match Self::open_or_wait(path, options)? {
            (store, None) => Ok(store),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`Self::open`], and has a store too when its file cannot be used just now: with the reason.
    /// Every call fails then, and looks again.
    ///
    /// # Errors
    /// As [`Self::open`], when waiting would not help.
    pub fn open_or_wait(
        path: &Path,
        options: &SqliteOptions,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let path = create(path)?;
        let shared = Arc::new(Shared::default());
        let mut home = Home::new(path.clone(), options.busy, Arc::clone(&shared));
        let owner = home.owner.id;
        let away = home.ready().err();
        let away = match away {
            Some(error) if !error.may_pass() => return Err(error),
            away => away,
        };
        let (writer, thread) = Writer::new(home, Arc::clone(&shared), options);
        let checkpointer = Checkpointer::start(
            path.clone(),
            options.checkpoint,
            options.busy,
            Arc::clone(&shared),
        )?;
        std::thread::Builder::new()
            .name("as2hook-store".to_owned())
            .spawn(move || thread.run())
            .map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let readers = Readers::new(path.clone(), shared, options);
        let changes = broadcast::channel(1).0;
        let store = Self { path, owner, changes, writer, readers, _checkpointer: checkpointer };
        Ok((store, away))
    }

    /// Transactions committed by this process. Less than the calls made: they share commits.
    pub fn commits(&self) -> u64 {
        self.writer.shared().commits.load(Ordering::Relaxed)
    }
}

/// Makes the file and its folders for nobody but us. Returns where it really is.
fn create(path: &Path) -> Result<PathBuf, StoreError> {
    let attempt = || -> io::Result<PathBuf> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        create_folder(folder)?;
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => {
                file.sync_all()?;
                File::open(folder)?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        fs::canonicalize(path)
    };
    attempt().map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests;
