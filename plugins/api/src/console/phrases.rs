//! Words that several pages say alike.

use as2hook_event::EventKind;
use as2hook_store::{DeliveryState, EventRow};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    components::{Tone, chip},
    rows::error_words,
    times::time,
};
use crate::test_delivery::is_test;

/// Returns names as a sentence has them: "a", "a and b", "a, b and c", at most five.
pub(crate) fn listed(names: &[&str]) -> String {
    const MOST: usize = 5;
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] if names.len() <= MOST => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {} more", names[..MOST - 1].join(", "), names.len() + 1 - MOST),
    }
}

/// Returns a reason, as errors have it, as a sentence of its own.
pub(crate) fn sentence_of(reason: &str) -> String {
    let reason = reason.trim();
    let end = if reason.is_empty() || reason.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{end}", capital(reason))
}

/// Returns a text that begins with a capital letter.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

/// Returns a Message-ID without its angle brackets.
pub(crate) fn bare(message_id: &str) -> &str {
    let bare = message_id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
    bare.unwrap_or(message_id)
}

/// Returns a serial or digest as its first eight and last four characters.
pub(crate) fn shortened(id: &str) -> String {
    match (id.get(..8), id.get(id.len().saturating_sub(4)..)) {
        (Some(first), Some(last)) if id.len() > 16 => format!("{first}…{last}"),
        _ => id.to_owned(),
    }
}

/// Shows a time that the API has as text.
pub(crate) fn time_of(rfc3339: &str) -> Markup {
    match rfc3339.parse::<Timestamp>() {
        Ok(at) => time(at.as_millisecond()),
        Err(_) => html! { "–" },
    }
}

/// Returns the chip of a delivery's state, as the API names it.
pub(crate) fn state_chip(state: &str) -> Markup {
    match DeliveryState::named(state) {
        Some(state) => chip(state_tone(state), state_word(state)),
        None => chip(Tone::Off, state),
    }
}

pub(crate) const fn state_tone(state: DeliveryState) -> Tone {
    match state {
        DeliveryState::Delivered => Tone::Ok,
        DeliveryState::Pending | DeliveryState::Claimed => Tone::Wait,
        DeliveryState::Dead => Tone::Bad,
        DeliveryState::Held => Tone::Held,
        DeliveryState::Orphaned | DeliveryState::Cancelled => Tone::Off,
    }
}

const fn state_word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "Pending",
        DeliveryState::Claimed => "Under way",
        DeliveryState::Delivered => "Delivered",
        DeliveryState::Dead => "Dead",
        DeliveryState::Held => "Held",
        DeliveryState::Orphaned => "Orphaned",
        DeliveryState::Cancelled => "Cancelled",
    }
}

/// Returns what came of an event in a list: a tone and a few words.
pub(crate) fn result_of(row: &EventRow) -> (Tone, String) {
    let kind = row.kind.parse::<EventKind>();
    if is_test(row) {
        return (Tone::Off, "Test".to_owned());
    }
    if row.open {
        return (Tone::Wait, "Under way".to_owned());
    }
    if let (Some(code), Ok(EventKind::MessageReceived | EventKind::MdnReceived)) =
        (row.errors.first(), &kind)
    {
        let tone = if matches!(code, 900 | 1400) { Tone::Wait } else { Tone::Bad };
        return (tone, format!("{code} {}", error_words(*code)));
    }
    let (tone, word) = match kind {
        Ok(EventKind::MessageReceived) => (Tone::Ok, "Received"),
        Ok(EventKind::MdnReceived) => (Tone::Ok, "Receipt came"),
        Ok(EventKind::MessageSent) => (Tone::Ok, "Sent"),
        Ok(EventKind::SendError) => (Tone::Bad, "Not sent"),
        Ok(EventKind::MessageRejected) => (Tone::Bad, "Refused by your server"),
        Ok(EventKind::MessageDuplicate) => (Tone::Off, "Duplicate"),
        Ok(EventKind::MdnSent) => (Tone::Ok, "Receipt sent"),
        Ok(EventKind::MdnOverdue) => (Tone::Bad, "Receipt overdue"),
        Ok(EventKind::CertificateExpiring) => (Tone::Wait, "Certificate ends"),
        Ok(EventKind::WebhookDisabled) => (Tone::Held, "Webhook disabled"),
        Ok(EventKind::WebhookFailing) => (Tone::Bad, "Webhook fails"),
        Ok(EventKind::WebhookRecovered) => (Tone::Ok, "Webhook recovered"),
        Ok(EventKind::DeliveryDead) => (Tone::Bad, "Delivery dead"),
        Err(_) => (Tone::Off, row.kind.as_str()),
    };
    (tone, word.to_owned())
}

/// Returns what an event of a kind is, in words for a sentence.
pub(crate) const fn kind_words(kind: EventKind) -> &'static str {
    match kind {
        EventKind::MessageReceived => "messages received",
        EventKind::MdnReceived => "receipts received",
        EventKind::MessageSent => "messages sent",
        EventKind::SendError => "send errors",
        EventKind::MessageRejected => "messages rejected",
        EventKind::MessageDuplicate => "duplicates",
        EventKind::MdnSent => "receipts sent",
        EventKind::MdnOverdue => "overdue receipts",
        EventKind::CertificateExpiring => "certificates that end",
        EventKind::WebhookDisabled => "disabled webhooks",
        EventKind::WebhookFailing => "failing webhooks",
        EventKind::WebhookRecovered => "recovered webhooks",
        EventKind::DeliveryDead => "dead deliveries",
    }
}

/// Whether an event's partner sent it, or got it.
pub(crate) fn preposition(kind: &str) -> &'static str {
    match kind.parse() {
        Ok(EventKind::MessageSent | EventKind::SendError | EventKind::MdnSent) => "to",
        Ok(EventKind::MdnOverdue) => "of",
        _ => "from",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_a_sentence_has_them() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
    }

    #[test]
    fn long_ids_are_shortened_and_short_ones_are_not() {
        assert_eq!(shortened("e104dbcf0011223377a2"), "e104dbcf…77a2");
        assert_eq!(shortened("4711"), "4711");
        assert_eq!(shortened("ääääääääääääääääää"), "ääää…ää");
        assert_eq!(bare("<a@b>"), "a@b");
        assert_eq!(bare("<a@b"), "<a@b");
    }
}
