//! Putting changed files in force: by a change on disk, by SIGHUP, or by `POST /admin/reload`, all the
//! same way. Everything is parsed and judged first; any mistake keeps what is in force whole.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use as2hook_api::{LastReload, Reloaded};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    partner_webhooks::PartnerWebhooks,
    proxy::receivers::Receivers,
    snapshot::{Live, Snapshot},
    tap::TapRules,
};
use as2hook_config::{self as config, ConfigDiagnostic, LoadAttempt, Loaded, Plugins, Sources};

/// Reloads one gateway's files, one reload at a time.
pub struct Reloader {
    path: PathBuf,
    plugins: Plugins,
    live: Arc<Live>,
    turn: tokio::sync::Mutex<()>,
    last: Mutex<LastReload>,
    sources: watch::Sender<Sources>,
    generation: watch::Sender<u64>,
}

// === impl Reloader ===

impl Reloader {
    /// Reloads `path` into `live`; `sources` is what the snapshot in force was read from.
    pub fn new(path: &Path, plugins: Plugins, live: Arc<Live>, sources: Sources) -> Self {
        let last = LastReload { at: Timestamp::now().to_string(), ok: true, error: None };
        let generation = live.load().generation;
        Self {
            path: path.to_owned(),
            plugins,
            live,
            turn: tokio::sync::Mutex::new(()),
            last: Mutex::new(last),
            sources: watch::Sender::new(sources),
            generation: watch::Sender::new(generation),
        }
    }

    /// Loads the files again, and returns what that changed.
    ///
    /// # Errors
    /// Every mistake in them; what was in force stays.
    pub async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>> {
        let _turn = self.turn.lock().await;
        let result = self.load_and_swap().await;
        let error = result.as_ref().err().and_then(|mistakes| mistakes.first());
        *self.last.lock() = LastReload {
            at: Timestamp::now().to_string(),
            ok: error.is_none(),
            error: error.map(ToString::to_string),
        };
        self.live.observer().reloaded(result.is_ok());
        match &result {
            Ok(done) => tracing::info!(
                generation = done.generation,
                added = done.added.len(),
                changed = done.changed.len(),
                removed = done.removed.len(),
                "Reloaded."
            ),
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(%mistake, "Reload refused: the former configuration stays in force.");
                }
            }
        }
        result
    }

    /// How the last one went.
    pub fn last(&self) -> LastReload {
        self.last.lock().clone()
    }

    /// The files to watch: those that the last load looked at, whether it went well or not.
    pub fn sources(&self) -> watch::Receiver<Sources> {
        self.sources.subscribe()
    }

    /// The generation in force.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    async fn load_and_swap(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>> {
        let LoadAttempt { outcome, sources } = attempt(&self.path, &self.plugins).await;
        self.sources.send_replace(sources);
        let loaded = outcome?;
        let before = self.live.load();
        let fixed = before.config.fixed_differences(&loaded.config);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        let after = self.live.swap(&snapshot(loaded, Some(&before)).await);
        self.generation.send_replace(after.generation);
        Ok(Reloaded::new(after.generation, &before.rules, &after.rules))
    }
}

/// Reads the files on a thread that may block.
pub async fn attempt(path: &Path, plugins: &Plugins) -> LoadAttempt {
    let (path, plugins) = (path.to_owned(), plugins.clone());
    tokio::task::spawn_blocking(move || config::attempt(&path, &plugins))
        .await
        .expect("loading a config does not panic")
}

/// Makes the snapshot of loaded files that follows on `before`; the receivers' names are looked up.
pub async fn snapshot(loaded: Loaded, before: Option<&Snapshot>) -> Snapshot {
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "Config warning.");
    }
    let receivers =
        Receivers::resolve(&loaded.config.receiver, before.map(|it| &*it.receivers)).await;
    let generation = before.map_or(1, |before| before.generation + 1);
    Snapshot {
        tap: Arc::new(TapRules::new(loaded.config, loaded.rules)),
        receivers: Arc::new(receivers),
        partner_webhooks: PartnerWebhooks::default(),
        generation,
        hash: loaded.hash,
    }
}
