//! `/api/v1/webhooks`: the webhook of a partner, exactly as in `docs/api.md`.

use as2hook_config::TokenScope;
use as2hook_event::{EventKind, Rule, Secret, SecretString};
use as2hook_sink::Guard;
use as2hook_store::{AttemptRow, PartnerWebhookChange, StoreError};
use axum::{Json, extract::State};
use openssl::error::ErrorStack;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoResponses, ToSchema};

use crate::{
    audit::record,
    caller::Caller,
    error::{ApiError, BodyRefused, Denied, Problem},
    fields::JsonFields,
    gateway::{ApiState, PartnerWebhookView},
    partner_events::{EventName, spanish_name},
    rfc3339,
};

/// The default number of rows of the log, and the maximum.
const LOG_ROWS: u64 = 50;
const LOG_ROWS_MAX: u64 = 500;

/// Returns the name of a partner's webhook in the store, in logs and in the admin API. No rule has
/// such a name: a rule's name has no slash.
pub fn partner_webhook_name(site: &str, partner: u64) -> String {
    format!("partner/{site}/{partner}")
}

/// Whether a rule is the webhook of a partner.
pub fn is_partner_webhook(rule: &Rule) -> bool {
    rule.name.starts_with("partner/")
}

/// Returns the keys that the JSON of a partner's webhook begins with; none for a rule's.
pub fn leading_keys(rule: &Rule, event: EventKind) -> Vec<(&'static str, Value)> {
    let partner = rule.name.rsplit_once('/').filter(|_| is_partner_webhook(rule));
    let Some(partner) = partner.and_then(|(_, id)| id.parse::<u64>().ok()) else {
        return Vec::new();
    };
    vec![
        ("event", json!(event.as_str())),
        ("event_name", json!(spanish_name(event))),
        ("partner_id", json!(partner)),
    ]
}

/// Makes or changes the webhook of a partner. Scope write.
#[utoipa::path(
    post, path = "/api/v1/webhooks/configure", tag = "webhooks", security(("token" = [])),
    request_body = ConfigureRequest,
    responses((status = 200, description = "Done", body = Configured), PartnerRefusal, BodyRefused, Denied),
)]
pub(crate) async fn configure(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Configured>, ApiError> {
    caller.needs(TokenScope::Write)?;
    let fields = fields?;
    let id = fields.partner()?;
    let (url, secret) = (fields.url()?, fields.secret()?);
    let (enabled, events) = (fields.enabled()?, fields.events()?);
    caller.partner(id)?;
    // A name is judged when it is connected to. A lookup here would show a client of the API which
    // names the private network has.
    let guard = Guard::public(caller.config().api.allow_networks.iter().copied());
    if url.as_ref().is_some_and(|url| !guard.admits_url(url)) {
        return Err(ApiError::PrivateUrl);
    }
    let secret = secret.as_ref().map(SecretString::expose);
    if secret.is_some_and(|secret| !secret.is_empty() && Secret::parse(secret).is_err()) {
        return Err(ApiError::BadSecret);
    }
    let (site, key) = (caller.site(), api.gateway.key());
    let name = partner_webhook_name(site, id);
    let url = url.map(|url| key.seal_url(&name, &url.to_string())).transpose();
    let sealed_secret = secret.map(|secret| match secret {
        "" => Ok(Vec::new()),
        _ => key.seal(site, id, secret),
    });
    let unsealed = |error: ErrorStack| {
        StoreError::Database(format!("a webhook's secret or URL cannot be encrypted: {error}"))
    };
    let change = PartnerWebhookChange {
        site: site.to_owned(),
        partner: id,
        url: url.map_err(unsealed)?,
        sealed_secret: sealed_secret.transpose().map_err(unsealed)?,
        enabled,
        events: events.map(|events| events.iter().map(ToString::to_string).collect()),
    };
    let configured = match api.gateway.configure(change).await {
        Ok(false) => Err(ApiError::Missing("webhook_url")),
        configured => configured.map(drop).map_err(ApiError::from),
    };
    api.dispatcher.rules_changed();
    let in_words = |(): &()| "configured".to_owned();
    record(&api, &caller, ("configure", &name), configured, in_words).await?;
    Ok(Json(Configured { status: "success", msg: "Webhook configured" }))
}

/// Shows the webhook of a partner, never its secret. Scope read.
#[utoipa::path(
    post, path = "/api/v1/webhooks/get", tag = "webhooks", security(("token" = [])),
    request_body = PartnerRequest,
    responses((status = 200, description = "Done", body = Shown), PartnerRefusal, BodyRefused, Denied),
)]
pub(crate) async fn get(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Shown>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let id = fields?.partner()?;
    caller.partner(id)?;
    let webhook = api.gateway.partner_webhook(caller.site(), id);
    let never = || PartnerWebhookView { partner_id: id, ..PartnerWebhookView::default() };
    Ok(Json(Shown { status: "success", data: webhook.unwrap_or_else(never) }))
}

