//! The page of one exchange.

use as2hook_event::{Direction, EventKind};
use as2hook_store::{Payload, StoredEvent};
use maud::{Markup, html};

use super::{
    super::{
        components::{self, count, panel, route},
        layout::{self, NavItem},
        phrases::{bare, preposition, shortened, time_of},
        session::Session,
        times::time,
        url::{segment, with_query},
    },
    hooks, receipt,
    steps::{self, ExchangeStep, StepPart},
    story::ExchangeFacts,
    why,
};
use crate::{
    error::ApiError,
    event_detail::{AttachmentView, RelatedEvent, headers, is_mdn},
    gateway::ApiState,
};

/// The attachments that are listed: a message may have a thousand.
const LISTED: usize = 50;

/// All that the page shows.
pub(super) struct SeenExchange<'a> {
    pub(super) facts: ExchangeFacts<'a>,
    pub(super) stored: &'a StoredEvent,
    pub(super) attachments: &'a [AttachmentView],
    pub(super) related: &'a [RelatedEvent],
    /// By which the script finds out that it has changed.
    pub(super) digest: &'a str,
}

/// Returns the page.
pub(super) async fn page(
    api: &ApiState,
    session: &Session,
    seen: &SeenExchange<'_>,
) -> Result<Markup, ApiError> {
    let SeenExchange { facts, stored, attachments, related, digest } = seen;
    let event = facts.event;
    let subject = event.headers.subject();
    let title = subject.clone().unwrap_or_else(|| facts.heading());
    let eyebrow = html! {
        a href="/console/exchanges" { "Exchanges" } " · "
        @match &event.partner {
            Some(partner) => { (what(event.kind)) " " (preposition(event.kind.as_str())) " " (partner) ", " },
            None => { (event.kind) ", " },
        }
        (time(event.occurred_at.as_millisecond()))
    };
    let below = html! {
        @if event.is_test() { b { "A test. " } }
        @if let Some(subject) = &subject { "Subject “" (subject) "”" }
        @if let Some(name) = attachments.first().and_then(|first| first.name.as_ref()) {
            @if subject.is_some() { " · " } span.id { (name) }
        }
    };
    let stops = facts.route();
    let main = html! {
        div.stack data-exchange=(event.id) data-state=(digest) {
            div.head {
                div {
                    p.eyebrow { (eyebrow) }
                    h1 data-live="exchange-heading" aria-live="polite" { (facts.heading()) }
                    @if !below.0.is_empty() { p.sub { (below) } }
                    p.sub data-live-changed="" hidden { a href=(session.path) { "Show what has changed" } }
                }
            }
            @if !stops.is_empty() { (route("How far it got", &stops, Some("exchange-route"))) }
            div.trace data-live="exchange-steps" {
                (why::notes(api, session, facts).await?)
                section.panel {
                    header { h2 { "What happened, step by step" } }
                    ol.steps {
                        @for (n, step) in steps::steps(facts).iter().enumerate() {
                            (components::step(step.tone, &step.title, &steps::when(facts, n, step), &step_content(session, facts, step, attachments)))
                        }
                    }
                }
                div.stack {
                    (about(facts))
                    (downloads(facts, stored, attachments))
                    (other_events(facts, related))
                }
            }
        }
    };
    Ok(layout::page(api, session, NavItem::Exchanges, &title, &main).await)
}

/// Returns what an event of a partner is about, in a word.
const fn what(kind: EventKind) -> &'static str {
    match kind {
        EventKind::MdnReceived | EventKind::MdnSent | EventKind::MdnOverdue => "Receipt",
        EventKind::CertificateExpiring => "Certificate",
        _ => "Message",
    }
}

