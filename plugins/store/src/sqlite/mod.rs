//! The embedded store: one SQLite file, one thread that writes, a few connections that read.
//!
//! Two processes may share one file, as during an upgrade without downtime, but not over a network
//! file system. Open it after the process has forked into the background: a fork does not inherit
//! locks.

mod archive;
mod backend;
pub mod backup;
mod checkpoint;
mod database_file;
mod error;
mod identity;
mod options;
mod process_lock;
mod prune;
mod readers;
mod schema;
mod transaction;
mod writer;
mod writer_state;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::sync::broadcast;

pub use self::options::SqliteOptions;
use self::{
    checkpoint::Checkpointer, database_file::DatabaseFile, process_lock::ProcessLocks,
    readers::Readers, writer::ThreadWriter, writer_state::WriterState,
};
use crate::{
    gateways::GatewayChange,
    private_files::{create_file, create_folder, folder_of},
    store::StoreError,
};

/// The store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    owner: i64,
    owners: ProcessLocks,
    /// The generation of the configuration that this process reported last; 0 before the first
    /// report.
    generation: AtomicI64,
    /// The number of the last claim.
    ticket: AtomicI64,
    /// SQLite does not notify a process of another's writes, so this never sends.
    changes: broadcast::Sender<GatewayChange>,
    writer: ThreadWriter,
    readers: Readers,
    _checkpointer: Checkpointer,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the store, and creates it with its folders if necessary. Blocks: a large file that was
    /// not closed properly is checked first.
    ///
    /// # Errors
    /// [`StoreError::Open`] when a file or folder cannot be created, [`StoreError::TooNew`], and
    /// errors of the database.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        match Self::open_or_wait(path, options)? {
            (store, None) => Ok(store),
            (_, Some(error)) => Err(error),
        }
    }

    /// Like [`Self::open`], but also returns a store, with the reason, when its file cannot be used
    /// now. Every call then fails after another try.
    ///
    /// # Errors
    /// Like [`Self::open`], when a later try cannot succeed.
    pub fn open_or_wait(
        path: &Path,
        options: &SqliteOptions,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let path = create(path)?;
        let shared = Arc::new(WriterState::default());
        let owners = ProcessLocks::of(path.clone());
        let mut file =
            DatabaseFile::new(path.clone(), owners.clone(), options.busy, Arc::clone(&shared));
        let owner = file.owner.id;
        let away = file.ready().err();
        let away = match away {
            Some(error) if !error.may_pass() => return Err(error),
            away => away,
        };
        let (writer, thread) = ThreadWriter::new(file, Arc::clone(&shared), options);
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
        let readers = Readers::new(path.clone(), shared, options)
            .map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let changes = broadcast::channel(1).0;
        let store = Self {
            path,
            owner,
            owners,
            generation: AtomicI64::new(0),
            ticket: AtomicI64::new(0),
            changes,
            writer,
            readers,
            _checkpointer: checkpointer,
        };
        Ok((store, away))
    }

    /// Returns the number of transactions committed by this process. It is less than the number of
    /// calls, which share commits.
    pub fn commits(&self) -> u64 {
        self.writer.shared().commits.load(Ordering::Relaxed)
    }
}

/// Creates the file and its folders for this user only. Returns the canonical path.
fn create(path: &Path) -> Result<PathBuf, StoreError> {
    let attempt = || -> io::Result<PathBuf> {
        let folder = folder_of(path);
        create_folder(folder)?;
        match create_file(path) {
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

#[cfg(test)]
mod tests;