/// Lists the attempts of a partner's webhook, newest first. Scope read.
#[utoipa::path(
    post, path = "/api/v1/webhooks/logs", tag = "webhooks", security(("token" = [])),
    request_body = LogsRequest,
    responses((status = 200, description = "Done", body = Logged), PartnerRefusal, BodyRefused, Denied),
)]
pub(crate) async fn logs(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Json<Logged>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let fields = fields?;
    let id = fields.partner()?;
    let limit = fields.whole("limit", 1, LOG_ROWS_MAX)?.unwrap_or(LOG_ROWS);
    let offset = fields.whole("offset", 0, i64::MAX.cast_unsigned())?.unwrap_or(0);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    caller.partner(id)?;
    let name = partner_webhook_name(caller.site(), id);
    let log = api.store.attempt_log(&name, offset, limit).await?;
    let entry = |row: AttemptRow| LogEntry {
        id: row.id,
        url: api.gateway.key().unseal_url(&row.webhook, &row.attempt.url).unwrap_or_default(),
        webhook_id: row.webhook_id,
        event: row.event.kind,
        attempt: row.attempt.number,
        status: row.state.as_str().to_owned(),
        http_code: row.attempt.http_code,
        error: row.attempt.error,
        duration_ms: row.attempt.duration_ms,
        created_at: rfc3339(row.attempt.at).unwrap_or_default(),
        next_attempt_at: row.next_at.and_then(rfc3339),
    };
    let data = log.rows.into_iter().map(entry).collect();
    Ok(Json(Logged { status: "success", total: log.total, data }))
}

/// What every route of a partner's webhook may respond.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description")]
pub(crate) enum PartnerRefusal {
    /// A field is missing or wrong
    #[response(status = 400)]
    Field(Problem),
    /// No such partner in the token's site
    #[response(status = 404)]
    Partner(Problem),
    /// The store does not answer, or too much goes on at once
    #[response(status = 503)]
    Store(Problem),
}

/// Which partner.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
pub(crate) struct PartnerRequest {
    /// The partner's number; `socio_id` is an older name of it.
    #[schema(minimum = 1, example = 123)]
    partner_id: u64,
}

/// A partner's webhook; what is not sent stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
struct ConfigureRequest {
    /// The partner's number; `socio_id` is an older name of it.
    #[schema(minimum = 1, example = 123)]
    partner_id: u64,
    /// http or https, without user and password, on the public internet or in `api.allow_networks`.
    /// Needed the first time.
    #[schema(required = false, max_length = 2048, example = "https://myapp.com/webhook/as2")]
    webhook_url: String,
    /// Signs deliveries; empty takes it away.
    #[schema(required = false, max_length = 1024, example = "my_secret")]
    webhook_secret: String,
    /// `webhook_activo` is an older name of it. The first time: true.
    #[schema(required = false, example = true)]
    webhook_enabled: bool,
    /// `webhook_eventos` is an older name of it. Empty: `message.received`.
    #[schema(required = false, example = json!(["message.received", "mdn.received"]))]
    webhook_events: Vec<EventName>,
}

/// Which part of a partner's log.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
struct LogsRequest {
    /// The partner's number; `socio_id` is an older name of it.
    #[schema(minimum = 1, example = 123)]
    partner_id: u64,
    /// Rows at most.
    #[schema(required = false, minimum = 1, maximum = 500, default = 50)]
    limit: u64,
    /// Rows skipped.
    #[schema(required = false, minimum = 0, default = 0)]
    offset: i64,
}

/// The webhook is configured.
#[derive(Serialize, ToSchema)]
pub(crate) struct Configured {
    #[schema(example = "success")]
    status: &'static str,
    #[schema(example = "Webhook configured")]
    msg: &'static str,
}

/// A partner's webhook.
#[derive(Serialize, ToSchema)]
pub(crate) struct Shown {
    #[schema(example = "success")]
    status: &'static str,
    data: PartnerWebhookView,
}

/// A partner's log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Logged {
    #[schema(example = "success")]
    status: &'static str,
    /// How many rows there are in all.
    total: u64,
    /// Newest first.
    data: Vec<LogEntry>,
}

/// One attempt.
#[derive(Serialize, ToSchema)]
struct LogEntry {
    /// The attempt's number in the store.
    id: i64,
    /// The `webhook-id` that the endpoint received.
    webhook_id: String,
    /// The event that was delivered.
    event: String,
    /// The URL.
    url: String,
    /// Counts from 1.
    attempt: u32,
    /// The outcome for the delivery: delivered, pending (it is retried), dead, held.
    status: String,
    /// The status of the endpoint's response.
    http_code: Option<u16>,
    /// Why it failed.
    error: Option<String>,
    /// How long it took.
    duration_ms: u64,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    next_attempt_at: Option<String>,
}
