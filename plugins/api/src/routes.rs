//! The routes.

mod admin;
mod bodies;
mod caller;
mod fields;
mod partner;
mod responses;
mod search;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{control::Control, throttle::Throttle};
use responses::problem;

type Gateway = Arc<dyn Control>;

/// State of every route.
#[derive(Clone)]
pub(crate) struct ApiState {
    gateway: Gateway,
    throttle: Arc<Throttle>,
}

pub(crate) fn router(gateway: Gateway) -> Router {
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(partner::configure))
        .routes(routes!(partner::get))
        .routes(routes!(partner::test))
        .routes(routes!(partner::logs))
        .routes(routes!(admin::reload))
        .routes(routes!(admin::status))
        .routes(routes!(admin::webhooks))
        .routes(routes!(admin::enable))
        .routes(routes!(admin::events))
        .routes(routes!(admin::deliveries))
        .routes(routes!(admin::replay_one))
        .routes(routes!(admin::replay))
        .split_for_parts();
    router
        .route("/openapi.json", get(|| async { Json(description) }))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "No such route") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .with_state(ApiState { gateway, throttle: Arc::default() })
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
    get,
    path = "/healthz",
    tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the gateway should get traffic, and why not.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses(
        (status = 200, description = "It should: `ready`, and a line for each remark", body = String, content_type = "text/plain"),
        (status = 503, description = "A reason on each line", body = String,
            content_type = "text/plain"),
    )
)]
async fn readyz(State(gateway): State<Gateway>) -> Response {
    let reasons = gateway.unready().await;
    if reasons.is_empty() {
        let lines = std::iter::once("ready".to_owned()).chain(gateway.remarks().await);
        return (lines.collect::<Vec<_>>().join("\n") + "\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

/// Every figure, in the text form of OpenMetrics.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (status = 200, description = "For Prometheus", body = String,
            content_type = "application/openmetrics-text"),
    )
)]
async fn metrics(State(gateway): State<Gateway>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT)], gateway.metrics().await).into_response()
}

// === impl ApiState ===

impl FromRef<ApiState> for Gateway {
    fn from_ref(shared: &ApiState) -> Self {
        shared.gateway.clone()
    }
}
