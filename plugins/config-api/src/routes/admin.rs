//! `/admin`: what runs, and what became of what was told.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use super::{
    Gateway,
    answer::refused,
    caller::Caller,
    fields::Fields,
    search::{self, Listing},
};
use crate::{
    admin::{Page, Search},
    control::Refusal,
    messages::Wrong,
    token::Scope,
};

pub(super) async fn reload(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.runs_the_gateway() {
        return refusal;
    }
    match gateway.reload().await {
        Ok(done) => Json(json!({
            "status": "ok",
            "generation": done.generation,
            "added": done.added,
            "changed": done.changed,
            "removed": done.removed,
        }))
        .into_response(),
        Err(errors) => {
            let body = json!({"status": "error", "errors": errors});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

pub(super) async fn status(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.needs(Scope::Read) {
        return refusal;
    }
    Json(gateway.status().await).into_response()
}

pub(super) async fn webhooks(State(gateway): State<Gateway>, caller: Caller) -> Response {
    if let Err(refusal) = caller.needs(Scope::Read) {
        return refusal;
    }
    let webhooks = gateway.webhooks(caller.site());
    Json(json!({"status": "success", "data": webhooks})).into_response()
}

pub(super) async fn enable(
    State(gateway): State<Gateway>,
    caller: Caller,
    Path(name): Path<String>,
) -> Response {
    if let Err(refusal) = caller.needs(Scope::Admin) {
        return refusal;
    }
    let moved = gateway.enable(caller.site(), &name).await;
    told(&gateway, moved.map(|moved| json!({"status": "success", "resumed": moved})))
}

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
    told(&gateway, page.map(|page| list(&page)))
}

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
    told(&gateway, page.map(|page| list(&page)))
}

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
    told(&gateway, replayed.map(|()| json!({"status": "success", "replayed": 1})))
}

pub(super) async fn replay(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<Fields, Response>,
) -> Response {
    let fields = match caller.needs(Scope::Admin).and(fields) {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    let ask = async || {
        // A slip in a name would replay more than was meant.
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
    told(&gateway, replayed.map(|n| json!({"status": "success", "replayed": n})))
}

fn list<T: Serialize>(page: &Page<T>) -> serde_json::Value {
    json!({"status": "success", "data": page.data, "next_cursor": page.next_cursor})
}

fn told(gateway: &Gateway, outcome: Result<serde_json::Value, Refusal>) -> Response {
    match outcome {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refused(gateway.language(), &refusal),
    }
}
