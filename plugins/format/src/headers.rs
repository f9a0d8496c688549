//! Selects the headers of a delivery: as2hook's own, the rule's, and those of the AS2 request that
//! may be passed on.
//!
//! The partner writes the original headers, so they are hostile. None of them may be taken for one
//! of ours, neither as it is nor after a receiver has folded names: CGI and its successors turn
//! both `-` and `_` into `_`, and some servers every other character too. Names are therefore
//! compared in a form in which every character except letters and digits is `-`.

use std::collections::HashSet;

use as2hook_as2::{Headers, edi::DocumentCount};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    fields::Fields,
    format::{Content, Rendering},
};
use as2hook_event::{Endpoint, Event, PassHeaders, rule::folded};

/// `User-Agent` of every delivery.
pub const USER_AGENT: &str = concat!("as2hook/", env!("CARGO_PKG_VERSION"));

/// Always present when the message has them.
const IDENTITY: [&str; 4] = ["as2-from", "as2-to", "message-id", "subject"];

/// Passed on by `pass_headers: as2`, beside everything that begins with `AS2-`: the headers of RFC
/// 4130 and RFC 6017, and those that AS2 servers send with them.
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
const OURS: [&str; 8] = [
    "content-length",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-partner-type",
    "x-processing-error",
    "x-send-error",
    "x-truncated",
];

/// Headers of one hop, or of the framing (RFC 9110 section 7.6.1). `Content-Encoding` is one of
/// them, because it would make a receiver inflate an empty or decoded body.
pub(crate) const FRAMING: [&str; 12] = [
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

/// Credentials of the AS2 exchange, and headers that a receiver would trust as its proxy's: user,
/// address, target and scheme. `docs/webhooks.md` lists them too.
pub(crate) const NEVER: [&str; 40] = [
    "api-key",
    "apikey",
    "authorization",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "cookie",
    "cookie2",
    "dpop",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "set-cookie",
    "set-cookie2",
    "true-client-ip",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-apikey",
    "x-cluster-client-ip",
    "x-csrf-token",
    "x-email",
    "x-forwarded",
    "x-groups",
    "x-host",
    "x-id-token",
    "x-method-override",
    "x-originating-ip",
    "x-principal",
    "x-proxy-user-ip",
    "x-roles",
    "x-scheme",
    "x-sendfile-type",
    "x-subject-token",
    "x-token",
    "x-url-scheme",
    "x-xsrf-token",
];

/// Prefixes of header names by which proxies, load balancers and sign-on gateways vouch for users,
/// client certificates, addresses and rewritten targets; and conditional requests. OpenID Connect,
/// Kong, Envoy, Azure, AWS, Google, Cloudflare, Akamai, Tailscale, authentik, Grafana, Shibboleth,
/// SiteMinder, WebSEAL, IIS, nginx.
pub(crate) const NEVER_FAMILIES: [&str; 47] = [
    "akamai-",
    "auth-",
    "cf-",
    "if-",
    "iv-",
    "mellon-",
    "oidc-",
    "remote-",
    "shib-",
    "sm-",
    "ssl-",
    "tailscale-",
    "x-accel-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-amzn-remapped-",
    "x-amzn-tls-",
    "x-anonymous-",
    "x-appengine-",
    "x-arr-",
    "x-auth-",
    "x-authen",
    "x-authoriz",
    "x-azure-",
    "x-client-",
    "x-consumer-",
    "x-credential-",
    "x-endpoint-api-",
    "x-envoy-",
    "x-goog-",
    "x-http-",
    "x-identity-",
    "x-iisnode-",
    "x-jwt",
    "x-middleware-",
    "x-ms-client-",
    "x-ms-token-",
    "x-oidc-",
    "x-original-",
    "x-pomerium-",
    "x-real-",
    "x-remote-",
    "x-rewrite-",
    "x-ssl-",
    "x-user",
    "x-vouch-",
    "x-webauth-",
];

/// The limit of `X-Processing-Error` and `X-Send-Error`, below what any server takes as one header;
/// the JSON has the whole text.
const ERROR_MAX: usize = 4096;

/// The most types of documents in `X-AS2-Document`.
const DOCUMENTS_MAX: usize = 20;

/// What a token does not hold (RFC 9110 section 5.6.2), and what percent-encoding itself is made of.
const NO_TOKEN: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}')
    .add(b'%');

/// The most names that are recorded of the headers left out.
const DROPPED_MAX: usize = 16;

