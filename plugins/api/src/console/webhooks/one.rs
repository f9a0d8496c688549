//! One webhook: how it is, what it sends, its latest attempts, what can be done.

use as2hook_config::TokenScope;
use as2hook_delivery::{DISABLE_AFTER, Health, HealthState};
use as2hook_event::{Order, Rule};
use as2hook_store::{AttemptRow, DeliveryState, DeliveryTally, Filter};
use axum::extract::{Path, State};
use maud::{Markup, html};

use super::{
    super::{
        components::{
            Button, COUNTED, Tone, act, action, chip, count, facts, mark, needs, note, panel,
            things,
        },
        layout::{self, NavItem, head},
        phrases::{bare, preposition, sentence_of},
        session::Session,
        standing::total,
        times::{span, time, time_if},
        url::{segment, with_query},
    },
    PATH,
    describe::{events, sends, state},
};
use crate::{
    error::ApiError,
    gateway::ApiState,
    partner_webhooks::is_partner_webhook,
    webhooks::{masked, rule_of},
};

/// The attempts that are shown, the newest ones.
const ATTEMPTS: usize = 20;

pub(super) async fn webhook(
    State(api): State<ApiState>,
    session: Session,
    Path(name): Path<String>,
) -> Result<Markup, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let rule = rule_of(&api, &session.caller, &name)?;
    let health = api.dispatcher.health(&name);
    let filter = Filter {
        site: Some(session.caller.site().to_owned()),
        webhook: Some(name.clone()),
        ..Filter::default()
    };
    let open = api.store.tally(&filter, COUNTED + 1).await?;
    let attempts = api.store.attempts(&filter, None, ATTEMPTS).await?.rows;
    let main = html! {
        (head(&html! { a href=(PATH) { "Webhooks" } }, &heading(&rule, health.as_ref(), &open, attempts.first()), &html! { (sends(&rule)) }))
        (what_helps(&session, &rule, health.as_ref(), &open))
        div.cols.side-right {
            (latest(&attempts))
            div.stack { (about(&api, &rule, health.as_ref())) (open_panel(&name, &open)) }
        }
    };
    Ok(layout::page(&api, &session, NavItem::Webhooks, &name, &main).await)
}

fn heading(
    rule: &Rule,
    health: Option<&Health>,
    open: &[DeliveryTally],
    last: Option<&AttemptRow>,
) -> String {
    let name = &rule.name;
    let dead = total(open, DeliveryState::Dead);
    if !rule.enabled {
        return format!("{name} is off");
    }
    match health.map(|health| &health.health_state) {
        Some(HealthState::Disabled { .. }) => format!("{name} is disabled"),
        Some(HealthState::Retrying) => format!("{name} fails"),
        _ if dead > 0 => {
            format!("{name} works, and has {}", things(dead, "dead delivery", "dead deliveries"))
        }
        Some(HealthState::Healthy) => format!("{name} works"),
        // Its health begins with the process, and is not changed by tests.
        _ => match last.map(|last| last.attempt.error.is_none()) {
            Some(true) => format!("{name} took its last delivery"),
            Some(false) => format!("{name} did not take its last delivery"),
            None => format!("{name} was not used yet"),
        },
    }
}

fn what_helps(
    session: &Session,
    rule: &Rule,
    health: Option<&Health>,
    open: &[DeliveryTally],
) -> Markup {
    let (name, url) = (&rule.name, format!("{PATH}/{}", segment(&rule.name)));
    let back: &[(&str, &str)] = &[("back", &session.path)];
    let held = total(open, DeliveryState::Held);
    let retried = total(open, DeliveryState::Pending) + total(open, DeliveryState::Dead);
    let (tone, heading, why) = match health.map(|health| (&health.health_state, health)) {
        Some((HealthState::Disabled { reason }, _)) => (
            Tone::Held,
            format!("{name} is out of service"),
            html! { p { (sentence_of(reason)) } p { "New deliveries are held, and none is lost." } },
        ),
        Some((HealthState::Retrying, health)) => (
            Tone::Bad,
            format!("{name} fails"),
            html! {
                @if let Some(error) = &health.last_error { p { "The last attempt failed: “" (error) "”." } }
                p { (count(u64::from(health.consecutive_failures))) " failures in a row"
                    @if let Some(since) = health.failing_since { ", the first at " (time(since)) }
                    ". What waits goes out by itself once the endpoint works." }
            },
        ),
        _ if !rule.enabled => (
            Tone::Off,
            format!("{name} is off in the file"),
            html! { p { "It gets nothing until " code { "enabled: true" } " stands there." } },
        ),
        _ => (Tone::Ok, "Try it".to_owned(), html! {}),
    };
    let is_disabled =
        matches!(health.map(|health| &health.health_state), Some(HealthState::Disabled { .. }));
    let content = html! {
        (why)
        @if !session.may(TokenScope::Admin) { (needs("Testing, enabling and retrying", TokenScope::Admin)) } @else if rule.enabled {
            div.acts.wide {
                @if is_disabled {
                    @let text = match held { 0 => format!("Enable {name}"), n => format!("Enable {name} and send {} held", super::super::components::count_to_most(n)) };
                    (act(&action(session, &format!("{url}/enable"), back, Button::primary(&text)),
                        "If its endpoint returns 410 again, it is disabled again, and nothing is lost."))
                }
                (act(&action(session, &format!("{url}/test"), back, if is_disabled { Button::plain("Send a test") } else { Button::primary("Send a test") }),
                    "One marked delivery, made at once and not retried. Receivers see X-AS2-Test: 1."))
                @if retried > 0 {
                    (act(&action(session, "/console/deliveries/retry", &[("back", &session.path), ("webhook", name)],
                        Button::plain(&format!("Retry {} of {name} now", things(retried, "delivery", "deliveries")))),
                        "All pending and dead ones are due at once, with the same webhook-id as before."))
                }
            }
        }
    };
    note(tone, &heading, &content)
}

