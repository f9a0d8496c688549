//! Where inbound exchanges go: the AS2 server's addresses, by the path of a request, looked up beside the
//! traffic.

use std::{cmp::Reverse, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use as2hook_sink::happy_eyeballs;
use parking_lot::Mutex;
use pingora::{
    protocols::tls::CaType,
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::time::{Instant, timeout};

use super::upstream::{self, LOOKUP};
use as2hook_config::{self as config, Origin};

/// Between two pieces of a response. A receiver may take its time to make a synchronous MDN.
const RESPONSE: Duration = Duration::from_secs(300);

/// How long a kept connection may rest: less than any common server waits before it closes one.
const IDLE: Duration = Duration::from_secs(4);

/// The receivers of one snapshot.
#[derive(Debug)]
pub struct Receivers {
    /// The longest path first, and at the end that of all other paths.
    routes: Vec<Arc<PathRoute>>,
}

/// The receivers of one path.
#[derive(Debug)]
pub(super) struct PathRoute {
    /// `None`: every path.
    path: Option<config::ReceiverRoute>,
    /// In the order they are tried. Never empty.
    receivers: Vec<ReceiverTarget>,
}

#[derive(Debug)]
struct ReceiverTarget {
    origin: Origin,
    verify: bool,
    keepalive: bool,
    ca: Option<Arc<CaType>>,
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// Not before, since a lookup costs a thread.
    next_lookup: Mutex<Instant>,
}

// === impl Receivers ===

impl Receivers {
    /// Those of the config; their names are looked up before this returns, each for at most 5 s. One
    /// that cannot be looked up now keeps the addresses it had in `before`.
    pub async fn resolve(config: &config::Receiver, before: Option<&Self>) -> Self {
        let ca = (!config.ca.is_empty()).then(|| Arc::new(config.ca.to_vec().into_boxed_slice()));
        let route = |path: Option<&config::ReceiverRoute>, origins: &[Origin]| {
            let receiver = |origin: &Origin| ReceiverTarget {
                origin: origin.clone(),
                verify: config.verify,
                keepalive: config.keepalive,
                ca: ca.clone(),
                addresses: ArcSwap::new(Self::known(before, origin)),
                next_lookup: Mutex::new(Instant::now()),
            };
            let receivers = origins.iter().map(receiver).collect();
            Arc::new(PathRoute { path: path.cloned(), receivers })
        };
        let mut routes: Vec<_> =
            config.routes.iter().map(|one| route(Some(one), &one.origins)).collect();
        routes.sort_by_key(|route| Reverse(route.path.as_ref().map(|one| one.path.len())));
        routes.push(route(None, &config.origins));
        let receivers = Self { routes };
        receivers.refresh().await;
        receivers
    }

    fn known(before: Option<&Self>, origin: &Origin) -> Arc<Vec<SocketAddr>> {
        let mut all = before.into_iter().flat_map(Self::all);
        let same = all.find(|receiver| receiver.origin == *origin);
        same.map(|receiver| receiver.addresses.load_full()).unwrap_or_default()
    }

    /// Looks the names up again. A name that cannot be looked up now keeps its addresses.
    pub async fn refresh(&self) {
        for receiver in self.all() {
            receiver.refresh().await;
        }
    }

    /// Where requests of this path go.
    pub(super) fn route(&self, path: &str) -> Arc<PathRoute> {
        let is_it =
            |route: &&Arc<PathRoute>| route.path.as_ref().is_none_or(|one| one.matches(path));
        self.routes.iter().find(is_it).expect("the last route has every path").clone()
    }

    fn all(&self) -> impl Iterator<Item = &ReceiverTarget> {
        self.routes.iter().flat_map(|route| &route.receivers)
    }
}

// === impl PathRoute ===

impl PathRoute {
    /// The addresses of each receiver. One without any is looked up again.
    pub(super) fn addresses(self: &Arc<Self>) -> Vec<Vec<SocketAddr>> {
        let addresses = |(nth, receiver): (usize, &ReceiverTarget)| {
            let addresses = receiver.addresses.load();
            if addresses.is_empty() {
                self.look_up_again(nth);
            }
            addresses.to_vec()
        };
        self.receivers.iter().enumerate().map(addresses).collect()
    }

    /// A connection to one of them.
    pub(super) fn peer(&self, nth: usize, address: SocketAddr) -> HttpPeer {
        self.receivers[nth].peer(address)
    }

    /// What a `Host` header calls the first receiver.
    pub(super) fn authority(&self) -> Option<String> {
        self.receivers.first().map(|receiver| receiver.origin.authority())
    }

    /// Looks a name up beside the traffic: no address of it took a connection.
    pub(super) fn look_up_again(self: &Arc<Self>, nth: usize) {
        let mut next = self.receivers[nth].next_lookup.lock();
        if Instant::now() >= *next {
            *next = Instant::now() + LOOKUP;
            let route = self.clone();
            tokio::spawn(async move { route.receivers[nth].refresh().await });
        }
    }
}

// === impl ReceiverTarget ===

impl ReceiverTarget {
    async fn refresh(&self) {
        let Origin { host, port, .. } = &self.origin;
        let lookup = timeout(LOOKUP, tokio::net::lookup_host((host.as_str(), *port))).await;
        match lookup {
            Ok(Ok(found)) => {
                let found = happy_eyeballs::in_order(found);
                if !found.is_empty() {
                    self.addresses.store(Arc::new(found));
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(host, %error, "The receiver's name cannot be resolved.");
            }
            Err(_) => {
                tracing::warn!(host, "The receiver's name was not resolved in time.");
            }
        }
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = upstream::peer(address, self.origin.tls, &self.origin.host, RESPONSE);
        if let Some(options) = peer.get_mut_peer_options() {
            if self.keepalive {
                options.idle_timeout = Some(IDLE);
            }
            if !self.verify {
                options.verify_cert = false;
                options.verify_hostname = false;
            }
            options.ca.clone_from(&self.ca);
        }
        peer
    }
}
