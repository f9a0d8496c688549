//! Limits the connections of a listener, in all and by address. When all permits are taken, a connection that
//! waits for a whole request head makes room, since it has nothing to lose: the one that has waited
//! longest, of the address with most that wait. What is not counted by address does so last: a load
//! balancer's connections are those of many partners. Exchanges that are under way keep their permits, as long
//! as they keep their places (see `in_flight`).

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use as2hook_event::Direction;
use dashmap::DashMap;
use tokio::time::Instant;

use super::{
    fair_share::counted,
    in_flight::{GiveWay, InFlight, Permit},
};
use crate::handles::{HandleShare, TrafficHandles};
use as2hook_config::Config;

/// The connections of one listener. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimiter(Arc<ConnectionTally>);

/// One of them; it is free when it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    shared: Arc<ConnectionTally>,
    address: Option<IpAddr>,
    _handle: HandleShare,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    #[error("Too many connections are open (limits.connections). Send it again later.")]
    All,
    #[error(
        "Too many connections of this address are open (limits.connections_per_address). Send it again later."
    )]
    Address,
}

/// A connection that can be asked to leave.
#[derive(Debug)]
pub(crate) struct IdleConnection {
    gives_way: GiveWay,
    _permit: Permit,
}

#[derive(Debug)]
struct ConnectionTally {
    taken: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
    /// Connections that wait for a request.
    idle: InFlight,
    handles: TrafficHandles,
}

// === impl ConnectionLimiter ===

impl ConnectionLimiter {
    /// None is taken. `handles`: what connections take, together with others.
    pub(crate) fn new(handles: TrafficHandles) -> Self {
        let (taken, by_address) = (AtomicUsize::default(), DashMap::default());
        Self(Arc::new(ConnectionTally { taken, by_address, idle: InFlight::of_idle(), handles }))
    }

    /// A permit among `limit`, for a connection of this address if it has fewer than
    /// `limit_of_address`. `None` for an address that is not counted. Where all are taken and none
    /// waits, `make_room` may still have one end.
    pub(crate) fn enter(
        &self,
        limit: usize,
        address: Option<IpAddr>,
        limit_of_address: usize,
        make_room: impl FnOnce() -> bool,
    ) -> Result<ConnectionPermit, LimitReached> {
        let shared = self.0.clone();
        let address = address.map(counted);
        let before = shared.taken.fetch_add(1, Ordering::Relaxed);
        let handle = shared.handles.take(1);
        let is_full = before >= limit || handle.is_over;
        let mut permit = ConnectionPermit { shared, address: None, _handle: handle };
        if let Some(address) = address {
            let mut count = permit.shared.by_address.entry(address).or_default();
            if *count >= limit_of_address {
                return Err(LimitReached::Address);
            }
            *count += 1;
            drop(count);
            permit.address = Some(address);
        }
        if is_full && !permit.shared.idle.make_room(None) && !make_room() {
            return Err(LimitReached::All);
        }
        Ok(permit)
    }

