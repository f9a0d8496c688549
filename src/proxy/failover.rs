//! Where an exchange is tried, in which order, and what is remembered of that.
//!
//! The addresses of one place race ([`happy_eyeballs`]). The next place (a standby receiver) is tried when all
//! addresses of the one before it have failed, or after [`STANDBY`] without a connection, and [`HANDSHAKE`] more
//! without a TLS session.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use as2hook_sink::happy_eyeballs::{self, Connected};
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::l4::{socket, stream::Stream},
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::time::Instant;

use super::upstream::CONNECT;

/// Longer than a lost SYN takes to be sent again (1 s, RFC 6298): a standby gets no live traffic for that.
const STANDBY: Duration = Duration::from_secs(3);

/// What a TLS handshake may take beyond that, where another place is left. It has two lost packets' time, too.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// So long an address that failed is tried last.
const LAST: Duration = Duration::from_secs(30);

/// Addresses that are remembered at the most.
const MANY: usize = 1024;

/// Addresses that took no connection, and until when they are tried last.
#[derive(Debug, Default)]
pub(super) struct FailedAddresses(Mutex<HashMap<SocketAddr, Instant>>);

/// The places that an exchange may still go to, the next one first.
#[derive(Debug)]
pub(super) struct Candidates {
    places: VecDeque<ReceiverAddresses>,
    race: Option<Arc<Race>>,
}

#[derive(Debug)]
struct ReceiverAddresses {
    /// In the order of the config.
    nth: usize,
    /// Not tried by this exchange yet.
    addresses: Vec<SocketAddr>,
}

/// One attempt: Pingora asks for a connection to one address, and gets one to the fastest.
#[derive(Debug)]
struct Race {
    addresses: Vec<SocketAddr>,
    within: Duration,
    memory: Arc<FailedAddresses>,
    reached: OnceLock<SocketAddr>,
}

// === impl FailedAddresses ===

impl FailedAddresses {
    /// Whether it is to be tried last. When its time is over one exchange finds out how it is, and the others
    /// do not wait for that.
    fn is_failed(&self, address: SocketAddr) -> bool {
        let mut failed = self.0.lock();
        let Some(until) = failed.get_mut(&address) else { return false };
        let now = Instant::now();
        if *until > now {
            return true;
        }
        *until = now + CONNECT;
        false
    }

    fn add(&self, addresses: &[SocketAddr]) {
        let now = Instant::now();
        let mut failed = self.0.lock();
        for address in addresses {
            if failed.len() >= MANY {
                failed.retain(|_, until| *until > now);
            }
            if failed.len() >= MANY {
                return;
            }
            if failed.insert(*address, now + LAST).is_none() {
                tracing::warn!(%address, seconds = LAST.as_secs(), "No connection: this address is tried last for now.");
            }
        }
    }

    /// This address took a connection and, where that is asked for, made a TLS session on it.
    pub(super) fn remove(&self, address: SocketAddr) {
        if self.0.lock().remove(&address).is_some() {
            tracing::info!(%address, "This address takes connections again.");
        }
    }
}

// === impl Candidates ===

impl Candidates {
    /// Of the addresses of each place. What failed lately comes last; if all did, the order is the config's.
    pub(super) fn new(places: Vec<Vec<SocketAddr>>, memory: &FailedAddresses) -> Self {
        let places = places.into_iter().enumerate().filter(|(_, addresses)| !addresses.is_empty());
        let (mut first, mut last) = (VecDeque::new(), Vec::new());
        for (nth, addresses) in places {
            let (failed, mut addresses): (Vec<_>, Vec<_>) =
                addresses.into_iter().partition(|address| memory.is_failed(*address));
            let all_failed = addresses.is_empty();
            addresses.extend(failed);
            let place = ReceiverAddresses { nth, addresses };
            if all_failed { last.push(place) } else { first.push_back(place) }
        }
        first.extend(last);
        Self { places: first, race: None }
    }

    /// Where the next attempt goes: a place, and the address of it that is tried first.
    pub(super) fn next(&self) -> Option<(usize, SocketAddr)> {
        let place = self.places.front()?;
        Some((place.nth, *place.addresses.first()?))
    }

