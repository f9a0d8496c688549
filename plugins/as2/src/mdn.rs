//! The fields of a disposition notification, read as tolerantly as partners write them
//! (RFC 4130 section 7.4, RFC 8098 section 3).

use crate::{
    Mdn,
    cut::{self, cut},
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
    let headers = header::parse(body);
    let text = |name: &str| {
        let value = words::text(&words::unfold(headers.get(name)?));
        (!value.is_empty()).then(|| cut(value, cut::LINE))
    };
    let field = |name: &str| text(name).map(|value| cut(value, cut::FIELD));
    mdn.original_message_id = text("original-message-id");
    mdn.disposition = text("disposition");
    mdn.mic = field("received-content-mic");
    mdn.reporting_ua = field("reporting-ua");
    mdn.final_recipient = field("final-recipient");
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

/// `action; type/modifier: text`, with whatever stands in place of the separators.
fn take_apart(disposition: &str, mdn: &mut Mdn) {
    let disposition = disposition.trim_matches(is_wrapping);
    let (action, rest) = disposition.split_at(type_at(disposition));
    let action = action.trim_matches(is_between);
    mdn.action = (!action.is_empty()).then(|| action.to_owned());
    let rest = rest.trim_start_matches(is_between);
    let end = known_type(rest).unwrap_or_else(|| {
        rest.find(|c: char| "/,:;=(".contains(c) || is_wrapping(c)).unwrap_or(rest.len())
    });
    let (kind, rest) = rest.split_at(end);
    mdn.disposition_type = (!kind.is_empty()).then(|| kind.to_ascii_lowercase());
    let modifier = without_separators(rest);
    if modifier.is_empty() {
        return;
    }
    let (class, text) = match classes(modifier) {
        (Some(class), text) => (class.to_owned(), text),
        (None, _) => {
            let (name, text) = modifier.split_once(':').unwrap_or((modifier, ""));
            if is_refusal(name) {
                // `processed/authentication-failed`: the reason without its class.
                ("error".to_owned(), modifier)
            } else {
                (name.trim_matches(is_wrapping).to_ascii_lowercase(), text)
            }
        }
    };
    let text = text.trim_matches(is_wrapping);
    mdn.modifier = Some(class);
    mdn.modifier_text = (!text.is_empty()).then(|| text.to_owned());
}

/// The types of RFC 8098 section 3.2.6 and RFC 3798, and what stands in their place for a failure.
const TYPES: [&str; 11] = [
    "processed",
    "processing",
    "displayed",
    "dispatched",
    "deleted",
    "denied",
    "failed",
    "failure",
    "failures",
    "error",
    "errors",
];

/// Words in front of the type.
const MAX_PREFIXES: usize = 4;

/// Semicolons behind which the type is looked for: each costs a pass over the rest.
const MAX_PLACES: usize = 8;

/// Where the disposition type begins: at the very beginning, behind the action, or behind a semicolon.
fn type_at(disposition: &str) -> usize {
    let action = action_end(disposition);
    let start = action.unwrap_or(0);
    let semicolons = disposition.match_indices(';').map(|(at, _)| at + 1);
    let behind_semicolons = semicolons.filter(|&at| at > start).take(MAX_PLACES);
    let known = [0, start].into_iter().chain(behind_semicolons.clone()).find_map(|at| {
        let rest = disposition[at..].trim_start_matches(is_between);
        let rest = &rest[prefix(rest)..];
        known_type(rest).map(|_| disposition.len() - rest.len())
    });
    // Without an action only the type stands there, unless it is the action itself.
    let unknown = || behind_semicolons.clone().next().or(action.map(|_| disposition.len()));
    known.or_else(unknown).unwrap_or(0)
}

/// Where `automatic-action/MDN-sent-automatically` ends.
fn action_end(disposition: &str) -> Option<usize> {
    let end = disposition.to_ascii_lowercase().find("-action")? + "-action".len();
    let rest = disposition[end..].trim_start_matches(|c| c == '/' || is_wrapping(c));
    let mode = rest.find(|c: char| c != '-' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let has_mode = disposition[end..].trim_start().starts_with('/');
    Some(if has_mode { disposition.len() - rest.len() + mode } else { end })
}

/// How much stands in front of a type that is not part of it: `x-`, `disposition:`, `AS2`, `MDN-sent:`.
fn prefix(text: &str) -> usize {
    let mut rest = text;
    for _ in 0..MAX_PREFIXES {
        let word = first_word(rest);
        let behind = &rest[word.len()..];
        let separators: &[char] = match word.to_ascii_lowercase().as_str() {
            "disposition" | "status" | "type" => &[':', '='],
            "mdn" | "as2" | "sent" => &[':', '=', '-', ' ', '\t'],
            "x" => &['-'],
            _ => break,
        };
        let behind = if separators.contains(&' ') { behind } else { behind.trim_start() };
        let Some(next) = behind.strip_prefix(separators) else { break };
        rest = next.trim_start_matches(|c| is_wrapping(c) || c == ':' || c == '=');
    }
    text.len() - rest.len()
}

/// Where the known type ends that this begins with.
fn known_type(text: &str) -> Option<usize> {
    let word = first_word(text);
    TYPES.iter().any(|kind| word.eq_ignore_ascii_case(kind)).then_some(word.len())
}

/// The worst of the modifiers that this begins with (`error,warning: ...`), and the text behind them.
fn classes(modifier: &str) -> (Option<&'static str>, &str) {
    let mut worst = None;
    let mut rest = modifier;
    loop {
        let word = first_word(rest);
        let behind = &rest[word.len()..];
        let Some(class) = class(word).filter(|_| !is_free(behind)) else { return (worst, rest) };
        // Behind another modifier it is one only where a text or nothing follows: `warning, failed to`.
        let is_listed = worst.is_none()
            || behind
                .trim_start_matches(is_wrapping)
                .chars()
                .next()
                .is_none_or(|c| ",/:".contains(c));
        if !is_listed {
            return (worst, rest);
        }
        if worst.is_none_or(|worst| rank(class) > rank(worst)) {
            worst = Some(class);
        }
        let next = behind.trim_start_matches(is_wrapping);
        rest = without_separators(behind);
        if !next.starts_with([',', '/']) {
            return (worst, rest);
        }
    }
}

fn class(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "failure" | "failures" | "failed" => "failure",
        "error" | "errors" => "error",
        "warning" | "warnings" => "warning",
        _ => return None,
    })
}

