//! Connections that are turned away, told without a line for each.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use as2hook_webhooks::Direction;
use tokio::time::Instant;

use super::{answer::Rejection, proxy::listener, seats::Full};
use crate::snapshot::Live;

/// How often it is told in the log.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Flood(Mutex<Turned>);

/// How many since it was last told.
#[derive(Debug, Default)]
struct Turned {
    told: Option<Instant>,
    since: u64,
}

// === impl Flood ===

impl Flood {
    /// Counts one more, and tells of all of them now and then.
    pub(super) fn tell(
        &self,
        live: &Live,
        direction: Direction,
        peer: Option<IpAddr>,
        rejection: &Rejection,
    ) {
        live.observer().refused(listener(direction), rejection.reason());
        if let Some(connections) = self.due() {
            tracing::warn!(
                listener = listener(direction),
                peer = peer.map(|peer| peer.to_string()),
                connections,
                "Connections are turned away. {rejection}",
            );
        }
    }

    fn due(&self) -> Option<u64> {
        let mut turned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turned.since += 1;
        if turned.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        turned.told = Some(Instant::now());
        Some(std::mem::take(&mut turned.since))
    }
}

/// What somebody is told for whom there is no seat.
pub(super) fn rejection(full: Full) -> Rejection {
    match full {
        Full::All => Rejection::Crowded,
        Full::Address => Rejection::CrowdedAddress,
    }
}
