//! `/admin/webhooks`: the webhooks in force, with their live state.

use std::sync::Arc;

use as2hook_config::TokenScope;
use as2hook_delivery::{DISABLE_AFTER, Health, HealthState};
use as2hook_event::{PartnerType, Route, Rule};
use axum::{
    Json,
    extract::{Path, State},
    http::Uri,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audit::record,
    caller::Caller,
    error::{ApiError, Denied, Problem},
    gateway::ApiState,
    partner_webhooks::is_partner_webhook,
    rfc3339,
};

const MASK: &str = "***";

/// Every webhook with its live state. Scope read.
#[utoipa::path(
    get, path = "/admin/webhooks", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "Done", body = WebhookList), Denied),
)]
pub(crate) async fn webhooks(
    State(api): State<ApiState>,
    caller: Caller,
) -> Result<Json<WebhookList>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let all = api.gateway.webhooks();
    let own = all.iter().filter(|rule| rule.site == caller.site());
    let mut data: Vec<_> =
        own.map(|rule| WebhookView::new(rule, api.dispatcher.health(&rule.name))).collect();
    data.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(WebhookList { status: "success", data }))
}

/// Puts a webhook back into service. Scope admin.
#[utoipa::path(
    post, path = "/admin/webhooks/{name}/enable", tag = "admin", security(("token" = [])),
    params(("name" = String, Path, description = "The webhook's name, a slash as %2F")),
    responses(
        (status = 200, description = "Done", body = Resumed),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 409, description = "The rule is not enabled", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn enable(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Resumed>, ApiError> {
    let resumed = enable_webhook(&api, &caller, &name).await?;
    Ok(Json(Resumed { status: "success", resumed }))
}

/// Puts a webhook of the caller's site back into service. Returns how many held deliveries go on.
pub(crate) async fn enable_webhook(
    api: &ApiState,
    caller: &Caller,
    name: &str,
) -> Result<u64, ApiError> {
    caller.needs(TokenScope::Admin)?;
    if !rule_of(api, caller, name)?.enabled {
        // What holds it is the rule itself: the dispatcher would leave it as it is.
        return Err(ApiError::Inactive);
    }
    let resumed = api.dispatcher.enable(name).await.map_err(ApiError::from);
    let in_words = |resumed: &u64| format!("{resumed} held deliveries go on");
    record(api, caller, ("enable", name), resumed, in_words).await
}

/// Returns the webhook of this name in the caller's site.
pub(crate) fn rule_of(api: &ApiState, caller: &Caller, name: &str) -> Result<Arc<Rule>, ApiError> {
    let rule = api.directory.endpoint(name).filter(|rule| rule.site == caller.site());
    rule.ok_or(ApiError::NotFound)
}

/// The webhooks of the token's site.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookList {
    #[schema(example = "success")]
    pub(crate) status: &'static str,
    pub(crate) data: Vec<WebhookView>,
}

/// The webhook is in service.
#[derive(Serialize, ToSchema)]
pub(crate) struct Resumed {
    #[schema(example = "success")]
    pub(crate) status: &'static str,
    /// Held deliveries that go on.
    pub(crate) resumed: u64,
}

/// A webhook in force, with its live state.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookView {
    /// Unique.
    pub(crate) name: String,
    /// `file` (a rule) or `api` (a partner's webhook).
    pub(crate) source: &'static str,
    /// The tenant.
    pub(crate) site: String,
    /// Names of events; `*` is all.
    pub(crate) events: Vec<&'static str>,
    /// AS2 id of the remote side. `None`: any.
    pub(crate) partner: Option<String>,
    /// AS2 id of our side. `None`: any.
    pub(crate) station: Option<String>,
    /// `Production` or `Test`. `None`: any.
    pub(crate) partner_type: Option<&'static str>,
    /// The types of documents of its filter. `None`: any.
    pub(crate) document: Option<Vec<String>>,
    /// The signature statuses of its filter. `None`: any.
    pub(crate) signature: Option<Vec<&'static str>>,
    /// The processing errors of its filter: `none`, `any`, or codes separated by commas. `None`:
    /// any and none.
    pub(crate) errors: Option<String>,
    /// Its URL; a query is masked, since it may hold a token.
    pub(crate) url: String,
    /// `headers`, `json` or `raw`.
    pub(crate) payload: &'static str,
    /// One mask for each secret.
    pub(crate) secrets: Vec<&'static str>,
    /// The names of the operator's own headers; values are never shown.
    pub(crate) headers: Vec<String>,
    /// `most-specific` or `always`.
    #[schema(value_type = String)]
    pub(crate) route: Route,
    /// The most attempts in a time, such as `50/s`, made by each gateway. `None`: no limit.
    pub(crate) rate: Option<String>,
    /// Seconds of nothing but failures after which it is disabled.
    pub(crate) disable_after: u64,
    /// A disabled webhook matches nothing.
    pub(crate) enabled: bool,
    /// Its health.
    pub(crate) state: HealthView,
}

