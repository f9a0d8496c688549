//! `/admin/deliveries`: lists, and one with its attempts.

use as2hook_config::TokenScope;
use as2hook_store::{Attempt, AttemptRow, DeliveryRow, DeliveryState, Filter};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    caller::Caller,
    error::{ApiError, Denied, Problem},
    events::{EventView, ListParams, Listing},
    gateway::ApiState,
    rfc3339,
    webhooks::masked,
};

/// The most attempts that are shown of one event's deliveries, the newest ones.
const ATTEMPTS: usize = 1_000;

/// Deliveries, newest first. Scope read.
#[utoipa::path(
    get, path = "/admin/deliveries", tag = "admin", security(("token" = [])),
    params(ListParams),
    responses(
        (status = 200, description = "Done", body = DeliveryList),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn deliveries(
    State(api): State<ApiState>,
    caller: Caller,
    listing: Result<Listing, ApiError>,
) -> Result<Json<DeliveryList>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let Listing { filter, cursor, limit } = listing?;
    let filter = Filter { site: Some(caller.site().to_owned()), ..filter };
    let page = api.store.deliveries(&filter, cursor, limit).await?;
    let data = page.rows.into_iter().map(DeliveryView::from).collect();
    Ok(Json(DeliveryList { status: "success", data, next_cursor: page.next }))
}

/// One delivery, with its attempts. Scope read.
#[utoipa::path(
    get, path = "/admin/deliveries/{id}", tag = "admin", security(("token" = [])),
    params(("id" = i64, Path, description = "The delivery's number")),
    responses(
        (status = 200, description = "Done", body = OneDelivery),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn delivery(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<OneDelivery>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let filter = numbered(&caller, &id)?;
    let found = with_attempts(&api, &filter, 1).await?.pop();
    Ok(Json(OneDelivery { status: "success", data: found.ok_or(ApiError::NotFound)? }))
}

/// Returns the filter for a delivery of the caller's site.
pub(crate) fn numbered(caller: &Caller, id: &str) -> Result<Filter, ApiError> {
    let delivery = Some(id.parse().map_err(|_| ApiError::NotFound)?);
    Ok(Filter { site: Some(caller.site().to_owned()), delivery, ..Filter::default() })
}

/// Returns the first matching deliveries, oldest first, each with its attempts.
pub(crate) async fn with_attempts(
    api: &ApiState,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<DeliveryDetail>, ApiError> {
    let rows = api.store.deliveries(filter, None, limit).await?.rows;
    let attempts = api.store.attempts(filter, None, ATTEMPTS).await?.rows;
    let detail = |row: DeliveryRow| {
        let of_it = attempts.iter().rev().filter(|attempt| attempt.delivery == row.id);
        DeliveryDetail {
            attempts: of_it.map(|attempt| AttemptView::new(api, attempt)).collect(),
            event_id: row.event.id.to_string(),
            next_attempt_at: next_attempt(&row),
            id: row.id,
            webhook: row.webhook,
            webhook_id: row.webhook_id,
            payload: row.mode,
            status: row.state.as_str(),
            replay: row.replay,
        }
    };
    Ok(rows.into_iter().rev().map(detail).collect())
}

fn next_attempt(row: &DeliveryRow) -> Option<String> {
    (row.state == DeliveryState::Pending).then(|| rfc3339(row.due)).flatten()
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryList {
    #[schema(example = "success")]
    status: &'static str,
    data: Vec<DeliveryView>,
    /// `cursor` of the next page.
    next_cursor: Option<i64>,
}

/// A delivery in a list.
#[derive(Serialize, ToSchema)]
struct DeliveryView {
    /// Its number.
    id: i64,
    /// The `webhook-id` that the endpoint receives.
    webhook_id: String,
    /// The webhook's name.
    webhook: String,
    /// `headers`, `json` or `raw`.
    payload: String,
    /// `pending`, `claimed`, `delivered`, `dead`, `held`, `orphaned` or `cancelled`.
    status: &'static str,
    /// All attempts.
    attempts: u32,
    /// Whether it is a replay.
    replay: bool,
    /// The status of the last response.
    last_http_code: Option<u16>,
    /// The error of the last attempt, if it failed.
    last_error: Option<String>,
    /// The time of the next attempt, while it is pending.
    next_attempt_at: Option<String>,
    /// The event that it delivers.
    event: EventView,
}

/// One delivery.
#[derive(Serialize, ToSchema)]
pub(crate) struct OneDelivery {
    #[schema(example = "success")]
    status: &'static str,
    data: DeliveryDetail,
}

/// A delivery with its attempts.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryDetail {
    /// Its number.
    pub(crate) id: i64,
    /// The webhook's name.
    pub(crate) webhook: String,
    /// The `webhook-id` that the endpoint receives.
    pub(crate) webhook_id: String,
    /// `headers`, `json` or `raw`.
    pub(crate) payload: String,
    /// `pending`, `claimed`, `delivered`, `dead`, `held`, `orphaned` or `cancelled`.
    pub(crate) status: &'static str,
    /// Whether it is a replay.
    pub(crate) replay: bool,
    /// The time of the next attempt, while it is pending.
    pub(crate) next_attempt_at: Option<String>,
    /// The event that it delivers.
    pub(crate) event_id: String,
    /// The attempts, oldest first; the newest 200 of a delivery are kept.
    pub(crate) attempts: Vec<AttemptView>,
}

/// An attempt.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Counts from 1.
    pub(crate) n: u32,
    /// When it began.
    pub(crate) at: String,
    /// Its URL; a query is masked, since it may hold a token.
    pub(crate) url: String,
    /// The status of the response.
    pub(crate) http_code: Option<u16>,
    /// The error, if it failed.
    pub(crate) error: Option<String>,
    /// How long it took.
    pub(crate) duration_ms: u64,
}

// === impl AttemptView ===

impl AttemptView {
    fn new(api: &ApiState, row: &AttemptRow) -> Self {
        let Attempt { number, at, url, http_code, error, duration_ms } = row.attempt.clone();
        let url = api.gateway.key().unseal_url(&row.webhook, &url).unwrap_or_default();
        let url = url.parse().map(|url| masked(&url)).unwrap_or_default();
        let at = rfc3339(at).unwrap_or_default();
        Self { n: number, at, url, http_code, error, duration_ms }
    }
}

// === impl DeliveryView ===

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        Self {
            next_attempt_at: next_attempt(&row),
            id: row.id,
            webhook_id: row.webhook_id,
            webhook: row.webhook,
            payload: row.mode,
            status: row.state.as_str(),
            attempts: row.attempts,
            replay: row.replay,
            last_http_code: row.last_http_code,
            last_error: row.last_error,
            event: row.event.into(),
        }
    }
}
