//! Notices that a config file has changed.
//!
//! Folders are watched, not files: an editor that replaces a file by rename, and a Kubernetes volume
//! that swaps the link `..data`, leave a watch on the file itself with the old inode. What happens in
//! such a folder leads to a look at all contents. A change is reported only when the hash over them
//! differs, and only once; a slow poll of that hash finds what no watch reports (network file systems,
//! folders that were moved away, links that lead through other folders).

use std::{
    collections::HashSet,
    fs, io,
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

use super::source::Sources;

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

#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// Something may have changed, or the watch has ended.
    Touched,
    Rewatch(Sources),
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
        let to_watcher = to_thread.clone();
        thread::Builder::new()
            .name("config-watch".to_owned())
            .spawn(move || FolderWatch::new(to_watcher, sources).run(&messages, &notices, pace))?;
        Ok(Self { to_thread, changes })
    }

    /// Waits for a change. Several that were not waited for are one. May be dropped and called
    /// again: nothing is lost. `None`: the watch has ended.
    pub async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await
    }

    /// To be called after each load, right or wrong, with what it was made from.
    pub fn rewatch(&self, sources: Sources) {
        // The thread empties its queue at once, whatever it does: this does not wait for long. An
        // error says that the watch has ended.
        let _ = self.to_thread.send(Message::Rewatch(sources));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The closed channel ends the thread at its next message; a full queue holds one.
        self.changes.close();
        let _ = self.to_thread.try_send(Message::Touched);
    }
}

/// The thread's own state.
struct FolderWatch {
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    /// With the last hash that was reported, or is in force.
    sources: Sources,
}

// === impl FolderWatch ===

impl FolderWatch {
    fn new(to_thread: SyncSender<Message>, sources: Sources) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error says that events were lost. When the queue is full a look is due anyway.
            if event.map_or(true, |event| event.need_rescan() || is_change(event.kind)) {
                let _ = to_thread.try_send(Message::Touched);
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "File change notifications are not available; config files are polled.");
            })
            .ok();
        Self { watcher, folders: HashSet::new(), sources }
    }

    fn run(mut self, messages: &Receiver<Message>, notices: &mpsc::Sender<()>, pace: WatchTiming) {
        // What happened between the load and the watch is looked for at once.
        let mut next_look = Instant::now();
        // While changes settle: when a look is due even if they do not stop.
        let mut latest = None;
        while !notices.is_closed() {
            if Instant::now() >= next_look {
                self.look(notices);
                (next_look, latest) = (Instant::now() + pace.poll, None);
            }
            match messages.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(Message::Touched) => {
                    let now = Instant::now();
                    let latest = *latest.get_or_insert(now + pace.longest);
                    next_look = latest.min(now + pace.settle);
                }
                Ok(Message::Rewatch(sources)) => {
                    self.sources = sources;
                    (next_look, latest) = (Instant::now(), None);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reports when the contents differ from what is known.
    fn look(&mut self, notices: &mpsc::Sender<()>) {
        // Links may lead elsewhere now, and folders may be others of the same name.
        self.watch_folders();
        let hash = self.sources.current_hash();
        if hash != self.sources.hash {
            self.sources.hash = hash;
            // A full channel holds a notice that has not been read: it reports this one too.
            let _ = notices.try_send(());
        }
    }

    /// Watches the folders of all files, and of what links that stand for them lead to.
    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let paths = &self.sources.paths;
        let targets = paths.iter().filter_map(|path| fs::canonicalize(path).ok());
        let parents = targets.chain(paths.iter().cloned());
        let parents = parents.filter_map(|path| path.parent().map(Path::to_owned));
        let rules = paths.iter().filter(|path| path.is_dir()).cloned();
        let folders: HashSet<PathBuf> = parents.chain(rules).collect();
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
}

/// Reading is none, or our own reading would be noticed.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests;
