//! Deliveries that are retried, cancelled or replayed: one, or all that a filter names.

use as2hook_config::TokenScope;
use as2hook_delivery::Target;
use as2hook_store::{DeliveryChange, DeliveryState, Filter};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use crate::{
    audit::record,
    caller::Caller,
    deliveries::numbered,
    error::{ApiError, BodyRefused, Denied, Problem},
    events::search_in_body,
    fields::JsonFields,
    gateway::ApiState,
};

/// Deliveries looked at in one step of a replay to another webhook.
const STEP: usize = 200;

/// Makes a pending or dead delivery now, with the same `webhook-id`. Scope admin.
#[utoipa::path(
    post, path = "/admin/deliveries/{id}/retry", tag = "admin", security(("token" = [])),
    params(("id" = i64, Path, description = "The delivery's number")),
    responses((status = 200, description = "Done", body = Retried), ChangeRefused, Denied),
)]
pub(crate) async fn retry_one(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Retried>, ApiError> {
    let retried = change_one(&api, &caller, &id, DeliveryChange::Retry).await?;
    Ok(Json(Retried { status: "success", retried }))
}

/// Gives up a delivery that is not delivered; what waits behind it in an order goes on. Scope admin.
#[utoipa::path(
    post, path = "/admin/deliveries/{id}/cancel", tag = "admin", security(("token" = [])),
    params(("id" = i64, Path, description = "The delivery's number")),
    responses((status = 200, description = "Done", body = Cancelled), ChangeRefused, Denied),
)]
pub(crate) async fn cancel_one(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Cancelled>, ApiError> {
    let cancelled = change_one(&api, &caller, &id, DeliveryChange::Cancel).await?;
    Ok(Json(Cancelled { status: "success", cancelled }))
}

/// Makes a delivery again. Scope admin.
#[utoipa::path(
    post, path = "/admin/deliveries/{id}/replay", tag = "admin", security(("token" = [])),
    params(("id" = i64, Path, description = "The delivery's number")),
    responses((status = 200, description = "Done", body = Replayed), ChangeRefused, Denied),
)]
pub(crate) async fn replay_one(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Replayed>, ApiError> {
    let replayed = change_one(&api, &caller, &id, DeliveryChange::Replay).await?;
    Ok(Json(Replayed { status: "success", replayed }))
}

/// Makes all matching pending and dead deliveries now, with the same `webhook-id`. Scope admin.
#[utoipa::path(
    post, path = "/admin/retry", tag = "admin", security(("token" = [])),
    request_body = DeliverySearch,
    responses((status = 200, description = "Done", body = Retried), SearchRefused, BodyRefused, Denied),
)]
pub(crate) async fn retry(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Retried>, ApiError> {
    let retried = change_all(&api, &caller, &fields?, DeliveryChange::Retry).await?;
    Ok(Json(Retried { status: "success", retried }))
}

/// Gives up all matching deliveries that are pending, held, dead or orphaned. Scope admin.
#[utoipa::path(
    post, path = "/admin/cancel", tag = "admin", security(("token" = [])),
    request_body = DeliverySearch,
    responses((status = 200, description = "Done", body = Cancelled), SearchRefused, BodyRefused, Denied),
)]
pub(crate) async fn cancel(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Cancelled>, ApiError> {
    let cancelled = change_all(&api, &caller, &fields?, DeliveryChange::Cancel).await?;
    Ok(Json(Cancelled { status: "success", cancelled }))
}

/// Makes all matching deliveries again that are delivered, dead, orphaned or cancelled. Scope admin.
#[utoipa::path(
    post, path = "/admin/replay", tag = "admin", security(("token" = [])),
    request_body = ReplayRequest,
    responses((status = 200, description = "Done", body = Replayed), SearchRefused, BodyRefused, Denied),
)]
pub(crate) async fn replay(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Replayed>, ApiError> {
    let replayed = change_all(&api, &caller, &fields?, DeliveryChange::Replay).await?;
    Ok(Json(Replayed { status: "success", replayed }))
}

/// Changes one delivery, or says why not. Returns 1.
pub(crate) async fn change_one(
    api: &ApiState,
    caller: &Caller,
    id: &str,
    change: DeliveryChange,
) -> Result<u64, ApiError> {
    caller.needs(TokenScope::Admin)?;
    let filter = numbered(caller, id)?;
    let store = api.store.clone();
    let changed = async move {
        if store.change_deliveries(change, &filter).await? > 0 {
            return Ok(1);
        }
        let found = store.deliveries(&filter, None, 1).await?.rows.pop();
        Err(match (found.ok_or(ApiError::NotFound)?.state, change) {
            (_, DeliveryChange::Replay) => ApiError::NotOver,
            (DeliveryState::Held, _) => ApiError::Held,
            (DeliveryState::Orphaned, _) => ApiError::Orphaned,
            (DeliveryState::Delivered | DeliveryState::Cancelled, _) => ApiError::Over,
            _ => ApiError::UnderWay,
        })
    };
    finish(api, caller, change, format!("delivery {id}"), changed).await
}

/// Changes all deliveries that the filter in a body names. Returns how many.
pub(crate) async fn change_all(
    api: &ApiState,
    caller: &Caller,
    fields: &JsonFields,
    change: DeliveryChange,
) -> Result<u64, ApiError> {
    caller.needs(TokenScope::Admin)?;
    let (state, found) = (api.clone(), search(caller, fields, change));
    let changed = async move {
        match found? {
            (filter, None) => Ok(state.store.change_deliveries(change, &filter).await?),
            (filter, Some(to)) => replay_to(&state, &filter, &to).await,
        }
    };
    finish(api, caller, change, fields.shown(), changed).await
}

/// Records a change with its result, also when the client does not wait for it: a change of many takes its time, and
/// is made to its end.
async fn finish(
    api: &ApiState,
    caller: &Caller,
    change: DeliveryChange,
    target: String,
    changed: impl Future<Output = Result<u64, ApiError>> + Send + 'static,
) -> Result<u64, ApiError> {
    let (api, caller) = (api.clone(), caller.clone());
    let recorded = tokio::spawn(async move {
        let changed = changed.await;
        record(&api, &caller, (word(change), &target), changed, counted(change)).await
    });
    recorded.await.unwrap_or(Err(ApiError::Store))
}

/// Returns what a change is called in paths and in the log of actions.
pub(crate) const fn word(change: DeliveryChange) -> &'static str {
    match change {
        DeliveryChange::Retry | DeliveryChange::Recover => "retry",
        DeliveryChange::Cancel => "cancel",
        DeliveryChange::Replay => "replay",
    }
}

