//! The routes.

mod admin;
mod answer;
mod caller;
mod fields;
mod partner;
mod search;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{control::Control, throttle::Throttle};
use answer::problem;

type Gateway = Arc<dyn Control>;

/// What every route can ask for.
#[derive(Clone)]
pub(crate) struct Shared {
    gateway: Gateway,
    throttle: Arc<Throttle>,
}

pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/webhooks/configure", post(partner::configure))
        .route("/api/v1/webhooks/get", post(partner::get))
        .route("/api/v1/webhooks/test", post(partner::test))
        .route("/api/v1/webhooks/logs", post(partner::logs))
        .route("/admin/reload", post(admin::reload))
        .route("/admin/status", get(admin::status))
        .route("/admin/webhooks", get(admin::webhooks))
        .route("/admin/webhooks/{name}/enable", post(admin::enable))
        .route("/admin/events", get(admin::events))
        .route("/admin/deliveries", get(admin::deliveries))
        .route("/admin/deliveries/{id}/replay", post(admin::replay_one))
        .route("/admin/replay", post(admin::replay))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "No such route") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .with_state(Shared { gateway, throttle: Arc::default() })
}

async fn readyz(State(gateway): State<Gateway>) -> Response {
    let reasons = gateway.unready().await;
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn metrics(State(gateway): State<Gateway>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT)], gateway.metrics().await).into_response()
}

// === impl Shared ===

impl FromRef<Shared> for Gateway {
    fn from_ref(shared: &Shared) -> Self {
        shared.gateway.clone()
    }
}
