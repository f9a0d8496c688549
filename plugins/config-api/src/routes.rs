//! The routes.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    control::Control,
    token::{Scope, Token},
};

type Gateway = Arc<dyn Control>;

pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/admin/reload", post(reload))
        .route("/admin/status", get(status))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "No such route") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .with_state(gateway)
}

async fn readyz(State(gateway): State<Gateway>) -> Response {
    let reasons = gateway.unready().await;
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn reload(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.runs_the_gateway() {
        return refusal;
    }
    match gateway.reload().await {
        Ok(done) => Json(json!({
            "status": "ok",
            "generation": done.generation,
            "added": done.added,
            "changed": done.changed,
            "removed": done.removed,
        }))
        .into_response(),
        Err(errors) => {
            let body = json!({"status": "error", "errors": errors});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

async fn status(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.needs(Scope::Read) {
        return refusal;
    }
    Json(gateway.status().await).into_response()
}

/// Whoever presented a good token.
struct Caller {
    token: Token,
    default_site: String,
}

// === impl Caller ===

impl Caller {
    #[expect(clippy::result_large_err, reason = "the error is the answer, made once a request")]
    fn needs(&self, scope: Scope) -> Result<(), Response> {
        if self.token.may(scope) || self.token.may(Scope::Admin) {
            return Ok(());
        }
        let message = format!("Scope {} requerido", scope.as_str());
        Err(problem(StatusCode::FORBIDDEN, &message))
    }

    #[expect(clippy::result_large_err, reason = "the error is the answer, made once a request")]
    fn runs_the_gateway(&self) -> Result<(), Response> {
        self.needs(Scope::Admin)?;
        if self.token.site == self.default_site {
            return Ok(());
        }
        Err(problem(StatusCode::FORBIDDEN, "Only the default site's admin may do this"))
    }
}

impl FromRequestParts<Gateway> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Response> {
        let tokens = gateway.tokens();
        let found = bearer(&parts.headers).and_then(|presented| tokens.find(presented));
        match found {
            Some(token) => {
                Ok(Self { token: token.clone(), default_site: tokens.default_site.clone() })
            }
            None => Err(problem(StatusCode::UNAUTHORIZED, "Invalid token")),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"status": "error", "msg": message}))).into_response()
}