/// The health of a webhook.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = WebhookState)]
pub(crate) struct HealthView {
    /// `healthy`, `retrying`, `disabled` or `orphaned`.
    pub(crate) standing: &'static str,
    /// Why it is disabled.
    pub(crate) reason: Option<String>,
    /// The time of the first failure since the last success.
    pub(crate) failing_since: Option<String>,
    /// Attempts that failed since the last success.
    pub(crate) consecutive_failures: u32,
    /// Attempts that succeeded since the start.
    pub(crate) delivered: u64,
    /// Attempts that failed since the start.
    pub(crate) failed: u64,
    /// Deliveries that used up their retries since the start.
    pub(crate) dead: u64,
    /// Attempts in progress.
    pub(crate) in_flight: usize,
    /// When the last attempt ended.
    pub(crate) last_attempt: Option<String>,
    /// The status of the last response.
    pub(crate) last_http_code: Option<u16>,
    /// The error of the last failed attempt.
    pub(crate) last_error: Option<String>,
    /// The end of the pause that the endpoint asked for.
    pub(crate) paused_until: Option<String>,
}

// === impl WebhookView ===

impl WebhookView {
    pub(crate) fn new(rule: &Rule, health: Option<Health>) -> Self {
        let Rule { filters, endpoint, .. } = rule;
        let unused = || HealthView { standing: "healthy", ..HealthView::default() };
        Self {
            name: rule.name.clone(),
            source: if is_partner_webhook(rule) { "api" } else { "file" },
            site: rule.site.clone(),
            events: match &rule.events {
                None => vec!["*"],
                Some(events) => events.iter().map(|event| event.as_str()).collect(),
            },
            partner: rule.partner.clone(),
            station: rule.station.clone(),
            partner_type: rule.partner_type.map(PartnerType::as_str),
            document: filters
                .documents
                .as_ref()
                .map(|types| types.iter().map(ToString::to_string).collect()),
            signature: filters
                .signature
                .as_ref()
                .map(|statuses| statuses.iter().map(|status| status.as_str()).collect()),
            errors: filters.errors.as_ref().map(ToString::to_string),
            url: match &endpoint.sink {
                Some(sink) => sink.name.to_owned(),
                None => masked(&endpoint.url),
            },
            payload: endpoint.payload.name,
            secrets: endpoint.secrets.iter().map(|_| MASK).collect(),
            headers: endpoint.headers.iter().map(|(name, _)| name.as_str().to_owned()).collect(),
            route: rule.route,
            rate: endpoint.rate.map(|rate| rate.to_string()),
            disable_after: endpoint.disable_after.unwrap_or(DISABLE_AFTER).as_secs(),
            enabled: rule.enabled,
            state: health.map_or_else(unused, HealthView::from),
        }
    }
}

/// Masks a user's password and any token in the query.
pub(crate) fn masked(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let query = if url.query().is_some() { "?***" } else { "" };
    format!("{scheme}://{host}{}{query}", url.path())
}

// === impl HealthView ===

impl From<Health> for HealthView {
    fn from(health: Health) -> Self {
        let (standing, reason) = match health.health_state {
            HealthState::Healthy => ("healthy", None),
            HealthState::Retrying => ("retrying", None),
            HealthState::Disabled { reason } => ("disabled", Some(reason)),
            HealthState::Orphaned => ("orphaned", None),
        };
        Self {
            standing,
            reason,
            failing_since: health.failing_since.and_then(rfc3339),
            consecutive_failures: health.consecutive_failures,
            delivered: health.delivered,
            failed: health.failed,
            dead: health.dead,
            in_flight: health.in_flight,
            last_attempt: health.last_attempt.and_then(rfc3339),
            last_http_code: health.last_http_code,
            last_error: health.last_error,
            paused_until: health.paused_until.and_then(rfc3339),
        }
    }
}
