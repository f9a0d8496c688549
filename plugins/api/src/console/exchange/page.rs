//! The page of one exchange.

use as2hook_event::Direction;
use as2hook_store::{Payload, StoredEvent};
use maud::{Markup, html};

use super::{
    super::{
        components::{self, count, panel, route},
        layout::{self, NavItem, head},
        phrases::{bare, shortened},
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

/// Returns the page.
pub(super) async fn page(
    api: &ApiState,
    session: &Session,
    facts: &ExchangeFacts<'_>,
    stored: &StoredEvent,
    attachments: &[AttachmentView],
    related: &[RelatedEvent],
) -> Result<Markup, ApiError> {
    let event = facts.event;
    let subject = event.headers.subject();
    let title = subject.clone().unwrap_or_else(|| facts.heading());
    let eyebrow = html! {
        a href="/console/exchanges" { "Exchanges" } " · " (event.kind) " · "
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
        (head(&eyebrow, &facts.heading(), &below))
        @if !stops.is_empty() { (route("How far it got", &stops, None)) }
        div.trace {
            (why::notes(api, session, facts).await?)
            section.panel {
                header { h2 { "What happened, step by step" } }
                ol.steps {
                    @for step in steps::steps(facts) {
                        (components::step(step.tone, &step.title, &html! {}, &step_content(session, facts, &step, attachments)))
                    }
                }
            }
            div.stack {
                (about(facts))
                (downloads(facts, stored, attachments))
                (other_events(facts, related))
            }
        }
    };
    Ok(layout::page(api, session, NavItem::Exchanges, &title, &main).await)
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
            // A message may have a thousand.
            @for (attachment, digest) in attachments.iter().zip(digests).take(50) {
                (components::facts(&[
                    ("File", Some(html! { (attachment_name(attachment)) " (" (count(attachment.size)) " bytes"
                        @if let Some(kind) = &attachment.content_type { ", " (kind) } ")" })),
                    ("SHA-256", Some(html! { span.id { (shortened(&digest.sha256)) } })),
                    ("Kept", Some(html! { @if attachment.available { "yes" } @else { "no; a rule with payload raw keeps the first one until it is delivered" } })),
                ]))
            }
        }
    }
}

fn attachment_name(attachment: &AttachmentView) -> &str {
    attachment.name.as_deref().unwrap_or("without a name")
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
    let url = format!("/console/exchanges/{}", facts.event.id);
    let is_kept = !matches!(stored.payload, Payload::None | Payload::Purged { .. });
    let first = attachments.first().filter(|first| first.available);
    html! {
        @if let Some(first) = first {
            (panel("Download", &html! {}, &html! { div.body {
                p { a href={ (url) "/attachments/1" } { (attachment_name(first)) } }
                p.sub { (count(first.size)) " bytes, as it was decoded." }
            } }))
        } @else if is_mdn(facts.event.kind) && is_kept {
            (panel("Download", &html! {}, &html! { div.body {
                p { a href={ (url) "/mdn" } { "The receipt as it came" } }
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
