//! A tap with all that belongs to it, made from a config: for proxies other than as2hook's own.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use as2hook_config::{ConfigDiagnostic, Loaded, Plugins, StoreFailurePolicy, watch::Watch};
use as2hook_delivery::{
    Directory, Dispatcher, DispatcherOptions, OnStoreFailure, Outbox, OutboxOptions, Wakeups,
};
use as2hook_event::{Rule, clock};
use as2hook_sink::Client;
use as2hook_store::{
    Payloads, Store, StoreError,
    secret_key::{SecretKey, SecretKeyError},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    AdoptedExchanges, Tap, TapHost, TapRules,
    files::ConfigFiles,
    retention,
    storage::{self, StorageError},
    system_events::Announcer,
    timers,
};

/// How often webhooks' states and held deliveries are checked.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Between two checks whether all exchanges are written down.
const CONCLUDED_EVERY: Duration = Duration::from_millis(5);

/// The least time for what the outbox holds at a shutdown.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// The limit for closing the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// A tap with its store, its deliveries, and what goes on beside them: reloads, timers, retention.
/// It runs until [`RunningTap::shutdown`] or the end of its runtime, also when no clone is left.
#[derive(Clone)]
pub struct RunningTap {
    /// Follows exchanges.
    pub tap: Tap,
    /// Has events and deliveries.
    pub store: Arc<dyn Store>,
    /// The way into the store.
    pub outbox: Outbox,
    /// Makes deliveries.
    pub dispatcher: Arc<Dispatcher>,
    /// Has large payloads.
    pub payloads: Payloads,
    /// The rules in force.
    pub rules: Arc<ReloadedRules>,
    /// Seals secrets and URLs at rest.
    pub key: Arc<SecretKey>,
    background: Arc<Mutex<JoinSet<()>>>,
}

/// The rules of a config, which are loaded again whenever a file changes.
#[derive(Debug)]
pub struct ReloadedRules {
    files: ConfigFiles,
    key: Arc<SecretKey>,
    in_force: ArcSwap<RulesInForce>,
}

/// What a load gave.
#[derive(Clone, Debug)]
pub struct RulesInForce {
    /// Config and rules.
    pub rules: Arc<TapRules>,
    /// Counts loads from 1.
    pub generation: u64,
    /// SHA-256 of the files, hex.
    pub hash: String,
}

