//! The page: how many deliveries are open, of which webhooks, and those that a search names.

use std::collections::BTreeMap;

use as2hook_config::TokenScope;
use as2hook_store::{DeliveryRow, DeliveryState, DeliveryTally, Filter, Page};
use axum::extract::{Query, State};
use maud::{Markup, html};

use super::{
    super::{
        components::{COUNTED, Tone, count_to_most, csrf, note, select, things},
        error_sentence,
        layout::{self, NavItem, head},
        search::{ROWS, SearchForm, SearchReading, moment, pager, suggest},
        session::Session,
        standing::total,
        url::segment,
    },
    PATH,
    bulk::{BulkChoice, note_on_all},
    table::table,
};
use crate::{error::ApiError, gateway::ApiState};

/// The most webhooks that are listed with what is open.
const WEBHOOKS: usize = 50;

/// The states that are counted, as links.
const OPEN: [DeliveryState; 5] = [
    DeliveryState::Dead,
    DeliveryState::Held,
    DeliveryState::Orphaned,
    DeliveryState::Pending,
    DeliveryState::Claimed,
];

/// What a search found.
struct FoundDeliveries {
    reading: Option<SearchReading>,
    page: Page<DeliveryRow>,
}

pub(super) async fn deliveries(
    State(api): State<ApiState>,
    session: Session,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Markup, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let form = SearchForm::of(pairs);
    let site = Filter { site: Some(session.caller.site().to_owned()), ..Filter::default() };
    let open = api.store.tally(&site, COUNTED + 1).await?;
    let (found, refusal) = match find(&api, &session, &form).await {
        Ok(found) => (found, None),
        Err(ApiError::Store) => return Err(ApiError::Store),
        Err(error) => (
            FoundDeliveries { reading: None, page: Page { rows: Vec::new(), next: None } },
            Some(error),
        ),
    };
    let main = html! {
        (head(&html! { "Deliveries" }, &heading(&open), &html! { (below(&open)) }))
        (search_form(&session, &form, &open))
        @if let Some(error) = &refusal {
            (note(Tone::Bad, "This cannot be searched for", &html! { p { (error_sentence(error)) } }))
        } @else {
            @if form.is_empty() && !open.is_empty() { (by_webhook(&open)) }
            (of_all(&api, &session, &form, &found).await?)
            (list(&session, &form, &found.page))
        }
    };
    Ok(layout::page(&api, &session, NavItem::Deliveries, "Deliveries", &main).await)
}

async fn find(
    api: &ApiState,
    session: &Session,
    form: &SearchForm,
) -> Result<FoundDeliveries, ApiError> {
    let mut found = FoundDeliveries { reading: None, page: Page { rows: Vec::new(), next: None } };
    for reading in form.readings(&session.caller)? {
        found.page = api.store.deliveries(&reading.filter, form.cursor, ROWS).await?;
        found.reading = Some(reading);
        if !found.page.rows.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// Returns the note with what can be done with all that the search names.
async fn of_all(
    api: &ApiState,
    session: &Session,
    form: &SearchForm,
    found: &FoundDeliveries,
) -> Result<Markup, ApiError> {
    let Some(SearchReading { filter, fields: Some(fields) }) = &found.reading else {
        return Ok(html! {});
    };
    if fields.is_empty() || found.page.rows.is_empty() {
        return Ok(html! {});
    }
    let is_whole = form.cursor.is_none() && found.page.next.is_none();
    let tallies = api.store.tally(filter, COUNTED + 1).await?;
    let choice = BulkChoice {
        fields,
        tallies: &tallies,
        whole: is_whole.then(|| u64::try_from(found.page.rows.len()).unwrap_or(u64::MAX)),
        state: filter.state,
        webhook: filter.webhook.as_deref(),
        back: &session.path,
    };
    Ok(note_on_all(api, session, &choice))
}

fn heading(open: &[DeliveryTally]) -> String {
    use DeliveryState::{Claimed, Dead, Held, Orphaned, Pending};
    let stuck: u64 = [Dead, Held, Orphaned].map(|state| total(open, state)).iter().sum();
    let waiting = total(open, Pending) + total(open, Claimed);
    match (stuck, waiting) {
        (0, 0) => "All deliveries are made".to_owned(),
        (0, 1) => "1 delivery waits, and goes out by itself".to_owned(),
        (0, n) => format!("{} wait, and go out by themselves", things(n, "delivery", "deliveries")),
        (1, _) => "1 delivery needs attention".to_owned(),
        (n, _) => format!("{} need attention", things(n, "delivery", "deliveries")),
    }
}

fn below(open: &[DeliveryTally]) -> String {
    use DeliveryState::{Claimed, Dead, Held, Orphaned, Pending};
    let parts = [
        (
            total(open, Pending) + total(open, Claimed),
            "waits for its next attempt",
            "wait for their next attempt",
        ),
        (total(open, Dead), "is dead", "are dead"),
        (total(open, Held), "is held", "are held"),
        (total(open, Orphaned), "lost its rule", "lost their rule"),
    ];
    let parts =
        parts.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, more)| things(n, one, more));
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        "Nothing waits, and nothing is dead.".to_owned()
    } else {
        format!("{}.", parts.join(", "))
    }
}

