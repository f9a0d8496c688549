//! `/console/exchanges`: the search for an exchange.

use as2hook_as2::ErrorCode;
use as2hook_config::TokenScope;
use as2hook_event::EventKind;
use as2hook_store::{DeliveryState, EventRow, EventTally, Page, clock};
use axum::{
    Router,
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    components::{Tone, chip, note, select, select_of},
    error_sentence,
    layout::{self, NavItem, head},
    phrases::{bare, capital, kind_words, preposition, result_of},
    rows::{delivered, error_words},
    search::{ROWS, SearchForm, moment, pager, suggest},
    session::Session,
    times::time,
};
use crate::{error::ApiError, gateway::ApiState};

const PATH: &str = "/console/exchanges";

/// What a search found.
struct FoundExchanges {
    page: Page<EventRow>,
    tallies: Vec<EventTally>,
}

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route(PATH, get(exchanges))
}

async fn exchanges(
    State(api): State<ApiState>,
    session: Session,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let form = SearchForm::of(pairs);
    let (found, refusal) = match find(&api, &session, &form).await {
        Ok(found) => (found, None),
        Err(ApiError::Store) => return Err(ApiError::Store),
        Err(error) => (FoundExchanges::none(), Some(error)),
    };
    // Of an id there is one exchange: it is what was looked for.
    if let ([one], true, None) = (found.page.rows.as_slice(), is_id(form.text("q")), form.cursor) {
        return Ok(Redirect::to(&format!("{PATH}/{}", one.id)).into_response());
    }
    let main = html! {
        (head(&html! { "Exchanges" }, &heading(&found, &form),
            &html! { "One line for each message or receipt, in either direction, and for what happens to webhooks and certificates." }))
        (search_form(&session, &form))
        @if let Some(error) = &refusal {
            (note(Tone::Bad, "This cannot be searched for", &html! { p { (error_sentence(error)) } }))
        } @else if found.page.rows.is_empty() {
            (nothing(&form))
        } @else {
            section.panel {
                header { h2 { "What was found" } p { "newest first" } }
                (table(&found.page.rows, &found.tallies, true))
                (pager(&form, PATH, found.page.next, &new_rows(&form)))
            }
        }
    };
    Ok(layout::page(&api, &session, NavItem::Exchanges, "Exchanges", &main).await.into_response())
}

/// Returns where the script says how many exchanges came since, on the page that has all of them.
fn new_rows(form: &SearchForm) -> Markup {
    html! { @if form.is_empty() && form.cursor.is_none() { span data-new-rows="" {} } }
}

async fn find(
    api: &ApiState,
    session: &Session,
    form: &SearchForm,
) -> Result<FoundExchanges, ApiError> {
    let mut found = FoundExchanges::none();
    for reading in form.readings(&session.caller)? {
        found.page = api.store.events(&reading.filter, form.cursor, ROWS).await?;
        if !found.page.rows.is_empty() {
            break;
        }
    }
    let ids: Vec<_> = found.page.rows.iter().map(|row| row.id).collect();
    found.tallies = api.store.tally_events(&ids).await?;
    Ok(found)
}

fn is_id(text: &str) -> bool {
    text.starts_with("msg_") || text.parse::<uuid::Uuid>().is_ok()
}

fn heading(found: &FoundExchanges, form: &SearchForm) -> String {
    let n = found.page.rows.len();
    let what = if form.is_empty() { "" } else { " that match" };
    match (n, form.cursor, found.page.next) {
        (0, None, _) if form.is_empty() => "Nothing has passed yet".to_owned(),
        (0, ..) => "No exchange matches".to_owned(),
        (1, None, None) if form.is_empty() => "1 exchange".to_owned(),
        (1, None, None) => "1 exchange matches".to_owned(),
        (_, None, None) => format!("{n} exchanges{what}"),
        (_, None, Some(_)) => format!("The newest {n} exchanges{what}"),
        _ => format!("{n} older exchanges{what}"),
    }
}

