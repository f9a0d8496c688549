//! Limits the connections of the admin listener. When the limit is reached, the connection that has
//! waited longest for a request, or for its client to read a response, is closed.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::caller::owner;

/// The most connections at once: a console, a scraper and probes need few.
pub(crate) const CONNECTIONS: usize = 256;

/// The most of one address, as [`owner`] counts it. Behind a proxy all clients have one address.
const OF_ADDRESS: usize = 64;

/// The connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct AdminConnections(Mutex<Vec<Weak<AdminConnection>>>);

/// One connection; dropping it releases its place.
#[derive(Debug)]
pub(crate) struct AdminConnection {
    address: IpAddr,
    /// The place in the order in which connections began to wait for a request, or for their
    /// response to be read. 0: it has a request, or was asked to make room.
    waits_since: AtomicU64,
    make_room: Notify,
}

/// A request of a connection, until its response's head is ready.
pub(crate) struct Busy(Arc<AdminConnection>);

// === impl AdminConnections ===

impl AdminConnections {
    /// Takes a place for a connection of this address. `None`: it has too many, or all are busy.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Arc<AdminConnection>> {
        let address = owner(address);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| connection.strong_count() > 0);
        let open: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        if open.iter().filter(|connection| connection.address == address).count() >= OF_ADDRESS {
            return None;
        }
        if open.len() >= CONNECTIONS {
            let since = |it: &Arc<AdminConnection>| it.waits_since.load(Ordering::Relaxed);
            let waiting = open.iter().filter(|connection| since(connection) > 0);
            let longest = waiting.min_by_key(|connection| since(connection))?;
            longest.waits_since.store(0, Ordering::Relaxed);
            longest.make_room.notify_one();
        }
        let waits_since = AtomicU64::new(next_wait());
        let connection =
            Arc::new(AdminConnection { address, waits_since, make_room: Notify::new() });
        all.push(Arc::downgrade(&connection));
        Some(connection)
    }
}

/// Counts the times that a connection began to wait.
fn next_wait() -> u64 {
    static WAITS: AtomicU64 = AtomicU64::new(1);
    WAITS.fetch_add(1, Ordering::Relaxed)
}

// === impl AdminConnection ===

impl AdminConnection {
    /// Waits until its place is needed.
    pub(crate) async fn makes_room(&self) {
        self.make_room.notified().await;
    }

    /// Marks it as busy: it is not closed until the result is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.waits_since.store(0, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.waits_since.store(next_wait(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn of(n: usize) -> IpAddr {
        IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()])
    }

    fn full(connections: &AdminConnections) -> Vec<Arc<AdminConnection>> {
        (0..CONNECTIONS).map(|n| connections.enter(of(n / OF_ADDRESS)).unwrap()).collect()
    }

    async fn makes_room(connection: &AdminConnection) -> bool {
        timeout(Duration::from_secs(1), connection.makes_room()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_waits_longest_makes_room_when_all_places_are_taken() {
        let connections = AdminConnections::default();
        let all = full(&connections);
        drop(all[0].busy());
        let busy = all[1].busy();
        assert!(connections.enter(of(200)).is_some());
        assert!(
            makes_room(&all[2]).await && !makes_room(&all[0]).await && !makes_room(&all[1]).await
        );
        drop((busy, all));
        assert!(connections.0.lock().unwrap().iter().all(|it| it.strong_count() == 0));
    }

    #[test]
    fn address_with_too_many_connections_is_refused() {
        let connections = AdminConnections::default();
        let all: Vec<_> = (0..OF_ADDRESS).map(|_| connections.enter(of(1)).unwrap()).collect();
        assert!(connections.enter(of(1)).is_none() && connections.enter(of(2)).is_some());
        drop(all);
        assert!(connections.enter(of(1)).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_together() {
        let connections = AdminConnections::default();
        let of = |n: usize| format!("2001:db8::{n:x}").parse().unwrap();
        let _all: Vec<_> = (0..OF_ADDRESS).map(|n| connections.enter(of(n)).unwrap()).collect();
        assert!(connections.enter(of(OF_ADDRESS)).is_none());
        assert!(connections.enter("2001:db8:0:1::".parse().unwrap()).is_some());
    }

    #[test]
    fn new_connection_is_refused_when_all_are_busy() {
        let connections = AdminConnections::default();
        let all = full(&connections);
        let _busy: Vec<_> = all.iter().map(AdminConnection::busy).collect();
        assert!(connections.enter(of(200)).is_none());
    }
}
