//! Notices that a config file has changed.
//!
//! Folders are watched, not files: an editor that replaces a file by rename, and a Kubernetes volume
//! that swaps the link `..data`, leave a watch on the file itself with the old inode. What looks like
//! a change is reported only when the hash over all contents differs, and only once; a slow poll of that
//! hash finds what no watch reports (network file systems, folders that were moved away).
//!
//! # Layout
//! - `trail`: the links on the way to a file, each of which may be swapped

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::mpsc;

use super::source::{Sources, is_rule_file};

mod trail;

/// How patient the watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchTiming {
    /// Changes that follow each other this closely are one. Default 200 ms.
    pub settle: Duration,
    /// Changes that do not stop are reported after this time all the same. Default 2 s.
    pub longest: Duration,
    /// Between two looks at the contents when nothing was noticed. Default 5 s.
    pub poll: Duration,
}

/// Watches the files of one config after the other. Dropped, it stops.
#[derive(Debug)]
pub struct Watch {
    to_thread: SyncSender<Message>,
    changes: mpsc::Receiver<()>,
}

/// Says what to watch from now on, from wherever a reload is done.
#[derive(Clone, Debug)]
pub struct Rewatch(SyncSender<Message>);

#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// Something that is of interest may have changed.
    Touched(Vec<PathBuf>),
    /// Events were lost, or the watch broke.
    Unsure,
    Rewatch(Sources),
    Stop,
}

/// Notices beyond this are not needed: any one of them leads to a look at everything.
const BACKLOG: usize = 256;

// === impl WatchTiming ===

impl Default for WatchTiming {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(200),
            longest: Duration::from_secs(2),
            poll: Duration::from_secs(5),
        }
    }
}

// === impl Watch ===

impl Watch {
    /// Begins to watch what a load was made from, on a thread of its own. A change since that load
    /// is reported too.
    ///
    /// # Errors
    /// When no thread can be started. Without the system's file notices it polls.
    pub fn start(sources: Sources, pace: WatchTiming) -> io::Result<Self> {
        let (to_thread, messages) = sync_channel(BACKLOG);
        let (notices, changes) = mpsc::channel(1);
        let from_watcher = to_thread.clone();
        thread::Builder::new().name("config-watch".to_owned()).spawn(move || {
            let mut eye = Eye::new(from_watcher, pace);
            eye.look_at(sources);
            eye.run(&messages, &notices);
        })?;
        Ok(Self { to_thread, changes })
    }

    /// Waits for a change. Several that were not waited for are one. May be dropped and called
    /// again: nothing is lost. `None`: the watch has ended.
    pub async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await
    }

    /// To be called after each load, right or wrong, with what it was made from.
    pub fn rewatch(&self, sources: Sources) {
        self.rewatcher().rewatch(sources);
    }

    /// A handle that does the same.
    pub fn rewatcher(&self) -> Rewatch {
        Rewatch(self.to_thread.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // With a full queue the closed channel of changes ends the thread at its next notice.
        let _ = self.to_thread.try_send(Message::Stop);
    }
}

// === impl Rewatch ===

impl Rewatch {
    /// As [`Watch::rewatch`].
    pub fn rewatch(&self, sources: Sources) {
        // The thread empties its queue at once, whatever it does: this does not wait for long. An
        // error says that the watch has ended, and then there is nothing to tell.
        let _ = self.0.send(Message::Rewatch(sources));
    }
}

/// The thread's own state.
struct Eye {
    pace: WatchTiming,
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    /// Paths whose change is of interest, links on the way included.
    interesting: HashSet<PathBuf>,
    /// Folders in which any rule file is of interest.
    rule_folders: HashSet<PathBuf>,
    sources: Sources,
    /// The last hash that was reported, or is in force.
    known: String,
}

// === impl Eye ===

impl Eye {
    fn new(to_thread: SyncSender<Message>, pace: WatchTiming) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let message = match event {
                Ok(event) if event.need_rescan() => Message::Unsure,
                Ok(event) if is_change(event.kind) => Message::Touched(event.paths),
                Ok(_) => return,
                Err(_) => Message::Unsure,
            };
            // When the queue is full a look at everything is due anyway.
            let _ = to_thread.try_send(message);
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "File change notifications are not available; config files are polled.");
            })
            .ok();
        Self {
            pace,
            watcher,
            folders: HashSet::new(),
            interesting: HashSet::new(),
            rule_folders: HashSet::new(),
            known: String::new(),
            sources: Sources::default(),
        }
    }

    fn run(&mut self, messages: &Receiver<Message>, notices: &mpsc::Sender<()>) {
        let mut next_poll = Instant::now() + self.pace.poll;
        // When the first and the last of the changes came that are settling now.
        let mut settling: Option<(Instant, Instant)> = None;
        // What happened between the load and the watch is looked for at once.
        let mut due = true;
        while !notices.is_closed() {
            let now = Instant::now();
            if let Some((first, last)) = settling {
                let settled = now >= last + self.pace.settle || now >= first + self.pace.longest;
                due |= settled;
            }
            if due || now >= next_poll {
                self.look(notices);
                (due, settling, next_poll) = (false, None, Instant::now() + self.pace.poll);
            }
            let until = settling.map_or(next_poll, |(first, last)| {
                next_poll.min(last + self.pace.settle).min(first + self.pace.longest)
            });
            match messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Message::Touched(paths)) if !self.is_interesting(&paths) => {}
                Ok(Message::Touched(_) | Message::Unsure) => {
                    let now = Instant::now();
                    settling = Some((settling.map_or(now, |(first, _)| first), now));
                }
                Ok(Message::Rewatch(sources)) => {
                    self.look_at(sources);
                    due = true;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Reports when the contents differ from what is known.
    fn look(&mut self, notices: &mpsc::Sender<()>) {
        // Links may lead elsewhere now, and folders may be others of the same name.
        self.watch_folders();
        let hash = self.sources.current_hash();
        if hash != self.known {
            self.known = hash;
            // A full channel holds a notice that has not been read: it reports this one too.
            let _ = notices.try_send(());
        }
    }

    fn look_at(&mut self, sources: Sources) {
        self.known.clone_from(&sources.hash);
        self.sources = sources;
        self.watch_folders();
    }

    fn watch_folders(&mut self) {
        let paths = self.sources.paths.iter();
        self.interesting = paths.clone().flat_map(|path| trail::of(path)).collect();
        self.rule_folders = paths.filter(|path| path.is_dir()).cloned().collect();
        let parents = self.interesting.iter().filter_map(|path| path.parent());
        let folders: HashSet<PathBuf> =
            parents.map(Path::to_owned).chain(self.rule_folders.iter().cloned()).collect();
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            // It may be gone for good; then its watch is too.
            let _ = watcher.unwatch(gone);
        }
        // Added again even when it is watched: the folder may be another one of the same name.
        self.folders = folders
            .into_iter()
            .filter(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok())
            .collect();
    }

    fn is_interesting(&self, paths: &[PathBuf]) -> bool {
        paths.is_empty()
            || paths.iter().any(|path| {
                self.interesting.contains(path)
                    || self.folders.contains(path)
                    || (is_rule_file(path)
                        && path.parent().is_some_and(|folder| self.rule_folders.contains(folder)))
            })
    }
}

/// Reading is none, or our own reading would be noticed.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests;
