//! Slows down clients that present bad tokens, and logs them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Addresses that recently presented bad tokens, in a bounded table. A good token is never slowed
/// down: others may share its address.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// When the penalties of each address's bad tokens end.
    paid: Mutex<HashMap<IpAddr, Instant>>,
    log: Mutex<Option<LogWindow>>,
}

/// The log's lines about bad tokens since a time: any client can cause them.
#[derive(Debug)]
struct LogWindow {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

// === impl Throttle ===

impl Throttle {
    /// The penalty for each bad token after the first few.
    const EACH: Duration = Duration::from_secs(1);
    /// The number of bad tokens without a penalty; they are restored one by one.
    const FREE: u32 = 10;
    /// The longest delay of a response.
    const LONGEST: Duration = Duration::from_secs(5);
    /// The most addresses in the table. Beyond that, those with the least penalty are removed.
    const ADDRESSES: usize = 4096;

    /// Lines about bad tokens in each [`Self::LOG_WINDOW`].
    const LINES: u32 = 10;
    const LOG_WINDOW: Duration = Duration::from_secs(10);

    /// Records and logs a bad token, and returns by how much its response is delayed.
    ///
    /// # Errors
    /// After how many seconds the client may try again, when too many responses are delayed already.
    pub(crate) fn bad_token(&self, address: IpAddr, now: Instant) -> Result<Duration, u64> {
        if let Some(suppressed) = self.log_due(now) {
            tracing::warn!(peer = %address, suppressed, "An unknown API token was refused.");
        }
        let mut paid = self.paid.lock();
        let address = owner(address);
        if paid.len() >= Self::ADDRESSES && !paid.contains_key(&address) {
            paid.retain(|_, until| *until > now);
            if paid.len() >= Self::ADDRESSES
                && let Some(least) = paid.iter().min_by_key(|(_, until)| **until)
            {
                let least = *least.0;
                paid.remove(&least);
            }
        }
        let until = paid.entry(address).or_insert(now);
        let owed = (*until).max(now) + Self::EACH;
        let wait = owed.duration_since(now).saturating_sub(Self::EACH * Self::FREE);
        if wait > Self::LONGEST {
            return Err(wait.as_secs());
        }
        *until = owed;
        Ok(wait)
    }

    /// Whether a line is to be written now; with the number of those that were not since the last one.
    fn log_due(&self, now: Instant) -> Option<u64> {
        let mut log = self.log.lock();
        let window = log.get_or_insert(LogWindow { began: now, lines: 0, suppressed: 0 });
        if now.duration_since(window.began) >= Self::LOG_WINDOW {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines >= Self::LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// Returns the address by which a client is counted: an IPv6 client counts by its /64.
pub(crate) fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn bad_tokens_beyond_a_few_wait_longer_each_and_then_are_too_many() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..Throttle::FREE {
            assert_eq!(throttle.bad_token(HERE, now), Ok(Duration::ZERO));
        }
        for seconds in 1..=5 {
            assert_eq!(throttle.bad_token(HERE, now), Ok(Duration::from_secs(seconds)));
        }
        assert!(throttle.bad_token(HERE, now).is_err());
        let other = "::2:0:0:0:1".parse().unwrap();
        assert_eq!(throttle.bad_token(other, now), Ok(Duration::ZERO));
        let later = now + Duration::from_secs(15);
        assert_eq!(throttle.bad_token(HERE, later), Ok(Duration::ZERO));
    }

    #[test]
    fn lines_of_a_flood_of_bad_tokens_are_few_and_the_rest_is_counted() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let lines = (0..25).filter_map(|_| throttle.log_due(now)).collect::<Vec<_>>();
        assert_eq!(lines, [0; Throttle::LINES as usize]);
        assert_eq!(throttle.log_due(now + Throttle::LOG_WINDOW), Some(15));
    }

    #[test]
    fn table_of_addresses_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for address in 0..3 * u32::try_from(Throttle::ADDRESSES).unwrap() {
            let _ = throttle.bad_token(std::net::Ipv4Addr::from(address).into(), now);
        }
        assert!(throttle.paid.lock().len() <= Throttle::ADDRESSES);
    }
}