fn counted(change: DeliveryChange) -> impl Fn(&u64) -> String {
    let done = match change {
        DeliveryChange::Retry | DeliveryChange::Recover => "retried",
        DeliveryChange::Cancel => "cancelled",
        DeliveryChange::Replay => "replayed",
    };
    move |count| format!("{count} {done}")
}

/// Returns the filter in a body, and the other webhook of a replay. The filter may not be empty, nor name a state that
/// the change cannot take.
fn search(
    caller: &Caller,
    fields: &JsonFields,
    change: DeliveryChange,
) -> Result<(Filter, Option<String>), ApiError> {
    let others: &[&str] = if change == DeliveryChange::Replay { &["to"] } else { &[] };
    let filter = search_in_body(fields, others)?;
    if filter == Filter::default() {
        return Err(ApiError::Value("body", "{\"status\": \"dead\"}, …"));
    }
    if filter.state.is_some_and(|state| !change.takes().contains(&state)) {
        return Err(ApiError::Value(
            "status",
            match change {
                DeliveryChange::Retry | DeliveryChange::Recover => "pending or dead",
                DeliveryChange::Cancel => "pending, held, dead or orphaned",
                DeliveryChange::Replay => "delivered, dead, orphaned or cancelled",
            },
        ));
    }
    let to = if change == DeliveryChange::Replay { fields.text("to")? } else { None };
    let to = to.map(ToOwned::to_owned);
    Ok((Filter { site: Some(caller.site().to_owned()), ..filter }, to))
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
        let over = DeliveryChange::Replay.takes();
        for row in page.rows.iter().filter(|row| over.contains(&row.state) && row.webhook != to) {
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

/// What a change of one delivery may respond.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description")]
enum ChangeRefused {
    /// There is none in the token's site
    #[response(status = 404)]
    Unknown(Problem),
    /// Its state does not allow it
    #[response(status = 409)]
    State(Problem),
    /// The store does not respond
    #[response(status = 503)]
    Store(Problem),
}

/// What a change of matching deliveries may respond.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description")]
enum SearchRefused {
    /// A parameter is wrong
    #[response(status = 400)]
    Search(Problem),
    /// There is no such webhook in the token's site
    #[response(status = 404)]
    Unknown(Problem),
    /// The store does not respond
    #[response(status = 503)]
    Store(Problem),
}

/// Which deliveries; one field at least.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
struct DeliverySearch {
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
    /// The name of the first attachment that has one.
    #[schema(required = false)]
    file_name: String,
    /// The code of one of its processing errors.
    #[schema(required = false, example = "800")]
    error_code: String,
    /// When the event happened at the earliest, RFC 3339.
    #[schema(required = false)]
    from: String,
    /// When the event happened, before this, RFC 3339.
    #[schema(required = false)]
    until: String,
}

/// Which deliveries are made again; one field at least.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
struct ReplayRequest {
    #[serde(flatten)]
    search: DeliverySearch,
    /// Another webhook that receives the events instead.
    #[schema(required = false)]
    to: String,
}

/// Deliveries are due now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Retried {
    #[schema(example = "success")]
    status: &'static str,
    /// How many.
    retried: u64,
}

/// Deliveries are given up.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cancelled {
    #[schema(example = "success")]
    status: &'static str,
    /// How many.
    cancelled: u64,
}

/// Deliveries are due again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replayed {
    #[schema(example = "success")]
    status: &'static str,
    /// How many.
    replayed: u64,
}
