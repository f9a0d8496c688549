//! Limits the connections of the admin listener. When the limit is reached, the connection that has
//! waited longest for a request, or for its client to read a response, is closed.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::throttle::owner;

/// The most connections at once: a console, a scraper and probes need few.
pub(crate) const CONNECTIONS: usize = 256;

/// The most of one address, as [`owner`] counts it. Behind a proxy all clients have one address.
const OF_ADDRESS: usize = 64;

/// The connections of one listener. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminConnections(Arc<Mutex<ConnectionCounts>>);

/// One connection; dropping it releases its place.
#[derive(Debug)]
pub(crate) struct AdminConnection {
    connections: AdminConnections,
    address: IpAddr,
    number: u64,
    make_room: Arc<Notify>,
}

/// A request of a connection, until its response's head is ready.
pub(crate) struct Busy(Arc<AdminConnection>);

#[derive(Debug, Default)]
struct ConnectionCounts {
    next: u64,
    taken: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Connections that wait for a request, or for their response to be read, in the order in which
    /// they began; each under its current number.
    idle: BTreeMap<u64, Arc<Notify>>,
    /// The number under which a connection waits.
    waits: HashMap<u64, u64>,
}

// === impl AdminConnections ===

impl AdminConnections {
    /// Takes a place for a connection of this address. `None`: it has too many, or all are busy.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Arc<AdminConnection>> {
        let address = owner(address);
        let mut counts = self.counts();
        if counts.by_address.get(&address).is_some_and(|count| *count >= OF_ADDRESS) {
            return None;
        }
        if counts.taken >= CONNECTIONS {
            counts.idle.pop_first()?.1.notify_one();
        }
        counts.taken += 1;
        *counts.by_address.entry(address).or_default() += 1;
        let (number, make_room) = (counts.number(), Arc::new(Notify::new()));
        counts.wait(number, make_room.clone());
        drop(counts);
        Some(Arc::new(AdminConnection { connections: self.clone(), address, number, make_room }))
    }

    fn counts(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl AdminConnection ===

impl AdminConnection {
    /// Waits until its place is needed.
    pub(crate) async fn makes_room(&self) {
        self.make_room.notified().await;
    }

    /// Marks it as busy: it is not closed until the result is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.connections.counts().is_busy(self.number);
        Busy(self.clone())
    }
}

impl Drop for AdminConnection {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.is_busy(self.number);
        counts.taken -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Self(connection) = self;
        connection.connections.counts().wait(connection.number, connection.make_room.clone());
    }
}

// === impl ConnectionCounts ===

impl ConnectionCounts {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn wait(&mut self, connection: u64, make_room: Arc<Notify>) {
        let since = self.number();
        self.idle.insert(since, make_room);
        self.waits.insert(connection, since);
    }

    fn is_busy(&mut self, connection: u64) {
        if let Some(since) = self.waits.remove(&connection) {
            self.idle.remove(&since);
        }
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
        assert_eq!(connections.counts().taken, 0);
        assert!(connections.counts().idle.is_empty() && connections.counts().waits.is_empty());
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
    fn newcomer_is_refused_when_all_are_busy() {
        let connections = AdminConnections::default();
        let all = full(&connections);
        let _busy: Vec<_> = all.iter().map(AdminConnection::busy).collect();
        assert!(connections.enter(of(200)).is_none());
    }
}
