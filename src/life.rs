//! The gateway's life: start, serve, reload, hand over, drain.
//!
//! # Layout
//! - `storage`: the store and the place of payloads, opened
//! - `sockets`: the listening sockets, bound or taken over
//! - `handover`: how a new process takes them over from the one that runs
//! - `following`: what other gateways of the store do, done here too
//! - `upkeep`: what was told long ago is forgotten
//! - `signals`: what ends a process, and what does not
//! - `drain`: the end
//! - `supervisor`: what systemd is told

mod drain;
mod following;
mod handover;
mod signals;
mod sockets;
mod storage;
mod supervisor;
mod upkeep;

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_config_api::Control;
use as2hook_delivery::{
    Bells, Client, Directory, Dispatcher, DispatcherOptions, Guard, OnStoreFailure, Outbox,
    OutboxOptions,
};
use as2hook_store::{Payloads, Store, StoreError};
use as2hook_webhooks::{Event, Rule};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix,
    sync::{Semaphore, watch},
};

pub use self::handover::HandoverError;
use self::{
    drain::Drain,
    handover::{Meeting, Predecessor},
    signals::Signals,
    sockets::Sockets,
};
use crate::{
    clockwork,
    config::{
        self, Attempt, Listen, Mistake,
        watch::{Pace, Watch},
    },
    control,
    gateway::{Gateway, SetupError},
    handles, neighbours,
    notices::Announcer,
    partner_webhooks::{self, Keeper},
    reload::{self, Reloader},
    secret_key::{SecretKey, SecretKeyError},
    snapshot::Live,
    tap::Tap,
};

/// How often the receivers' names are looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);

/// How often a place of payloads that failed is tried.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// How often a process that waits to take over looks whether the one that runs is gone.
const GONE_EVERY: Duration = Duration::from_millis(500);

