//! Authenticates and authorizes callers.

use std::{net::SocketAddr, time::Instant};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};

use super::{ApiState, responses::problem};
use crate::{
    throttle::Price,
    token::{Scope, Token},
};

/// The owner of a valid token.
pub(super) struct Caller {
    token: Token,
    default_site: String,
}

// === impl Caller ===

impl Caller {
    /// Returns the tenant whose data it sees.
    pub(super) fn site(&self) -> &str {
        &self.token.site
    }

    #[expect(clippy::result_large_err, reason = "the error is the answer, made once a request")]
    pub(super) fn needs(&self, scope: Scope) -> Result<(), Response> {
        if self.token.may(scope) || self.token.may(Scope::Admin) {
            return Ok(());
        }
        let message = format!("Scope {} requerido", scope.as_str());
        Err(problem(StatusCode::FORBIDDEN, &message))
    }

    #[expect(clippy::result_large_err, reason = "the error is the answer, made once a request")]
    pub(super) fn runs_the_gateway(&self) -> Result<(), Response> {
        self.needs(Scope::Admin)?;
        if self.token.site == self.default_site {
            return Ok(());
        }
        Err(problem(StatusCode::FORBIDDEN, "Only the default site's admin may do this"))
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &ApiState) -> Result<Self, Response> {
        let tokens = shared.gateway.tokens();
        let presented = bearer(&parts.headers);
        if let Some(token) = presented.and_then(|presented| tokens.find(presented)) {
            let default_site = tokens.default_site.clone();
            return Ok(Self { token: token.clone(), default_site });
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        if let (Some(_), Some(ConnectInfo(peer))) = (presented, peer) {
            match shared.throttle.bad_token(peer.ip(), Instant::now()) {
                Price::Wait(wait) => tokio::time::sleep(wait).await,
                Price::TooMany(wait) => return Err(too_many(wait.as_secs())),
            }
        }
        Err(problem(StatusCode::UNAUTHORIZED, "Invalid token"))
    }
}

fn too_many(seconds: u64) -> Response {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "Too many bad tokens");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
