//! The steps of a receipt (MDN) that is an event of its own.

use as2hook_as2::Mdn;
use as2hook_event::EventKind;

use super::{
    super::{components::Tone, phrases::bare},
    steps::{ExchangeStep, StepPart, looked_at},
    story::ExchangeFacts,
};

/// Returns them, up to the fingerprint.
pub(super) fn steps(facts: &ExchangeFacts<'_>) -> Vec<ExchangeStep> {
    let (event, partner) = (facts.event, facts.partner());
    let is_sync = event.extra.get("mdnMode") == Some(&"sync".into());
    let title = match (event.kind, is_sync) {
        (EventKind::MdnReceived, true) => format!("{partner} responded with a receipt"),
        (EventKind::MdnReceived, false) => format!("Receipt received from {partner}"),
        _ => format!("Your AS2 server sent a receipt to {partner}"),
    };
    let way = match is_sync {
        true => "It came in the same connection as the message (synchronous).",
        false => "It came on a connection of its own (asynchronous).",
    };
    let mut steps = vec![ExchangeStep::new(Tone::Ok, title, way).with(StepPart::Headers)];
    if event.kind == EventKind::MdnReceived {
        steps.extend(looked_at(facts).pop());
    }
    let decoded = event.decoded.as_ref();
    match decoded.and_then(|decoded| decoded.mdn.as_ref()) {
        Some(mdn) => {
            steps.push(says(mdn));
            steps.push(fingerprint(facts));
        }
        None => steps.push(ExchangeStep::new(
            Tone::Bad,
            "Not readable",
            "What it says could not be read.",
        )),
    }
    steps
}

/// Returns what a receipt says, as facts.
pub(super) fn mdn_facts(mdn: &Mdn) -> Vec<(&'static str, String)> {
    let facts = [
        ("Says", mdn.disposition.clone()),
        ("In words", mdn.human_message.clone()),
        ("Message-ID", mdn.original_message_id.as_deref().map(|id| bare(id).to_owned())),
        ("Fingerprint (MIC)", mdn.mic.clone()),
        ("Recipient", mdn.final_recipient.clone()),
        ("Software", mdn.reporting_ua.clone()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn says(mdn: &Mdn) -> ExchangeStep {
    let (tone, title, text) = match mdn.error {
        true => (Tone::Bad, "It refuses the message", "The message was not accepted."),
        false => (Tone::Ok, "It confirms the message", "The message was accepted."),
    };
    ExchangeStep { facts: mdn_facts(mdn), ..ExchangeStep::new(tone, title, text) }
        .with(StepPart::Receipt)
}

fn fingerprint(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let (tone, title, text) = match facts.event.mic_matches {
        Some(true) => (
            Tone::Ok,
            "Fingerprint compared",
            "It names the fingerprint of the message that was sent: not a byte was changed.",
        ),
        Some(false) => (
            Tone::Bad,
            "Fingerprints differ",
            "It names another fingerprint than that of the message that was sent.",
        ),
        None => (
            Tone::Off,
            "Fingerprint not compared",
            "The message was not seen here, or the receipt names no fingerprint.",
        ),
    };
    ExchangeStep::new(tone, title, text)
}