    /// How many are taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

// === impl ConnectionPermit ===

impl ConnectionPermit {
    /// By which it is counted.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Stands in line: as long as this is held, the connection can be asked to leave.
    pub(crate) fn wait(&self) -> IdleConnection {
        let permit = self.shared.idle.join(self.address);
        let mut gives_way = permit.gives_way_last();
        gives_way.due(Instant::now());
        gives_way.asked();
        IdleConnection { gives_way, _permit: permit }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            self.shared.by_address.remove_if_mut(&address, |_, count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }
}

// === impl IdleConnection ===

impl IdleConnection {
    /// Waits until another connection needs its place.
    pub(crate) async fn asked(&mut self) {
        // It is sent to before its sender goes.
        let _ = self.gives_way.asked().await;
    }
}

impl Default for ConnectionLimiter {
    /// None is taken, and there is any number of handles.
    fn default() -> Self {
        Self::new(TrafficHandles::default())
    }
}

/// The address by which a connection is counted, if it is.
pub(crate) fn counted_peer(
    config: &Config,
    direction: Direction,
    peer: Option<IpAddr>,
) -> Option<IpAddr> {
    let trusted = &config.receiver.trusted_proxies;
    peer.filter(|peer| {
        // Our own server has one address, and calls for everybody.
        direction == Direction::Inbound
            && !trusted.iter().any(|network| network.contains(&peer.to_canonical()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn of(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn seats_are_counted_in_all_and_by_address() {
        let limiter = ConnectionLimiter::default();
        let first = limiter.enter(3, of("192.0.2.1"), 1, || false).unwrap();
        assert_eq!(
            limiter.enter(3, of("::ffff:192.0.2.1"), 1, || false).unwrap_err(),
            LimitReached::Address
        );
        let _second = limiter.enter(3, of("2001:db8::1"), 1, || false).unwrap();
        assert_eq!(
            limiter.enter(3, of("2001:db8::2"), 1, || false).unwrap_err(),
            LimitReached::Address
        );
        let _third = limiter.enter(3, None, 1, || false).unwrap();
        assert_eq!(limiter.enter(3, None, 1, || false).unwrap_err(), LimitReached::All);
        assert_eq!(limiter.taken(), 3, "a connection that is turned away takes none");
        drop(first);
        assert_eq!(limiter.0.by_address.len(), 1, "no address is remembered without a connection");
        let _fourth = limiter.enter(3, of("192.0.2.1"), 1, || false).unwrap();
    }

    #[tokio::test]
    async fn connection_that_has_waited_longest_makes_room() {
        let limiter = ConnectionLimiter::default();
        let (first, second) = (
            limiter.enter(2, None, 1, || false).unwrap(),
            limiter.enter(2, None, 1, || false).unwrap(),
        );
        let (mut first, mut second) = (first.wait(), second.wait());
        let third = limiter.enter(2, None, 1, || false).unwrap();
        let soon = Duration::from_secs(5);
        timeout(soon, first.asked()).await.unwrap();
        assert!(timeout(Duration::ZERO, second.asked()).await.is_err());
        drop(second);
        assert_eq!(
            limiter.enter(2, None, 1, || false).unwrap_err(),
            LimitReached::All,
            "no connection waits any more"
        );
        drop(third);
    }

    #[tokio::test]
    async fn connection_of_the_address_with_most_waiting_makes_room() {
        let limiter = ConnectionLimiter::default();
        let enter = |address| limiter.enter(3, of(address), 9, || false);
        let one = enter("192.0.2.1").unwrap();
        let two = [enter("192.0.2.2").unwrap(), enter("192.0.2.2").unwrap()];
        let (mut one, mut two) = (one.wait(), [two[0].wait(), two[1].wait()]);
        let _newcomer = enter("192.0.2.3").unwrap();
        timeout(Duration::from_secs(5), two[0].asked()).await.unwrap();
        for other in [&mut one, &mut two[1]] {
            assert!(timeout(Duration::ZERO, other.asked()).await.is_err());
        }
    }

    #[test]
    fn newcomer_gets_a_seat_when_an_exchange_makes_room() {
        let limiter = ConnectionLimiter::default();
        let _busy = limiter.enter(1, of("192.0.2.1"), 1, || false).unwrap();
        assert!(limiter.enter(1, of("192.0.2.2"), 1, || true).is_ok());
    }

    /// Its own task was woken while it ran, and with it another of the runtime's threads: two calls of
    /// the system for each request.
    #[test]
    fn connection_that_leaves_the_line_wakes_no_other() {
        struct Woken(AtomicUsize);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicUsize::default()));
        let permit = ConnectionLimiter::default().enter(1, None, 1, || false).unwrap();
        let mut waiting = permit.wait();
        {
            let asked = std::pin::pin!(waiting.asked());
            let waker = woken.clone().into();
            assert!(asked.poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        drop(waiting);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }
}
