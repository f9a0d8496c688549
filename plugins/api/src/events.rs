//! `/admin/events`, and the search that it shares with deliveries.

use as2hook_as2::ErrorCode;
use as2hook_config::TokenScope;
use as2hook_event::{EventKind, bounds};
use as2hook_store::{DeliveryState, EventRow, Filter};
use axum::{
    Json,
    extract::{FromRequestParts, Query, State},
    http::request::Parts,
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    caller::Caller,
    error::{ApiError, Denied, Problem},
    fields::{JsonFields, shown},
    gateway::ApiState,
    rfc3339,
};

/// The default number of rows of a list, and the maximum.
const ROWS: usize = 50;
const ROWS_MAX: u64 = 500;

/// Events, newest first. Scope read.
#[utoipa::path(
    get, path = "/admin/events", tag = "admin", security(("token" = [])),
    params(ListParams),
    responses(
        (status = 200, description = "Done", body = EventList),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn events(
    State(api): State<ApiState>,
    caller: Caller,
    listing: Result<Listing, ApiError>,
) -> Result<Json<EventList>, ApiError> {
    caller.needs(TokenScope::Read)?;
    let Listing { filter, cursor, limit } = listing?;
    let filter = Filter { site: Some(caller.site().to_owned()), ..filter };
    let page = api.store.events(&filter, cursor, limit).await?;
    let data = page.rows.into_iter().map(EventView::from).collect();
    Ok(Json(EventList { status: "success", data, next_cursor: page.next }))
}

/// A search and a part of its result, from a query string.
pub(crate) struct Listing {
    pub(crate) filter: Filter,
    pub(crate) cursor: Option<i64>,
    pub(crate) limit: usize,
}

// === impl Listing ===

impl FromRequestParts<ApiState> for Listing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = pairs.map_err(|_| ApiError::Value("query", "name=value&…"))?;
        let mut listing = Self { filter: Filter::default(), cursor: None, limit: ROWS };
        for (name, value) in pairs {
            match name.as_str() {
                "cursor" => {
                    let cursor = value.parse().ok().filter(|cursor| *cursor > 0);
                    listing.cursor = Some(cursor.ok_or(ApiError::Value("cursor", "next_cursor"))?);
                }
                "limit" => {
                    let rows = value.parse().ok().filter(|rows| (1..=ROWS_MAX).contains(rows));
                    let rows = rows.ok_or(ApiError::Range("limit", 1, ROWS_MAX))?;
                    listing.limit = usize::try_from(rows).unwrap_or(ROWS);
                }
                _ => add(&mut listing.filter, &name, &value)?,
            }
        }
        Ok(listing)
    }
}

/// Returns the search in a JSON body with these other fields.
pub(crate) fn search_in_body(fields: &JsonFields, others: &[&str]) -> Result<Filter, ApiError> {
    let mut filter = Filter::default();
    // A typo in a name would select more than intended.
    if let Some(name) = fields.other_than(&[&NAMES, others].concat()) {
        return Err(ApiError::Parameter(shown(name)));
    }
    for name in NAMES {
        if let Some(value) = fields.text(name)? {
            add(&mut filter, name, value)?;
        }
    }
    Ok(filter)
}

/// The names of a search's fields, in a query and in a body.
const NAMES: [&str; 10] = [
    "event",
    "partner",
    "station",
    "webhook",
    "status",
    "message_id",
    "file_name",
    "error_code",
    "from",
    "until",
];

/// Adds a field of a search, in the form in which the store keeps it.
pub(crate) fn add(filter: &mut Filter, name: &str, value: &str) -> Result<(), ApiError> {
    let time = |name| {
        let time = value.parse().map(Timestamp::as_millisecond);
        time.map_err(|_| ApiError::Value(name, "RFC 3339 (2026-01-31T12:00:00Z)"))
    };
    match name {
        "event" => {
            let known = "message.received, mdn.received, …";
            value.parse::<EventKind>().map_err(|_| ApiError::Value("event", known))?;
            filter.kind = Some(value.to_owned());
        }
        "partner" => filter.partner = Some(bounds::as2_name(value).into_owned()),
        "station" => filter.station = Some(bounds::as2_name(value).into_owned()),
        "webhook" => filter.webhook = Some(value.to_owned()),
        "status" => {
            let known = "pending, claimed, delivered, dead, held, orphaned, cancelled";
            let state = DeliveryState::named(value);
            filter.state = Some(state.ok_or(ApiError::Value("status", known))?);
        }
        "message_id" => filter.message_id = Some(bounds::message_id(value).into_owned()),
        "file_name" => filter.file_name = Some(value.to_owned()),
        "error_code" => {
            let known = "800, 900, 1000, 1100, 1200, 1300, 1400 or 1500";
            let code = value.parse().ok().filter(|code| ErrorCode::try_from(*code).is_ok());
            filter.error = Some(code.ok_or(ApiError::Value("error_code", known))?);
        }
        "from" => filter.from = Some(time("from")?),
        "until" => filter.until = Some(time("until")?),
        _ => return Err(ApiError::Parameter(shown(name))),
    }
    Ok(())
}

/// The parameters of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "for the description; each parameter is read by itself")]
pub(crate) struct ListParams {
    /// The event's kind
    event: Option<String>,
    /// AS2 id of the remote side
    partner: Option<String>,
    /// AS2 id of our side
    station: Option<String>,
    /// The webhook's name
    webhook: Option<String>,
    /// Where the delivery stands
    status: Option<String>,
    /// The AS2 Message-ID, with or without its angle brackets
    message_id: Option<String>,
    /// The name of the first attachment that has one
    file_name: Option<String>,
    /// The code of one of its processing errors
    error_code: Option<u16>,
    /// The earliest, RFC 3339
    from: Option<String>,
    /// Before this, RFC 3339
    until: Option<String>,
    /// next_cursor of the page before
    cursor: Option<i64>,
    /// Rows at most
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    #[schema(example = "success")]
    status: &'static str,
    data: Vec<EventView>,
    /// `cursor` of the next page.
    next_cursor: Option<i64>,
}

/// An event in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Its id.
    id: String,
    /// Its kind.
    event: String,
    /// The tenant.
    site: String,
    /// AS2 id of the remote side.
    partner: Option<String>,
    /// AS2 id of our side.
    station: Option<String>,
    /// The AS2 Message-ID.
    message_id: Option<String>,
    /// When it happened.
    occurred_at: String,
    /// Whether its outcome is not known yet.
    open: bool,
}

// === impl EventView ===

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id.to_string(),
            event: row.kind,
            site: row.site,
            partner: row.partner,
            station: row.station,
            message_id: row.message_id,
            occurred_at: rfc3339(row.occurred_at).unwrap_or_default(),
            open: row.open,
        }
    }
}
