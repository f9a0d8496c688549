//! Where inbound exchanges go: the AS2 server's addresses, looked up beside the traffic.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pingora::{
    protocols::tls::CaType,
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::time::timeout;

use super::upstream::{self, LOOKUP};
use crate::config::{Origin, Receiver as ReceiverConfig};

/// Between two pieces of an answer. A receiver may take its time to make a synchronous MDN.
const ANSWER: Duration = Duration::from_secs(300);

/// How long a kept connection may rest: less than any common server waits before it closes one.
const IDLE: Duration = Duration::from_secs(4);

/// The receivers of one snapshot, in the order they are tried.
#[derive(Debug)]
pub struct Receivers {
    all: Vec<Receiver>,
    keepalive: bool,
}

#[derive(Debug)]
struct Receiver {
    origin: Origin,
    verify: bool,
    ca: Option<Arc<CaType>>,
    addresses: ArcSwap<Vec<SocketAddr>>,
}

// === impl Receivers ===

impl Receivers {
    /// Those of the config; their names are looked up before this returns, each for at most 5 s. One
    /// that cannot be looked up now keeps the addresses it had in `before`.
    pub async fn resolve(config: &ReceiverConfig, before: Option<&Self>) -> Self {
        let ca = (!config.ca.is_empty()).then(|| Arc::new(config.ca.clone().into_boxed_slice()));
        let all = config
            .origins
            .iter()
            .map(|origin| Receiver {
                origin: origin.clone(),
                verify: config.verify,
                ca: ca.clone(),
                addresses: ArcSwap::new(Self::known(before, origin)),
            })
            .collect();
        let receivers = Self { all, keepalive: config.keepalive };
        receivers.refresh().await;
        receivers
    }

    fn known(before: Option<&Self>, origin: &Origin) -> Arc<Vec<SocketAddr>> {
        let mut all = before.iter().flat_map(|receivers| &receivers.all);
        let same = all.find(|receiver| receiver.origin == *origin);
        same.map(|receiver| receiver.addresses.load_full()).unwrap_or_default()
    }

    /// Looks the names up again. A name that cannot be looked up now keeps its addresses.
    pub async fn refresh(&self) {
        for receiver in &self.all {
            receiver.refresh().await;
        }
    }

    /// How many places there are to try.
    pub(super) fn len(&self) -> usize {
        self.all.iter().map(|receiver| receiver.addresses.load().len()).sum()
    }

    /// The place to try at the `tries`th attempt, from 0.
    pub(super) fn peer(&self, tries: usize) -> Option<Box<HttpPeer>> {
        let mut left = tries;
        for receiver in &self.all {
            let addresses = receiver.addresses.load();
            match addresses.get(left) {
                Some(&address) => return Some(Box::new(receiver.peer(address, self.keepalive))),
                None => left -= addresses.len(),
            }
        }
        None
    }

    /// Whether connections are used for more than one exchange.
    pub(super) fn keeps_alive(&self) -> bool {
        self.keepalive
    }
}

// === impl Receiver ===

impl Receiver {
    async fn refresh(&self) {
        let Origin { host, port, .. } = &self.origin;
        let lookup = timeout(LOOKUP, tokio::net::lookup_host((host.as_str(), *port))).await;
        match lookup {
            Ok(Ok(found)) => {
                let found: Vec<_> = found.collect();
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

    fn peer(&self, address: SocketAddr, keepalive: bool) -> HttpPeer {
        let mut peer = upstream::peer(address, self.origin.tls, &self.origin.host, ANSWER);
        if let Some(options) = peer.get_mut_peer_options() {
            if keepalive {
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
