//! The page of the configuration.

use as2hook_config::{ConfigDiagnostic, TokenScope};
use axum::extract::State;
use maud::{Markup, html};

use super::{
    super::{
        components::{Button, Tone, act, action, chip, facts, mark, needs, panel, things},
        layout::{self, NavItem, head},
        phrases::time_of,
        session::Session,
    },
    PATH, audit,
};
use crate::{
    error::ApiError,
    gateway::ApiState,
    status::{self, GatewayView, Status},
};

/// The actions that the page shows, the newest ones.
const ACTIONS: usize = 10;

/// The lines of the config that the page shows; the rest can be downloaded.
const LINES: usize = 500;

pub(super) async fn config(
    State(api): State<ApiState>,
    session: Session,
) -> Result<Markup, ApiError> {
    let status = status::status(State(api.clone()), session.caller.clone()).await?.0;
    let actions = match audit::read(&api, &session, None, ACTIONS).await {
        Ok(actions) => Some(actions),
        Err(ApiError::Store) => None,
        Err(refusal) => return Err(refusal),
    };
    let is_default = session.caller.is_of_default_site();
    let mistakes = if is_default { api.gateway.mistakes() } else { Vec::new() };
    let main = html! {
        (head(&html! { "Configuration" }, &heading(&status), &html! {
            @if status.last_reload.ok { "Loaded at " } @else { "Nothing is interrupted: traffic and webhooks go on as before. Refused at " }
            (time_of(&status.last_reload.at)) "."
        }))
        div.cols.two {
            div.stack {
                (reload_panel(&session, &status, &mistakes, is_default))
                (about(&status))
            }
            div.stack {
                @if !status.gateways.is_empty() { (gateways(&status.gateways)) }
                (panel("Latest actions", &html! { "of people and programs, by token" }, &html! {
                    @match &actions {
                        None => div.body { p.sub { "The store does not respond, so that they cannot be shown." } },
                        Some(actions) if actions.data.is_empty() => {
                            div.body { p.sub { "No token has changed anything yet." } }
                        },
                        Some(actions) => {
                            (audit::table(&actions.data))
                            footer { a href={ (PATH) "/actions" } { "All actions" } }
                        },
                    }
                }))
            }
        }
        @if is_default { (in_force(&as2hook_config::to_yaml(&api.gateway.config()))) }
    };
    Ok(layout::page(&api, &session, NavItem::Configuration, "Configuration", &main).await)
}

fn heading(status: &Status) -> String {
    let generation = status.generation;
    if !status.last_reload.ok {
        return format!("The last change was refused. Configuration {generation} stays in force.");
    }
    if status.outdated {
        return "Another gateway has a newer configuration than this one.".to_owned();
    }
    if status.drift {
        return "The gateways of this store have different rules.".to_owned();
    }
    format!("Configuration {generation} is in force")
}

fn reload_panel(
    session: &Session,
    status: &Status,
    mistakes: &[ConfigDiagnostic],
    is_default: bool,
) -> Markup {
    let number = u64::try_from(mistakes.len()).unwrap_or(u64::MAX);
    let heading = match number {
        0 if status.last_reload.ok => "Reload".to_owned(),
        0 => "The files have a mistake".to_owned(),
        n => format!("{} to mend", things(n, "mistake", "mistakes")),
    };
    let content = html! {
        div.body {
            @if !mistakes.is_empty() {
                ol.stack {
                    @for mistake in mistakes {
                        li.bad {
                            h3.ico { (mistake.message) }
                            p.id.sub { (mistake.file.display()) ":" (mistake.line) ":" (mistake.column) " · " (mistake.path) }
                        }
                    }
                }
            }
            @if !is_default {
                p.sub { "Reloading needs a token of the default site." }
            } @else if session.may(TokenScope::Admin) {
                div.acts {
                    (act(&action(session, &format!("{PATH}/reload"), &[], Button::primary("Reload now")),
                        "Reads and checks all files. With a mistake, all stays as it is. Changed files are noticed without it, too."))
                }
            } @else { (needs("Reloading", TokenScope::Admin)) }
        }
    };
    panel(&heading, &html! {}, &content)
}

fn about(status: &Status) -> Markup {
    let store = &status.store;
    let out: Vec<_> = status.out_of_service.iter().take(20).collect();
    let content = facts(&[
        ("Version", Some(html! { (status.version) })),
        ("Configuration", Some(html! { (status.generation) })),
        ("Files", status.hash.as_ref().map(|hash| html! { "SHA-256 " span.id { (hash) } })),
        ("Rules", Some(html! { a href="/console/webhooks" { (status.webhooks) } })),
        ("Exchanges under way", status.in_flight.map(|n| html! { (n) })),
        (
            "Store",
            Some(html! {
                @if store.ok { (mark(Tone::Ok, "Takes events")) } @else { (mark(Tone::Bad, "Fails")) }
                @if let Some(error) = &store.error { ": " (error) }
            }),
        ),
        (
            "Held in memory",
            store
                .held_in_memory
                .filter(|n| *n > 0)
                .map(|n| html! { (n) " events, until the store takes them" }),
        ),
        ("Open exchanges", Some(html! { (store.open_exchanges) })),
        ("Oldest undelivered", store.oldest_undelivered.as_ref().map(|at| time_of(at))),
        (
            "Out of service",
            (!out.is_empty()).then(|| {
                html! {
                    @for webhook in out { b { (webhook.webhook) } ": " (webhook.reason) br; }
                }
            }),
        ),
    ]);
    panel("This gateway", &html! {}, &html! { div.body { (content) } })
}

fn gateways(all: &[GatewayView]) -> Markup {
    let content = html! {
        div.scroll tabindex="0" role="group" aria-label="Gateways" {
            table.cards role="table" {
                caption.vh { "Gateways" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Gateway", "Rules", "Started", "Seen"] { th scope="col" role="columnheader" { (name) } }
                    }
                }
                tbody role="rowgroup" {
                    @for gateway in all {
                        tr role="row" {
                            th.lead scope="row" role="rowheader" {
                                (gateway.host) small { @if gateway.is_self { "this one, " } "process " (gateway.pid) ", version " (gateway.version) }
                            }
                            td role="cell" {
                                @if gateway.drift { (chip(Tone::Bad, "Other rules")) }
                                @else if gateway.is_self { (chip(Tone::Ok, "In force")) }
                                @else { (chip(Tone::Ok, "The same")) }
                            }
                            td role="cell" data-label="Started" { (time_of(&gateway.started)) }
                            td.end role="cell" { (time_of(&gateway.seen)) }
                        }
                    }
                }
            }
        }
    };
    panel("Gateways of this store", &html! {}, &content)
}

fn in_force(yaml: &str) -> Markup {
    let lines = yaml.lines().count();
    html! {
        section.panel {
            header { h2 { "In force" } p { "as the gateway understood it: defaults filled in, secrets masked" } }
            div.body {
                div.code tabindex="0" role="region" aria-label="as2hook.yaml as in force" {
                    ol start="1" { @for line in yaml.lines().take(LINES) { li { (line) } } }
                }
                @if lines > LINES { p.sub { (lines - LINES) " more lines are in the file." } }
            }
            footer {
                a href={ (PATH) "/as2hook.yaml" } { "Download as YAML" }
                a href="/console/webhooks" { "Rules in force" }
            }
        }
    }
}