/// Why a tap did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The config or the rules.
    #[error("the config cannot be used:{}", .0.iter().map(|it| format!("\n{it}")).collect::<String>())]
    Config(Vec<ConfigDiagnostic>),
    /// The store, or the place of payloads.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The key of secrets at rest.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
    /// The http client.
    #[error("webhooks cannot be called: {0}")]
    Client(#[from] as2hook_sink::client::TlsFilesError),
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Threads(#[from] std::io::Error),
}

// === impl Tap ===

impl Tap {
    /// Starts a tap from the config at `path`, of which it takes everything but `listen` and
    /// `receiver`. Spawns its tasks; call within a tokio runtime.
    ///
    /// One process per store: it neither reports its rules to the store's other processes nor reads
    /// theirs, so they would hold deliveries for each other's rules.
    ///
    /// # Errors
    /// When the config has mistakes, or what it names cannot be opened.
    pub async fn from_config(path: &Path, plugins: Plugins) -> Result<RunningTap, TapError> {
        let files = ConfigFiles::open(path, plugins.clone()).await;
        let (files, loaded) = files.map_err(TapError::Config)?;
        let on_store_failure = match loaded.config.on_store_failure {
            StoreFailurePolicy::Pass => OnStoreFailure::Pass,
            StoreFailurePolicy::Refuse => OnStoreFailure::Refuse,
        };
        let (store, payloads) = storage::open(&loaded.config, on_store_failure).await?;
        let key = Arc::new(SecretKey::open_or_make(&loaded.config.secret_key_file)?);
        let payloads = payloads.with_key(key.of_payloads()?);
        let watch = files.watch()?;
        let rules = Arc::new(ReloadedRules {
            files,
            key: key.clone(),
            in_force: ArcSwap::from_pointee(RulesInForce::new(loaded, 1)),
        });
        let wakeups = Wakeups::new();
        let adoption = Some(Arc::new(AdoptedExchanges::new(rules.clone())) as _);
        let options = OutboxOptions { on_store_failure, adoption, ..OutboxOptions::default() };
        let outbox = Outbox::new(store.clone(), wakeups.clone(), options);
        let recovered = outbox.recover().await.map(drop);
        recovered.or_else(|error| storage::tolerate(error, on_store_failure))?;
        let sinks = plugins.sinks(Arc::new(Client::new().await?));
        let options = DispatcherOptions {
            payloads: payloads.clone(),
            formats: plugins.formats,
            ..DispatcherOptions::default()
        };
        let notices = Some(Arc::new(Announcer::new(rules.clone(), outbox.clone())) as _);
        let directory = rules.clone();
        let dispatcher =
            Dispatcher::start(store.clone(), sinks, directory, notices, wakeups, options).await?;
        let dispatcher = Arc::new(dispatcher);
        let tap = Tap::new(rules.clone(), outbox.clone(), payloads.clone(), Handle::current())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(timers::run(rules.clone(), outbox.clone(), store.clone()));
        tasks.spawn(retention::run(rules.clone(), store.clone(), payloads.clone()));
        tasks.spawn(storage::probe(payloads.clone()));
        tasks.spawn(check_webhooks(dispatcher.clone()));
        let background = Arc::new(Mutex::new(tasks));
        let running =
            RunningTap { tap, store, outbox, dispatcher, payloads, rules, key, background };
        running.background.lock().spawn(running.clone().reload_when_changed(watch));
        Ok(running)
    }
}

// === impl RunningTap ===

impl RunningTap {
    /// Loads config and rules again; on any mistake those in force stay. Returns what was in force
    /// before, and what is now.
    ///
    /// # Errors
    /// All mistakes.
    pub async fn reload(&self) -> Result<[Arc<RulesInForce>; 2], Vec<ConfigDiagnostic>> {
        let [before, now] = self.rules.reload().await?;
        tracing::info!(generation = now.generation, "Reloaded.");
        self.dispatcher.rules_changed();
        Ok([before, now])
    }

    /// Stops, within about `drain`: waits until the exchanges that are over are written down and the
    /// attempts in progress have ended, and closes the store. An exchange that ends later counts as
    /// "outcome unknown" at the next start, so the proxy stops first:
    ///
    /// ```ignore
    /// server.run(RunArgs::default());
    /// runtime.block_on(running.shutdown(Duration::from_secs(30)));
    /// ```
    pub async fn shutdown(&self, drain: Duration) {
        let deadline = Instant::now() + drain;
        while self.tap.concluding() > 0 && Instant::now() < deadline {
            if self.tap.only_mdns_wait() {
                self.tap.end_message_waits();
            }
            sleep(CONCLUDED_EVERY).await;
        }
        self.tap.end_message_waits();
        self.background.lock().abort_all();
        let left = deadline.saturating_duration_since(Instant::now());
        self.dispatcher.shutdown(left).await;
        let left = deadline.saturating_duration_since(Instant::now());
        self.outbox.close(left.max(LAST_WRITES)).await;
        if timeout(CLOSE_TIMEOUT, self.store.close()).await.is_err() {
            tracing::warn!("The store could not be closed in time.");
        }
    }

    async fn reload_when_changed(self, mut watch: Watch) {
        while self.rules.files.changed(&mut watch).await.is_some() {
            // Its mistakes are logged.
            let _ = self.reload().await;
        }
    }
}

// === impl ReloadedRules ===

impl ReloadedRules {
    /// Returns what is in force.
    pub fn in_force(&self) -> Arc<RulesInForce> {
        self.in_force.load_full()
    }

    /// Returns when they were loaded last, and the first mistake then.
    pub fn last(&self) -> (Timestamp, Option<String>) {
        self.files.last()
    }

    /// Returns the mistakes of the last load, at most 100.
    pub fn mistakes(&self) -> Vec<ConfigDiagnostic> {
        self.files.mistakes()
    }

    async fn reload(&self) -> Result<[Arc<RulesInForce>; 2], Vec<ConfigDiagnostic>> {
        let put = async |loaded| {
            let before = self.in_force();
            let now = Arc::new(RulesInForce::new(loaded, before.generation + 1));
            self.in_force.store(now.clone());
            [before, now]
        };
        self.files.reload(self, put).await
    }
}

impl TapHost for ReloadedRules {
    fn rules(&self) -> Arc<TapRules> {
        self.in_force.load().rules.clone()
    }
}

impl Directory for ReloadedRules {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.rules().webhook(webhook).cloned()
    }

    fn is_agreed(&self) -> bool {
        clock::doubt().is_none()
    }

    fn at_rest(&self, webhook: &str, url: String) -> String {
        // Better none than an open one.
        self.key.seal_url(webhook, &url).unwrap_or_default()
    }
}

// === impl RulesInForce ===

impl RulesInForce {
    fn new(loaded: Loaded, generation: u64) -> Self {
        let rules = Arc::new(TapRules::new(loaded.config, loaded.rules));
        Self { rules, generation, hash: loaded.hash }
    }
}

/// Checks webhooks' states and held deliveries again and again.
async fn check_webhooks(dispatcher: Arc<Dispatcher>) {
    loop {
        sleep(CHECK_EVERY).await;
        if let Err(error) = dispatcher.take_over().await {
            tracing::debug!(%error, "The webhooks' states could not be read.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "receiver: { url: \"http://127.0.0.1:9\" }\n";

    async fn start(config: &str) -> (Result<RunningTap, TapError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("as2hook.yaml");
        std::fs::write(&path, config).unwrap();
        std::fs::write(folder.path().join("webhooks.yaml"), "webhooks: []\n").unwrap();
        (Tap::from_config(&path, Plugins::default()).await, folder)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn shutdown_ends_all_tasks_and_closes_the_store() {
        let (running, _folder) = start(CONFIG).await;
        let running = running.unwrap();
        running.store.newest().await.unwrap();
        running.shutdown(Duration::ZERO).await;
        let mut tasks = std::mem::take(&mut *running.background.lock());
        while tasks.join_next().await.is_some() {}
        assert!(running.store.newest().await.is_err());
    }

    #[tokio::test]
    #[cfg(not(feature = "s3"))]
    async fn config_that_names_what_is_not_built_in_is_refused() {
        let (running, _folder) =
            start(&format!("{CONFIG}payloads: \"s3://bucket/as2hook\"\n")).await;
        assert!(matches!(running, Err(TapError::Config(mistakes)) if mistakes.len() == 1));
    }
}
