//! Opens the store's file, watches it while the process runs, and opens it again.
//!
//! SQLite recovers from a full disk and failed writes by itself; opening the file again would not
//! help. It does not recover from the following, and does not notice the first:
//! - **The file is deleted or renamed**, or its log is: commits go into a file that no other
//!   process will ever find. Everything can still be read through the open connection, so it is
//!   written to a new file.
//! - **Another file is put in its place**: a backup was restored. It is the store from then on.
//! - **The file is damaged**: later writes may be unreadable, so nothing more is written until the
//!   file is replaced, or has changed and is intact.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use super::{
    create,
    process_lock::{ProcessLock, ProcessLocks},
    schema,
    writer_state::WriterState,
};
use crate::{
    private_files::{create_file, create_folder, folder_of},
    store::StoreError,
};

/// The connection that writes, while there is one.
pub(super) struct DatabaseFile {
    path: PathBuf,
    busy: Duration,
    open: Option<Connection>,
    /// The files that were opened last.
    files: FileIdentities,
    // Declared after the connection: its lock outlives the last write.
    pub(super) owner: ProcessLock,
    damage: Option<Damage>,
    shared: Arc<WriterState>,
}

/// The damage of a file that is not opened again until it changes.
struct Damage {
    reason: String,
    mark: Option<FileStamp>,
}

/// The identity of the files, whatever their names: database, log, and index of the log.
type FileIdentities = [Option<(u64, u64)>; 3];

/// Changes when the file is written.
type FileStamp = (u64, u64, u64, i64, i64);

/// The state of the files that were opened.
enum FileCondition {
    Unmoved,
    /// No other process can read them.
    Gone,
    /// There is another file.
    Replaced,
}

// === impl DatabaseFile ===

impl DatabaseFile {
    pub(super) fn new(
        path: PathBuf,
        owners: ProcessLocks,
        busy: Duration,
        shared: Arc<WriterState>,
    ) -> Self {
        let owner = ProcessLock::new(owners);
        Self { path, busy, owner, open: None, files: [None; 3], damage: None, shared }
    }

