//! Which headers a delivery has: ours, the rule's own, and those of the AS2 request that may go along.
//!
//! The partner writes the original headers, so they are hostile. None of them may stand for one of
//! ours, neither as it is nor after a receiver has folded names: CGI and its heirs turn both `-` and
//! `_` into `_`, and some servers every other sign too. So names are compared in a form where all
//! that is no letter and no digit is `-`.

use std::collections::HashSet;

use as2hook_as2::Headers;
use jiff::Timestamp;

use super::{
    Rendering,
    body::Content,
    request::{Fields, Request},
};
use crate::{
    event::Event,
    rule::{Endpoint, PassHeaders},
};

/// `User-Agent` of every delivery.
pub const USER_AGENT: &str = concat!("as2hook/", env!("CARGO_PKG_VERSION"));

/// Always there when the message had them.
const IDENTITY: [&str; 4] = ["as2-from", "as2-to", "message-id", "subject"];

/// What `pass_headers: as2` lets through, beside everything that begins with `AS2-`: the headers of
/// RFC 4130 and RFC 6017, and those that AS2 servers send beside them.
const AS2: [&str; 10] = [
    "content-type",
    "date",
    "disposition-notification-options",
    "disposition-notification-to",
    "ediint-features",
    "from",
    "message-id",
    "mime-version",
    "receipt-delivery-option",
    "recipient-address",
];

/// Set by as2hook.
const OURS: [&str; 6] = [
    "content-length",
    "user-agent",
    "x-partner-type",
    "x-processing-error",
    "x-send-error",
    "x-truncated",
];

/// Of one hop, or part of the framing (RFC 9110 section 7.6.1). `Content-Encoding` is here since it
/// would have an empty or a decoded body inflated.
const FRAMING: [&str; 12] = [
    "connection",
    "content-encoding",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Credentials of the AS2 exchange, and what a receiver behind a proxy would believe: who asks, for
/// what, and how.
const NEVER: [&str; 15] = [
    "authorization",
    "cookie",
    "cookie2",
    "forwarded",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "set-cookie2",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// `X-Processing-Error` and `X-Send-Error` stay below what any server takes as one header; the JSON
/// has all of it.
const ERROR_MAX: usize = 4096;

/// The request without its signatures.
pub(super) fn request(
    event: &Event,
    rendering: &Rendering<'_>,
    endpoint: &Endpoint,
    now: Timestamp,
    content: Content<'_>,
) -> Request {
    let mut headers = Fields::default();
    let mut dropped = Vec::new();

    headers.own("webhook-id", rendering.webhook_id);
    headers.own("webhook-timestamp", &now.as_second().to_string());
    headers.own("X-AS2-Event", event.kind.as_str());
    headers.own("X-AS2-Attempt", &rendering.attempt.to_string());
    if rendering.replay {
        headers.own("X-AS2-Replay", "1");
    }
    headers.own("X-Partner-Type", event.partner_type.as_str());
    if let Some(peer) = event.peer {
        headers.own("X-Forwarded-For", &peer.to_canonical().to_string());
    }
    headers.own("User-Agent", USER_AGENT);
    if let Some(errors) = processing_error(event) {
        headers.own("X-Processing-Error", &errors);
    }
    if let Some(error) = &event.send_error {
        let text = format!("{}: {}", error.stage.as_str(), error.message);
        headers.own("X-Send-Error", &cut(&plain(&text), ERROR_MAX));
    }
    about(&content, &mut headers, &mut dropped);

    for (name, value) in &endpoint.headers {
        if is_reserved(name.as_str()) || !headers.foreign(name.as_str(), value.as_bytes()) {
            dropped.push(printable(name.as_str()));
        }
    }
    originals(event, endpoint, content.original, &mut headers, &mut dropped);
    Request { headers, body: content.body, dropped }
}

/// Whether a header of this name is as2hook's or the message's alone.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = folded(name);
    is_ours(&name)
        || FRAMING.contains(&name.as_str())
        || IDENTITY.contains(&name.as_str())
        || matches!(name.as_str(), "content-type" | "content-disposition")
}

/// The headers that speak of the body.
fn about(content: &Content<'_>, headers: &mut Fields, dropped: &mut Vec<String>) {
    headers.own("Content-Length", &content.body.length().to_string());
    if let Some(content_type) = &content.content_type
        && !headers.foreign("Content-Type", content_type)
    {
        headers.own("Content-Type", "application/octet-stream");
        dropped.push("Content-Type".to_owned());
    }
    if let Some(disposition) = &content.disposition {
        headers.own("Content-Disposition", disposition);
    }
    if let Some(count) = content.truncated {
        headers.own("X-Truncated", &format!("Attachments: 1/{count}"));
    }
}

fn originals(
    event: &Event,
    endpoint: &Endpoint,
    with_content: bool,
    headers: &mut Fields,
    dropped: &mut Vec<String>,
) {
    let of_the_hop = of_the_hop(&event.headers);
    let of_the_rule: Vec<_> =
        endpoint.headers.iter().map(|(name, _)| folded(name.as_str())).collect();
    for header in &event.headers {
        let name = folded(&header.name);
        let passes = if IDENTITY.contains(&name.as_str()) {
            // A look-alike, such as AS2_From, could stand for the real one.
            is_plain(&header.name)
        } else {
            let is_as2 = name.starts_with("as2-") || AS2.contains(&name.as_str());
            let of_the_content = name.starts_with("content-");
            !is_ours(&name)
                && !is_never(&name)
                && (with_content && (name != "content-type" || is_plain(&header.name))
                    || !of_the_content)
                && (endpoint.pass_headers == PassHeaders::All || is_as2)
                && !of_the_hop.contains(&name)
                && !of_the_rule.contains(&name)
        };
        if passes && !headers.foreign(&header.name, &header.value) {
            dropped.push(printable(&header.name));
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("webhook-")
        || name.starts_with("x-as2-")
        || name.starts_with("x-forwarded-")
        || OURS.contains(&name)
}

fn is_never(name: &str) -> bool {
    FRAMING.contains(&name) || NEVER.contains(&name)
}

/// The headers that the partner itself called its own hop's (RFC 9110 section 7.6.1). `Content-Type`
/// goes along all the same: every delivery with the original headers has it. A set, since 64 KiB of
/// headers can name thousands of thousands.
fn of_the_hop(headers: &Headers) -> HashSet<String> {
    headers
        .all("Connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|name| folded(String::from_utf8_lossy(name).trim()))
        .filter(|name| name != "content-type")
        .collect()
}

/// A name as the most careless receiver could read it.
fn folded(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
}

/// Whether a name has no sign that [`folded`] would change.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn processing_error(event: &Event) -> Option<String> {
    let mut header = String::new();
    for error in event.processing_errors() {
        let text = plain(&error.message.replace(';', " "));
        let one = format!("{}: {text}", error.code.number());
        let separator = if header.is_empty() { "" } else { "; " };
        if header.len() + separator.len() + one.len() > ERROR_MAX {
            if header.is_empty() {
                header = cut(&one, ERROR_MAX);
            }
            break;
        }
        header.push_str(separator);
        header.push_str(&one);
    }
    Some(header).filter(|header| !header.is_empty())
}

/// Text fit for a header: control characters become blanks, what is not ASCII becomes `?`.
fn plain(text: &str) -> String {
    let fit = |c: char| match c {
        c if c.is_control() => ' ',
        c if c.is_ascii() => c,
        _ => '?',
    };
    text.chars().map(fit).collect()
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// A name from outside, fit for a log line.
fn printable(name: &str) -> String {
    cut(&name.escape_default().to_string(), 64)
}