fn search_form(session: &Session, form: &SearchForm, open: &[DeliveryTally]) -> Markup {
    let caller = &session.caller;
    let partners = caller.config().partners.iter();
    let partners = partners.filter(|partner| partner.site == caller.site());
    let webhooks: BTreeMap<_, _> = open.iter().map(|tally| (tally.webhook.as_str(), ())).collect();
    html! {
        form.stack method="get" action=(PATH) role="search" {
            div.find {
                label.vh for="q" { "Find" }
                input #q name="q" type="search" value=(form.text("q"))
                    placeholder="webhook-id, Message-ID, file name, event id";
                button.btn.primary { "Search" }
            }
            div.fields {
                (suggest("Webhook", "webhook", form.text("webhook"), webhooks.into_keys()))
                (select("State", "status", form.text("status"), DeliveryState::ALL.map(DeliveryState::as_str)))
                (suggest("Partner", "partner", form.text("partner"), partners.map(|partner| partner.as2_id.as_str())))
                (moment("From", "from", form.text("from")))
                (moment("Until", "until", form.text("until")))
            }
            p.quick {
                span { "State:" }
                @for state in OPEN {
                    @let n = total(open, state);
                    @let is_chosen = form.text("status") == state.as_str();
                    @if n > 0 || is_chosen {
                        a href=(form.path(PATH, &[("status", state.as_str())]))
                            aria-current=[is_chosen.then_some("true")] { (state.as_str()) " " (count_to_most(n)) }
                    }
                }
                @let is_chosen = form.text("status") == "delivered";
                a href=(form.path(PATH, &[("status", "delivered")])) aria-current=[is_chosen.then_some("true")] { "delivered" }
                @if !form.is_empty() { a href=(PATH) { "All" } }
            }
        }
    }
}

/// Returns what is open of each webhook, the worst first.
fn by_webhook(open: &[DeliveryTally]) -> Markup {
    let mut webhooks = BTreeMap::<&str, [u64; OPEN.len()]>::new();
    for tally in open {
        let counts = webhooks.entry(&tally.webhook).or_default();
        if let Some(place) = OPEN.iter().position(|state| *state == tally.state) {
            counts[place] += tally.count;
        }
    }
    let mut webhooks: Vec<_> = webhooks.into_iter().collect();
    webhooks.sort_by(|(_, a), (_, b)| b.cmp(a));
    let more = webhooks.len().saturating_sub(WEBHOOKS);
    html! {
        section.panel {
            header { h2 { "What is open, by webhook" } @if more > 0 { p { (more) " more have open deliveries" } } }
            div.scroll {
                table.cards role="table" {
                    caption.vh { "Open deliveries by webhook" }
                    thead role="rowgroup" {
                        tr role="row" {
                            th scope="col" role="columnheader" { "Webhook" }
                            @for state in OPEN { th.num scope="col" role="columnheader" { (state.as_str()) } }
                        }
                    }
                    tbody role="rowgroup" {
                        @for (webhook, counts) in webhooks.iter().take(WEBHOOKS) {
                            tr role="row" {
                                th.lead scope="row" role="rowheader" {
                                    a href={ "/console/webhooks/" (segment(webhook)) } { (webhook) }
                                }
                                @for (state, n) in OPEN.iter().zip(counts) {
                                    td.num.drop[*n == 0] role="cell" data-label=(state.as_str()) {
                                        @if *n == 0 { "–" } @else {
                                            a href=(super::super::url::with_query(PATH, &[("webhook", webhook), ("status", state.as_str())])) {
                                                (count_to_most(*n))
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn list(session: &Session, form: &SearchForm, page: &Page<DeliveryRow>) -> Markup {
    if page.rows.is_empty() {
        return nothing(form);
    }
    let may_change = session.may(TokenScope::Admin);
    let of_one = form.text("webhook");
    html! {
        section.panel {
            header { h2 { @if form.is_empty() { "Latest deliveries" } @else { "What was found" } } p { "newest first" } }
            @if may_change {
                form.pick method="post" action="/console/deliveries/chosen" {
                    (csrf(session))
                    input type="hidden" name="back" value=(session.path);
                    (table(page, true, of_one))
                    div.tray {
                        span.none { "Choose some to retry, cancel or replay only these." }
                        span.some { b.picked {} " chosen" }
                        span.acts.some {
                            button.btn name="change" value="retry" { "Retry the chosen now" }
                            button.btn name="change" value="replay" { "Replay the chosen" }
                            button.btn.danger name="change" value="cancel" { "Cancel the chosen" }
                        }
                    }
                }
            } @else { (table(page, false, of_one)) }
            (pager(form, PATH, page.next, &html! {}))
        }
    }
}

fn nothing(form: &SearchForm) -> Markup {
    if form.is_empty() && form.cursor.is_none() {
        return note(
            Tone::Off,
            "What to do first",
            &html! {
                p { "There is a delivery for each webhook that an exchange fires. Write one rule into " code { "webhooks.yaml" }
                    ", or send a test to a webhook." }
                p { a href="/console/webhooks" { "See the webhooks" } }
            },
        );
    }
    note(
        Tone::Off,
        "No delivery matches",
        &html! {
            p { "Names of webhooks, AS2 ids, Message-IDs and file names are found as a whole and with their case." }
            p { a href=(PATH) { "Show all deliveries" } }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(state: DeliveryState, count: u64) -> DeliveryTally {
        DeliveryTally { webhook: "erp".to_owned(), state, count }
    }

    #[test]
    fn heading_says_first_what_needs_a_person() {
        use DeliveryState::{Dead, Held, Pending};
        assert_eq!(heading(&[]), "All deliveries are made");
        assert_eq!(heading(&[tally(Pending, 28)]), "28 deliveries wait, and go out by themselves");
        let open = [tally(Pending, 28), tally(Dead, 3), tally(Held, 10_001)];
        assert_eq!(heading(&open), "10,000+ deliveries need attention");
        assert_eq!(below(&open), "28 wait for their next attempt, 3 are dead, 10,000+ are held.");
        assert_eq!(below(&[tally(Dead, 1)]), "1 is dead.");
    }
}
