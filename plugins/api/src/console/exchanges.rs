//! `/console/exchanges`.

use axum::{Router, extract::State, routing::get};
use maud::Markup;

use super::{
    layout::{NavItem, stub},
    session::Session,
};
use crate::{error::ApiError, gateway::ApiState};

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/console/exchanges", get(page))
}

async fn page(State(api): State<ApiState>, session: Session) -> Result<Markup, ApiError> {
    stub(&api, &session, NavItem::Exchanges).await
}
