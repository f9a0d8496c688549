//! Putting changed files in force: by a change on disk, by SIGHUP, or by `POST /admin/reload`, all the
//! same way. Everything is parsed and judged first; any mistake keeps what is in force whole.

use std::sync::Arc;

use as2hook_api::{LastReload, Reloaded};
use tokio::sync::watch;

use crate::{
    partner_webhooks::PartnerWebhooks,
    proxy::receivers::Receivers,
    snapshot::{Live, Snapshot},
    tap::{TapRules, files::ConfigFiles},
};
use as2hook_config::{ConfigDiagnostic, Loaded};

/// Reloads one gateway's files, one reload at a time.
pub struct Reloader {
    pub(crate) files: ConfigFiles,
    live: Arc<Live>,
    generation: watch::Sender<u64>,
}

// === impl Reloader ===

impl Reloader {
    /// Reloads `files` into `live`.
    pub fn new(files: ConfigFiles, live: Arc<Live>) -> Self {
        let generation = watch::Sender::new(live.load().generation);
        Self { files, live, generation }
    }

    /// Loads the files again, and returns what that changed.
    ///
    /// # Errors
    /// Every mistake in them; what was in force stays.
    pub async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>> {
        let result = self.files.reload(&*self.live, |loaded| self.swap(loaded)).await;
        self.live.observer().reloaded(result.is_ok());
        if let Ok(done) = &result {
            tracing::info!(
                generation = done.generation,
                added = done.added.len(),
                changed = done.changed.len(),
                removed = done.removed.len(),
                "Reloaded."
            );
        }
        result
    }

    /// How the last one went.
    pub fn last(&self) -> LastReload {
        let (at, error) = self.files.last();
        LastReload { at: at.to_string(), ok: error.is_none(), error }
    }

    /// The generation in force.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    async fn swap(&self, loaded: Loaded) -> Reloaded {
        let before = self.live.load();
        let after = self.live.swap(&snapshot(loaded, Some(&before)).await);
        self.generation.send_replace(after.generation);
        Reloaded::new(after.generation, &before.rules, &after.rules)
    }
}

/// Makes the snapshot of loaded files that follows on `before`; the receivers' names are looked up.
pub async fn snapshot(loaded: Loaded, before: Option<&Snapshot>) -> Snapshot {
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
