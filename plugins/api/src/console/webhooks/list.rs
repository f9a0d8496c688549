//! All webhooks of the site, by name, those that need a person first.

use std::{collections::BTreeMap, sync::Arc};

use as2hook_config::TokenScope;
use as2hook_delivery::{Health, HealthState};
use as2hook_event::Rule;
use as2hook_store::{DeliveryState, DeliveryTally, Filter};
use axum::extract::{Query, State};
use maud::{Markup, html};

use super::{
    super::{
        components::{Button, COUNTED, Tone, action, count_to_most, needs, note, spark, things},
        layout::{self, NavItem, head},
        phrases::listed,
        search::ROWS,
        session::Session,
        standing::is_troubled,
        url::{segment, with_query},
    },
    PATH,
    describe::{sends, state, target},
    part_of,
    tester::{self, Question},
};
use crate::{error::ApiError, gateway::ApiState};

/// What is open, by webhook.
type OpenByWebhook<'a> = BTreeMap<&'a str, Vec<(DeliveryState, u64)>>;

pub(super) async fn webhooks(
    State(api): State<ApiState>,
    session: Session,
    Query(pairs): Query<BTreeMap<String, String>>,
) -> Result<Markup, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let site = session.caller.site();
    let after = pairs.get("after").map_or("", String::as_str);
    let (rules, more) = part_of(&api, site, after, ROWS);
    let troubled = troubled(&api, site);
    let filter = Filter { site: Some(site.to_owned()), ..Filter::default() };
    let tallies = api.store.tally(&filter, COUNTED + 1).await?;
    let open = by_webhook(&tallies);
    let question = Question::of(&pairs);
    let main = html! {
        (head(&html! { "Webhooks" }, &heading(&troubled, &rules, after), &html! { (below(&troubled)) }))
        @if rules.is_empty() && after.is_empty() { (nothing()) } @else {
            @if !session.may(TokenScope::Admin) { (needs("Testing and enabling", TokenScope::Admin)) }
            @if !troubled.is_empty() && after.is_empty() && more {
                (table(&api, &session, "Need attention", &troubled, &open, None))
            }
            (table(&api, &session, "Rules in force", &rules, &open, more.then(|| rules.last()).flatten()))
            @if !after.is_empty() { p { a href=(PATH) { "From the beginning" } } }
            (tester::panel(&api, &session, &question))
        }
    };
    Ok(layout::page(&api, &session, NavItem::Webhooks, "Webhooks", &main).await)
}

/// Returns the webhooks that fail or are disabled, at most a page of them.
fn troubled(api: &ApiState, site: &str) -> Vec<Arc<Rule>> {
    let healths = api.dispatcher.healths().into_iter().filter(|health| is_troubled(Some(health)));
    let rules = healths.filter_map(|health| api.directory.endpoint(&health.webhook));
    let mut rules: Vec<_> = rules.filter(|rule| rule.site == site).collect();
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules.truncate(ROWS);
    rules
}

fn by_webhook(tallies: &[DeliveryTally]) -> OpenByWebhook<'_> {
    let mut open = OpenByWebhook::new();
    for tally in tallies {
        open.entry(&tally.webhook).or_default().push((tally.state, tally.count));
    }
    open
}

fn heading(troubled: &[Arc<Rule>], rules: &[Arc<Rule>], after: &str) -> String {
    match (troubled.len(), rules.len()) {
        (0, 0) if after.is_empty() => "There is no webhook yet".to_owned(),
        // One that is off, or was not called yet, is not known to work.
        (0, _) => "No webhook fails".to_owned(),
        (1, _) => "1 webhook needs attention".to_owned(),
        (n, _) => {
            let n = u64::try_from(n).unwrap_or(u64::MAX);
            format!("{} need attention", things(n, "webhook", "webhooks"))
        }
    }
}