fn step_content(
    session: &Session,
    facts: &ExchangeFacts<'_>,
    step: &ExchangeStep,
    attachments: &[AttachmentView],
) -> Markup {
    let pairs: Vec<_> =
        step.facts.iter().map(|(name, value)| (*name, Some(html! { (value) }))).collect();
    html! {
        p { (step.text) }
        @if !pairs.is_empty() {
            details { summary { "Details" } (components::facts(&pairs)) }
        }
        @match step.part {
            StepPart::Plain => {},
            StepPart::Headers => (header_list(facts)),
            StepPart::Attachments => @if !attachments.is_empty() { (attachment_list(facts, attachments)) },
            StepPart::Receipt => (about_receipt(facts)),
            StepPart::Webhooks => @for delivery in facts.deliveries { (hooks::hook(session, delivery)) },
        }
    }
}

fn header_list(facts: &ExchangeFacts<'_>) -> Markup {
    let headers = headers(facts.event);
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    html! {
        @if !lines.is_empty() {
            details {
                summary { "Headers as they came (" (lines.len()) ")" }
                pre.copy.wrap { (lines.join("\n")) }
            }
        }
    }
}

fn attachment_list(facts: &ExchangeFacts<'_>, attachments: &[AttachmentView]) -> Markup {
    let digests = facts.event.decoded.as_ref().map_or(&[][..], |decoded| &decoded.attachments);
    html! {
        details {
            summary {
                @if attachments.len() == 1 { "1 attachment" } @else { (attachments.len()) " attachments" }
            }
            @for (attachment, digest) in attachments.iter().zip(digests).take(LISTED) {
                (components::facts(&[
                    ("File", Some(html! { (attachment_link(facts, attachment)) " (" (size_of(attachment)) ")" })),
                    ("SHA-256", Some(html! { span.id { (shortened(&digest.sha256)) } })),
                    ("Kept", Some(kept(attachment))),
                ]))
            }
            (more_attachments(attachments))
        }
    }
}

/// Returns an attachment's name, as a link where its bytes are kept.
fn attachment_link(facts: &ExchangeFacts<'_>, attachment: &AttachmentView) -> Markup {
    let name = attachment.name.as_deref().unwrap_or("without a name");
    html! {
        @if attachment.available {
            a href={ "/console/exchanges/" (facts.event.id) "/attachments/" (attachment.n) } { (name) }
        } @else { (name) }
    }
}

fn size_of(attachment: &AttachmentView) -> Markup {
    // Its parameters repeat the name.
    let kind = attachment.content_type.as_deref().and_then(|kind| kind.split(';').next());
    html! {
        (count(attachment.size)) @if attachment.size == 1 { " byte" } @else { " bytes" }
        @if let Some(kind) = kind { ", " (kind.trim()) }
    }
}

/// Returns whether the bytes of an attachment are there, or since when they are gone.
fn kept(attachment: &AttachmentView) -> Markup {
    html! {
        @match &attachment.gone_since {
            _ if attachment.available => "yes",
            Some(since) => { "no, gone since " (time_of(since)) },
            None => { "no: only what a raw webhook needs is kept, unless the config says " code { "keep: all" } },
        }
    }
}

fn more_attachments(attachments: &[AttachmentView]) -> Markup {
    let more = attachments.len().saturating_sub(LISTED);
    html! { @if more > 0 { p.sub { (more) " more are not listed." } } }
}

fn about_receipt(facts: &ExchangeFacts<'_>) -> Markup {
    if is_mdn(facts.event.kind) {
        return html! {};
    }
    let mdn = facts.receipt.and_then(|receipt| receipt.decoded.as_ref()?.mdn.as_ref());
    let rows: Vec<_> = mdn.map(receipt::mdn_facts).unwrap_or_default();
    let rows: Vec<_> = rows.iter().map(|(name, value)| (*name, Some(html! { (value) }))).collect();
    html! {
        details {
            summary { @if rows.is_empty() { "What a receipt (MDN) is" } @else { "What a receipt (MDN) is, and this one" } }
            p { "A receipt, in AS2 “MDN”, is a note from the receiver to the sender: it names the message and repeats its fingerprint. Without one, the sender sends the message again." }
            @if !rows.is_empty() { (components::facts(&rows)) }
            @if let Some(receipt) = facts.receipt {
                p { a href={ "/console/exchanges/" (receipt.id) } { "See the receipt" } }
            }
        }
    }
}

