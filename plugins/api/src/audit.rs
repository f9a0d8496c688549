//! `/admin/audit`: what callers did, and how it is recorded.

use as2hook_config::TokenScope;
use as2hook_store::{AuditEntry, Filter, clock};
use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    caller::Caller,
    error::{ApiError, Denied, Problem},
    events::Listing,
    gateway::ApiState,
    rfc3339,
};

/// What callers of the token's site did, newest first. Scope read.
#[utoipa::path(
    get, path = "/admin/audit", tag = "admin", security(("token" = [])),
    params(PageParams),
    responses(
        (status = 200, description = "Done", body = AuditLog),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 503, description = "The store does not respond", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn audit(
    State(api): State<ApiState>,
    caller: Caller,
    listing: Result<Listing, ApiError>,
) -> Result<Json<AuditLog>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let Listing { filter, cursor, limit } = listing?;
    if filter != Filter::default() {
        return Err(ApiError::Value("query", "cursor and limit"));
    }
    let page = api.store.audit_log(caller.site(), cursor, limit).await?;
    let view = |entry: AuditEntry| AuditView {
        at: rfc3339(entry.at).unwrap_or_default(),
        token: entry.token,
        site: entry.site,
        action: entry.action,
        target: entry.target,
        result: entry.result,
    };
    let data = page.rows.into_iter().map(view).collect();
    Ok(Json(AuditLog { status: "success", data, next_cursor: page.next }))
}

/// Logs and keeps an action of a caller with its result, which `in_words` says. Returns the result.
pub(crate) async fn record<T>(
    api: &ApiState,
    caller: &Caller,
    (action, target): (&str, &str),
    result: Result<T, ApiError>,
    in_words: impl Fn(&T) -> String + Send,
) -> Result<T, ApiError> {
    let said = match &result {
        Ok(done) => in_words(done),
        Err(error) => format!("refused: {error}"),
    };
    let (token, site) = (caller.token_name(), caller.site());
    tracing::info!(token, site, action, target, result = said, "Admin action.");
    let entry = AuditEntry {
        at: clock::now(),
        token: token.to_owned(),
        site: site.to_owned(),
        action: action.to_owned(),
        target: target.to_owned(),
        result: said,
    };
    if let Err(error) = api.store.audit(entry).await {
        // It is done, and stands in the log.
        tracing::error!(%error, "An admin action was not kept.");
    }
    result
}

/// The parameters of a page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "for the description; each parameter is read by itself")]
struct PageParams {
    /// next_cursor of the page before
    cursor: Option<i64>,
    /// Rows at most
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
}

/// A page of actions.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditLog {
    #[schema(example = "success")]
    pub(crate) status: &'static str,
    pub(crate) data: Vec<AuditView>,
    /// `cursor` of the next page.
    pub(crate) next_cursor: Option<i64>,
}

/// What a caller did.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditView {
    /// When.
    pub(crate) at: String,
    /// The name of its token.
    pub(crate) token: String,
    /// The tenant.
    pub(crate) site: String,
    /// `retry`, `cancel`, `replay`, `enable`, `reload`, `configure` or `test`.
    pub(crate) action: String,
    /// Of what.
    pub(crate) target: String,
    /// What came of it.
    pub(crate) result: String,
}
