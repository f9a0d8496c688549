//! The files of a config: loaded at the start, and again whenever one has changed.

use std::{
    io,
    path::{Path, PathBuf},
};

use as2hook_config::{
    self as config, ConfigDiagnostic, LoadAttempt, Loaded, Plugins, Sources,
    watch::{Watch, WatchTiming},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::TapHost;

/// The most mistakes of a load that are kept to be shown.
const KEPT: usize = 100;

/// Loads the files of one config, one load at a time.
#[derive(Debug)]
pub struct ConfigFiles {
    path: PathBuf,
    plugins: Plugins,
    turn: tokio::sync::Mutex<()>,
    /// When they were loaded last, and the first mistakes.
    last: Mutex<(Timestamp, Vec<ConfigDiagnostic>)>,
    sources: watch::Sender<Sources>,
}

// === impl ConfigFiles ===

impl ConfigFiles {
    /// Loads them for the first time.
    ///
    /// # Errors
    /// All mistakes, and what this build does not have.
    pub async fn open(
        path: &Path,
        plugins: Plugins,
    ) -> Result<(Self, Loaded), Vec<ConfigDiagnostic>> {
        let LoadAttempt { outcome, warnings, sources } = load(path, &plugins).await;
        let loaded = outcome?;
        let unsupported = loaded.config.unsupported();
        if !unsupported.is_empty() {
            return Err(unsupported);
        }
        log(&warnings);
        let last = (Timestamp::now(), Vec::new()).into();
        let sources = watch::Sender::new(sources);
        let path = path.to_owned();
        Ok((Self { path, plugins, turn: tokio::sync::Mutex::default(), last, sources }, loaded))
    }

    /// Loads them again; `put` puts them in force at `host`. On any mistake those in force stay.
    ///
    /// # Errors
    /// All mistakes.
    pub async fn reload<F: Future>(
        &self,
        host: &impl TapHost,
        put: impl FnOnce(Loaded) -> F,
    ) -> Result<F::Output, Vec<ConfigDiagnostic>> {
        let _turn = self.turn.lock().await;
        let LoadAttempt { outcome, warnings, sources } = load(&self.path, &self.plugins).await;
        self.sources.send_replace(sources);
        let loaded = outcome.and_then(|loaded| {
            let fixed = host.rules().config.fixed_differences(&loaded.config);
            if fixed.is_empty() { Ok(loaded) } else { Err(fixed) }
        });
        let done = match loaded {
            Ok(loaded) => {
                log(&warnings);
                Ok(put(loaded).await)
            }
            Err(mistakes) => Err(mistakes),
        };
        let mistakes = done.as_ref().err().map_or(&[][..], Vec::as_slice);
        *self.last.lock() = (Timestamp::now(), mistakes.iter().take(KEPT).cloned().collect());
        for mistake in mistakes {
            tracing::error!(%mistake, "Reload refused: the former configuration stays in force.");
        }
        done
    }

    /// Returns when they were loaded last, and the first mistake then.
    pub fn last(&self) -> (Timestamp, Option<String>) {
        let (at, mistakes) = &*self.last.lock();
        (*at, mistakes.first().map(ToString::to_string))
    }

    /// Returns the mistakes of the last load, at most 100.
    pub fn mistakes(&self) -> Vec<ConfigDiagnostic> {
        self.last.lock().1.clone()
    }

    /// Begins to watch them, for [`Self::changed`].
    ///
    /// # Errors
    /// As [`Watch::start`].
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::start(self.sources.borrow().clone(), WatchTiming::default())
    }

    /// Waits until one of those that were loaded last has changed. May be dropped and called again. `None`:
    /// the watch has ended.
    pub async fn changed(&self, watch: &mut Watch) -> Option<()> {
        let mut sources = self.sources.subscribe();
        loop {
            watch.rewatch(sources.borrow_and_update().clone());
            tokio::select! {
                change = watch.changed() => return change,
                Ok(()) = sources.changed() => {}
            }
        }
    }
}

/// Those of a config with many rules would drive all else out of the log.
fn log(warnings: &[ConfigDiagnostic]) {
    const MOST: usize = 20;
    for warning in warnings.iter().take(MOST) {
        tracing::warn!(%warning, "Config warning.");
    }
    if let Some(more @ 1..) = warnings.len().checked_sub(MOST) {
        tracing::warn!(more, "The config has more warnings; `as2hook check` prints them.");
    }
}

/// Reads the files on a thread that may block.
async fn load(path: &Path, plugins: &Plugins) -> LoadAttempt {
    let (path, plugins) = (path.to_owned(), plugins.clone());
    tokio::task::spawn_blocking(move || config::attempt(&path, &plugins))
        .await
        .expect("loading a config does not panic")
}
