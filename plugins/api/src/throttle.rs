//! Slows down clients that present bad tokens: a bounded table of their addresses.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses that recently presented bad tokens. A good token is never slowed down: others may
/// share its address.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// When the penalties of each address's bad tokens end.
    paid: Mutex<HashMap<IpAddr, Instant>>,
}

/// The penalty for a bad token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    /// Its response is delayed by this time.
    Wait(Duration),
    /// It gets no normal response: too many are delayed already.
    TooMany(Duration),
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

    /// Records a bad token, and returns its penalty.
    pub(crate) fn bad_token(&self, address: IpAddr, now: Instant) -> Price {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
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
            return Price::TooMany(wait);
        }
        *until = owed;
        Price::Wait(wait)
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
    fn a_few_are_free_then_each_waits_longer_and_then_it_is_too_many() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..Throttle::FREE {
            assert_eq!(throttle.bad_token(HERE, now), Price::Wait(Duration::ZERO));
        }
        for seconds in 1..=5 {
            let wait = Price::Wait(Duration::from_secs(seconds));
            assert_eq!(throttle.bad_token(HERE, now), wait);
        }
        assert!(matches!(throttle.bad_token(HERE, now), Price::TooMany(_)));
        let other = "::2:0:0:0:1".parse().unwrap();
        assert_eq!(throttle.bad_token(other, now), Price::Wait(Duration::ZERO));
        let later = now + Duration::from_secs(15);
        assert_eq!(throttle.bad_token(HERE, later), Price::Wait(Duration::ZERO));
    }

    #[test]
    fn the_table_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for address in 0..3 * u32::try_from(Throttle::ADDRESSES).unwrap() {
            throttle.bad_token(std::net::Ipv4Addr::from(address).into(), now);
        }
        assert!(throttle.paid.lock().unwrap().len() <= Throttle::ADDRESSES);
    }
}
