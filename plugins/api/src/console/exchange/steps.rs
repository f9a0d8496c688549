//! The steps of an exchange, in their order: what happened at each, in words for a person who knows nothing of AS2.

use as2hook_event::EventKind;
use as2hook_store::DeliveryState;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    super::{
        components::Tone,
        times::{short_span, time},
    },
    content, inbound, outbound, receipt,
    story::ExchangeFacts,
    system, webhooks,
};
use crate::{deliveries::DeliveryDetail, event_detail::is_mdn};

/// One step of the time line.
pub(super) struct ExchangeStep {
    pub(super) tone: Tone,
    pub(super) title: String,
    pub(super) text: String,
    /// The evidence: names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) part: StepPart,
}

/// What the page shows at a step besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepPart {
    /// Nothing.
    Plain,
    /// The headers as they came.
    Headers,
    /// The attachments.
    Attachments,
    /// What a receipt is, and this one.
    Receipt,
    /// The deliveries.
    Webhooks,
}

/// Returns the steps of an exchange, or of an event of the gateway itself.
pub(super) fn steps(facts: &ExchangeFacts<'_>) -> Vec<ExchangeStep> {
    let mut steps = match facts.event.kind {
        EventKind::MessageReceived | EventKind::MessageRejected | EventKind::MessageDuplicate => {
            inbound::steps(facts)
        }
        EventKind::MessageSent | EventKind::SendError => outbound::steps(facts),
        kind if is_mdn(kind) => receipt::steps(facts),
        _ => {
            let happened = ExchangeStep::new(Tone::Wait, facts.outcome(), "");
            vec![ExchangeStep { facts: system::facts(facts.event), ..happened }]
        }
    };
    steps.push(delivered(facts));
    steps
}

fn delivered(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let all = facts.deliveries.len();
    let done = facts.in_state(DeliveryState::Delivered).count();
    let is_over = |one: &DeliveryDetail| {
        let over = [DeliveryState::Dead, DeliveryState::Cancelled, DeliveryState::Orphaned];
        over.iter().any(|state| one.status == state.as_str())
    };
    let title = match facts.deliveries {
        [] => "No webhook".to_owned(),
        [_] if done == 1 => "Delivered to the webhook".to_owned(),
        [one] if is_over(one) => "Not delivered".to_owned(),
        [_] => "Not delivered yet".to_owned(),
        _ => format!("Delivered to {done} of {all} webhooks"),
    };
    let text = match all {
        0 if facts.open => "Webhooks get it when the exchange is over.",
        0 => "No rule in force then fired for it.",
        1 => "One rule fired for it.",
        _ => "Each rule that fired has a delivery of its own.",
    };
    let step = ExchangeStep::new(webhooks::tone(facts), title, text);
    ExchangeStep { part: StepPart::Webhooks, ..step }
}

// === impl ExchangeStep ===

impl ExchangeStep {
    pub(super) fn new(tone: Tone, title: impl Into<String>, text: impl Into<String>) -> Self {
        let (title, text) = (title.into(), text.into());
        Self { tone, title, text, facts: Vec::new(), part: StepPart::Plain }
    }

    pub(super) fn fact(mut self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        self.facts.extend(value.map(|value| (name, value.into())));
        self
    }

    pub(super) fn with(self, part: StepPart) -> Self {
        Self { part, ..self }
    }
}

/// Returns when a step happened, where that is known: the first as a time, the deliveries as an offset from it.
pub(super) fn when(facts: &ExchangeFacts<'_>, n: usize, step: &ExchangeStep) -> Markup {
    let began = facts.event.occurred_at.as_millisecond();
    match (n, step.part, facts.receipt) {
        (0, ..) => time(began),
        (_, StepPart::Receipt, Some(receipt)) => time(receipt.occurred_at.as_millisecond()),
        (_, StepPart::Webhooks, _) => match delivered_at(facts) {
            Some(at) => html! { "+ " (short_span(at.saturating_sub(began))) },
            None => html! {},
        },
        _ => html! {},
    }
}

/// Returns when the last webhook had it; `None` where one has not.
fn delivered_at(facts: &ExchangeFacts<'_>) -> Option<i64> {
    let ended = |delivery: &DeliveryDetail| {
        let last = delivery.attempts.last().filter(|last| last.error.is_none())?;
        let began: Timestamp = last.at.parse().ok()?;
        Some(began.as_millisecond().saturating_add_unsigned(last.duration_ms))
    };
    facts.deliveries.iter().map(ended).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Returns the steps of looking at an inbound message or a receipt.
pub(super) fn looked_at(facts: &ExchangeFacts<'_>) -> Vec<ExchangeStep> {
    let Some(decoded) = &facts.event.decoded else { return vec![content::not_opened(facts)] };
    let mut steps = vec![content::encryption(facts, decoded)];
    if decoded.compressed == Some(true) {
        steps.extend(content::compression(facts));
    }
    steps.push(content::signature(facts, decoded));
    steps
}