fn about(facts: &ExchangeFacts<'_>) -> Markup {
    let event = facts.event;
    let direction = match event.direction {
        _ if event.partner.is_none() => None,
        Direction::Inbound => Some("inbound: a partner to you"),
        Direction::Outbound => Some("outbound: you to a partner"),
    };
    let codes: Vec<_> = event.processing_errors().map(ToString::to_string).collect();
    let text = |text: &str| html! { (text) };
    let content = components::facts(&[
        ("Direction", direction.map(text)),
        ("Partner", event.partner.as_ref().map(|partner| html! {
            a href={ "/console/partners/" (segment(partner)) } { (partner) } ", " (event.partner_type.as_str())
        })),
        ("Station", event.station.as_deref().map(text)),
        ("Subject", event.headers.subject().as_deref().map(text)),
        ("Message-ID", event.headers.text("Message-ID").map(|id| html! { span.id { (bare(&id)) } })),
        ("Event", Some(html! { (event.kind) })),
        ("Errors", (!codes.is_empty()).then(|| html! { @for code in &codes { (code) br; } })),
        ("Failed", event.send_error.as_ref().map(|error| html! { (error.stage.as_str()) ": " (error.message) })),
        ("Event id", Some(html! { span.id { (event.id) } })),
    ]);
    panel("This exchange", &html! {}, &html! { div.body { (content) } })
}

fn downloads(
    facts: &ExchangeFacts<'_>,
    stored: &StoredEvent,
    attachments: &[AttachmentView],
) -> Markup {
    let is_kept = !matches!(stored.payload, Payload::None | Payload::Purged { .. });
    html! {
        @if !attachments.is_empty() {
            (panel("Download", &html! {}, &html! {
                div.body {
                    ul.stack {
                        @for attachment in attachments.iter().take(LISTED) {
                            li { span.id { (attachment_link(facts, attachment)) }
                                p.sub { (size_of(attachment)) @if !attachment.available { ". Kept: " (kept(attachment)) "." } } }
                        }
                    }
                    (more_attachments(attachments))
                }
            }))
        } @else if is_mdn(facts.event.kind) && is_kept {
            (panel("Download", &html! {}, &html! { div.body {
                p { a href={ "/console/exchanges/" (facts.event.id) "/mdn" } { "The receipt as it came" } }
                p.sub { (count(stored.payload.size())) " bytes." }
            } }))
        }
    }
}

fn other_events(facts: &ExchangeFacts<'_>, related: &[RelatedEvent]) -> Markup {
    let id = facts.event.headers.text("Message-ID");
    let all = id.map(|id| with_query("/console/exchanges", &[("q", bare(&id))]));
    let linked = super::system::text(facts.event, "messageEventId")
        .or_else(|| super::system::text(facts.event, "deadEvent"));
    let linked = linked.filter(|id| related.iter().all(|other| other.event_id != *id));
    let content = html! {
        div.body {
            @if related.is_empty() && linked.is_none() {
                p.sub { "No other exchange that is kept belongs to this one." }
            }
            ul.stack {
                @if let Some(id) = linked {
                    li { a href={ "/console/exchanges/" (segment(id)) } { "The message it is about" } }
                }
                @for other in related {
                    li { a href={ "/console/exchanges/" (other.event_id) } { (relation(other.relation)) }
                        " " small { (other.event) } }
                }
            }
            @if let Some(all) = all { p.sub { a href=(all) { "All with this Message-ID" } } }
        }
    };
    panel("Related", &html! {}, &content)
}

/// Returns what another event is to this one, in words.
fn relation(relation: &str) -> &str {
    match relation {
        "mdn" => "Its receipt",
        "message" => "The message it confirms",
        "duplicate-of" => "It came before",
        "duplicated-by" => "It came again",
        "supersedes" => "What it takes back",
        "superseded-by" => "It was taken back by this",
        other => other,
    }
}