fn about(api: &ApiState, rule: &Rule, health: Option<&Health>) -> Markup {
    let endpoint = &rule.endpoint;
    let text = |text: String| Some(html! { (text) });
    let names: Vec<_> = endpoint.headers.iter().map(|(name, _)| name.as_str()).collect();
    let any = |value: &Option<String>| Some(html! { (value.as_deref().unwrap_or("any")) });
    let filters = rule.filters.to_string();
    let waits: Vec<_> = endpoint.retry.iter().map(|wait| span_of(*wait)).collect();
    let content = facts(&[
        ("State", Some(state(api, rule, health))),
        ("Made", text(if is_partner_webhook(rule) { "over the API" } else { "in the file" }.to_owned())),
        ("Events", text(events(rule))),
        ("Partner", any(&rule.partner)),
        ("Station", any(&rule.station)),
        ("Partner type", Some(html! { (rule.partner_type.map_or("any", as2hook_event::PartnerType::as_str)) })),
        ("Only if", (!filters.is_empty()).then(|| html! { (filters) })),
        ("Route", Some(html! { @if rule.route == as2hook_event::Route::Always { "always, besides other rules" } @else { "the most specific rule fires" } })),
        ("URL", Some(match &endpoint.sink { Some(sink) => html! { (sink.name) }, None => html! { (masked(&endpoint.url)) } })),
        ("Sends", text(endpoint.payload.name.to_owned())),
        ("Signed", Some(match endpoint.secrets.len() { 0 => html! { b { "no" } }, 1 => html! { "yes" }, n => html! { "by " (n) " secrets" } })),
        ("Headers", (!names.is_empty()).then(|| html! { (names.join(", ")) " (values are never shown)" })),
        ("Timeout", text(span_of(endpoint.timeout))),
        ("Retries after", text(if waits.is_empty() { "none".to_owned() } else { waits.join(", ") })),
        ("At once", text(endpoint.concurrency.to_string())),
        ("Rate", endpoint.rate.map(|rate| html! { (rate) })),
        ("Order", (endpoint.order == Order::Partner).then(|| html! { "one at a time for each partner and station" })),
        ("Disabled after", text(span_of(endpoint.disable_after.unwrap_or(DISABLE_AFTER)))),
        ("Since the start", health.map(|health| html! { (count(health.delivered)) " delivered, " (things(health.failed, "failed attempt", "failed attempts")) ", " (count(health.dead)) " dead" })),
        ("Last attempt", health.map(|health| html! { (time_if(health.last_attempt)) @if let Some(code) = health.last_http_code { ", " (code) } })),
        ("Paused until", health.and_then(|health| health.paused_until).map(|until| html! { (time(until)) ", as its endpoint asked" })),
    ]);
    panel("This webhook", &html! {}, &html! { div.body { (content) } })
}

fn open_panel(name: &str, open: &[DeliveryTally]) -> Markup {
    let mut states: Vec<_> = open.iter().map(|tally| tally.state).collect();
    states.dedup();
    let content = html! {
        div.body {
            @if open.is_empty() { p.sub { "Nothing waits, and nothing is dead." } }
            ul { @for state in states {
                li { a href=(with_query("/console/deliveries", &[("webhook", name), ("status", state.as_str())])) {
                    (super::super::components::count_to_most(total(open, state))) " " (state.as_str())
                } }
            } }
            p.sub { a href=(with_query("/console/deliveries", &[("webhook", name)])) { "All its deliveries" } }
        }
    };
    panel("Open deliveries", &html! {}, &content)
}

fn latest(attempts: &[AttemptRow]) -> Markup {
    let content = html! {
        @if attempts.is_empty() {
            div.body { p.sub { "No attempt is kept. Send a test, or let a message pass that fires this rule." } }
        } @else {
            div.scroll {
                table.cards role="table" {
                    caption.vh { "The latest attempts" }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for name in ["Time", "Result", "What", "Partner", "Attempt", "Took"] {
                                th scope="col" role="columnheader" { (name) }
                            }
                        }
                    }
                    tbody role="rowgroup" { @for attempt in attempts { (attempt_line(attempt)) } }
                }
            }
        }
    };
    panel("Latest attempts", &html! { "newest first" }, &content)
}

fn attempt_line(row: &AttemptRow) -> Markup {
    let (attempt, event) = (&row.attempt, &row.event);
    let what = event.file_name.as_deref().or(event.message_id.as_deref().map(bare));
    html! {
        tr role="row" {
            td.nowrap role="cell" { (time(attempt.at)) }
            td.end role="cell" {
                @match (&attempt.error, attempt.http_code) {
                    (None, Some(code)) => (chip(Tone::Ok, &code.to_string())),
                    (None, None) => (chip(Tone::Ok, "Delivered")),
                    (Some(_), Some(code)) => (chip(Tone::Bad, &code.to_string())),
                    (Some(_), None) => (chip(Tone::Bad, "No response")),
                }
            }
            td.lead role="cell" {
                a.id href={ "/console/exchanges/" (event.id) "#d" (row.delivery) } { (what.unwrap_or(&event.kind)) }
                @if let Some(error) = &attempt.error { small { (mark(Tone::Bad, error)) } }
            }
            td role="cell" {
                @if let Some(partner) = &event.partner { (preposition(&event.kind)) " " b { (partner) } } @else { "–" }
            }
            td role="cell" data-pre="attempt" { (attempt.number) }
            td.num.drop role="cell" { (attempt.duration_ms) " ms" }
        }
    }
}

fn span_of(duration: std::time::Duration) -> String {
    span(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
