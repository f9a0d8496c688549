//! Connects to one of several addresses of a name (RFC 8305, "Happy Eyeballs").
//!
//! An address that drops packets shows no error until the timeout. The next address is therefore
//! tried in parallel after a quarter of a second, and the first connection wins.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

/// The time between the starts of two attempts: the *Connection Attempt Delay* of RFC 8305 section
/// 5.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried: each uses a socket.
const ADDRESSES: usize = 8;

/// The result of [`connect`].
#[derive(Debug)]
pub struct Connected {
    /// The first connection with its address; otherwise the last error.
    pub outcome: io::Result<(SocketAddr, TcpStream)>,
    /// Addresses that refused, or took longer than one that was tried after them.
    pub failed: Vec<SocketAddr>,
}

/// Returns the addresses to try, in order: the two families alternate (RFC 8305 section 4), so that
/// an unreachable family does not take all places.
pub fn in_order(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.into_iter().peekable();
    let Some(first) = addresses.peek().map(SocketAddr::is_ipv4) else { return Vec::new() };
    let (one, other): (Vec<_>, Vec<_>) = addresses.partition(|one| one.is_ipv4() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let pairs = std::iter::from_fn(|| {
        let pair = [one.next(), other.next()];
        pair.iter().any(Option::is_some).then_some(pair)
    });
    pairs.flatten().flatten().take(ADDRESSES).collect()
}

/// Connects to the first of these addresses that accepts, within this time.
pub async fn connect(addresses: &[SocketAddr], within: Duration) -> Connected {
    // One address, the usual case, needs no task.
    if let [address] = *addresses {
        let connected = timeout(within, TcpStream::connect(address)).await;
        let outcome = connected.unwrap_or_else(|_| Err(too_late(within)));
        let failed = outcome.is_err().then_some(address).into_iter().collect();
        return Connected { outcome: outcome.map(|stream| (address, stream)), failed };
    }
    let deadline = Instant::now() + within;
    let (mut begun, mut refused) = (0, Vec::new());
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(&address) = addresses.get(begun) {
            attempts.spawn(async move { (begun, TcpStream::connect(address).await) });
            begun += 1;
        }
        let until = match begun < addresses.len() {
            true => deadline.min(Instant::now() + ATTEMPT_DELAY),
            false => deadline,
        };
        match timeout_at(until, attempts.join_next()).await {
            Ok(Some(Ok((nth, Ok(stream))))) => {
                let slower = addresses[..nth].iter().filter(|one| !refused.contains(*one));
                let failed = slower.chain(&refused).copied().collect();
                return Connected { outcome: Ok((addresses[nth], stream)), failed };
            }
            Ok(Some(Ok((nth, Err(error))))) => {
                refused.push(addresses[nth]);
                last = error;
            }
            Ok(Some(Err(error))) => last = error.into(),
            // No attempt is in progress, and no address is left.
            Ok(None) => break,
            Err(_) if Instant::now() >= deadline => {
                last = too_late(within);
                break;
            }
            Err(_) => {}
        }
    }
    Connected { outcome: Err(last), failed: addresses[..begun].to_vec() }
}

fn too_late(within: Duration) -> io::Error {
    let text = format!("no connection within {:.1} s", within.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// A listening socket that drops every SYN because its queue is full, as long as the result is
    /// kept.
    async fn dropping() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(ATTEMPT_DELAY, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        (address, queued, listener)
    }

    async fn refusing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[test]
    fn families_take_turns_and_are_few() {
        let address = |text: &str| format!("{text}:80").parse().unwrap();
        let sixes = (1..20).map(|n| address(&format!("[2001:db8::{n}]")));
        let all = in_order(sixes.chain([address("192.0.2.1")]));
        assert_eq!(all.len(), ADDRESSES);
        assert_eq!(
            all[..3],
            [address("[2001:db8::1]"), address("192.0.2.1"), address("[2001:db8::2]")]
        );
        assert_eq!(in_order([]), []);
    }

    #[tokio::test]
    async fn reachable_address_is_connected_to_despite_unreachable_ones() {
        let (one, other) = (dropping().await, dropping().await);
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (refusing, living) = (refusing().await, living.local_addr().unwrap());
        let connected = connect(&[one.0, refusing, other.0, living], SOON).await;
        assert_eq!(connected.outcome.unwrap().0, living);
        assert_eq!(connected.failed, [one.0, other.0, refusing]);
    }

    #[tokio::test]
    async fn addresses_that_all_refuse_fail_at_once_and_those_that_drop_in_time() {
        let (one, other) = (refusing().await, refusing().await);
        for addresses in [&[one][..], &[one, other]] {
            let connected = connect(addresses, SOON).await;
            let error = connected.outcome.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(connected.failed, addresses);
        }
        let dropping = dropping().await;
        for addresses in [&[dropping.0][..], &[one, dropping.0]] {
            let connected = connect(addresses, 2 * ATTEMPT_DELAY).await;
            assert_eq!(connected.outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(connected.failed, addresses);
        }
        assert!(connect(&[], SOON).await.outcome.is_err());
    }
}