fn search_form(session: &Session, form: &SearchForm) -> Markup {
    let caller = &session.caller;
    let partners = caller.config().partners.iter();
    let partners = partners.filter(|partner| partner.site == caller.site());
    let codes = as2hook_as2::ErrorCode::ALL.map(ErrorCode::number);
    let codes = codes.map(|code| (code.to_string(), error_words(code)));
    html! {
        form.stack method="get" action=(PATH) role="search" {
            div.find {
                label.vh for="q" { "Find" }
                input #q name="q" type="search" value=(form.text("q"))
                    placeholder="Message-ID, file name, webhook-id, event id";
                button.btn.primary { "Search" }
            }
            div.fields {
                (suggest("Partner", "partner", form.text("partner"), partners.map(|partner| partner.as2_id.as_str())))
                (suggest("Station", "station", form.text("station"),
                    caller.stations().map(|station| station.as2_id.as_str())))
                (select_of("What happened", "event", form.text("event"),
                    EventKind::ALL.map(|kind| (kind.as_str(), capital(kind_words(kind))))))
                (select_of("Error", "error_code", form.text("error_code"),
                    codes.iter().map(|(code, words)| (code.as_str(), format!("{code} {words}")))))
                (select("Delivery", "status", form.text("status"), DeliveryState::ALL.map(DeliveryState::as_str)))
                (moment("From", "from", form.text("from")))
                (moment("Until", "until", form.text("until")))
            }
            (quick(form))
        }
    }
}

/// Searches that are one click.
fn quick(form: &SearchForm) -> Markup {
    let now = Timestamp::from_millisecond(clock::now()).unwrap_or_default();
    let hour = now.as_second().div_euclid(60).saturating_sub(60).saturating_mul(60);
    let hour = Timestamp::from_second(hour).unwrap_or_default().to_string();
    let today = format!("{}T00:00:00Z", now.strftime("%Y-%m-%d"));
    let searches: [(&str, &str, &str); 7] = [
        ("Last hour", "from", &hour),
        ("Today", "from", &today),
        ("Not sent", "event", EventKind::SendError.as_str()),
        ("Refused by your server", "event", EventKind::MessageRejected.as_str()),
        ("Receipt overdue", "event", EventKind::MdnOverdue.as_str()),
        ("Not decrypted", "error_code", "800"),
        ("Dead deliveries", "status", "dead"),
    ];
    html! {
        p.quick {
            span { "Quick:" }
            @for (text, name, value) in searches {
                @let is_chosen = form.text(name) == value;
                a href=(SearchForm::default().path(PATH, &[(name, value)]))
                    aria-current=[is_chosen.then_some("true")] { (text) }
            }
            @if !form.is_empty() { a href=(PATH) { "All" } }
        }
    }
}

fn nothing(form: &SearchForm) -> Markup {
    if form.cursor.is_some() {
        return html! { section.panel { div.body { p { "Nothing is older. " a href=(form.path(PATH, &[])) { "Newest" } } } } };
    }
    if !form.is_empty() {
        return note(
            Tone::Off,
            "Nothing matches this search",
            &html! {
                p { "AS2 ids and Message-IDs are found as a whole and with their case; a file name too. What is kept is removed after the time that "
                    code { "retention" } " says." }
                p { a href=(PATH) { "Show all exchanges" } }
            },
        );
    }
    note(
        Tone::Off,
        "What to do first",
        &html! {
            p { "An exchange is kept where a webhook rule fires for it. Write one rule into " code { "webhooks.yaml" }
                ", let a partner or your AS2 server send one message through the gateway, and it appears here." }
            p { a href="/console/" { "See the first steps" } }
        },
    )
}

/// Returns events as a table. `has_stations`: there is room for a column of them.
pub(super) fn table(rows: &[EventRow], tallies: &[EventTally], has_stations: bool) -> Markup {
    html! {
        div.scroll {
            table.cards role="table" {
                caption.vh { "Exchanges, newest first" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Time", "Result", "Partner", "Station", "File or Message-ID", "Delivered"] {
                            @if has_stations || name != "Station" { th scope="col" role="columnheader" { (name) } }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for row in rows { (line(row, tallies, has_stations)) }
                }
            }
        }
    }
}

fn line(row: &EventRow, tallies: &[EventTally], has_stations: bool) -> Markup {
    let (tone, result) = result_of(row);
    html! {
        tr role="row" data-id=(row.id) {
            td.nowrap role="cell" { a href={ (PATH) "/" (row.id) } { (time(row.occurred_at)) } }
            td.end role="cell" { (chip(tone, &result)) }
            td.lead role="cell" {
                @match &row.partner {
                    Some(partner) => div.cut { (preposition(&row.kind)) " " b { (partner) } },
                    None => "–",
                }
            }
            @if has_stations { td.drop role="cell" { (row.station.as_deref().unwrap_or("–")) } }
            td.row role="cell" {
                span.id { (row.file_name.as_deref().or(row.message_id.as_deref().map(bare)).unwrap_or("–")) }
            }
            td role="cell" data-label="Delivered" { (delivered(row, tallies)) }
        }
    }
}

// === impl FoundExchanges ===

impl FoundExchanges {
    const fn none() -> Self {
        Self { page: Page { rows: Vec::new(), next: None }, tallies: Vec::new() }
    }
}
