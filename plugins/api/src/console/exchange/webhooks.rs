//! Which webhooks have an event, in words.

use as2hook_store::DeliveryState;

use super::{
    super::{
        components::{RouteStop, Tone},
        phrases::listed,
    },
    story::ExchangeFacts,
};
use crate::deliveries::DeliveryDetail;

/// Returns what the heading says of the webhooks, the worst first. `None`: no rule fired.
pub(super) fn delivered_sentence(facts: &ExchangeFacts<'_>) -> Option<String> {
    use DeliveryState::{Claimed, Dead, Held, Pending};
    let verb = |names: &[&str], one: &'static str, more: &'static str| {
        if names.len() == 1 { one } else { more }
    };
    let dead = names(facts, &[Dead]);
    if !dead.is_empty() {
        return Some(format!("{} did not get it.", listed(&dead)));
    }
    let waiting = names(facts, &[Pending, Claimed]);
    if !waiting.is_empty() {
        let does = verb(&waiting, "does", "do");
        return Some(format!("{} {does} not have it yet.", listed(&waiting)));
    }
    let held = names(facts, &[Held]);
    if !held.is_empty() {
        let is = verb(&held, "is", "are");
        return Some(format!("{} {is} disabled, so it is held.", listed(&held)));
    }
    let delivered = names(facts, &[DeliveryState::Delivered]);
    let all = facts.deliveries.len();
    match delivered.len() {
        0 => facts.event.is_test().then(|| "The endpoint did not take it.".to_owned()),
        1..=3 => {
            let has = verb(&delivered, "has", "have");
            Some(format!("{} {has} it.", listed(&delivered)))
        }
        n if n == all => Some(format!("All {n} webhooks have it.")),
        n => Some(format!("{n} of {all} webhooks have it.")),
    }
}

/// Returns the last stop of the route.
pub(super) fn stop(facts: &ExchangeFacts<'_>) -> RouteStop<'static> {
    use DeliveryState::{Cancelled, Claimed, Dead, Delivered, Held, Orphaned, Pending};
    // A test that failed is kept as cancelled.
    let (was, were) = match facts.event.is_test() {
        true => ("did not take it", "did not take it"),
        false => ("was cancelled", "were cancelled"),
    };
    let parts = [
        (Delivered, "has it", "have it"),
        (Claimed, "gets it now", "get it now"),
        (Pending, "does not yet", "do not yet"),
        (Dead, "did not get it", "did not get it"),
        (Held, "is disabled", "are disabled"),
        (Orphaned, "lost its rule", "lost their rules"),
        (Cancelled, was, were),
    ];
    let words = parts.iter().filter_map(|(state, one, more)| {
        let names = names(facts, &[*state]);
        let words = if names.len() == 1 { one } else { more };
        (!names.is_empty()).then(|| format!("{} {words}", listed(&names)))
    });
    let text = words.collect::<Vec<_>>().join("; ");
    let text = if text.is_empty() { "no rule fired".to_owned() } else { text };
    RouteStop { tone: tone(facts), name: "Webhooks", text }
}

/// Returns the tone of all deliveries together.
pub(super) fn tone(facts: &ExchangeFacts<'_>) -> Tone {
    let any = |state| facts.in_state(state).next().is_some();
    if any(DeliveryState::Dead) {
        Tone::Bad
    } else if any(DeliveryState::Pending) || any(DeliveryState::Claimed) {
        let has_failed = |one: &DeliveryDetail| !one.attempts.is_empty();
        let fails = facts.in_state(DeliveryState::Pending).any(has_failed);
        if fails { Tone::Bad } else { Tone::Wait }
    } else if any(DeliveryState::Held) {
        Tone::Held
    } else if any(DeliveryState::Delivered) {
        Tone::Ok
    } else {
        Tone::Off
    }
}

fn names<'a>(facts: &'a ExchangeFacts<'_>, states: &[DeliveryState]) -> Vec<&'a str> {
    let all = states.iter().flat_map(|state| facts.in_state(*state));
    all.map(|one| one.webhook.as_str()).collect()
}
