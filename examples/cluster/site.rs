//! Everything that runs: the store, the gateways, what stands around them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize},
    time::Duration,
};

use as2hook_testing::{
    Gateway, Running,
    faults::HangingVolume,
    gateway::{Partner, StartError},
    load::Server,
    pki,
    postgres::Postgres,
};

use crate::{
    Failure,
    balancer::Balancer,
    failed,
    fleet::Fleet,
    hooks::{self, Hook, Versions},
    sender::{STATION, Shared, partner},
    witness::Witness,
};

/// The clocks of the gateways, in turn.
const CLOCKS: [&str; 3] = ["+0s", "+45s", "-30s"];

/// An MDN is missed that does not come within this.
pub(crate) const MDN_DEADLINE: Duration = Duration::from_secs(120);

/// Where events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// Gateways behind HAProxy.
    Postgres,
    /// One gateway, whose process is replaced by hand-overs.
    Sqlite,
}

/// What is to run.
pub(crate) struct Plan {
    pub(crate) store: Store,
    pub(crate) gateways: usize,
    pub(crate) partners: u16,
    pub(crate) hooks: &'static [Hook],
    pub(crate) payloads: Vec<Vec<u8>>,
    /// Clocks that differ, a payload volume that can hang, a replacement for each gateway.
    pub(crate) trouble: bool,
}

/// All that runs. The order is that of the end: first those that talk, last those that are talked to.
pub(crate) struct Site {
    pub(crate) balancer: Option<Balancer>,
    pub(crate) fleet: Fleet,
    pub(crate) database: Option<Postgres>,
    pub(crate) volume: Option<HangingVolume>,
    pub(crate) witness: Witness,
    payloads: Vec<Vec<u8>>,
    pub(crate) folder: tempfile::TempDir,
}

/// Where the gateways keep what they share.
struct Places<'a> {
    store: String,
    payloads: String,
    folder: &'a Path,
    receiver: &'a Server,
    sink: &'a Server,
}

// === impl Site ===

impl Site {
    pub(crate) fn start(plan: Plan) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("as2hook-cluster-").tempdir();
        let folder = folder.map_err(failed("a temporary folder"))?;
        let witness = Witness::new(plan.payloads.clone());
        let (receiver, sink) = (witness.server(), witness.sink());
        let database = (plan.store == Store::Postgres).then(Postgres::start);
        // A container may not have FUSE; all else is to be tried there, too.
        let volume = plan.trouble.then(HangingVolume::mount).and_then(Result::ok);
        let payloads = match (&volume, &database) {
            (Some(volume), _) => quoted(&volume.path().join("payloads")),
            (None, Some(_)) if !plan.trouble => "store".to_owned(),
            (None, _) => quoted(&folder.path().join("payloads")),
        };
        let store = match &database {
            Some(database) => format!("{:?}", database.url()),
            None => format!("\"sqlite:{}\"", folder.path().join("as2hook.db").display()),
        };
        let places =
            Places { store, payloads, folder: folder.path(), receiver: &receiver, sink: &sink };
        // Each gateway of several has a second process that replaces it in a roll-out.
        let processes = if plan.trouble && database.is_some() { 2 } else { 1 };
        let gateways = if database.is_some() { plan.gateways } else { 1 };
        let prepare = |number: usize| places.gateway(&plan, number, number % gateways);
        let nodes = (0..gateways * processes).map(prepare).collect::<Result<_, _>>()?;
        let fleet = Fleet::start(nodes, gateways, plan.hooks, sink)?;
        let balancer = match &database {
            None => None,
            Some(_) => Some(
                Balancer::start(folder.path(), fleet.all())
                    .map_err(failed("HAProxy (apt-get install haproxy)"))?,
            ),
        };
        let payloads = plan.payloads;
        Ok(Self { balancer, fleet, database, volume, witness, payloads, folder })
    }

    /// What senders need to know.
    pub(crate) fn senders(&self, pace: Duration, budget: usize) -> Shared {
        let (inbound, outbound) = self.addresses();
        Shared {
            witness: self.witness.clone(),
            inbound,
            outbound,
            payloads: self.payloads.clone(),
            pace,
            budget: AtomicUsize::new(budget),
            given_up: AtomicBool::new(false),
        }
    }

    /// The file of an SQLite store.
    pub(crate) fn sqlite(&self) -> PathBuf {
        self.folder.path().join("as2hook.db")
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        match (&self.balancer, self.fleet.all().next()) {
            (Some(balancer), _) => (balancer.inbound, balancer.outbound),
            (None, Some(gateway)) => (gateway.inbound().address(), gateway.outbound().address()),
            (None, None) => unreachable!("a site has a gateway"),
        }
    }
}

// === impl Places ===

impl Places<'_> {
    fn gateway(&self, plan: &Plan, number: usize, clock: usize) -> Result<Running, StartError> {
        let folder = self.folder.join(format!("gateway-{number}"));
        let keys = pki::partner().write(&folder.join("keys"));
        let (certificate, _) =
            keys.map_err(|source| StartError::Io { what: folder.display().to_string(), source })?;
        let server = self.receiver.url("/as2");
        let mut gateway = Gateway::new()
            .folder(folder)
            .outbound()
            .receiver_url(&self.receiver.url(""))
            .receiver_set("trusted_proxies", "[127.0.0.1/32]")
            .station(STATION, pki::station())
            .set("store", &self.store)
            .set("payloads", &self.payloads)
            .set("secret_key_file", &quoted(&self.folder.join("secret.key")))
            // Nothing may be lost even when a gateway is killed while the store is away.
            .set("on_store_failure", "refuse")
            // What has been delivered is swept beside what has not.
            .set("retention", "{ payloads: 2m }")
            .set("mdn_deadline", &format!("{}s", MDN_DEADLINE.as_secs()));
        for number in 0..plan.partners {
            let describe = |it: Partner| it.url(&server).certificate(&certificate);
            gateway = gateway.partner_with(&partner(number), describe);
        }
        for rule in hooks::rules(plan.hooks, self.sink, Versions::default()) {
            gateway = gateway.rule("", |_| rule);
        }
        if plan.trouble {
            gateway = gateway.environment("AS2HOOK_LOG", "info");
            let offset = CLOCKS[clock % CLOCKS.len()];
            if offset != CLOCKS[0] {
                gateway = gateway.clock_off_by(offset);
            }
        } else {
            gateway = gateway.environment("AS2HOOK_LOG", "warn");
        }
        gateway.prepare()
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
