//! `/console/`: whether all is well, and what comes first.

use axum::{Router, extract::State, routing::get};
use maud::Markup;

use super::{
    layout::{NavItem, stub},
    session::Session,
};
use crate::{error::ApiError, gateway::ApiState};

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/console/", get(page))
}

async fn page(State(api): State<ApiState>, session: Session) -> Result<Markup, ApiError> {
    stub(&api, &session, NavItem::Overview).await
}