    /// Makes this peer, a connection to what [`Self::next`] said, one to the fastest of the place's addresses.
    pub(super) fn race(&mut self, peer: &mut HttpPeer, memory: &Arc<FailedAddresses>) {
        let Some(place) = self.places.front() else { return };
        let race = Arc::new(Race {
            addresses: place.addresses.clone(),
            within: if self.places.len() > 1 { STANDBY } else { CONNECT },
            memory: memory.clone(),
            reached: OnceLock::new(),
        });
        if let Some(options) = peer.get_mut_peer_options() {
            options.total_connection_timeout = Some(CONNECT.min(race.within + HANDSHAKE));
            options.custom_l4 = Some(race.clone());
        }
        self.race = Some(race);
    }

    /// Where the last attempt was connected to, if it made a connection.
    pub(super) fn reached(&self) -> Option<SocketAddr> {
        self.race.as_ref()?.reached.get().copied()
    }

    /// Whether the last attempt was connected to another address than its peer's. Pingora keeps such a
    /// connection for the peer's address, and logs an error instead of using it again.
    pub(super) fn reached_another(&self) -> bool {
        let first = self.next().map(|(_, first)| first);
        self.reached().is_some_and(|reached| first != Some(reached))
    }

    /// The last attempt got no connection, or no TLS session on it. Returns its place, when that has no
    /// other address.
    pub(super) fn fail(&mut self) -> Option<usize> {
        let race = self.race.take()?;
        let tried = race.reached.get().map_or(&race.addresses[..], std::slice::from_ref);
        race.memory.add(tried);
        let place = self.places.front_mut()?;
        place.addresses.retain(|address| !tried.contains(address));
        if !place.addresses.is_empty() {
            return None;
        }
        self.places.pop_front().map(|place| place.nth)
    }

