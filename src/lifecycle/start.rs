//! A start: all that is needed to serve is made ready, and taken over from the process that runs, where
//! there is one.

use std::{io, net::TcpListener, path::Path, sync::Arc, time::Duration};

use as2hook_api::Handles;
use as2hook_delivery::{
    Adoption, Dispatcher, DispatcherOptions, OnStoreFailure, Outbox, OutboxOptions, Wakeups,
};
use as2hook_sink::Client;
use rustix::process::Pid;
use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    LifecycleError,
    background::Background,
    drain::Drain,
    handover::{HandoverError, OtherProcess, UpgradeSocket},
    predecessor,
    signals::Signals,
    sockets::ListeningSockets,
};
use crate::{
    control,
    partner_webhooks::loader::PartnerWebhookLoader,
    proxy::server::ProxyServer,
    reload::{self, Reloader},
    secret_key::SecretKey,
    snapshot::Live,
    tap::{
        AdoptedExchanges, Tap, files::ConfigFiles, retention, storage, system_events::Announcer,
    },
};
use as2hook_config::{Listen, Plugins, StoreFailurePolicy};

/// How often a process that waits to take over looks whether the one that runs is gone.
const GONE_EVERY: Duration = Duration::from_millis(500);

/// How often, and for how long, it is tried to bind addresses that the service manager is about to leave.
const FORGET_EVERY: Duration = Duration::from_millis(20);
const FORGET_TRIES: u32 = 100;

/// How a gateway starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// With listening sockets of its own.
    Fresh,
    /// With those of the process that runs; with its own where none does.
    Upgrade,
    /// With those of the process that runs, which is asked for them. This is for `as2hook upgrade`, which
    /// learns from stdout that this process serves.
    Replace {
        /// The process. Else the one that listens on an address of the config.
        process: Option<Pid>,
        /// The limit of the start, until this process could take over.
        within: Duration,
    },
}

/// Starts, and takes over where that is asked for. `None`: a stop signal came before that.
pub(super) async fn begin(
    path: &Path,
    mode: StartMode,
    inherited: Vec<TcpListener>,
    plugins: &Plugins,
    runtime: &Runtime,
    signals: &mut Signals,
) -> Result<Option<(ProxyServer, Background)>, LifecycleError> {
    let limit = match mode {
        StartMode::Replace { within, .. } => within,
        StartMode::Fresh | StartMode::Upgrade => Duration::MAX,
    };
    // Where another process serves still, it goes on when this is dropped.
    let (gateway, background) = tokio::select! {
        biased;
        () = signals.stop_signal() => return Ok(None),
        ready = timeout(limit, start(path, mode, inherited, plugins, runtime)) => {
            ready.map_err(|_| LifecycleError::Slow(limit))??
        }
    };
    // From the first word to the process that runs there is no way back: it may stop at any moment.
    if signals.has_come().await {
        return Ok(None);
    }
    if let Some(predecessor) = &background.predecessor {
        predecessor.taken().await?;
    }
    Ok(Some((gateway, background)))
}

