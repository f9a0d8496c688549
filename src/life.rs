//! The gateway's life: start, serve, reload, drain.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_config_api::Control;
use as2hook_delivery::{
    Bells, Client, Directory, Dispatcher, DispatcherOptions, Guard, OnStoreFailure, Outbox,
    OutboxOptions,
};
use as2hook_store::{PayloadDir, Payloads, SqliteOptions, SqliteStore, Store, StoreError};
use as2hook_webhooks::{Event, Rule};
use tokio::{runtime::Runtime, signal::unix, sync::Semaphore};

use crate::{
    clockwork,
    config::{
        self, Attempt, Config, Mistake,
        watch::{Pace, Watch},
    },
    control,
    gateway::{Gateway, InFlight, SetupError, Stopping},
    notices::Announcer,
    partner_webhooks::{self, Keeper},
    reload::{self, Reloader},
    secret_key::{SecretKey, SecretKeyError},
    snapshot::Live,
    tap::Tap,
};

/// How often the receivers' names are looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);

/// How often what was told long ago is removed, and how much of it at once.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const PRUNE_STEP: usize = 1000;

/// How long events are kept after their last delivery: 30 days.
const RETENTION_SECS: i64 = 30 * 24 * 3600;

/// How long payloads are kept when every delivery that needs them has been made: 7 days.
const PAYLOADS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often a place of payloads that failed is tried.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// How often partners' webhooks are read anew.
const FOLLOW_EVERY: Duration = Duration::from_secs(5);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifeError {
    /// The config or the rules.
    #[error("the config has {} mistakes", .0.len())]
    Config(Vec<Mistake>),
    /// The config asks for what this gateway does not have.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The event store.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The webhook client.
    #[error("webhooks cannot be called: {0}")]
    Client(String),
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Threads(io::Error),
    /// The key of secrets at rest.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
    /// A listener.
    #[error("{address}: {source}; is another process listening there?")]
    Bind {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener's TLS.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Runs the gateway of this config until a signal ends it. Ends the process itself when it has
/// drained.
///
/// # Errors
/// When it cannot start.
pub fn live(path: &Path) -> Result<(), LifeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("core")
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(LifeError::Threads)?;
    let started = Instant::now();
    // From here on, since it kills a process that has not asked for it.
    let hangup = runtime.block_on(async { unix::signal(unix::SignalKind::hangup()) });
    let hangup = hangup.map_err(LifeError::Threads)?;
    let (gateway, life) = runtime.block_on(start(path, &runtime))?;
    life.spawn(&runtime, hangup, gateway.stopping());
    tracing::info!(ms = started.elapsed().as_millis(), "Started.");
    gateway.run();
    Ok(())
}

/// What goes on beside the traffic.
struct Life {
    reloader: Arc<Reloader>,
    keeper: Arc<Keeper>,
    watch: Watch,
    payloads: Payloads,
    drain: Drain,
}

/// What has to be brought to an end.
struct Drain {
    live: Arc<Live>,
    store: Arc<dyn Store>,
    outbox: Outbox,
    dispatcher: Arc<Dispatcher>,
    tap: Tap,
    in_flight: InFlight,
}

async fn start(path: &Path, runtime: &Runtime) -> Result<(Gateway, Life), LifeError> {
    let Attempt { outcome, sources } = reload::attempt(path).await;
    let loaded = outcome.map_err(LifeError::Config)?;
    let unsupported = loaded.config.unsupported();
    if !unsupported.is_empty() {
        return Err(LifeError::Config(unsupported));
    }
    let (store, payloads) = open_store(&loaded.config).await?;
    let on_store_failure = match loaded.config.on_store_failure {
        config::OnStoreFailure::Pass => OnStoreFailure::Pass,
        config::OnStoreFailure::Refuse => OnStoreFailure::Refuse,
    };
    let live = Arc::new(Live::new(reload::snapshot(loaded, None).await));
    let snapshot = live.load();

    let key = SecretKey::open_or_make(&snapshot.config.secret_key_file)?;
    let payloads = payloads.with_key(key.of_payloads()?);
    let keeper = Arc::new(Keeper::new(store.clone(), live.clone(), key));
    keeper.load().await?;

    let bells = Bells::new();
    let options = OutboxOptions { on_store_failure, ..OutboxOptions::default() };
    let outbox = Outbox::new(store.clone(), bells.clone(), options);
    outbox.recover().await?;
    // What dead processes left is ours now: only then is it known which files nobody names.
    payloads.sweep(&*store).await?;
    let client = Client::new().await.map_err(|error| LifeError::Client(error.to_string()))?;
    let client = Arc::new(client);
    let announcer = Arc::new(Announcer::new(live.clone(), outbox.clone()));
    let dispatcher = Dispatcher::start(
        store.clone(),
        client.clone(),
        live.clone(),
        Some(announcer),
        bells,
        DispatcherOptions { payloads: payloads.clone(), ..DispatcherOptions::default() },
    )
    .await?;
    let dispatcher = Arc::new(dispatcher);
    let tap = Tap::new(live.clone(), outbox.clone(), payloads.clone(), runtime.handle().clone())
        .map_err(LifeError::Threads)?;

    let listen = &snapshot.config.listen;
    try_bind(listen.inbound.address)?;
    if let Some(outbound) = &listen.outbound {
        try_bind(outbound.address)?;
    }
    let gateway = Gateway::new(listen, live.clone(), tap.clone())?;
    let in_flight = gateway.in_flight();
    let watch = Watch::start(sources.clone(), Pace::default()).map_err(LifeError::Threads)?;
    let reloader = Arc::new(Reloader::new(path, live.clone(), sources));
    let control = Arc::new(control::Gateway {
        live: live.clone(),
        reloader: reloader.clone(),
        store: store.clone(),
        outbox: outbox.clone(),
        payloads: payloads.clone(),
        in_flight: in_flight.clone(),
        dispatcher: dispatcher.clone(),
        client,
        keeper: keeper.clone(),
        tests: Semaphore::new(control::TESTS),
    });
    serve_admin(listen.admin.address, control).await?;
    let drain = Drain { live, store, outbox, dispatcher, tap, in_flight };
    Ok((gateway, Life { reloader, keeper, watch, payloads, drain }))
}

async fn open_store(config: &Config) -> Result<(Arc<dyn Store>, Payloads), LifeError> {
    let config::Store::Sqlite(database) = &config.store else {
        return Err(LifeError::Unsupported("this store is not built in"));
    };
    let payloads = open_payloads(config)?;
    let store = SqliteStore::open(database, &SqliteOptions::default())?;
    Ok((Arc::new(store), payloads))
}

fn open_payloads(config: &Config) -> Result<Payloads, LifeError> {
    match &config.payloads {
        config::Payloads::Folder(folder) => Ok(Payloads::in_folder(PayloadDir::open(folder)?)),
        #[cfg(feature = "s3")]
        config::Payloads::S3(url) => {
            let pieces = as2hook_store::S3Pieces::open(url)?;
            Ok(Payloads::in_pieces(Arc::new(pieces), tokio::runtime::Handle::current()))
        }
        _ => Err(LifeError::Unsupported("this place of payloads is not built in")),
    }
}

/// Pingora panics on an address that it cannot have: look first, and say it in words.
fn try_bind(address: SocketAddr) -> Result<(), LifeError> {
    let bound = std::net::TcpListener::bind(address);
    bound.map(drop).map_err(|source| LifeError::Bind { address, source })
}

async fn serve_admin(address: SocketAddr, control: Arc<dyn Control>) -> Result<(), LifeError> {
    // It answers until the process ends, so that a drain can be watched.
    let served = as2hook_config_api::serve(address, control, std::future::pending())
        .await
        .map_err(|source| LifeError::Bind { address, source })?;
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "The admin listener stopped.");
        }
    });
    Ok(())
}

