//! The operator's own headers of a webhook.

use as2hook_event::PassHeaders;
use as2hook_format::render::is_never_passed;
use http::{HeaderName, HeaderValue};

use super::Value;

/// Names that `pass_headers` takes. Each is looked up for every header of a message.
const PASSED_MAX: usize = 100;

/// Names and values that go into every delivery. Every value is marked sensitive: most are tokens.
pub(super) fn read(value: &Value<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in value.free_table()? {
        let Ok(name) = name.parse::<HeaderName>() else {
            value.wrong::<()>("this is no legal header name");
            continue;
        };
        if let Some(why) = why_not(name.as_str()) {
            value.wrong::<()>(why);
        } else if headers.iter().any(|(other, _)| *other == name) {
            value.wrong::<()>("this header is given twice; case does not count");
        } else if let Some(text) = value.text() {
            match HeaderValue::from_str(&text) {
                Ok(mut header) => {
                    header.set_sensitive(true);
                    headers.push((name, header));
                }
                Err(_) => {
                    value.wrong::<()>("must be visible ASCII, without line breaks");
                }
            }
        }
    }
    Some(headers)
}

/// `all`, `as2`, or a list of names.
pub(super) fn passed(value: &Value<'_>) -> Option<PassHeaders> {
    if !value.is_list() {
        return match value.text()?.as_str() {
            "all" => Some(PassHeaders::All),
            "as2" => Some(PassHeaders::As2),
            _ => value.wrong("must be all, as2 or a list of header names"),
        };
    }
    let items = value.list()?;
    if items.len() > PASSED_MAX {
        return value.wrong(format!("must have {PASSED_MAX} names at most"));
    }
    let mut names = Vec::new();
    for item in &items {
        let Some(name) = item.line() else { continue };
        if name.parse::<HeaderName>().is_err() {
            item.wrong::<()>("this is no legal header name");
        } else if is_never_passed(&name) {
            item.wrong::<()>(
                "this header never goes along: receivers would take it for as2hook's own, or for what \
                 a proxy of the inside world says",
            );
        } else {
            names.push(name);
        }
    }
    Some(PassHeaders::named(names.iter().map(String::as_str)))
}

/// Why an operator may not set this header. As towards partners, `_` and the like count as `-`:
/// many servers take them for the same.
fn why_not(name: &str) -> Option<&'static str> {
    const FRAMING: &[&str] = &[
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const OURS: &[&str] = &[
        "content-disposition",
        "content-type",
        "user-agent",
        "x-forwarded-for",
        "x-partner-type",
        "x-processing-error",
        "x-send-error",
        "x-truncated",
    ];
    const ORIGINAL: &[&str] = &["as2-from", "as2-to", "message-id", "subject"];
    let folded = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(folded).collect();
    let name = name.as_str();
    if FRAMING.contains(&name) {
        Some("this header belongs to the connection; as2hook sets it as HTTP needs it")
    } else if OURS.contains(&name) || name.starts_with("webhook-") || name.starts_with("x-as2-") {
        Some("as2hook sets this header itself")
    } else if ORIGINAL.contains(&name) {
        Some("this header goes along as the partner sent it")
    } else {
        None
    }
}
