//! Authenticates and authorizes callers, and slows down clients that present bad tokens.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_config::{Config, Partner, TokenConfig, TokenScope};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use openssl::{memcmp, sha::sha256};
use parking_lot::Mutex;

use crate::{error::ApiError, routes::ApiState};

/// The owner of a valid token.
pub(crate) struct Caller {
    token: TokenConfig,
    config: Arc<Config>,
}

/// Addresses that recently presented bad tokens, in a bounded table. A good token is never slowed
/// down: others may share its address.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// When the penalties of each address's bad tokens end.
    paid: Mutex<HashMap<IpAddr, Instant>>,
}

// === impl Caller ===

impl Caller {
    /// Returns the tenant whose data it sees.
    pub(crate) fn site(&self) -> &str {
        &self.token.site
    }

    /// Returns the config that it was admitted by.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the partner of this number in its site.
    pub(crate) fn partner(&self, id: u64) -> Result<&Partner, ApiError> {
        let mut partners = self.config.partners.iter();
        let partner = partners.find(|it| it.id == Some(id) && it.site == self.token.site);
        partner.ok_or(ApiError::UnknownPartner)
    }

    /// Whether it sees what is not separate for each site.
    pub(crate) fn is_of_default_site(&self) -> bool {
        self.token.site == self.config.site
    }

    /// # Errors
    /// [`ApiError::ScopeMissing`] when it has neither this scope nor that of an admin.
    pub(crate) fn needs(&self, scope: TokenScope) -> Result<(), ApiError> {
        if self.token.scopes.iter().any(|has| *has == scope || *has == TokenScope::Admin) {
            return Ok(());
        }
        Err(ApiError::ScopeMissing(match scope {
            TokenScope::Read => "read",
            TokenScope::Write => "write",
            TokenScope::Admin => "admin",
        }))
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let config = state.gateway.config();
        let presented = bearer(&parts.headers);
        if let Some(token) = presented.and_then(|presented| find(&config.api.tokens, presented)) {
            return Ok(Self { token: token.clone(), config });
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        if let (Some(_), Some(ConnectInfo(peer))) = (presented, peer) {
            let delay = state.throttle.bad_token(peer.ip(), Instant::now());
            tokio::time::sleep(delay.map_err(ApiError::TooManyBadTokens)?).await;
        }
        Err(ApiError::InvalidToken)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// Returns the presented token. Every token is compared, each in constant time.
fn find<'a>(tokens: &'a [TokenConfig], presented: &str) -> Option<&'a TokenConfig> {
    let digest = sha256(presented.as_bytes());
    tokens.iter().fold(
        None,
        |found, token| {
            if memcmp::eq(&token.sha256, &digest) { Some(token) } else { found }
        },
    )
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

    /// Records a bad token, and returns by how much its response is delayed.
    ///
    /// # Errors
    /// After how many seconds the client may try again, when too many responses are delayed already.
    fn bad_token(&self, address: IpAddr, now: Instant) -> Result<Duration, u64> {
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
    fn token_is_found_by_its_digest_alone() {
        let tokens = [TokenConfig {
            name: "erp".into(),
            sha256: sha256(b"a-token-that-is-long-enough"),
            scopes: vec![TokenScope::Read],
            site: "main".into(),
        }];
        assert_eq!(find(&tokens, "a-token-that-is-long-enough").unwrap().name, "erp");
        assert!(find(&tokens, "a-token-that-is-long-enougH").is_none());
        assert!(find(&tokens, "").is_none());
        assert!(!format!("{tokens:?}").contains("sha256"));
    }

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
    fn table_of_addresses_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for address in 0..3 * u32::try_from(Throttle::ADDRESSES).unwrap() {
            let _ = throttle.bad_token(std::net::Ipv4Addr::from(address).into(), now);
        }
        assert!(throttle.paid.lock().len() <= Throttle::ADDRESSES);
    }
}
