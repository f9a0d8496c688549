//! Authenticates and authorizes callers.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use as2hook_config::{Config, Partner, TokenConfig, TokenScope};
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
        assert_eq!(find(&tokens, "a-token-that-is-long-enough").unwrap().name, "erp");
        assert!(find(&tokens, "a-token-that-is-long-enougH").is_none());
        assert!(find(&tokens, "").is_none());
        assert!(!format!("{tokens:?}").contains("sha256"));
    }
}