    /// Whether there is nothing left to try.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

// === impl Race ===

#[async_trait]
impl L4Connect for Race {
    async fn connect(&self, _: &socket::SocketAddr) -> Result<Stream> {
        let Connected { outcome, failed } =
            happy_eyeballs::connect(&self.addresses, self.within).await;
        match outcome {
            Ok((address, stream)) => {
                self.memory.add(&failed);
                // One race is run once.
                let _ = self.reached.set(address);
                Ok(stream.into())
            }
            Err(error) => {
                let text = format!("connecting to {:?}", self.addresses);
                Err(Error::because(class(&error), text, error))
            }
        }
    }
}

/// As Pingora calls it.
fn class(error: &std::io::Error) -> ErrorType {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    match error.kind() {
        ConnectionRefused => ErrorType::ConnectRefused,
        TimedOut => ErrorType::ConnectTimedout,
        HostUnreachable | NetworkUnreachable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(nth: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, nth], 80))
    }

    /// The order in which an exchange tries places when no address takes a connection.
    fn order(places: &[&[u8]], memory: &Arc<FailedAddresses>) -> Vec<(usize, SocketAddr)> {
        let places = places.iter().map(|all| all.iter().copied().map(address).collect()).collect();
        let mut candidates = Candidates::new(places, memory);
        let mut order = Vec::new();
        while let Some((nth, first)) = candidates.next() {
            order.push((nth, first));
            let mut peer = HttpPeer::new(first, false, String::new());
            candidates.race(&mut peer, memory);
            assert_eq!(candidates.fail(), Some(nth));
        }
        assert!(candidates.is_empty());
        order
    }

    #[tokio::test(start_paused = true)]
    async fn place_that_failed_comes_last_for_a_time_and_then_one_exchange_tries_it() {
        let memory = Arc::new(FailedAddresses::default());
        memory.add(&[address(1)]);
        let places = |memory: &Arc<FailedAddresses>| {
            let places = vec![vec![address(1)], vec![], vec![address(2)]];
            Candidates::new(places, memory).next().unwrap().0
        };
        assert_eq!((places(&memory), places(&memory)), (2, 2));
        tokio::time::advance(LAST).await;
        assert_eq!(
            (places(&memory), places(&memory)),
            (0, 2),
            "one finds out, the other does not wait"
        );
        memory.remove(address(1));
        assert_eq!((places(&memory), places(&memory)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_all_failed_are_tried_in_their_order() {
        let memory = Arc::new(FailedAddresses::default());
        let places: &[&[u8]] = &[&[1, 2], &[3]];
        let expected = [(0, address(1)), (1, address(3))];
        assert_eq!(order(places, &memory), expected);
        assert_eq!(order(places, &memory), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn address_that_failed_comes_last_of_its_place_and_the_place_keeps_its_turn() {
        let memory = Arc::new(FailedAddresses::default());
        memory.add(&[address(1)]);
        let candidates =
            Candidates::new(vec![vec![address(1), address(2)], vec![address(3)]], &memory);
        assert_eq!(candidates.next(), Some((0, address(2))));
        assert_eq!(candidates.places[0].addresses, [address(2), address(1)]);
    }

    /// Its certificate is wrong, say, and that of another address is not.
    #[tokio::test(start_paused = true)]
    async fn address_without_a_tls_session_leaves_the_others_of_its_place() {
        let memory = Arc::new(FailedAddresses::default());
        let mut candidates = Candidates::new(vec![vec![address(1), address(2)]], &memory);
        let mut peer = HttpPeer::new(address(1), true, String::new());
        candidates.race(&mut peer, &memory);
        candidates.race.as_ref().unwrap().reached.set(address(1)).unwrap();
        assert_eq!(candidates.fail(), None);
        assert_eq!(candidates.next(), Some((0, address(2))));
    }

    #[tokio::test]
    async fn address_that_takes_a_connection_stays_failed_until_its_tls_session() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Arc::new(FailedAddresses::default());
        memory.add(&[address]);
        let mut candidates = Candidates::new(vec![vec![address]], &memory);
        let mut peer = HttpPeer::new(address, true, String::new());
        candidates.race(&mut peer, &memory);
        let race = candidates.race.clone().unwrap();
        race.connect(&socket::SocketAddr::Inet(address)).await.unwrap();
        assert_eq!(candidates.reached(), Some(address));
        assert!(memory.is_failed(address));
        memory.remove(address);
        assert!(!memory.is_failed(address));
    }

    #[tokio::test(start_paused = true)]
    async fn handshake_has_less_time_where_another_place_is_left() {
        let memory = Arc::new(FailedAddresses::default());
        let places = vec![vec![address(1)], vec![address(2)]];
        let mut candidates = Candidates::new(places, &memory);
        let time = |candidates: &mut Candidates| {
            let mut peer = HttpPeer::new(address(1), true, String::new());
            candidates.race(&mut peer, &memory);
            peer.total_connection_timeout()
        };
        assert_eq!(time(&mut candidates), Some(STANDBY + HANDSHAKE));
        candidates.fail();
        assert_eq!(time(&mut candidates), Some(CONNECT));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_to_another_address_than_the_peers_is_known() {
        let memory = Arc::new(FailedAddresses::default());
        let another = |reached: u8| {
            let mut candidates = Candidates::new(vec![vec![address(1), address(2)]], &memory);
            candidates.race(&mut HttpPeer::new(address(1), false, String::new()), &memory);
            assert!(!candidates.reached_another(), "a kept connection is not raced for");
            candidates.race.as_ref().unwrap().reached.set(address(reached)).unwrap();
            candidates.reached_another()
        };
        assert!(!another(1));
        assert!(another(2));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_addresses_has_a_bound() {
        let memory = FailedAddresses::default();
        let many = |from: u16| -> Vec<_> {
            (0..2000).map(|port| SocketAddr::from(([192, 0, 2, 1], from + port))).collect()
        };
        memory.add(&many(1));
        assert_eq!(memory.0.lock().len(), MANY);
        tokio::time::advance(LAST).await;
        memory.add(&many(5000));
        assert!(memory.is_failed(many(5000)[0]) && !memory.is_failed(many(1)[0]));
    }
}
