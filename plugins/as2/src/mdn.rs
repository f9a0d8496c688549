//! The fields of a disposition notification, read as tolerantly as partners write them
//! (RFC 4130 section 7.4, RFC 8098 section 3).

use crate::{
    Headers, Mdn,
    mime::{header, words},
};

/// Whether a part without a type is a notification.
pub(crate) fn looks_like(body: &[u8]) -> bool {
    let headers = header::parse(body);
    headers.get("disposition").is_some()
        && ["original-message-id", "final-recipient", "reporting-ua", "original-recipient"]
            .iter()
            .any(|name| headers.get(name).is_some())
}

/// Reads the fields into `mdn`.
pub fn read(body: &[u8], mdn: &mut Mdn) {
    let headers = fields(body);
    let text = |name: &str| {
        let value = headers.get(name).map(|value| words::text(&header::unfold(value)));
        value.filter(|value| !value.is_empty())
    };
    mdn.original_message_id = text("original-message-id");
    mdn.disposition = text("disposition");
    mdn.mic = text("received-content-mic");
    mdn.reporting_ua = text("reporting-ua");
    mdn.final_recipient = text("final-recipient");
    if let Some(disposition) = mdn.disposition.clone() {
        take_apart(&disposition, mdn);
    }
    // RFC 3798 section 3.2.7 has the reason in fields of their own.
    for (field, modifier) in [("error", "error"), ("failure", "failure"), ("warning", "warning")] {
        let Some(reason) = text(field) else { continue };
        if mdn.modifier.is_none() {
            mdn.modifier = Some(modifier.to_owned());
        }
        if mdn.modifier.as_deref() == Some(modifier) && mdn.modifier_text.is_none() {
            mdn.modifier_text = Some(reason);
        }
    }
}

/// Decides whether the message was accepted.
pub(crate) fn judge(mdn: &mut Mdn) {
    let modifier = mdn.modifier.as_deref();
    let refused = matches!(modifier, Some("error" | "failure"));
    // Warnings do not refuse: RFC 4130 section 7.5.3.
    let accepted = matches!(
        mdn.disposition_type.as_deref(),
        Some("processed" | "displayed" | "dispatched" | "processing")
    );
    mdn.error = refused || !accepted;
}

/// `action; type/modifier: text`.
fn take_apart(disposition: &str, mdn: &mut Mdn) {
    let (action, rest) = match disposition.split_once(';') {
        Some((action, rest)) => (Some(action.trim()), rest),
        // Without an action only the type stands there, unless it is the action itself.
        None if disposition.to_ascii_lowercase().contains("automatic-action")
            || disposition.to_ascii_lowercase().contains("manual-action") =>
        {
            (Some(disposition.trim()), "")
        }
        None => (None, disposition),
    };
    mdn.action = action.filter(|a| !a.is_empty()).map(str::to_owned);
    let (kind, modifier) = match rest.split_once('/') {
        Some((kind, modifier)) => (kind, Some(modifier)),
        // Some leave the slash out: `processed, error: ...`, `processed Error: ...`.
        None => match rest.trim().split_once(|c: char| c == ',' || c.is_whitespace()) {
            Some((kind, modifier)) => (kind, Some(modifier)),
            None => match rest.split_once(':') {
                Some((kind, _)) => (kind, Some(rest)),
                None => (rest, None),
            },
        },
    };
    let kind = kind.trim().to_ascii_lowercase();
    mdn.disposition_type = (!kind.is_empty()).then_some(kind);
    let Some(modifier) = modifier.map(str::trim).filter(|m| !m.is_empty()) else { return };
    let (name, text) = match modifier.split_once(':') {
        Some((name, text)) => (name, text.trim()),
        None => (modifier, ""),
    };
    let name = name.trim().to_ascii_lowercase();
    // Of several modifiers (`error,warning: ...`) the worst decides.
    let named = |word: &str| name.split([',', ' ', '/']).any(|n| n.trim() == word);
    let worst = [("failure", "failure"), ("failed", "failure"), ("error", "error")]
        .into_iter()
        .chain([("warning", "warning")])
        .find(|(word, _)| named(word));
    match worst {
        Some((_, modifier)) => {
            mdn.modifier = Some(modifier.to_owned());
            mdn.modifier_text = (!text.is_empty()).then(|| text.to_owned());
        }
        // `processed/authentication-failed`: the reason without its class.
        None if is_refusal(&name) => {
            mdn.modifier = Some("error".to_owned());
            mdn.modifier_text = Some(modifier.to_owned());
        }
        None => {
            mdn.modifier = Some(name);
            mdn.modifier_text = (!text.is_empty()).then(|| text.to_owned());
        }
    }
}

/// Reasons of RFC 4130 section 7.5.3 and its successor that refuse a message.
fn is_refusal(name: &str) -> bool {
    name.ends_with("-failed")
        || name.ends_with("-error")
        || name.starts_with("unsupported")
        || name.starts_with("unknown-trading")
        || matches!(name, "insufficient-message-security" | "sender-equals-receiver")
}

/// Every field; blank lines between them are passed over.
fn fields(body: &[u8]) -> Headers {
    header::parse(body)
}