fn below(troubled: &[Arc<Rule>]) -> String {
    let names: Vec<_> = troubled.iter().map(|rule| rule.name.as_str()).collect();
    let fail = match names.as_slice() {
        [] => String::new(),
        [one] => format!("{one} fails or is disabled. "),
        many => format!("{} fail or are disabled. ", listed(many)),
    };
    format!("{fail}Rules are read from the webhooks file, and reload by themselves.")
}

fn nothing() -> Markup {
    note(
        Tone::Off,
        "What to do first",
        &html! {
            p { "Write one rule into " code { "webhooks.yaml" } ". It counts as soon as you save it; the page "
                a href="/console/config" { "Configuration" } " shows mistakes." }
            pre.copy tabindex="0" { "webhooks:\n  - name: first\n    url: \"http://127.0.0.1:9000/\"\n    payload: json" }
            p { "No endpoint yet? This one prints what it gets:" }
            pre.copy tabindex="0" { "as2hook listen --port 9000" }
        },
    )
}

fn table(
    api: &ApiState,
    session: &Session,
    heading: &str,
    rules: &[Arc<Rule>],
    open: &OpenByWebhook<'_>,
    last: Option<&Arc<Rule>>,
) -> Markup {
    html! {
        section.panel {
            header { h2 { (heading) } p { "A test is one marked delivery; receivers see X-AS2-Test: 1" } }
            div.scroll {
                table.cards role="table" {
                    caption.vh { "Webhooks in force" }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for name in ["Webhook", "State", "Open", "Sends", "To", "Last 12 hours"] {
                                th scope="col" role="columnheader" { (name) }
                            }
                            @if session.may(TokenScope::Admin) { th scope="col" role="columnheader" { "Actions" } }
                        }
                    }
                    tbody role="rowgroup" {
                        @for rule in rules { (line(api, session, rule, open)) }
                    }
                }
            }
            @if let Some(last) = last {
                footer { span.acts { a.btn rel="next" href=(with_query(PATH, &[("after", &last.name)])) { "More" } } }
            }
        }
    }
}

fn line(api: &ApiState, session: &Session, rule: &Rule, open: &OpenByWebhook<'_>) -> Markup {
    let health = api.dispatcher.health(&rule.name);
    let health = health.as_ref();
    let bars = api.gateway.activity().of_webhook(&rule.name);
    let bars: Vec<_> = bars.iter().map(|hour| (hour.delivered, hour.failed)).collect();
    html! {
        tr role="row" {
            th.lead scope="row" role="rowheader" { a href={ (PATH) "/" (segment(&rule.name)) } { (rule.name) } }
            td role="cell" { (state(api, rule, health)) }
            td.nowrap.end role="cell" { (links(&rule.name, open)) }
            td.row role="cell" { (sends(rule)) }
            td.row role="cell" { (target(rule)) }
            td.drop role="cell" { (spark(&bars)) }
            @if session.may(TokenScope::Admin) {
                td.row role="cell" { (act(session, rule, health)) }
            }
        }
    }
}

/// Returns what is open of a webhook, as links to it.
fn links(webhook: &str, open: &OpenByWebhook<'_>) -> Markup {
    let Some(counts) = open.get(webhook) else { return html! { "–" } };
    html! {
        @for (n, (state, count)) in counts.iter().enumerate() {
            @if n > 0 { br; }
            a href=(with_query("/console/deliveries", &[("webhook", webhook), ("status", state.as_str())])) {
                (count_to_most(*count)) " " (state.as_str())
            }
        }
    }
}

/// Returns the action that helps a webhook most.
fn act(session: &Session, rule: &Rule, health: Option<&Health>) -> Markup {
    let url = format!("{PATH}/{}", segment(&rule.name));
    let back = &[("back", session.path.as_str())];
    let is_disabled =
        health.is_some_and(|health| matches!(health.health_state, HealthState::Disabled { .. }));
    if !rule.enabled {
        return html! { small { "It is off in the file." } };
    }
    if is_disabled {
        return action(session, &format!("{url}/enable"), back, Button::plain("Enable"));
    }
    action(session, &format!("{url}/test"), back, Button::plain("Send\u{a0}a\u{a0}test"))
}
