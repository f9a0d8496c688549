//! What only webhooks have: how each value is written.

use std::time::Duration;

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_event::{
    DocumentType, Endpoint, ErrorFilter, EventKind, PassHeaders, PayloadMode, Secret,
};
use as2hook_format::headers::is_never_passed;
use http::{HeaderName, HeaderValue};

use crate::{
    setting::{List, Time, Word, distinct, setting, show_duration},
    value::{FromFile, Value},
};

setting!(
    RuleName: String,
    |value| {
        let name = value.line()?;
        if name.chars().count() > 128 {
            return value.wrong("must have 128 characters at most");
        }
        if name.contains('/') || name.trim() != name {
            return value.wrong("must not hold a slash, or begin or end with a blank");
        }
        Some(name)
    },
    String::as_str,
    { "type": "string", "minLength": 1, "maxLength": 128 }
);

setting!(
    /// `None`: all.
    Events: Option<Vec<EventKind>>,
    |value| {
        if value.is_word("*") {
            return Some(None);
        }
        if value.describe() == "text" {
            return Word::<EventKind>::read(value).map(|event| Some(vec![event]));
        }
        let items = value.list()?;
        if let Some(all) = items.iter().find(|item| item.is_word("*")) {
            if items.len() > 1 {
                return all.wrong("\"*\" means all events; nothing else may stand beside it");
            }
            return Some(None);
        }
        let least = "needs one event at least, or \"*\" for all";
        distinct::<Word<EventKind>>(value, least, "this event is given twice").map(Some)
    },
    |events: &Option<Vec<EventKind>>| match events {
        Some(events) => events.iter().map(|event| event.as_str()).collect(),
        None => vec!["*"],
    },
    {
        "anyOf": [
            { "enum": event_words() },
            { "type": "array", "minItems": 1, "items": { "enum": event_words() } }
        ]
    }
);

fn event_words() -> Vec<&'static str> {
    EventKind::ALL.iter().map(|event| event.as_str()).chain(["*"]).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "it is a default for a field of this type")]
pub(super) fn default_events() -> Option<Vec<EventKind>> {
    Some(vec![EventKind::MessageReceived])
}

setting!(
    Signatures: Vec<SignatureStatus>,
    |value| {
        let least = "needs one status at least; leave the key out for any";
        distinct::<Word<SignatureStatus>>(value, least, "is given twice")
    },
    Vec::clone,
    {
        "type": "array",
        "minItems": 1,
        "items": { "enum": SignatureStatus::ALL.map(SignatureStatus::as_str) }
    }
);

setting!(
    /// A number is text here: `0850` is not `850`.
    Document: DocumentType,
    |value| {
        let name = value.quantity("must be a type such as 850 or ORDERS")?;
        if name.is_empty() || name.chars().any(char::is_control) || name.trim() != name {
            return value.wrong("must not be empty, hold control characters, or begin or end with a blank");
        }
        name.parse().ok()
    },
    ToString::to_string,
    { "type": ["string", "integer"] }
);

setting!(
    /// One, or a list of them.
    Documents: Vec<DocumentType>,
    |value| {
        if !value.is_list() {
            return Document::read(value).map(|document| vec![document]);
        }
        let least = "needs one type at least; leave the key out for any message";
        distinct::<Document>(value, least, "is given twice")
    },
    |types: &Vec<DocumentType>| types.iter().map(ToString::to_string).collect::<Vec<_>>(),
    {
        "anyOf": [
            { "type": ["string", "integer"] },
            { "type": "array", "minItems": 1, "items": { "type": ["string", "integer"] } }
        ]
    }
);

setting!(
    Code: ErrorCode,
    |value| {
        let mut codes = ErrorCode::ALL.into_iter();
        codes.find(|code| value.is_word(&code.number().to_string())).or_else(|| {
            let codes = ErrorCode::ALL.map(|code| code.number().to_string()).join(", ");
            value.wrong(format!("is no processing error; the codes are {codes}"))
        })
    },
    |code: &ErrorCode| code.number(),
    { "enum": ErrorCode::ALL.map(ErrorCode::number) }
);

setting!(
    Errors: ErrorFilter,
    |value| {
        if value.is_list() {
            let least = "needs one code at least; leave the key out for any";
            return distinct::<Code>(value, least, "is given twice").map(ErrorFilter::Codes);
        }
        if value.is_word("none") {
            Some(ErrorFilter::None)
        } else if value.is_word("any") {
            Some(ErrorFilter::Any)
        } else {
            value.wrong("must be none, any or a list of codes such as [800, 900]")
        }
    },
    |filter: &ErrorFilter| match filter {
        ErrorFilter::None => serde_json::json!("none"),
        ErrorFilter::Any => serde_json::json!("any"),
        ErrorFilter::Codes(codes) => serde_json::json!(codes),
    },
    {
        "anyOf": [
            { "enum": ["none", "any"] },
            { "type": "array", "minItems": 1, "items": { "enum": ErrorCode::ALL.map(ErrorCode::number) } }
        ]
    }
);

