//! `/api/v1/webhooks`: the webhook of a partner, exactly as in `docs/api.md`.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    Gateway,
    bodies::{
        ConfigureRequest, Configured, Logged, LogsRequest, PartnerRequest, Problem, Shown,
        TestFailed, TestPassed,
    },
    caller::Caller,
    fields::JsonFields,
    responses::{mistaken, refused},
};
use crate::{control::Refusal, messages::Wrong, partner::Change, token::Scope};

/// The default number of rows of the log, and the maximum.
const LOG_ROWS: u64 = 50;
const LOG_ROWS_MAX: u64 = 500;

/// Makes or changes the webhook of a partner. Scope write.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/configure",
    tag = "webhooks",
    request_body = ConfigureRequest,
    responses(
        (status = 200, description = "Done", body = Configured),
        (status = 400, description = "A field is missing or wrong", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 404, description = "No such partner in the token's site", body = Problem),
        (status = 413, description = "More than 64 KiB", body = Problem),
        (status = 415, description = "Not JSON", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer, or too much goes on at once", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn configure(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<JsonFields, Response>,
) -> Response {
    respond(&gateway, &caller, Scope::Write, fields, async |fields| {
        let partner = partner(fields)?;
        let change = Change {
            url: fields.url()?,
            secret: fields.secret()?,
            enabled: fields.enabled()?,
            events: fields.events()?,
        };
        gateway.configure(caller.site(), partner, change).await?;
        let body = Configured { status: "success", msg: "Webhook configured" };
        Ok(Json(body).into_response())
    })
    .await
}

/// Shows the webhook of a partner, never its secret. Scope read.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/get",
    tag = "webhooks",
    request_body = PartnerRequest,
    responses(
        (status = 200, description = "Done", body = Shown),
        (status = 400, description = "A field is missing or wrong", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 404, description = "No such partner in the token's site", body = Problem),
        (status = 413, description = "More than 64 KiB", body = Problem),
        (status = 415, description = "Not JSON", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer, or too much goes on at once", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<JsonFields, Response>,
) -> Response {
    respond(&gateway, &caller, Scope::Read, fields, async |fields| {
        let webhook = gateway.partner_webhook(caller.site(), partner(fields)?).await?;
        Ok(Json(Shown { status: "success", data: webhook }).into_response())
    })
    .await
}

/// Makes a test delivery, and waits for it at most 15 s. Scope write.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/test",
    tag = "webhooks",
    request_body = PartnerRequest,
    responses(
        (status = 200, description = "The endpoint took it", body = TestPassed),
        (status = 409, description = "The webhook is off", body = Problem),
        (status = 502, description = "The endpoint failed", body = TestFailed),
        (status = 400, description = "A field is missing or wrong", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 404, description = "No such partner in the token's site", body = Problem),
        (status = 413, description = "More than 64 KiB", body = Problem),
        (status = 415, description = "Not JSON", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer, or too much goes on at once", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn test(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<JsonFields, Response>,
) -> Response {
    respond(&gateway, &caller, Scope::Write, fields, async |fields| {
        let tested = gateway.test(caller.site(), partner(fields)?).await?;
        let http_code = tested.http_code;
        if let Some(msg) = tested.failure {
            let body = TestFailed { status: "error", http_code, msg };
            return Ok((StatusCode::BAD_GATEWAY, Json(body)).into_response());
        }
        let name = tested.event.spanish();
        let body = TestPassed {
            status: "success",
            http_code,
            requested_event_name: name,
            event_name: name,
            event: tested.event.as_str(),
        };
        Ok(Json(body).into_response())
    })
    .await
}

/// Lists the attempts of a partner's webhook, newest first. Scope read.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/logs",
    tag = "webhooks",
    request_body = LogsRequest,
    responses(
        (status = 200, description = "Done", body = Logged),
        (status = 400, description = "A field is missing or wrong", body = Problem),
        (status = 401, description = "Invalid token", body = Problem),
        (status = 403, description = "The token has not this scope", body = Problem),
        (status = 404, description = "No such partner in the token's site", body = Problem),
        (status = 413, description = "More than 64 KiB", body = Problem),
        (status = 415, description = "Not JSON", body = Problem),
        (status = 429, description = "Too many bad tokens from this address", body = Problem),
        (status = 503, description = "The store does not answer, or too much goes on at once", body = Problem),
    ),
    security(("token" = []))
)]
pub(super) async fn logs(
    State(gateway): State<Gateway>,
    caller: Caller,
    fields: Result<JsonFields, Response>,
) -> Response {
    respond(&gateway, &caller, Scope::Read, fields, async |fields| {
        let partner = partner(fields)?;
        let limit = fields.whole("limit", 1, LOG_ROWS_MAX)?.unwrap_or(LOG_ROWS);
        let offset = fields.whole("offset", 0, i64::MAX.cast_unsigned())?.unwrap_or(0);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let log = gateway.log(caller.site(), partner, offset, limit).await?;
        let body = Logged { status: "success", total: log.total, data: log.data };
        Ok(Json(body).into_response())
    })
    .await
}

/// Returns the partner that a body names.
fn partner(fields: &JsonFields) -> Result<u64, Refusal> {
    fields.partner()?.ok_or(Refusal::UnknownPartner)
}

/// Checks the scope first, so that a caller without it learns nothing from the mistakes of its
/// request.
async fn respond(
    gateway: &Gateway,
    caller: &Caller,
    scope: Scope,
    fields: Result<JsonFields, Response>,
    ask: impl AsyncFnOnce(&JsonFields) -> Result<Response, Refusal>,
) -> Response {
    let fields = match caller.needs(scope).and(fields) {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    match ask(&fields).await {
        Ok(response) => response,
        Err(Refusal::Wrong(wrong)) => mistaken(gateway.language(), &wrong),
        Err(refusal) => refused(gateway.language(), &refusal),
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}
