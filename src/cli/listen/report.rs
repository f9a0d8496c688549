//! What `as2hook listen` prints.

use std::{fmt::Write as _, net::SocketAddr};

use as2hook_event::Secret;
use as2hook_format::sign::{Covered, verify_as2, verify_webhook};
use http::{HeaderMap, request::Parts};
use jiff::Timestamp;
use serde_json::Value;

use self::text::{body_lines, indented};
use crate::cli::terminal::printable;

#[cfg(test)]
mod tests;
mod text;

/// How far a timestamp may be off, in seconds (Standard Webhooks).
const TOLERANCE: u64 = 300;

/// The headers that are printed, in this order.
const PRINTED: [&str; 13] = [
    "webhook-id",
    "X-AS2-Event-Id",
    "X-AS2-Signature-Status",
    "X-Partner-Type",
    "X-Processing-Error",
    "X-Send-Error",
    "X-Truncated",
    "AS2-From",
    "AS2-To",
    "Message-ID",
    "Subject",
    "Content-Type",
    "Content-Disposition",
];

/// The lines before the first request: the URL, and with a secret a rule for both.
pub(super) fn start(address: SocketAddr, secret: Option<&str>) -> String {
    let listening = format!("Listening on http://{address}/ until Ctrl-C.\n");
    let Some(secret) = secret else { return listening };
    // A JSON string is one of YAML, too. `$$` stands for a `$` in the config.
    let secret = Value::from(secret.replace('$', "$$"));
    format!(
        "{listening}This rule in webhooks.yaml sends every event here, besides what others do:\n\n\
         webhooks:\n  \
           - name: listen\n    \
             url: \"http://{address}/\"\n    \
             events: [\"*\"]\n    \
             route: always\n    \
             payload: json          # or headers, or raw\n    \
             secret: {secret}\n"
    )
}

/// A request that was not read to its end.
pub(super) fn failure(error: &str) -> String {
    format!("\nA request was not read: {}.\n", printable(error))
}

/// One request: what it is, whether its signatures and its timestamp are valid, its headers, its body.
pub(super) fn request(head: &Parts, body: &[u8], secret: &Secret, now: Timestamp) -> String {
    let headers = &head.headers;
    let json = std::str::from_utf8(body).ok().filter(|_| {
        let read = serde_json::from_slice::<Value>(body);
        read.is_ok_and(|read| read.get("eventId").is_some())
    });
    let payload = match (body, json) {
        ([], _) => "headers",
        (_, Some(_)) => "json",
        (_, None) => "raw",
    };
    let target = printable(&head.uri.to_string());
    let mut text = format!("\n{} {} {target}\n", now.strftime("%H:%M:%SZ"), head.method);
    match first(headers, "X-AS2-Event") {
        Some(event) => {
            let attempt = first(headers, "X-AS2-Attempt").unwrap_or_default();
            let replay = if headers.contains_key("X-AS2-Replay") { ", replay" } else { "" };
            line(&mut text, &format!("{event}, payload {payload}, attempt {attempt}{replay}"));
        }
        None => line(&mut text, "no X-AS2-Event header, so not from as2hook"),
    }
    let verdict = |name: &str, fault: Option<String>| match fault {
        None => format!("{name}: valid"),
        Some(fault) => format!("{name}: NOT VALID: {fault}"),
    };
    line(&mut text, &verdict("Signature", signature_fault(headers, body, secret)));
    line(&mut text, &verdict("Timestamp", timestamp_fault(headers, now)));
    if headers.contains_key("X-AS2-Signature") {
        let fault = as2_signature_fault(headers, body, secret);
        line(&mut text, &verdict("X-AS2-Signature", fault));
    }
    for name in PRINTED {
        for value in headers.get_all(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            line(&mut text, &format!("{name}: {}", printable(&value)));
        }
    }
    match json {
        Some(json) => text.push_str(&body_lines(indented(json).as_bytes(), body.len())),
        None => text.push_str(&body_lines(body, body.len())),
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "  {line}");
}

/// Why `webhook-signature` is not valid.
fn signature_fault(headers: &HeaderMap, body: &[u8], secret: &Secret) -> Option<String> {
    let ascii = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(signature) = ascii("webhook-signature") else {
        return Some("there is none; the rule has no secret".to_owned());
    };
    let (Some(id), Some(time)) = (ascii("webhook-id"), ascii("webhook-timestamp")) else {
        return Some("webhook-id or webhook-timestamp is missing".to_owned());
    };
    let is_valid = verify_webhook(signature, secret, id, time, body);
    (!is_valid).then(|| "made with another secret, or of other content".to_owned())
}

/// Why `webhook-timestamp` is not valid.
fn timestamp_fault(headers: &HeaderMap, now: Timestamp) -> Option<String> {
    let Some(time) = first(headers, "webhook-timestamp") else {
        return Some("there is none".to_owned());
    };
    let Ok(seconds) = time.parse::<i64>() else {
        return Some("it is no number of seconds".to_owned());
    };
    let age = now.as_second().saturating_sub(seconds);
    let direction = if age < 0 { "ahead" } else { "old" };
    let off = age.unsigned_abs();
    (off > TOLERANCE).then(|| format!("{off} s {direction}; at most {TOLERANCE} s are allowed"))
}

/// Why `X-AS2-Signature` is there and not valid.
fn as2_signature_fault(headers: &HeaderMap, body: &[u8], secret: &Secret) -> Option<String> {
    let signature = headers.get("X-AS2-Signature")?;
    let field = |name| {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        values.join(&b", "[..])
    };
    let covered = Covered {
        webhook_id: &field("webhook-id"),
        webhook_timestamp: &field("webhook-timestamp"),
        event: &field("X-AS2-Event"),
        partner_type: &field("X-Partner-Type"),
        as2_from: &field("AS2-From"),
        as2_to: &field("AS2-To"),
        message_id: &field("Message-ID"),
        processing_error: &field("X-Processing-Error"),
        send_error: &field("X-Send-Error"),
        event_id: &field("X-AS2-Event-Id"),
        signature_status: &field("X-AS2-Signature-Status"),
        document: &field("X-AS2-Document"),
    };
    let is_valid = verify_as2(signature.to_str().unwrap_or_default(), secret, &covered, body);
    (!is_valid).then(|| "made with another secret, or of other content".to_owned())
}

/// The first field of this name, as it may be printed.
fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| printable(&String::from_utf8_lossy(value.as_bytes())))
}
