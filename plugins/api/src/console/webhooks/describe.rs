//! What a rule sends, and where, in words.

use as2hook_delivery::Health;
use as2hook_event::{Route, Rule};
use maud::{Markup, html};

use super::super::{
    phrases::{kind_words, listed},
    standing::webhook_chip,
};
use crate::{gateway::ApiState, webhooks::masked};

/// Returns the events of a rule, in words.
pub(super) fn events(rule: &Rule) -> String {
    match &rule.events {
        None => "every event".to_owned(),
        Some(events) => listed(&events.iter().map(|kind| kind_words(*kind)).collect::<Vec<_>>()),
    }
}

/// Returns what a rule sends, as a line.
pub(super) fn sends(rule: &Rule) -> Markup {
    let filters = rule.filters.to_string();
    html! {
        @if rule.events.is_none() { b { "every event" } } @else { (events(rule)) }
        @if let Some(partner) = &rule.partner { " · from or to " b { (partner) } }
        @if let Some(station) = &rule.station { " · by " b { (station) } }
        @if let Some(kind) = rule.partner_type { " · " b { (kind.as_str()) } " partners" }
        @if !filters.is_empty() { " · if " (filters) }
        @if rule.route == Route::Always { ", besides other rules" }
    }
}

/// Returns where a rule sends to: the host, and below it the path, the mode and whether it is signed.
pub(super) fn target(rule: &Rule) -> Markup {
    let endpoint = &rule.endpoint;
    if let Some(sink) = &endpoint.sink {
        return html! { (sink.name) small { (endpoint.payload.name) } };
    }
    let url = masked(&endpoint.url);
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
    html! {
        (endpoint.url.host().unwrap_or_default())
        small { (path) " · " (endpoint.payload.name) ", " @if endpoint.secrets.is_empty() { b { "not signed" } } @else { "signed" } }
    }
}

/// Returns how a webhook is; the stream brings it up to date.
pub(super) fn state(api: &ApiState, rule: &Rule, health: Option<&Health>) -> Markup {
    html! { span data-webhook=(rule.name) { (webhook_chip(api, rule, health)) } }
}
