//! `/admin/status` and `/admin/reload`: the running gateway.

use as2hook_config::{ConfigDiagnostic, TokenScope};
use as2hook_delivery::HealthState;
use as2hook_store::{Counts, DeliveryState, GatewayReport, clock};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audit::record,
    caller::Caller,
    error::{ApiError, Denied},
    gateway::{ApiState, GatewayFigures, LastReload, Reloaded},
    partner_webhooks::is_partner_webhook,
    rfc3339,
};

/// Loads config and rules again. Scope admin, of the default site.
#[utoipa::path(
    post, path = "/admin/reload", tag = "admin", security(("token" = [])),
    responses(
        (status = 200, description = "Done", body = Reloaded),
        (status = 422, description = "Mistakes in the files; what was in force stays", body = ReloadRefused),
        Denied,
    ),
)]
pub(crate) async fn reload(
    State(api): State<ApiState>,
    caller: Caller,
) -> Result<Response, ApiError> {
    Ok(match reload_for(&api, &caller).await? {
        Ok(done) => Json(done).into_response(),
        Err(errors) => {
            let body = ReloadRefused { status: "error", errors };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    })
}

/// Loads config and rules again for a caller that may.
pub(crate) async fn reload_for(
    api: &ApiState,
    caller: &Caller,
) -> Result<Result<Reloaded, Vec<ConfigDiagnostic>>, ApiError> {
    caller.needs(TokenScope::Admin)?;
    if !caller.is_of_default_site() {
        return Err(ApiError::OtherSite);
    }
    let reloaded = api.gateway.reload().await;
    let said = match &reloaded {
        Ok(done) => format!("generation {}", done.generation),
        Err(errors) => format!("refused: {} mistakes", errors.len()),
    };
    record(api, caller, ("reload", "config"), Ok(()), |()| said.clone()).await?;
    Ok(reloaded)
}

/// Version, generation, last reload, store, queue. Scope read.
#[utoipa::path(
    get, path = "/admin/status", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "Done", body = Status), Denied),
)]
pub(crate) async fn status(
    State(api): State<ApiState>,
    caller: Caller,
) -> Result<Json<Status>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let everything = caller.is_of_default_site();
    let mut webhooks = api.gateway.webhooks();
    if !everything {
        webhooks.retain(|rule| rule.site == caller.site());
    }
    let rules = webhooks.iter().filter(|rule| !is_partner_webhook(rule)).count();
    let names = webhooks.iter().map(|rule| rule.name.clone());
    let figures = api.gateway.figures();
    let mut last_reload = figures.last_reload.clone();
    last_reload.error = last_reload.error.filter(|_| everything);
    let gateways = if everything { gateways(&api, &figures).await } else { Vec::new() };
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        generation: figures.generation,
        webhooks: rules,
        last_reload,
        store: store_status(&api, &caller, names).await,
        hash: everything.then_some(figures.hash),
        in_flight: everything.then_some(figures.in_flight),
        drift: gateways.iter().any(|gateway| gateway.drift),
        outdated: everything && !api.directory.is_newest(),
        gateways,
        out_of_service: out_of_service(&api, &caller),
    }))
}

pub(crate) async fn gateways(api: &ApiState, own: &GatewayFigures) -> Vec<GatewayView> {
    // That the store fails stands elsewhere in the response.
    let since = clock::now() - GatewayReport::ALIVE_MS;
    let mut alive = api.store.gateways(since).await.unwrap_or_default();
    // One that stopped cleanly has said so by a report from long ago.
    alive.retain(|gateway| gateway.seen_at > 0);
    let view = |report: GatewayReport| GatewayView {
        id: report.id.to_string(),
        is_self: report.id == own.id,
        host: report.host,
        pid: report.process,
        version: report.version,
        started: rfc3339(report.started_at).unwrap_or_default(),
        seen: rfc3339(report.seen_at).unwrap_or_default(),
        drift: report.rules != own.rules,
        configuration: report.generation,
        rules: report.rules,
    };
    alive.into_iter().map(view).collect()
}

/// Returns the health of the store, as a token of the caller's site sees it.
async fn store_status(
    api: &ApiState,
    caller: &Caller,
    webhooks: impl Iterator<Item = String>,
) -> StoreStatus {
    let health = api.outbox.health();
    let everything = caller.is_of_default_site();
    let counts = if everything {
        api.store.counts().await
    } else {
        api.store.counts_of(caller.site(), webhooks.collect()).await
    };
    // The last error is of no interest once the store is well again.
    let last_error = health.failing_since.and(health.last_error.clone());
    let error = counts.as_ref().err().map(ToString::to_string).or(last_error);
    let counts = counts.unwrap_or_default();
    StoreStatus {
        ok: health.is_healthy() && error.is_none(),
        error: error.filter(|_| everything),
        queue_depth: count(&counts, DeliveryState::Pending)
            + count(&counts, DeliveryState::Claimed),
        dead: count(&counts, DeliveryState::Dead),
        held: everything.then(|| count(&counts, DeliveryState::Held)),
        orphaned: everything.then(|| count(&counts, DeliveryState::Orphaned)),
        open_exchanges: counts.open,
        oldest_undelivered: counts.oldest_undelivered.and_then(rfc3339),
        held_in_memory: everything.then_some(health.held),
    }
}