/// How a life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With listening sockets of its own.
    Fresh,
    /// With those of the process that runs; with its own where none does.
    Upgrade,
}

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
    #[error(
        "{address}: {source}; is another process listening there? `as2hook run --upgrade` takes over from an as2hook of the same store"
    )]
    Bind {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener's TLS.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The process that runs did not hand over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

/// Runs the gateway of this config until a signal ends it. Ends the process itself when it has
/// drained.
///
/// # Errors
/// When it cannot start.
pub fn live(path: &Path, beginning: Beginning) -> Result<(), LifeError> {
    handles::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("core")
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(LifeError::Threads)?;
    let started = Instant::now();
    // From here on, since they kill a process that has not asked for them.
    let hangup = runtime.block_on(async { unix::signal(unix::SignalKind::hangup()) });
    let hangup = hangup.map_err(LifeError::Threads)?;
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(LifeError::Threads)?;
    let begun = runtime.block_on(begin(path, beginning, &runtime, &mut signals))?;
    let Some((gateway, life)) = begun else {
        tracing::info!("Told to stop before it served.");
        return Ok(());
    };
    life.spawn(&runtime, hangup, signals);
    tracing::info!(ms = started.elapsed().as_millis(), "Started.");
    supervisor::ready();
    gateway.run();
    Ok(())
}

/// What goes on beside the traffic.
struct Life {
    reloader: Arc<Reloader>,
    keeper: Arc<Keeper>,
    watch: Watch,
    meeting: Meeting,
    sockets: Sockets,
    heir: Option<Heir>,
    payloads: Payloads,
    drain: Drain,
}

/// What is to be done when the process that we took over from is gone.
struct Heir {
    predecessor: Predecessor,
    outbox: Outbox,
    payloads: Payloads,
    store: Arc<dyn Store>,
}

/// All that is needed to serve. Where another process serves still, it goes on when this is dropped.
struct Ready {
    gateway: Gateway,
    life: Life,
    admin: AdminSocket,
}

/// Where the admin listener is to be served, and by whom.
struct AdminSocket {
    socket: TcpListener,
    control: Arc<dyn Control>,
    told: watch::Receiver<bool>,
}

/// Starts, and takes over where that is asked for. `None`: told to stop before that.
async fn begin(
    path: &Path,
    beginning: Beginning,
    runtime: &Runtime,
    signals: &mut Signals,
) -> Result<Option<(Gateway, Life)>, LifeError> {
    let ready = tokio::select! {
        biased;
        () = signals.told() => return Ok(None),
        ready = start(path, beginning, runtime) => ready?,
    };
    // From the first word to the process that runs there is no way back: it may stop at any moment.
    if signals.has_come().await {
        return Ok(None);
    }
    let Ready { gateway, mut life, admin } = ready;
    if let Some(heir) = &mut life.heir {
        heir.predecessor.taken().await?;
    }
    admin.serve();
    Ok(Some((gateway, life)))
}

async fn start(path: &Path, beginning: Beginning, runtime: &Runtime) -> Result<Ready, LifeError> {
    let Attempt { outcome, sources } = reload::attempt(path).await;
    let loaded = outcome.map_err(LifeError::Config)?;
    let unsupported = loaded.config.unsupported();
    if !unsupported.is_empty() {
        return Err(LifeError::Config(unsupported));
    }
    let on_store_failure = match loaded.config.on_store_failure {
        config::OnStoreFailure::Pass => OnStoreFailure::Pass,
        config::OnStoreFailure::Refuse => OnStoreFailure::Refuse,
    };
    let (store, payloads) = storage::open(&loaded.config, on_store_failure).await?;
    let live = Arc::new(Live::new(reload::snapshot(loaded, None).await));
    let snapshot = live.load();

    let key = SecretKey::open_or_make(&snapshot.config.secret_key_file)?;
    let payloads = payloads.with_key(key.of_payloads()?);
    let keeper = Arc::new(Keeper::new(store.clone(), live.clone(), key));
    // Without its store a gateway that lets traffic pass serves all the same.
    let passes = on_store_failure == OnStoreFailure::Pass;
    let bear = |error: StoreError| match passes && error.may_pass() {
        true => Ok(()),
        false => Err(error),
    };
    keeper.load().await.map(drop).or_else(bear)?;
    let client = Client::new().await.map_err(|error| LifeError::Client(error.to_string()))?;
    let client = Arc::new(client);

    // All that can be wrong by itself is checked: only now is the process that runs disturbed.
    let listen = &snapshot.config.listen;
    let meeting = Meeting::of(&snapshot.config);
    let (sockets, predecessor) = open_sockets(listen, beginning, &meeting).await?;

    let bells = Bells::new();
    let options = OutboxOptions { on_store_failure, ..OutboxOptions::default() };
    let outbox = Outbox::new(store.clone(), bells.clone(), options);
    outbox.recover().await.map(drop).or_else(bear)?;
    // What dead processes left is ours now: only then is it known which files nobody names.
    payloads.sweep(&*store).await.map(drop).or_else(bear)?;
    // Before anything is put aside for want of a rule that another gateway may have.
    if let Err(error) = live.neighbours().look(&live, &*store).await {
        tracing::warn!(%error, "The other gateways of the store could not be heard of.");
    }
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

    let gateway = Gateway::new(listen, sockets.for_gateway()?, live.clone(), tap.clone())?;
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
        memory: tap.memory(),
        dispatcher: dispatcher.clone(),
        client,
        keeper: keeper.clone(),
        tests: Semaphore::new(control::TESTS),
    });
    let socket = sockets.for_admin()?;
    let ending = gateway.ending();
    let heir = predecessor.map(|predecessor| Heir {
        predecessor,
        outbox: outbox.clone(),
        payloads: payloads.clone(),
        store: store.clone(),
    });
    let (admin, told) = watch::channel(false);
    let drain = Drain { live, store, outbox, dispatcher, tap, in_flight, ending, admin };
    let life = Life { reloader, keeper, watch, meeting, sockets, heir, payloads, drain };
    Ok(Ready { gateway, life, admin: AdminSocket { socket, control, told } })
}

