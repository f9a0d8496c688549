//! `/console/deliveries`: what was not delivered, and what is done with all of it at once.
//!
//! # Layout
//! - `list`: the page; `table`: its rows
//! - `bulk`: what can be done with all that a search names
//! - `change`: does it

mod bulk;
mod change;
mod list;
mod table;

use as2hook_config::TokenScope;
use axum::{
    Router,
    extract::{Path, State},
    response::Redirect,
    routing::{get, post},
};

use super::session::Session;
use crate::{
    deliveries::{numbered, with_attempts},
    error::ApiError,
    gateway::ApiState,
};

const PATH: &str = "/console/deliveries";

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route(PATH, get(list::deliveries))
        .route("/console/deliveries/retry", post(change::retry))
        .route("/console/deliveries/cancel", post(change::cancel))
        .route("/console/deliveries/replay", post(change::replay))
        .route("/console/deliveries/chosen", post(change::chosen))
        .route("/console/deliveries/{id}", get(delivery))
        .route("/console/deliveries/{id}/{change}", post(change::one))
}

/// One delivery is a block of its event's page.
async fn delivery(
    State(api): State<ApiState>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Redirect, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let filter = numbered(&session.caller, &id)?;
    let found = with_attempts(&api, &filter, 1).await?.pop().ok_or(ApiError::NotFound)?;
    Ok(Redirect::to(&format!("/console/exchanges/{}#d{}", found.event_id, found.id)))
}