async fn start(
    path: &Path,
    mode: StartMode,
    inherited: Vec<TcpListener>,
    plugins: &Plugins,
    runtime: &Runtime,
) -> Result<(ProxyServer, Background), LifecycleError> {
    let files = ConfigFiles::open(path, plugins.clone()).await;
    let (files, loaded) = files.map_err(LifecycleError::Config)?;
    let on_store_failure = match loaded.config.on_store_failure {
        StoreFailurePolicy::Pass => OnStoreFailure::Pass,
        StoreFailurePolicy::Refuse => OnStoreFailure::Refuse,
    };
    let (store, payloads) = storage::open(&loaded.config, on_store_failure).await?;
    let key = SecretKey::open_or_make(&loaded.config.secret_key_file)?;
    let payloads = payloads.with_key(key.of_payloads()?);
    let live = Live::new(reload::snapshot(loaded, None).await, key);
    #[cfg(feature = "otel")]
    let live = live.with_traces(crate::traces::Traces::from_environment()?);
    let live = Arc::new(live);
    let snapshot = live.load();
    let keeper = Arc::new(PartnerWebhookLoader::new(store.clone(), live.clone()));
    // Without its store a gateway that lets traffic pass serves all the same.
    let tolerate = |error| storage::tolerate(error, on_store_failure);
    keeper.load().await.map(drop).or_else(tolerate)?;
    let client = Client::new().await.map_err(|error| LifecycleError::Client(error.to_string()))?;
    let client = Arc::new(client);

    // All that can be wrong by itself is checked: only now is the process that runs disturbed.
    let listen = &snapshot.config.listen;
    let meeting = UpgradeSocket::of(&snapshot.config);
    let (sockets, predecessor) = open_sockets(listen, mode, inherited, &meeting).await?;

    let wakeups = Wakeups::new();
    let adoption: Arc<dyn Adoption> = Arc::new(AdoptedExchanges::new(live.clone()));
    let adoption = Some(adoption);
    let options = OutboxOptions { on_store_failure, adoption, ..OutboxOptions::default() };
    let outbox = Outbox::new(store.clone(), wakeups.clone(), options);
    outbox.recover().await.map(drop).or_else(tolerate)?;
    // What terminated processes left is ours now: only then is it known which files no event names.
    retention::sweep(&payloads, &*store).await;
    // Before anything is put aside for want of a rule that another gateway may have.
    if let Err(error) = live.report(&*store).await {
        tracing::warn!(%error, "The reports of the store's other gateways could not be read.");
    }
    let announcer = Arc::new(Announcer::new(live.clone(), outbox.clone()));
    let dispatcher = Dispatcher::start(
        store.clone(),
        plugins.sinks(client),
        live.clone(),
        Some(announcer),
        wakeups,
        DispatcherOptions {
            payloads: payloads.clone(),
            formats: plugins.formats.clone(),
            ..DispatcherOptions::default()
        },
    )
    .await?;
    let dispatcher = Arc::new(dispatcher);
    let tap = Tap::new(live.clone(), outbox.clone(), payloads.clone(), runtime.handle().clone())
        .map_err(LifecycleError::Threads)?;

    let (inbound, outbound) = (sockets.inbound()?, sockets.outbound()?);
    let gateway = ProxyServer::new(listen, inbound, outbound, &live, &tap)?;
    let in_flight = gateway.in_flight.clone();
    let watch = files.watch().map_err(LifecycleError::Threads)?;
    let reloader = Arc::new(Reloader::new(files, live.clone()));
    let running = control::RunningGateway {
        live: live.clone(),
        reloader: reloader.clone(),
        store: store.clone(),
        outbox: outbox.clone(),
        payloads: payloads.clone(),
        in_flight: in_flight.clone(),
        memory: tap.memory(),
        dispatcher: dispatcher.clone(),
        keeper: keeper.clone(),
    };
    let handles = Handles {
        store: store.clone(),
        outbox: outbox.clone(),
        payloads: payloads.clone(),
        dispatcher: dispatcher.clone(),
        directory: live.clone(),
        gateway: Arc::new(running),
    };
    let admin = sockets.admin()?;
    let ending = gateway.ending.clone();
    let (handed_over, handed_on) = watch::channel(false);
    let drain =
        Drain { live, store, outbox, dispatcher, tap, in_flight, ending, admin: handed_over };
    let background = Background {
        reloader,
        keeper,
        watch,
        meeting,
        sockets,
        predecessor,
        payloads,
        drain,
        admin: (admin, handles, handed_on),
    };
    Ok((gateway, background))
}

/// The listening sockets, and whose they were.
async fn open_sockets(
    listen: &Listen,
    mode: StartMode,
    inherited: Vec<TcpListener>,
    meeting: &UpgradeSocket,
) -> Result<(ListeningSockets, Option<OtherProcess>), LifecycleError> {
    let had_any = !inherited.is_empty();
    let (mut sockets, mut taken) = ListeningSockets::open(listen, inherited)?;
    if had_any {
        // The service manager closes what it is to forget a moment later.
        for _ in 0..FORGET_TRIES {
            if taken.is_empty() {
                break;
            }
            sleep(FORGET_EVERY).await;
            taken = sockets.add(taken)?;
        }
    }
    let replace = matches!(mode, StartMode::Replace { .. });
    let Some(first) = taken.first() else {
        return if replace { Err(HandoverError::NoGateway.into()) } else { Ok((sockets, None)) };
    };
    let (address, predecessor) = match mode {
        StartMode::Fresh => return Err(first.cannot(io::ErrorKind::AddrInUse.into())),
        StartMode::Upgrade => (first.address, None),
        StartMode::Replace { process, .. } => {
            let addresses: Vec<_> = taken.iter().map(|place| place.address).collect();
            let (address, process) = predecessor::find(&addresses, process)?;
            (address, Some(process))
        }
    };
    let mut wait = std::pin::pin!(meeting.wait(address, predecessor));
    loop {
        tokio::select! {
            met = &mut wait => {
                let (predecessor, offered) = met?;
                sockets.adopt(taken, offered)?;
                return Ok((sockets, Some(predecessor)));
            }
            () = sleep(GONE_EVERY) => {}
        }
        taken = sockets.add(taken)?;
        if taken.is_empty() {
            tracing::info!("The previous process terminated without a handover.");
            return Ok((sockets, None));
        }
    }
}