/// Returns the headers of the notification with this content, and the names of those left out.
pub(crate) fn select(
    event: &Event,
    rendering: &Rendering<'_>,
    endpoint: &Endpoint,
    now: Timestamp,
    content: &Content<'_>,
) -> (Fields, Vec<String>) {
    let mut headers = Fields::default();
    let mut dropped = Vec::new();

    headers.own("webhook-id", rendering.webhook_id);
    headers.own("webhook-timestamp", &now.as_second().to_string());
    headers.own("X-AS2-Event", event.kind.as_str());
    headers.own("X-AS2-Event-Id", &event.id.to_string());
    if let Some(status) = event.decoded.as_ref().and_then(|decoded| decoded.signature_status) {
        headers.own("X-AS2-Signature-Status", status.as_str());
    }
    if let Some(documents) = documents(event) {
        headers.own("X-AS2-Document", &documents);
    }
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
    about(content, &mut headers, &mut dropped);

    for (name, value) in &endpoint.headers {
        if is_reserved(name.as_str()) || !headers.foreign(name.as_str(), value.as_bytes()) {
            note(name.as_str(), &mut dropped);
        }
    }
    originals(event, endpoint, content.original, &mut headers, &mut dropped);
    (headers, dropped)
}

/// Whether an original header of this name is never passed on, whatever `pass_headers` says.
pub fn is_never_passed(name: &str) -> bool {
    let name = folded(name);
    is_ours(&name) || is_never(&name)
}

/// Whether a header of this name is reserved for as2hook or the message.
pub fn is_reserved(name: &str) -> bool {
    let name = folded(name);
    is_ours(&name)
        || FRAMING.contains(&name.as_str())
        || IDENTITY.contains(&name.as_str())
        || matches!(name.as_str(), "content-type" | "content-disposition")
}

/// Returns the types of a message's documents and how many of each there are: `X12 850 1, X12 810 2`.
fn documents(event: &Event) -> Option<String> {
    let counts = &event.decoded.as_ref()?.documents;
    let one = |of: &DocumentCount| {
        // What a partner writes may be no token of RFC 9110.
        let name = utf8_percent_encode(&of.document_type, NO_TOKEN);
        format!("{} {name} {}", of.standard.as_str(), of.count)
    };
    let all: Vec<_> = counts.iter().take(DOCUMENTS_MAX).map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Adds the headers that describe the body.
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
    if let Some(count) = content.attachments {
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
            // A similar name, such as AS2_From, could be taken for the real one.
            is_plain(&header.name)
        } else {
            let wanted = match &endpoint.pass_headers {
                PassHeaders::All => true,
                PassHeaders::As2 => name.starts_with("as2-") || AS2.contains(&name.as_str()),
                // Every `headers` delivery has the original `Content-Type`.
                PassHeaders::Named(names) => name == "content-type" || names.contains(&name),
            };
            let of_the_content = name.starts_with("content-");
            !is_ours(&name)
                && !is_never(&name)
                && (with_content && (name != "content-type" || is_plain(&header.name))
                    || !of_the_content)
                && wanted
                && !of_the_hop.contains(&name)
                && !of_the_rule.contains(&name)
        };
        if passes && !headers.foreign(&header.name, &header.value) {
            note(&header.name, dropped);
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
    FRAMING.contains(&name)
        || NEVER.contains(&name)
        || NEVER_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Returns the headers that the partner itself named as its own hop's (RFC 9110 section 7.6.1).
/// `Content-Type` is passed on all the same, because every delivery with the original headers has
/// it. A set, since 64 KiB of headers can contain thousands of names, each named thousands of
/// times.
fn of_the_hop(headers: &Headers) -> HashSet<String> {
    headers
        .all("Connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|name| folded(String::from_utf8_lossy(name).trim()))
        .filter(|name| name != "content-type")
        .collect()
}

/// Whether [`folded`] would change no character of a name.
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

/// Makes text fit for a header: control characters become blanks, non-ASCII characters become `?`.
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

/// Records a foreign name in a form fit for a log line: the first ones only, since there may be
/// thousands.
fn note(name: &str, dropped: &mut Vec<String>) {
    if dropped.len() < DROPPED_MAX {
        dropped.push(name.chars().take(64).flat_map(char::escape_default).take(64).collect());
    } else if dropped.len() == DROPPED_MAX {
        dropped.push("...".to_owned());
    }
}
