//! `/api/v1/webhooks`: the webhook of a partner, as seed 000 has it.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{
    Gateway,
    answer::{mistaken, refused},
    caller::Caller,
    fields::Fields,
};
use crate::{control::Refusal, messages::Wrong, partner::Change, token::Scope};

/// Rows of the log unless the request says otherwise (seed 000), and at most.
const LOG_ROWS: u64 = 50;
const LOG_ROWS_MAX: u64 = 500;

pub(super) async fn configure(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<Fields, Response>,
) -> Response {
    answer(&gateway, &caller, Scope::Write, fields, async |fields| {
        let partner = partner(fields)?;
        let change = Change {
            url: fields.url()?,
            secret: fields.secret()?,
            enabled: fields.enabled()?,
            events: fields.events()?,
        };
        gateway.configure(caller.site(), partner, change).await?;
        Ok(Json(json!({"status": "success", "msg": "Webhook configured"})).into_response())
    })
    .await
}

pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<Fields, Response>,
) -> Response {
    answer(&gateway, &caller, Scope::Read, fields, async |fields| {
        let webhook = gateway.partner_webhook(caller.site(), partner(fields)?).await?;
        Ok(Json(json!({"status": "success", "data": webhook})).into_response())
    })
    .await
}

pub(super) async fn test(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<Fields, Response>,
) -> Response {
    answer(&gateway, &caller, Scope::Write, fields, async |fields| {
        let tested = gateway.test(caller.site(), partner(fields)?).await?;
        let http_code = tested.http_code;
        if let Some(msg) = tested.failure {
            let body = json!({"status": "error", "http_code": http_code, "msg": msg});
            return Ok((StatusCode::BAD_GATEWAY, Json(body)).into_response());
        }
        let name = tested.event.spanish();
        Ok(Json(json!({
            "status": "success",
            "http_code": http_code,
            "requested_event_name": name,
            "event_name": name,
            "event": tested.event.as_str(),
        }))
        .into_response())
    })
    .await
}

pub(super) async fn logs(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<Fields, Response>,
) -> Response {
    answer(&gateway, &caller, Scope::Read, fields, async |fields| {
        let partner = partner(fields)?;
        let limit = fields.whole("limit", 1, LOG_ROWS_MAX)?.unwrap_or(LOG_ROWS);
        let offset = fields.whole("offset", 0, i64::MAX.cast_unsigned())?.unwrap_or(0);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let log = gateway.log(caller.site(), partner, offset, limit).await?;
        let body = json!({"status": "success", "total": log.total, "data": log.data});
        Ok(Json(body).into_response())
    })
    .await
}

/// The partner that a body names.
fn partner(fields: &Fields) -> Result<u64, Refusal> {
    fields.partner()?.ok_or(Refusal::UnknownPartner)
}

/// Scope first, so that who may not ask learns nothing from what is wrong with the question.
async fn answer(
    gateway: &Gateway,
    caller: &Caller,
    scope: Scope,
    fields: Result<Fields, Response>,
    ask: impl AsyncFnOnce(&Fields) -> Result<Response, Refusal>,
) -> Response {
    let fields = match caller.needs(scope).and(fields) {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    match ask(&fields).await {
        Ok(answer) => answer,
        Err(Refusal::Wrong(wrong)) => mistaken(gateway.language(), &wrong),
        Err(refusal) => refused(gateway.language(), &refusal),
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}
