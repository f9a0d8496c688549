//! `/admin`: the running gateway, its events and its deliveries.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Gateway,
    bodies::{
        DeliveryList, EventList, Problem, ReloadDone, ReloadRefused, ReplayRequest, Replayed,
        Resumed, WebhookList,
    },
    caller::Caller,
    fields::JsonFields,
    responses::refused,
    search::{self, Listing},
};
use crate::{
    admin::{DeliveryView, EventView, ListPage, Search},
    control::{Refusal, Status},
    messages::Wrong,
    token::Scope,
};

/// Loads config and rules again. Scope admin, of the default site.
#[utoipa::path(
    post,
    path = "/admin/reload",
    tag = "admin",
    responses(
        (status = 200, description = "Done", body = ReloadDone),
        (status = 422, description = "Mistakes in the files; what was in force stays", body = ReloadRefused),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn reload(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.runs_the_gateway() {
        return refusal;
    }
    match gateway.reload().await {
        Ok(done) => Json(ReloadDone {
            status: "ok",
            generation: done.generation,
            added: done.added,
            changed: done.changed,
            removed: done.removed,
        })
        .into_response(),
        Err(errors) => {
            let body = ReloadRefused { status: "error", errors };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

/// Version, generation, last reload, store, queue. Scope read.
#[utoipa::path(
    get,
    path = "/admin/status",
    tag = "admin",
    responses(
        (status = 200, description = "Done", body = Status),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn status(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.needs(Scope::Read) {
        return refusal;
    }
    Json(gateway.status(caller.site()).await).into_response()
}

/// Every webhook with its live state. Scope read.
#[utoipa::path(
    get,
    path = "/admin/webhooks",
    tag = "admin",
    responses(
        (status = 200, description = "Done", body = WebhookList),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn webhooks(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.needs(Scope::Read) {
        return refusal;
    }
    let webhooks = gateway.webhooks(caller.site());
    Json(WebhookList { status: "success", data: webhooks }).into_response()
}

/// Puts a webhook back into service. Scope admin.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{name}/enable",
    tag = "admin",
    params(("name" = String, Path, description = "The webhook's name, a slash as %2F")),
    responses(
        (status = 200, description = "Done", body = Resumed),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn enable(
    State(gateway): State<Gateway>,
    caller: Caller,
    Path(name): Path<String>,
) -> Response {
    if let Err(refusal) = caller.needs(Scope::Admin) {
        return refusal;
    }
    let moved = gateway.enable(caller.site(), &name).await;
    respond(&gateway, moved.map(|resumed| Resumed { status: "success", resumed }))
}

/// Events, newest first. Scope read.
#[utoipa::path(
    get,
    path = "/admin/events",
    tag = "admin",
    params(("event" = Option<String>, Query, description = "The event's kind"),
        ("partner" = Option<String>, Query, description = "AS2 id of the remote side"),
        ("station" = Option<String>, Query, description = "AS2 id of our side"),
        ("webhook" = Option<String>, Query, description = "The webhook's name"),
        ("status" = Option<String>, Query, description = "Where the delivery stands"),
        ("message_id" = Option<String>, Query, description = "The AS2 Message-ID"),
        ("from" = Option<String>, Query, description = "The earliest, RFC 3339"),
        ("until" = Option<String>, Query, description = "Before this, RFC 3339"),
        ("cursor" = Option<i64>, Query, description = "next_cursor of the page before"),
        ("limit" = Option<u64>, Query, description = "Rows at most", minimum = 1, maximum = 500)),
    responses(
        (status = 200, description = "Done", body = EventList),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn events(
    State(gateway): State<Gateway>,
    caller: Caller,
    listing: Result<Listing, Response>,
) -> Response {
    let listing = match caller.needs(Scope::Read).and(listing) {
        Ok(listing) => listing,
        Err(refusal) => return refusal,
    };
    let page = gateway.events(caller.site(), &listing.search, listing.slice).await;
    let list = |page: ListPage<EventView>| EventList {
        status: "success",
        data: page.data,
        next_cursor: page.next_cursor,
    };
    respond(&gateway, page.map(list))
}

/// Deliveries, newest first. Scope read.
#[utoipa::path(
    get,
    path = "/admin/deliveries",
    tag = "admin",
    params(("event" = Option<String>, Query, description = "The event's kind"),
        ("partner" = Option<String>, Query, description = "AS2 id of the remote side"),
        ("station" = Option<String>, Query, description = "AS2 id of our side"),
        ("webhook" = Option<String>, Query, description = "The webhook's name"),
        ("status" = Option<String>, Query, description = "Where the delivery stands"),
        ("message_id" = Option<String>, Query, description = "The AS2 Message-ID"),
        ("from" = Option<String>, Query, description = "The earliest, RFC 3339"),
        ("until" = Option<String>, Query, description = "Before this, RFC 3339"),
        ("cursor" = Option<i64>, Query, description = "next_cursor of the page before"),
        ("limit" = Option<u64>, Query, description = "Rows at most", minimum = 1, maximum = 500)),
    responses(
        (status = 200, description = "Done", body = DeliveryList),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn deliveries(
    State(gateway): State<Gateway>,
    caller: Caller,
    listing: Result<Listing, Response>,
) -> Response {
    let listing = match caller.needs(Scope::Read).and(listing) {
        Ok(listing) => listing,
        Err(refusal) => return refusal,
    };
    let page = gateway.deliveries(caller.site(), &listing.search, listing.slice).await;
    let list = |page: ListPage<DeliveryView>| DeliveryList {
        status: "success",
        data: page.data,
        next_cursor: page.next_cursor,
    };
    respond(&gateway, page.map(list))
}

/// Makes a delivery again. Scope admin.
#[utoipa::path(
    post,
    path = "/admin/deliveries/{id}/replay",
    tag = "admin",
    params(("id" = i64, Path, description = "The delivery's number")),
    responses(
        (status = 200, description = "Done", body = Replayed),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 409, description = "It is not over yet", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn replay_one(
    State(gateway): State<Gateway>,
    caller: Caller,
    Path(id): Path<String>,
) -> Response {
    if let Err(refusal) = caller.needs(Scope::Admin) {
        return refusal;
    }
    let replayed = match id.parse() {
        Ok(id) => gateway.replay_one(caller.site(), id).await,
        Err(_) => Err(Refusal::Unknown),
    };
    respond(&gateway, replayed.map(|()| Replayed { status: "success", replayed: 1 }))
}

/// Makes all matching deliveries again that are delivered, dead or orphaned. Scope admin.
#[utoipa::path(
    post,
    path = "/admin/replay",
    tag = "admin",
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "Done", body = Replayed),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 413, description = "More than 64 KiB", body = Problem),
        (status = 415, description = "Not JSON", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn replay(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<JsonFields, Response>,
) -> Response {
    let fields = match caller.needs(Scope::Admin).and(fields) {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    let ask = async || {
        // A typo in a name would replay more than intended.
        let known: Vec<_> = search::NAMES.into_iter().chain(["to"]).collect();
        if let Some(name) = fields.other_than(&known) {
            return Err(Wrong::Parameter(name.to_owned()).into());
        }
        let (search, to) = (search::in_body(&fields)?, fields.string("to")?);
        if search == Search::default() {
            return Err(Refusal::Wrong(Wrong::Value("body", "{\"status\": \"dead\"}, …")));
        }
        gateway.replay(caller.site(), &search, to.as_deref()).await
    };
    let replayed = ask().await;
    respond(&gateway, replayed.map(|replayed| Replayed { status: "success", replayed }))
}

fn respond(gateway: &Gateway, outcome: Result<impl Serialize, Refusal>) -> Response {
    match outcome {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refused(gateway.language(), &refusal),
    }
}
