//! How many connections a listener has, and from where. When all seats are taken, the connection
//! that has waited longest for a whole request head makes room: it has nothing to lose. Exchanges
//! that are under way keep their seats.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use as2hook_webhooks::Direction;
use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::config::Config;

/// The seats of one listener. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Shared>);

/// One of them; it is free when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `limits.connections`
    All,
    /// `limits.connections_per_address`
    Address,
}

/// A connection that can be asked to leave.
#[derive(Debug)]
pub(super) struct Waiting<'s> {
    shared: &'s Shared,
    number: u64,
    asked: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    taken: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
    line: Mutex<Line>,
}

/// Those who wait, oldest first.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

// === impl Seats ===

impl Seats {
    /// A seat among `limit`, for a connection of this address if it has fewer than
    /// `limit_of_address`. `None` for an address that is not counted.
    pub(super) fn enter(
        &self,
        limit: usize,
        address: Option<IpAddr>,
        limit_of_address: usize,
    ) -> Result<Seat, Full> {
        let shared = self.0.clone();
        let address = address.map(counted);
        let before = shared.taken.fetch_add(1, Ordering::Relaxed);
        let mut seat = Seat { shared, address: None };
        if let Some(address) = address {
            let mut count = seat.shared.by_address.entry(address).or_default();
            if *count >= limit_of_address {
                return Err(Full::Address);
            }
            *count += 1;
            drop(count);
            seat.address = Some(address);
        }
        if before >= limit && !seat.shared.line().make_room() {
            return Err(Full::All);
        }
        Ok(seat)
    }

    /// As [`Self::enter`], by a config's limits.
    pub(super) fn enter_by(
        &self,
        config: &Config,
        direction: Direction,
        peer: Option<IpAddr>,
    ) -> Result<Seat, Full> {
        let trusted = &config.receiver.trusted_proxies;
        let counted = peer.filter(|peer| {
            // Our own server has one address, and calls for everybody.
            direction == Direction::Inbound
                && !trusted.iter().any(|network| network.contains(peer.to_canonical()))
        });
        self.enter(config.limits.connections, counted, config.limits.connections_per_address)
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

// === impl Seat ===

impl Seat {
    /// Stands in line: as long as this is held, the connection can be asked to leave.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let (ask, asked) = oneshot::channel();
        let mut line = self.shared.line();
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number, ask);
        drop(line);
        Waiting { shared: &self.shared, number, asked }
    }
}

impl Drop for Seat {
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

// === impl Waiting ===

impl Waiting<'_> {
    /// Until somebody else needs the seat.
    pub(super) async fn asked(&mut self) {
        // Whoever takes the sender out sends; it is never dropped unsent.
        let _ = (&mut self.asked).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Or the end of the sender would wake the connection's task, which is running.
        self.asked.close();
        self.shared.line().waiting.remove(&self.number);
    }
}

// === impl Shared ===

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Line ===

impl Line {
    fn make_room(&mut self) -> bool {
        while let Some((_, ask)) = self.waiting.pop_first() {
            if ask.send(()).is_ok() {
                return true;
            }
        }
        false
    }
}

/// One customer has one IPv6 /64 at the least.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
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
        let seats = Seats::default();
        let first = seats.enter(3, of("192.0.2.1"), 1).unwrap();
        assert_eq!(seats.enter(3, of("::ffff:192.0.2.1"), 1).unwrap_err(), Full::Address);
        let _second = seats.enter(3, of("2001:db8::1"), 1).unwrap();
        assert_eq!(seats.enter(3, of("2001:db8::2"), 1).unwrap_err(), Full::Address);
        let _third = seats.enter(3, None, 1).unwrap();
        assert_eq!(seats.enter(3, None, 1).unwrap_err(), Full::All);
        assert_eq!(seats.taken(), 3, "those who are turned away take none");
        drop(first);
        assert_eq!(seats.0.by_address.len(), 1, "no address is remembered without a connection");
        let _fourth = seats.enter(3, of("192.0.2.1"), 1).unwrap();
    }

    #[tokio::test]
    async fn who_has_waited_longest_makes_room() {
        let seats = Seats::default();
        let (first, second) = (seats.enter(2, None, 1).unwrap(), seats.enter(2, None, 1).unwrap());
        let (mut first, mut second) = (first.wait(), second.wait());
        let third = seats.enter(2, None, 1).unwrap();
        let soon = Duration::from_secs(5);
        timeout(soon, first.asked()).await.unwrap();
        assert!(timeout(Duration::ZERO, second.asked()).await.is_err());
        drop(second);
        assert_eq!(seats.enter(2, None, 1).unwrap_err(), Full::All, "nobody waits any more");
        drop(third);
    }

    /// Its own task was woken while it ran, and with it another of the runtime's threads: two calls of
    /// the system for each request.
    #[test]
    fn who_leaves_the_line_wakes_nobody() {
        struct Woken(AtomicUsize);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicUsize::default()));
        let seat = Seats::default().enter(1, None, 1).unwrap();
        let mut waiting = seat.wait();
        {
            let asked = std::pin::pin!(waiting.asked());
            let waker = woken.clone().into();
            assert!(asked.poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        drop(waiting);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }
}