/// Returns the webhooks of the caller's site that nothing is delivered to.
fn out_of_service(api: &ApiState, caller: &Caller) -> Vec<OutOfService> {
    let is_own = |webhook: &str| match api.directory.endpoint(webhook) {
        Some(rule) => rule.site == caller.site(),
        // Nothing says whose it was.
        None => caller.is_of_default_site(),
    };
    let own = api.dispatcher.healths().into_iter().filter(|health| is_own(&health.webhook));
    let mut all: Vec<_> = own
        .filter_map(|health| {
            let reason = match health.health_state {
                HealthState::Disabled { reason } => reason,
                HealthState::Orphaned => "no rule has this name any more".to_owned(),
                HealthState::Healthy | HealthState::Retrying => return None,
            };
            Some(OutOfService { webhook: health.webhook, reason })
        })
        .collect();
    all.sort_by(|a, b| a.webhook.cmp(&b.webhook));
    all
}

fn count(counts: &Counts, state: DeliveryState) -> u64 {
    counts.deliveries.iter().filter(|(of, _)| *of == state).map(|(_, n)| n).sum()
}

/// What was in force stays.
#[derive(Serialize, ToSchema)]
struct ReloadRefused {
    #[schema(example = "error")]
    status: &'static str,
    #[schema(value_type = Vec<Mistake>)]
    errors: Vec<ConfigDiagnostic>,
}

/// A mistake in a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description of ConfigDiagnostic")]
struct Mistake {
    /// The file.
    file: String,
    /// From 1.
    line: usize,
    /// From 1.
    column: usize,
    /// Where in the document, such as `webhooks[2].url`.
    path: String,
    /// What is wrong.
    message: String,
}

/// `GET /admin/status`. A token of another site than the default one sees the figures of its own; what
/// is not separate for each site is `null` or empty there.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    /// Of the gateway.
    pub(crate) version: &'static str,
    /// Of the snapshot in force.
    pub(crate) generation: u64,
    /// SHA-256 of the files it was made of, hex. Of the default site alone.
    pub(crate) hash: Option<String>,
    /// Rules in force.
    pub(crate) webhooks: usize,
    /// Exchanges under way. Of the default site alone.
    pub(crate) in_flight: Option<usize>,
    /// How the last reload went.
    pub(crate) last_reload: LastReload,
    /// How the store is.
    pub(crate) store: StoreStatus,
    /// The gateways that share the store and live, this one too, the oldest first. Empty while the
    /// store does not say. Of the default site alone.
    pub(crate) gateways: Vec<GatewayView>,
    /// Whether one of them has other rules than this one.
    pub(crate) drift: bool,
    /// Whether one of them has a newer configuration than this one: then that one decides which deliveries are
    /// held or orphaned.
    pub(crate) outdated: bool,
    /// The site's webhooks out of service, and why: their deliveries are held or orphaned.
    pub(crate) out_of_service: Vec<OutOfService>,
}

/// A webhook out of service.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutOfService {
    /// Its name.
    pub(crate) webhook: String,
    /// Why, in a sentence.
    pub(crate) reason: String,
}

/// A gateway of the same store.
#[derive(Serialize, ToSchema)]
pub(crate) struct GatewayView {
    /// A new one at each start.
    pub(crate) id: String,
    /// Whether it is the gateway that sent this response.
    #[serde(rename = "self")]
    pub(crate) is_self: bool,
    /// The machine's name.
    pub(crate) host: String,
    /// The process's number there.
    pub(crate) pid: u32,
    /// Of as2hook.
    pub(crate) version: String,
    /// RFC 3339.
    pub(crate) started: String,
    /// RFC 3339; the time of its last report.
    pub(crate) seen: String,
    /// The hash of the rules in force there and of everything else that routing depends on
    /// (partners, stations, sites, secrets): equal hashes mean equal routing.
    pub(crate) rules: String,
    /// The generation of this content in the store: the gateways with the highest decide which deliveries are
    /// held or orphaned.
    pub(crate) configuration: i64,
    /// Whether they differ from those of the gateway that sent this response.
    pub(crate) drift: bool,
}

/// The health of the store.
#[derive(Serialize, ToSchema)]
pub(crate) struct StoreStatus {
    /// Whether the last write succeeded.
    pub(crate) ok: bool,
    /// Why it did not. Of the default site alone.
    pub(crate) error: Option<String>,
    /// Deliveries that wait or are being made.
    pub(crate) queue_depth: u64,
    /// Deliveries that used up their retries.
    pub(crate) dead: u64,
    /// Deliveries that wait until their webhook is back in service. Of the default site alone.
    pub(crate) held: Option<u64>,
    /// Deliveries of webhooks that are gone. Of the default site alone.
    pub(crate) orphaned: Option<u64>,
    /// Exchanges whose outcome is not known yet.
    pub(crate) open_exchanges: u64,
    /// RFC 3339; when the oldest event with an unmade delivery happened.
    pub(crate) oldest_undelivered: Option<String>,
    /// Events that wait in memory until the store can take them. Of the default site alone.
    pub(crate) held_in_memory: Option<usize>,
}