setting!(
    /// One key, or several during a rotation.
    Secrets: Vec<Secret>,
    |value| {
        let items = value.one_or_more()?;
        if items.is_empty() {
            return value.wrong("needs one secret at least; leave the key out to sign nothing");
        }
        Some(items.iter().filter_map(|item| secret(item, &item.text()?)).collect())
    },
    |secrets: &Vec<Secret>| vec!["***"; secrets.len()],
    { "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }] }
);

setting!(
    SecretOfFile: FromFile<Secret>,
    |value| {
        let FromFile { path, content } = value.secret_file("secret")?;
        secret(value, content.expose()).map(|content| FromFile { path, content })
    },
    FromFile::path
);

fn secret(value: &Value, text: &str) -> Option<Secret> {
    match Secret::parse(text) {
        Ok(secret) => Some(secret),
        Err(error) => value.wrong(error.to_string()),
    }
}

setting!(
    /// The name of a format. The schema has those of plugins too.
    FormatName: PayloadMode,
    |value| {
        let formats = || value.plugins().formats.modes();
        let name = value.word(&formats().map(|format| format.name).collect::<Vec<_>>())?;
        formats().find(|format| format.name == name)
    },
    |format: &PayloadMode| format.name,
    { "anyOf": [{ "type": "string" }, { "type": "string", "pattern": r"\$\{" }] }
);

setting!(
    Timeout: Duration,
    |value| match Time::read(value)? {
        timeout if timeout > Duration::from_secs(3600) => value.wrong("must be at most 1h"),
        timeout => Some(timeout),
    },
    |timeout: &Duration| show_duration(*timeout),
    { "type": "string", "pattern": r"^\d+ *(ms|s|m|h)$|\$\{" }
);

setting!(
    RetryWaits: Vec<Duration>,
    |value| match List::<Time>::read(value)? {
        waits if waits.len() > 100 => value.wrong("must have 100 waits at most"),
        waits => Some(waits),
    },
    |waits: &Vec<Duration>| waits.iter().map(|wait| show_duration(*wait)).collect::<Vec<_>>(),
    { "type": "array", "maxItems": 100, "items": { "type": "string", "pattern": r"^\d+ *(ms|s|m|h|d)$|\$\{" } }
);

pub(super) fn default_payload() -> PayloadMode {
    PayloadMode::HEADERS
}

pub(super) fn default_retry() -> Vec<Duration> {
    Endpoint::DEFAULT_RETRY.to_vec()
}

setting!(
    /// Names and values that go into every delivery. Every value is marked sensitive: most are tokens.
    HeaderFields: Vec<(HeaderName, HeaderValue)>,
    |table| {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for entry in table.entries()? {
            let value = table.child(entry);
            let Ok(name) = entry.key.parse::<HeaderName>() else {
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
    },
    |headers: &Vec<(HeaderName, HeaderValue)>| {
        let masked = |(name, _): &(HeaderName, HeaderValue)| (name.to_string(), "***");
        headers.iter().map(masked).collect::<std::collections::BTreeMap<_, _>>()
    },
    { "type": "object", "additionalProperties": { "type": "string" } }
);

setting!(
    /// `all`, `as2`, or a list of names.
    PassedHeaders: PassHeaders,
    |value| {
        /// Each is looked up for every header of a message.
        const MOST: usize = 100;
        if !value.is_list() {
            return match value.text()?.as_str() {
                "all" => Some(PassHeaders::All),
                "as2" => Some(PassHeaders::As2),
                _ => value.wrong("must be all, as2 or a list of header names"),
            };
        }
        let items = value.list()?;
        if items.len() > MOST {
            return value.wrong(format!("must have {MOST} names at most"));
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
    },
    |headers: &PassHeaders| match headers {
        PassHeaders::All => serde_json::json!("all"),
        PassHeaders::As2 => serde_json::json!("as2"),
        PassHeaders::Named(names) => serde_json::json!(names),
    },
    { "anyOf": [{ "enum": ["all", "as2"] }, { "type": "array", "maxItems": 100, "items": { "type": "string" } }] }
);

/// Why an operator may not set this header. As towards partners, `_` and the like count as `-`:
/// many servers take them for the same.
fn why_not(name: &str) -> Option<&'static str> {
    const FRAMING: &str = "connection content-encoding content-length expect host http2-settings keep-alive \
                           proxy-authenticate proxy-authorization proxy-connection te trailer \
                           transfer-encoding upgrade";
    const OURS: &str = "content-disposition content-type user-agent x-forwarded-for x-partner-type \
                        traceparent tracestate x-processing-error x-send-error x-truncated";
    const ORIGINAL: &str = "as2-from as2-to message-id subject";
    let is_one_of = |list: &str, name: &str| list.split(' ').any(|other| other == name);
    let folded = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(folded).collect();
    let name = name.as_str();
    if is_one_of(FRAMING, name) {
        Some("this header belongs to the connection; as2hook sets it as HTTP needs it")
    } else if is_one_of(OURS, name) || name.starts_with("webhook-") || name.starts_with("x-as2-") {
        Some("as2hook sets this header itself")
    } else if is_one_of(ORIGINAL, name) {
        Some("this header goes along as the partner sent it")
    } else {
        None
    }
}