    /// Returns the connection, if the last [`Self::ready`] succeeded.
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.open.as_ref()
    }

    /// Makes sure that the connection writes where the next process will read.
    pub(super) fn ready(&mut self) -> Result<(), StoreError> {
        let outcome = self.make_ready();
        let mut away = self.shared.away.lock().unwrap_or_else(PoisonError::into_inner);
        *away = outcome.as_ref().err().map(StoreError::again);
        outcome
    }

    /// Determines why the file cannot be opened, read or written, which SQLite does not report.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        let StoreError::Disk(text) = error else { return error };
        // Not while a connection is open: closing any descriptor of the file ends SQLite's locks.
        if self.open.is_none() {
            for path in [self.path.clone(), beside(&self.path, "-wal"), beside(&self.path, "-shm")]
            {
                let opened = fs::OpenOptions::new().read(true).write(true).open(&path);
                if opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                    let owner = fs::metadata(&path).map_or(0, |file| file.uid());
                    let path = path.display();
                    return StoreError::ReadOnly(format!("{path} belongs to user {owner}: {text}"));
                }
            }
        }
        let probe = beside(&self.path, ".probe");
        let tried = fs::write(&probe, [0; 4096]);
        let _ = remove(&probe);
        let Err(source) = tried else { return StoreError::Disk(text) };
        let text = format!("{text}; {source}");
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                StoreError::ReadOnly(text)
            }
            _ => StoreError::Disk(text),
        }
    }

    /// Releases the claims of this process, and closes the file.
    pub(super) fn leave(mut self) -> Result<(), StoreError> {
        match &mut self.open {
            Some(connection) => self.owner.release(connection),
            None => Ok(()),
        }
    }

    fn make_ready(&mut self) -> Result<(), StoreError> {
        let damage = self.shared.damage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = &self.open {
            if let Some(reason) = damage {
                tracing::error!(path = %self.path.display(), reason, "The store's file is damaged.");
                self.close();
                // The file is checked once: the disk may have misread it.
                self.damage = Some(Damage { reason, mark: None });
            } else {
                match look(&self.path, &self.files) {
                    FileCondition::Unmoved => return Ok(()),
                    FileCondition::Gone => {
                        rescue(connection, &self.path)?;
                        tracing::error!(path = %self.path.display(), "The store's file was removed under \
                            the running gateway; all of it was written anew.");
                    }
                    FileCondition::Replaced => {
                        tracing::error!(path = %self.path.display(), "The store's file was replaced under \
                            the running gateway; from now on the new one is used.");
                    }
                }
                self.close();
            }
        }
        self.reopen()
    }

    fn close(&mut self) {
        self.open = None;
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if let Some(damage) = &self.damage
            && damage.mark == mark(&self.path)
        {
            return Err(StoreError::Corrupt(damage.reason.clone()));
        }
        match self.open() {
            Ok(connection) => {
                if self.damage.take().is_some() {
                    tracing::info!(path = %self.path.display(), "The store's file is whole again.");
                }
                self.open = Some(connection);
                self.shared.generation.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let error = self.explain(error);
                if let StoreError::Corrupt(reason) = &error {
                    self.damage = Some(Damage { reason: reason.clone(), mark: mark(&self.path) });
                }
                Err(error)
            }
        }
    }

    fn open(&mut self) -> Result<Connection, StoreError> {
        create(&self.path)?;
        self.forget_log()?;
        let mut connection = schema::writable(&self.path, self.busy)?;
        if self.damage.is_some() {
            whole(&connection)?;
        }
        schema::migrate(&mut connection)?;
        self.owner.register(&connection)?;
        // All three files exist only now.
        self.files = files(&self.path);
        Ok(connection)
    }

    /// SQLite would use the log of a replaced file for the new one, and damage it.
    fn forget_log(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Open { path: self.path.clone(), source };
        let (now, then) = (files(&self.path), self.files);
        let stale = now[1].is_some() && now[1] == then[1];
        if then[0].is_some() && now[0] != then[0] && stale {
            for log in ["-wal", "-shm"] {
                remove(&beside(&self.path, log)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Checks the whole file.
pub(super) fn whole(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt(one_line(&verdict))) }
}

/// Removes SQLite's heading; a reason in the log is one line.
fn one_line(verdict: &str) -> String {
    let lines = verdict.lines().map(|line| line.trim_matches(['*', ' ']));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Writes everything that the connection sees into a new file of this name.
fn rescue(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let aside = beside(path, ".rescued");
    remove(&aside).map_err(failed)?;
    create_folder(folder_of(path)).map_err(failed)?;
    create_file(&aside).map_err(failed)?;
    let copied = copy(connection, &aside);
    if copied.is_err() {
        // The next try needs the space.
        let _ = remove(&aside);
    }
    copied?;
    // The existing log belongs to no remaining file, and SQLite would use it for the new one.
    for log in ["-wal", "-shm"] {
        remove(&beside(path, log)).map_err(failed)?;
    }
    let settle = || -> io::Result<()> {
        fs::File::open(&aside)?.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    settle().map_err(failed)
}

fn copy(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let mut copy = Connection::open(to)?;
    let backup = Backup::new(connection, &mut copy)?;
    match backup.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(StoreError::Busy("it is being copied".to_owned())),
    }
}

fn look(path: &Path, opened: &FileIdentities) -> FileCondition {
    let now = files(path);
    match (now[0], now == *opened) {
        (_, true) => FileCondition::Unmoved,
        (Some(_), false) if now[0] != opened[0] => FileCondition::Replaced,
        _ => FileCondition::Gone,
    }
}

fn files(path: &Path) -> FileIdentities {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")]
        .map(|path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino())))
}

fn mark(path: &Path) -> Option<FileStamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
