//! Authenticates and authorizes callers.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use as2hook_config::{Config, Partner, Station, TokenConfig, TokenScope};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use openssl::{memcmp, sha::sha256};

use crate::{error::ApiError, gateway::ApiState};

/// The owner of a valid token.
#[derive(Clone)]
pub(crate) struct Caller {
    token: TokenConfig,
    config: Arc<Config>,
}

// === impl Caller ===

impl Caller {
    /// Returns the owner of a token with this digest, if the config has one.
    pub(crate) fn with_digest(config: Arc<Config>, digest: &[u8]) -> Option<Self> {
        let token = find(&config.api.tokens, digest)?.clone();
        Some(Self { token, config })
    }

    /// Returns a caller without a token, who looks at one site: for what all its viewers see.
    pub(crate) fn viewer(config: Arc<Config>, site: &str) -> Self {
        let (name, scopes) = (String::new(), vec![TokenScope::Read]);
        Self { token: TokenConfig { name, sha256: [0; 32], scopes, site: site.to_owned() }, config }
    }

    /// Returns the digest of its token.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.token.sha256
    }

    /// Returns what its token may do.
    pub(crate) fn scopes(&self) -> &[TokenScope] {
        &self.token.scopes
    }

    /// Whether it has this scope or that of an admin.
    pub(crate) fn may(&self, scope: TokenScope) -> bool {
        self.token.scopes.iter().any(|has| *has == scope || *has == TokenScope::Admin)
    }

    /// Returns the tenant whose data it sees.
    pub(crate) fn site(&self) -> &str {
        &self.token.site
    }

    /// Returns the name of its token.
    pub(crate) fn token_name(&self) -> &str {
        &self.token.name
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

    /// Returns the stations that it sees: they are the gateway's, so the default site alone does.
    pub(crate) fn stations(&self) -> impl Iterator<Item = &Station> {
        self.config.stations.iter().filter(|_| self.is_of_default_site())
    }

    /// Whether it sees what is not separate for each site.
    pub(crate) fn is_of_default_site(&self) -> bool {
        self.token.site == self.config.site
    }

    /// # Errors
    /// [`ApiError::ScopeMissing`] when it has neither this scope nor that of an admin.
    pub(crate) fn needs(&self, scope: TokenScope) -> Result<(), ApiError> {
        if self.may(scope) { Ok(()) } else { Err(ApiError::ScopeMissing(scope_name(scope))) }
    }
}

/// Returns a scope's name in the config.
pub(crate) const fn scope_name(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::Read => "read",
        TokenScope::Write => "write",
        TokenScope::Admin => "admin",
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let config = state.gateway.config();
        let presented = bearer(&parts.headers);
        let digest = presented.map(|token| sha256(token.as_bytes()));
        if let Some(caller) = digest.and_then(|digest| Self::with_digest(config, &digest)) {
            return Ok(caller);
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

/// Returns the token with this digest. Every token is compared, each in constant time.
fn find<'a>(tokens: &'a [TokenConfig], digest: &[u8]) -> Option<&'a TokenConfig> {
    tokens.iter().fold(None, |found, token| {
        let is_it = digest.len() == token.sha256.len() && memcmp::eq(&token.sha256, digest);
        if is_it { Some(token) } else { found }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_found_by_its_digest_alone() {
        let tokens = [TokenConfig {
            name: "erp".into(),
            sha256: sha256(b"a-token-that-is-long-enough"),
            scopes: vec![TokenScope::Read],
            site: "main".into(),
        }];
        let found = |token: &str| find(&tokens, &sha256(token.as_bytes()));
        assert_eq!(found("a-token-that-is-long-enough").unwrap().name, "erp");
        assert!(found("a-token-that-is-long-enougH").is_none());
        assert!(found("").is_none() && find(&tokens, b"").is_none());
        assert!(!format!("{tokens:?}").contains("sha256"));
    }
}