fn rank(class: &str) -> u8 {
    match class {
        "failure" => 2,
        "error" => 1,
        _ => 0,
    }
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    &text[..end]
}

/// Whether the word in front of this is denied by it: `error-free`.
fn is_free(behind: &str) -> bool {
    let rest = behind.strip_prefix('-').unwrap_or_default();
    first_word(rest).eq_ignore_ascii_case("free")
}

/// Blanks and quotes.
fn is_wrapping(c: char) -> bool {
    c.is_whitespace() || c == '"' || c == '\''
}

/// What may stand between action, type, modifier and text.
fn is_between(c: char) -> bool {
    is_wrapping(c) || "/;,:=-.(|".contains(c)
}

/// Without what stands in front as a separator, and without parentheses around the rest.
fn without_separators(text: &str) -> &str {
    let rest = text.trim_start_matches(|c| c != '(' && (is_between(c) || c == ')'));
    let rest = rest.trim_end_matches(|c| c == ';' || is_wrapping(c));
    let Some(inside) = rest.strip_prefix('(') else { return rest };
    match inside.find(')') {
        None => without_separators(inside),
        Some(end) if end + 1 == inside.len() => without_separators(&inside[..end]),
        Some(_) => rest,
    }
}

/// Whether this modifier refuses a message: a failure is in it (but for `no errors`, `error-free`), or it is a reason
/// of RFC 4130 section 7.5.3 or its successor.
fn is_refusal(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let (mut rest, mut before) = (lower.as_str(), "");
    let mut has_failure = false;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let word = first_word(&rest[at..]);
        rest = &rest[at + word.len()..];
        let is_failure = class(word).is_some_and(|class| rank(class) > 0);
        let is_denied = matches!(before, "no" | "without") || (is_free(rest) && before != "not");
        before = word;
        has_failure |= is_failure && !is_denied;
    }
    let lower = lower.trim_matches(is_wrapping);
    has_failure
        || lower.starts_with("unsupported")
        || lower.starts_with("unknown-trading")
        || matches!(lower, "insufficient-message-security" | "sender-equals-receiver")
}
