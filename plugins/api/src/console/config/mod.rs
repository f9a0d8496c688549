//! `/console/config`: what is in force, why a change was refused, who did what.
//!
//! # Layout
//! - `page`: the page
//! - `audit`: what tokens did
//! - `reload`: loads the files again

mod audit;
mod page;
mod reload;

use as2hook_config::TokenScope;
use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::session::Session;
use crate::{error::ApiError, gateway::ApiState};

const PATH: &str = "/console/config";

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route(PATH, get(page::config))
        .route("/console/config/actions", get(audit::actions))
        .route("/console/config/as2hook.yaml", get(yaml))
        .route("/console/config/reload", post(reload::reload))
}

/// Sends the config in force, secrets masked. It is the gateway's, so the default site alone gets it.
async fn yaml(State(api): State<ApiState>, session: Session) -> Result<Response, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    if !session.caller.is_of_default_site() {
        return Err(ApiError::NotFound);
    }
    let headers = [
        (header::CONTENT_TYPE, "application/yaml"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"as2hook.yaml\""),
    ];
    Ok((headers, as2hook_config::to_yaml(&api.gateway.config())).into_response())
}
