//! `/console/`: whether all is well, and what comes first.

mod chart;
mod figures;
mod first_steps;
mod todo;

use as2hook_config::TokenScope;
use as2hook_store::clock;
use axum::{Router, extract::State, routing::get};
use maud::{Markup, html};

use super::{
    components::{count_to_most, facts, panel, spark},
    layout::{NavItem, page_with},
    rows::{NewestRows, live_row},
    session::Session,
    standing::{OpenDeliveries, Standing, is_troubled, webhook_chip},
    times::{span, time},
    url,
};
use crate::{error::ApiError, gateway::ApiState, status};

pub(super) use figures::{route_stops, tiles};
pub(super) use todo::TodoList;

/// Rows of the live table.
pub(super) const LIVE_ROWS: usize = 12;

/// Webhooks that are shown, those in trouble first.
const WEBHOOKS: usize = 6;

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/console/", get(overview))
}

async fn overview(State(api): State<ApiState>, session: Session) -> Result<Markup, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let standing = Standing::read(&api, &session.caller).await;
    // That they cannot be read heads what needs attention.
    let rows =
        NewestRows::read(&api, &session.caller, LIVE_ROWS).await.map_err(ApiError::from).ok();
    let site = session.caller.site();
    let has_passed = rows.as_ref().is_none_or(|rows| !rows.rows.is_empty())
        || api.gateway.activity().last_day(site).iter().any(|quarter| quarter.all() > 0);
    let todo = TodoList::find(&api, &session.caller, &standing);
    // Trouble is never hidden by the first steps.
    let is_in_use = has_passed || todo.needs_a_person() || standing.has_open();
    let main = if is_in_use {
        running(&api, &session, &standing, rows.as_ref(), &todo).await?
    } else {
        first_steps::page(&api, &session, &standing)
    };
    Ok(page_with(&api, &session, NavItem::Overview, "Overview", &standing, &main))
}

async fn running(
    api: &ApiState,
    session: &Session,
    standing: &Standing,
    rows: Option<&NewestRows>,
    todo: &TodoList<'_>,
) -> Result<Markup, ApiError> {
    let now = html! { "Overview · as of " (time(clock::now())) };
    let sentence = figures::sentence(api, &session.caller);
    let gateways = match session.caller.is_of_default_site() {
        true => status::gateways(api, &api.gateway.figures()).await,
        false => Vec::new(),
    };
    Ok(html! {
        div.head {
            div {
                p.eyebrow { (now) }
                h1 data-live="heading" aria-live="polite" { (todo.heading()) }
                p.sub { (sentence) }
                p.sub data-live-changed="" hidden { a href="/console/" { "Show what has changed" } }
            }
        }
        div.cols.late-two {
            (todo.render(api, session).await?)
            div.stack {
                section.panel {
                    header { h2 { "The way of a message, now" } }
                    (figures::route_list(api, &session.caller, standing))
                }
                dl.tiles data-live="figures" { (tiles(api, &session.caller, standing).await) }
            }
        }
        div.cols.late-right {
            (live_table(rows))
            div.stack.pair {
                (webhooks(api, standing))
                div.stack {
                    (chart::day(api, session))
                    @if gateways.len() > 1 { (gateways_panel(&gateways)) }
                }
            }
        }
    })
}

fn live_table(rows: Option<&NewestRows>) -> Markup {
    html! {
        section.panel {
            header {
                h2 { "Exchanges, as they come" }
                p data-live-state="" hidden {}
            }
            div.scroll {
                table.cards.live role="table" data-live="exchanges" {
                    caption.vh { "The twelve latest exchanges" }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for name in ["Time", "Result", "Partner", "File or Message-ID", "Delivered"] {
                                th scope="col" role="columnheader" { (name) }
                            }
                        }
                    }
                    tbody role="rowgroup" {
                        @if let Some(rows) = rows { @for row in &rows.rows { (live_row(row, &rows.tallies, false)) } }
                    }
                }
            }
            @if rows.is_none() { div.body { p.sub { "The store does not respond, so that they cannot be shown." } } }
            footer { span { "New rows push the oldest out; the page does not move." } a href="/console/exchanges" { "All exchanges" } }
        }
    }
}

fn webhooks(api: &ApiState, standing: &Standing) -> Markup {
    let mut all: Vec<_> = standing.webhooks.iter().collect();
    let unused = |health: &Option<_>| health.is_none();
    all.sort_by_key(|(_, health)| (!is_troubled(health.as_ref()), unused(health)));
    let more = all.len().saturating_sub(WEBHOOKS);
    let table = html! {
        div.scroll {
            table.cards role="table" {
                caption.vh { "Webhooks with their state" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Webhook", "State", "Last 12 hours"] {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for (rule, health) in all.iter().take(WEBHOOKS) {
                        @let bars = api.gateway.activity().of_webhook(&rule.name);
                        @let bars: Vec<_> = bars.iter().map(|it| (it.delivered, it.failed)).collect();
                        tr role="row" {
                            th.lead scope="row" role="rowheader" {
                                a href={ "/console/webhooks/" (url::segment(&rule.name)) } { (rule.name) }
                                small { (open_words(standing.open_of(&rule.name))) }
                            }
                            td role="cell" {
                                span data-webhook=(rule.name) { (webhook_chip(api, rule, health.as_ref())) }
                            }
                            td.end role="cell" { (spark(&bars)) }
                        }
                    }
                }
            }
        }
        footer {
            span { @if more > 0 { (more) " more" } }
            a href="/console/webhooks" { "All webhooks" }
        }
    };
    if all.is_empty() {
        let none =
            html! { div.body { p.sub { "No rule is in force, so that no webhook is called." } } };
        return panel("Webhooks", &html! {}, &none);
    }
    panel("Webhooks", &html! {}, &table)
}

/// Returns open deliveries in words, such as "28 pending, 3 dead".
fn open_words(open: OpenDeliveries) -> String {
    let OpenDeliveries { pending, dead, held, orphaned } = open;
    let all = [(pending, "pending"), (dead, "dead"), (held, "held"), (orphaned, "orphaned")];
    let some = all.into_iter().filter(|(n, _)| *n > 0);
    let some = some.map(|(n, state)| format!("{} {state}", count_to_most(n)));
    some.collect::<Vec<_>>().join(", ")
}

fn gateways_panel(gateways: &[status::GatewayView]) -> Markup {
    let facts_of: Vec<_> = gateways
        .iter()
        .map(|gateway| {
            let started = gateway.started.parse().map(jiff::Timestamp::as_millisecond);
            let up = started.map(|since| span(clock::now() - since)).unwrap_or_default();
            let text = html! {
                @if gateway.is_self { "this one, " }
                "up " (up) ", version " (gateway.version)
                @if gateway.drift { ", " b { "other rules" } }
            };
            (gateway.host.as_str(), Some(text))
        })
        .collect();
    let drift = gateways.iter().any(|gateway| gateway.drift);
    let said = if drift {
        "They have different rules: reload those that are behind."
    } else {
        "All have the same rules."
    };
    panel("Gateways", &html! {}, &html! { div.body { (facts(&facts_of)) p.sub { (said) } } })
}
