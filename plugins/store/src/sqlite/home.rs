//! The file behind the store while the process runs: opened, looked after, and opened again.
//!
//! SQLite gets over a full disk and over failed writes by itself, and nothing is gained by opening the
//! file anew. It does not get over these, and says nothing of the first:
//! - **The file is deleted or renamed**, or its log is: commits go on into a file that nobody will ever
//!   find. All of it can still be read through the open connection, so it is written to disk anew.
//! - **Another file is put in its place**: somebody has restored a backup. It is the store from then on.
//! - **The file is damaged**: what is written into it may never be read again, so nothing more is
//!   written until the file is another one, or has been changed and is whole.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use super::{create, owner::Owner, schema, writer::Shared};
use crate::store::StoreError;

/// The connection that writes, while there is one.
pub(super) struct Home {
    path: PathBuf,
    busy: Duration,
    open: Option<Connection>,
    /// Those that were opened last.
    files: Files,
    // Behind the connection: its lock outlives the last write.
    pub(super) owner: Owner,
    damage: Option<Damage>,
    shared: Arc<Shared>,
}

/// A file that is not opened again before it has changed.
struct Damage {
    reason: String,
    mark: Option<Mark>,
}

/// Which files they are, whatever their names: database, log, and index of the log.
type Files = [Option<(u64, u64)>; 3];

/// Changes when somebody writes a file.
type Mark = (u64, u64, u64, i64, i64);

/// What became of the files that were opened.
enum Found {
    Unmoved,
    /// Nobody else can read what they hold.
    Gone,
    /// There is another.
    Replaced,
}

// === impl Home ===

impl Home {
    pub(super) fn new(path: PathBuf, busy: Duration, shared: Arc<Shared>) -> Self {
        let owner = Owner::new();
        Self { path, busy, owner, open: None, files: [None; 3], damage: None, shared }
    }

    /// The connection, if the last [`Self::ready`] went well.
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

    /// Finds out why the file cannot be read or written: SQLite does not say.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        let StoreError::Disk(text) = error else { return error };
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

    /// Frees what this process holds, and closes the file.
    pub(super) fn leave(mut self) -> Result<(), StoreError> {
        match &mut self.open {
            Some(connection) => self.owner.resign(connection),
            None => Ok(()),
        }
    }

    fn make_ready(&mut self) -> Result<(), StoreError> {
        let damage = self.shared.damage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = &self.open {
            if let Some(reason) = damage {
                tracing::error!(path = %self.path.display(), reason, "The store's file is damaged.");
                self.close();
                // It is looked through once: a disk may have misread it.
                self.damage = Some(Damage { reason, mark: None });
            } else {
                match look(&self.path, &self.files) {
                    Found::Unmoved => return Ok(()),
                    Found::Gone => {
                        rescue(connection, &self.path)?;
                        tracing::error!(path = %self.path.display(), "The store's file was removed under \
                            the running gateway; all of it was written anew.");
                    }
                    Found::Replaced => {
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
        self.owner.register(&self.path, &connection)?;
        // Only now are they all there.
        self.files = files(&self.path);
        Ok(connection)
    }

    /// The log of a file that was replaced would be taken for the new one's, and damage it.
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

/// Looks through the whole file.
pub(super) fn whole(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt(one_line(&verdict))) }
}

/// SQLite heads what it finds with a line of its own; a reason stands in one line of the log.
fn one_line(verdict: &str) -> String {
    let lines = verdict.lines().map(|line| line.trim_matches(['*', ' ']));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Writes all that the connection sees into a new file of this name.
fn rescue(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let aside = beside(path, ".rescued");
    remove(&aside).map_err(failed)?;
    if let Some(folder) = path.parent() {
        super::create_folder(folder).map_err(failed)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(failed)?;
    let copied = copy(connection, &aside);
    if copied.is_err() {
        // The space is needed for the next try.
        let _ = remove(&aside);
    }
    copied?;
    // The log that stands there belongs to no file that is left, and would be taken for the new one's.
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

fn look(path: &Path, opened: &Files) -> Found {
    let now = files(path);
    match (now[0], now == *opened) {
        (_, true) => Found::Unmoved,
        (Some(_), false) if now[0] != opened[0] => Found::Replaced,
        _ => Found::Gone,
    }
}

fn files(path: &Path) -> Files {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")]
        .map(|path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino())))
}

fn mark(path: &Path) -> Option<Mark> {
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
