//! Parses a search from a query string or a JSON body.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
    response::Response,
};
use jiff::Timestamp;

use super::{ApiState, fields::JsonFields, responses::mistaken};
use crate::{
    admin::{Search, Slice},
    messages::Wrong,
};

/// The default number of rows of a list, and the maximum.
const ROWS: usize = 50;
const ROWS_MAX: u64 = 500;

/// A search and a part of its result, from a query string.
pub(super) struct Listing {
    pub(super) search: Search,
    pub(super) slice: Slice,
}

/// The names of a search's fields, in a query and in a body.
pub(super) const NAMES: [&str; 8] =
    ["event", "partner", "station", "webhook", "status", "message_id", "from", "until"];

// === impl Listing ===

impl Listing {
    fn parse(pairs: Vec<(String, String)>) -> Result<Self, Wrong> {
        let slice = Slice { cursor: None, limit: ROWS };
        let mut listing = Self { search: Search::default(), slice };
        for (name, value) in pairs {
            match name.as_str() {
                "cursor" => {
                    let cursor = value.parse().ok().filter(|cursor| *cursor > 0);
                    let cursor = cursor.ok_or(Wrong::Value("cursor", "next_cursor"))?;
                    listing.slice.cursor = Some(cursor);
                }
                "limit" => {
                    let rows = value.parse().ok().filter(|rows| (1..=ROWS_MAX).contains(rows));
                    let rows = rows.ok_or(Wrong::Range("limit", 1, ROWS_MAX))?;
                    listing.slice.limit = usize::try_from(rows).unwrap_or(ROWS);
                }
                _ => set(&mut listing.search, &name, value)?,
            }
        }
        Ok(listing)
    }
}

impl FromRequestParts<ApiState> for Listing {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &ApiState) -> Result<Self, Response> {
        let language = shared.gateway.language();
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, shared).await;
        let pairs = pairs.map_err(|_| Wrong::Value("query", "name=value&…"));
        let listing = pairs.and_then(|Query(pairs)| Self::parse(pairs));
        listing.map_err(|wrong| mistaken(language, &wrong))
    }
}

/// Parses the search in a JSON body.
pub(super) fn in_body(fields: &JsonFields) -> Result<Search, Wrong> {
    let mut search = Search::default();
    for name in NAMES {
        if let Some(value) = fields.string(name)? {
            set(&mut search, name, value)?;
        }
    }
    Ok(search)
}

fn set(search: &mut Search, name: &str, value: String) -> Result<(), Wrong> {
    let place = match name {
        "event" => &mut search.event,
        "partner" => &mut search.partner,
        "station" => &mut search.station,
        "webhook" => &mut search.webhook,
        "status" => &mut search.status,
        "message_id" => &mut search.message_id,
        "from" => {
            search.from = Some(time(&value).ok_or(Wrong::Value("from", TIME))?);
            return Ok(());
        }
        "until" => {
            search.until = Some(time(&value).ok_or(Wrong::Value("until", TIME))?);
            return Ok(());
        }
        _ => return Err(Wrong::Parameter(name.to_owned())),
    };
    *place = Some(value);
    Ok(())
}

const TIME: &str = "RFC 3339 (2026-01-31T12:00:00Z)";

fn time(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}
