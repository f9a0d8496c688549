//! Events of the gateway itself, in words.

use as2hook_event::{Event, EventKind};
use serde_json::Value;

/// Returns what happened, in a sentence.
pub(super) fn sentence(event: &Event) -> String {
    let webhook = text(event, "webhook").unwrap_or("A webhook");
    match event.kind {
        EventKind::CertificateExpiring => certificate(event),
        EventKind::WebhookDisabled => format!("{webhook} was disabled."),
        EventKind::WebhookFailing => format!("{webhook} failed ten times in a row."),
        EventKind::WebhookRecovered => format!("{webhook} works again."),
        EventKind::DeliveryDead => match event.extra.get("count").and_then(Value::as_u64) {
            Some(count @ 2..) => format!("{count} deliveries of {webhook} are dead."),
            _ => format!("A delivery of {webhook} is dead."),
        },
        kind => format!("{kind} happened."),
    }
}

/// Returns what else is known of it: names and values, as its JSON has them.
pub(super) fn facts(event: &Event) -> Vec<(&'static str, String)> {
    let names = [
        ("reason", "Reason"),
        ("lastError", "Last error"),
        ("failures", "Failures in a row"),
        ("failingSince", "Failing since"),
        ("attempts", "Attempts"),
        ("usage", "Used for"),
        ("subject", "Certificate"),
        ("serial", "Serial"),
        ("sha256", "SHA-256"),
        ("notAfter", "Ends"),
        ("sentAt", "Sent"),
        ("deadline", "Deadline"),
        ("micForm", "Form of the fingerprint"),
    ];
    let value = |(key, name)| match event.extra.get(key)? {
        Value::String(text) => Some((name, text.clone())),
        Value::Null => None,
        other => Some((name, other.to_string())),
    };
    names.into_iter().filter_map(value).collect()
}

/// Returns a text that only this kind of event has.
pub(super) fn text<'a>(event: &'a Event, key: &str) -> Option<&'a str> {
    event.extra.get(key)?.as_str()
}

fn certificate(event: &Event) -> String {
    let whose = event.partner.as_deref().or(event.station.as_deref());
    let whose = whose.map(|id| format!(" of {id}")).unwrap_or_default();
    if event.extra.get("expired") == Some(&Value::Bool(true)) {
        return format!("A certificate{whose} has expired.");
    }
    match event.extra.get("daysLeft").and_then(Value::as_i64) {
        Some(1) => format!("A certificate{whose} ends in 1 day."),
        Some(days) => format!("A certificate{whose} ends in {days} days."),
        None => format!("A certificate{whose} ends soon."),
    }
}