// === impl Life ===

impl Life {
    fn spawn(self, runtime: &Runtime, hangup: unix::Signal, stopping: Stopping) {
        runtime.spawn(reload_when(self.reloader.clone(), self.watch, hangup));
        runtime.spawn(look_up(self.drain.live.clone()));
        runtime.spawn(follow(self.keeper.clone(), self.drain.dispatcher.clone()));
        runtime.spawn(clockwork::run(self.drain.live.clone(), self.drain.outbox.clone()));
        runtime.spawn(prune(self.drain.store.clone()));
        runtime.spawn(tidy(self.drain.store.clone(), self.payloads.clone(), PAYLOADS_KEPT));
        runtime.spawn(probe(self.payloads));
        runtime.spawn(tell_dispatcher(self.reloader.clone(), self.drain.dispatcher.clone()));
        runtime.spawn(async move {
            stopping.wait().await;
            self.drain.run().await;
        });
    }
}

// === impl Drain ===

impl Drain {
    /// Finishes what is under way and ends the process: at once when there is nothing.
    async fn run(self) {
        let limit = self.live.load().config.drain;
        let deadline = Instant::now() + limit;
        tracing::info!(in_flight = self.in_flight.count(), "Stopping.");
        while (self.in_flight.count() > 0 || self.tap.concluding() > 0) && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.dispatcher.shutdown(left).await;
        self.outbox.close(left.max(Duration::from_secs(1))).await;
        self.store.close().await;
        tracing::info!("Stopped.");
        process::exit(0);
    }
}