/// The listening sockets of this life, and whose they were.
async fn open_sockets(
    listen: &Listen,
    beginning: Beginning,
    meeting: &Meeting,
) -> Result<(Sockets, Option<Predecessor>), LifeError> {
    let (mut sockets, mut taken) = Sockets::bind(listen)?;
    let Some(first) = taken.first() else { return Ok((sockets, None)) };
    if beginning == Beginning::Fresh {
        return Err(first.cannot(io::ErrorKind::AddrInUse.into()));
    }
    let mut wait = std::pin::pin!(meeting.wait());
    loop {
        tokio::select! {
            met = &mut wait => {
                let (predecessor, offered) = met?;
                sockets.adopt(taken, offered)?;
                return Ok((sockets, Some(predecessor)));
            }
            () = tokio::time::sleep(GONE_EVERY) => {}
        }
        taken = sockets.add(taken)?;
        if taken.is_empty() {
            tracing::info!("The process that ran is gone without a hand-over.");
            return Ok((sockets, None));
        }
    }
}

// === impl AdminSocket ===

impl AdminSocket {
    /// Serves the admin listener, until the process ends or another one has it: a drain can be watched.
    fn serve(self) {
        tokio::spawn(async move {
            let Self { socket, control, told } = self;
            if let Err(error) = as2hook_config_api::serve_on(socket, control, told).await {
                tracing::error!(%error, "The admin listener stopped.");
            }
        });
    }
}

// === impl Life ===

impl Life {
    fn spawn(self, runtime: &Runtime, hangup: unix::Signal, mut signals: Signals) {
        runtime.spawn(reload_when(self.reloader.clone(), self.watch, hangup));
        runtime.spawn(look_up(self.drain.live.clone()));
        let Drain { live, store, dispatcher, .. } = &self.drain;
        runtime.spawn(following::run(
            store.changes(),
            self.keeper.clone(),
            dispatcher.clone(),
            following::EVERY,
        ));
        let generation = self.reloader.generation();
        runtime.spawn(neighbours::run(live.clone(), store.clone(), generation));
        runtime.spawn(clockwork::run(self.drain.live.clone(), self.drain.outbox.clone()));
        runtime.spawn(upkeep::run(live.clone(), store.clone(), self.payloads.clone()));
        runtime.spawn(probe(self.payloads));
        runtime.spawn(tell_dispatcher(self.reloader.clone(), self.drain.dispatcher.clone()));
        if let Some(heir) = self.heir {
            runtime.spawn(heir.inherit());
        }
        runtime.spawn(async move {
            let stop = signals.stop(&self.meeting, &self.sockets).await;
            self.drain.run(stop, self.sockets, signals).await;
        });
    }
}

// === impl Heir ===

impl Heir {
    /// Takes over what the process before this one left, as soon as it is gone.
    async fn inherit(self) {
        let process = self.predecessor.gone().await;
        tracing::info!(process, "The process before this one is gone.");
        // Its locks may fall a moment later than its connection. The periodic look is the net.
        for wait in [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(1)] {
            tokio::time::sleep(wait).await;
            if let Err(error) = self.outbox.recover().await {
                tracing::warn!(%error, "What it left could not be taken over now.");
            }
        }
        if let Err(error) = self.payloads.sweep(&*self.store).await {
            tracing::warn!(%error, "The payload files that it left could not be looked through.");
        }
    }
}

impl Directory for Live {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.load().webhook(webhook).cloned()
    }

    fn is_agreed(&self) -> bool {
        self.neighbours().count().1 == 0
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

async fn look_up(live: Arc<Live>) {
    loop {
        tokio::time::sleep(LOOKUP_EVERY).await;
        live.load().receivers.refresh().await;
    }
}

/// Notices when the place of large payloads is well again.
async fn probe(payloads: Payloads) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        payloads.probe().await;
    }
}

/// A changed rule may free what its webhook holds.
async fn tell_dispatcher(reloader: Arc<Reloader>, dispatcher: Arc<Dispatcher>) {
    let mut generation = reloader.generation();
    while generation.changed().await.is_ok() {
        dispatcher.rules_changed();
    }
}
