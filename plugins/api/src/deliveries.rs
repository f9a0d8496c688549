//! `/admin/deliveries`, and what is made again.

use as2hook_config::TokenScope;
use as2hook_delivery::Target;
use as2hook_store::{DeliveryRow, DeliveryState, Filter};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::Caller,
    error::{ApiError, BodyRefused, Denied, Problem},
    events::{EventView, ListParams, Listing, search_in_body},
    fields::JsonFields,
    gateway::ApiState,
    rfc3339,
};

/// Deliveries looked at in one step of a replay to another webhook.
const STEP: usize = 200;

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

/// Makes a delivery again. Scope admin.
#[utoipa::path(
    post, path = "/admin/deliveries/{id}/replay", tag = "admin", security(("token" = [])),
    params(("id" = i64, Path, description = "The delivery's number")),
    responses(
        (status = 200, description = "Done", body = Replayed),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 409, description = "It is not over yet", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn replay_one(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Replayed>, ApiError> {
    caller.needs(TokenScope::Admin)?;
    let delivery = Some(id.parse().map_err(|_| ApiError::NotFound)?);
    let filter = Filter { site: Some(caller.site().to_owned()), delivery, ..Filter::default() };
    if api.store.replay(&filter).await? > 0 {
        return Ok(Json(Replayed { status: "success", replayed: 1 }));
    }
    let found = api.store.deliveries(&filter, None, 1).await?;
    Err(if found.rows.is_empty() { ApiError::NotFound } else { ApiError::NotOver })
}

/// Makes all matching deliveries again that are delivered, dead or orphaned. Scope admin.
#[utoipa::path(
    post, path = "/admin/replay", tag = "admin", security(("token" = [])),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "Done", body = Replayed),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
        BodyRefused, Denied,
    ),
)]
pub(crate) async fn replay(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Replayed>, ApiError> {
    caller.needs(TokenScope::Admin)?;
    let fields = fields?;
    let filter = search_in_body(&fields, &["to"])?;
    let to = fields.text("to")?;
    if filter == Filter::default() {
        return Err(ApiError::Value("body", "{\"status\": \"dead\"}, …"));
    }
    let filter = Filter { site: Some(caller.site().to_owned()), ..filter };
    let replayed = match to {
        None => api.store.replay(&filter).await?,
        Some(to) => replay_to(&api, &filter, to).await?,
    };
    Ok(Json(Replayed { status: "success", replayed }))
}

/// Enqueues the events of matching deliveries for a webhook, each once. An event that it has had
/// before is left out. Returns how many deliveries are new.
async fn replay_to(api: &ApiState, filter: &Filter, to: &str) -> Result<u64, ApiError> {
    let rule = api.directory.endpoint(to);
    let rule = rule.filter(|rule| filter.site.as_ref() == Some(&rule.site));
    let rule = rule.ok_or(ApiError::NotFound)?;
    let (mut enqueued, mut cursor) = (0, None);
    loop {
        let page = api.store.deliveries(filter, cursor, STEP).await?;
        for row in page.rows.iter().filter(|row| is_over(row.state) && row.webhook != to) {
            let (partner, station) = (row.event.partner.as_deref(), row.event.station.as_deref());
            let mut target = Target::for_parties(&rule, partner, station);
            if target.order_key.is_some() && row.order_key.is_some() {
                // What is not proven to be the partner's stays apart.
                target.order_key.clone_from(&row.order_key);
            }
            let delivery = target.delivery(row.event.id);
            enqueued += api.store.enqueue(row.event.id, vec![delivery]).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(enqueued);
        }
    }
}

fn is_over(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Orphaned)
}

/// Which deliveries are made again; one field at least.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
struct ReplayRequest {
    /// The event's kind.
    #[schema(required = false)]
    event: String,
    /// AS2 id of the remote side.
    #[schema(required = false)]
    partner: String,
    /// AS2 id of our side.
    #[schema(required = false)]
    station: String,
    /// The webhook's name.
    #[schema(required = false)]
    webhook: String,
    /// Where the delivery stands.
    #[schema(required = false, example = "dead")]
    status: String,
    /// The AS2 Message-ID.
    #[schema(required = false)]
    message_id: String,
    /// When the event happened at the earliest, RFC 3339.
    #[schema(required = false)]
    from: String,
    /// When the event happened, before this, RFC 3339.
    #[schema(required = false)]
    until: String,
    /// Another webhook that receives the events instead.
    #[schema(required = false)]
    to: String,
}

/// Deliveries are due again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replayed {
    #[schema(example = "success")]
    status: &'static str,
    /// How many.
    replayed: u64,
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
    /// `pending`, `claimed`, `delivered`, `dead`, `held` or `orphaned`.
    status: &'static str,
    /// All attempts.
    attempts: u32,
    /// Whether it is a replay.
    replay: bool,
    /// The time of the next attempt, while it is pending.
    next_attempt_at: Option<String>,
    /// The event that it delivers.
    event: EventView,
}

// === impl DeliveryView ===

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        let pending = row.state == DeliveryState::Pending;
        Self {
            id: row.id,
            webhook_id: row.webhook_id,
            webhook: row.webhook,
            payload: row.mode,
            status: row.state.as_str(),
            attempts: row.attempts,
            replay: row.replay,
            next_attempt_at: pending.then(|| rfc3339(row.due)).flatten(),
            event: row.event.into(),
        }
    }
}