impl Directory for Live {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.load().webhook(webhook).cloned()
    }

    fn guard(&self, rule: &Rule) -> Guard {
        if partner_webhooks::is_api(rule) {
            self.load().partner_webhooks.guard()
        } else {
            Guard::Open
        }
    }

    fn leading(&self, rule: &Rule, event: &Event) -> Vec<(&'static str, serde_json::Value)> {
        partner_webhooks::leading(self, rule, event)
    }
}

/// Reloads whenever a file has changed, and at each SIGHUP.
async fn reload_when(reloader: Arc<Reloader>, mut watch: Watch, mut hangup: unix::Signal) {
    let mut sources = reloader.sources();
    loop {
        tokio::select! {
            Some(()) = watch.changed() => {}
            Some(()) = hangup.recv() => {}
            Ok(()) = sources.changed() => {
                watch.rewatch(sources.borrow_and_update().clone());
                continue;
            }
            else => return,
        }
        // Its mistakes are logged, and shown by the status.
        let _ = reloader.reload().await;
    }
}

/// Another process of the same store may have configured a partner's webhook.
async fn follow(keeper: Arc<Keeper>, dispatcher: Arc<Dispatcher>) {
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        match keeper.load().await {
            Ok(true) => dispatcher.rules_changed(),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "Partners' webhooks could not be read."),
        }
    }
}

async fn look_up(live: Arc<Live>) {
    loop {
        tokio::time::sleep(LOOKUP_EVERY).await;
        live.load().receivers.refresh().await;
    }
}

/// Takes payloads away that every delivery has been made with for `kept`, and what nobody names.
async fn tidy(store: Arc<dyn Store>, payloads: Payloads, kept: Duration) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        let kept = jiff::SignedDuration::try_from(kept).unwrap_or(jiff::SignedDuration::MAX);
        let before = jiff::Timestamp::now().checked_sub(kept).unwrap_or(jiff::Timestamp::MIN);
        loop {
            match payloads.spend(&*store, before.as_millisecond(), PRUNE_STEP).await {
                Ok(removed) if removed == PRUNE_STEP as u64 => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "Old payloads could not be removed; trying again later.");
                    break;
                }
            }
        }
        if let Err(error) = payloads.sweep(&*store).await {
            tracing::warn!(%error, "Left payloads could not be looked for; trying again later.");
        }
    }
}

/// Notices when the place of large payloads is well again.
async fn probe(payloads: Payloads) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        payloads.probe().await;
    }
}

/// Forgets what was told long ago, payload files included.
async fn prune(store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        let before = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(RETENTION_SECS);
        loop {
            match store.prune(before.as_millisecond(), PRUNE_STEP).await {
                Ok(removed) if removed == PRUNE_STEP as u64 => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "Old events could not be removed; trying again later.");
                    break;
                }
            }
        }
    }
}

/// A changed rule may free what its webhook holds.
async fn tell_dispatcher(reloader: Arc<Reloader>, dispatcher: Arc<Dispatcher>) {
    let mut generation = reloader.generation();
    while generation.changed().await.is_ok() {
        dispatcher.rules_changed();
    }
}
