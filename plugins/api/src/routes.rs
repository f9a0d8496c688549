//! The routes, and the health checks.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    middleware::map_response_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::{Semaphore, watch};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit,
    console::{self, LiveHub},
    deliveries,
    error::{ApiError, in_words},
    event_detail, events,
    gateway::{ApiState, Handles},
    metrics, partner_webhooks, status, steering, test_delivery, webhooks,
};

/// Returns the routes, each with its description in `/openapi.json`. When `handed_on` is true, streams end.
pub(crate) fn router(handles: Handles, handed_on: watch::Receiver<bool>) -> Router {
    let tests = Arc::new(Semaphore::new(test_delivery::TESTS));
    let live = Arc::new(LiveHub::new(handed_on));
    let state = ApiState { handles, throttle: Arc::default(), live, tests };
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(partner_webhooks::configure))
        .routes(routes!(partner_webhooks::get))
        .routes(routes!(test_delivery::test))
        .routes(routes!(partner_webhooks::logs))
        .routes(routes!(status::reload))
        .routes(routes!(status::status))
        .routes(routes!(webhooks::webhooks))
        .routes(routes!(webhooks::enable))
        .routes(routes!(test_delivery::test_rule))
        .routes(routes!(events::events))
        .routes(routes!(deliveries::deliveries))
        .routes(routes!(deliveries::delivery))
        .routes(routes!(event_detail::event))
        .routes(routes!(event_detail::attachment))
        .routes(routes!(event_detail::mdn))
        .routes(routes!(audit::audit))
        .routes(routes!(steering::retry_one))
        .routes(routes!(steering::cancel_one))
        .routes(routes!(steering::replay_one))
        .routes(routes!(steering::retry))
        .routes(routes!(steering::cancel))
        .routes(routes!(steering::replay))
        .split_for_parts();
    router
        .route("/openapi.json", get(|| async { Json(description) }))
        .fallback(|| async { ApiError::NoRoute })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .merge(console::router(&state))
        .layer(map_response_with_state(state.clone(), in_words))
        .with_state(state)
}

/// The description in `/openapi.json` beside the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "as2hook",
        description = "The config API and the admin API of as2hook, webhooks for any AS2 server."
    ),
    modifiers(&Security)
)]
struct Description;

struct Security;

impl Modify for Security {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description.components.get_or_insert_default().add_security_scheme("token", token);
    }
}

/// Whether the process serves.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the gateway should get traffic, and why not.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "It should: `ready`, and a line for each remark", body = String, content_type = "text/plain"),
        (status = 503, description = "A reason on each line", body = String,
            content_type = "text/plain"),
    )
)]
async fn readyz(State(api): State<ApiState>) -> Response {
    match api.gateway.readiness().await {
        Ok(remarks) => {
            let lines = std::iter::once("ready".to_owned()).chain(remarks);
            (lines.collect::<Vec<_>>().join("\n") + "\n").into_response()
        }
        Err(reasons) => {
            (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
        }
    }
}
