//! Why something did not go as it should, and what helps.

use as2hook_as2::ErrorCode;
use as2hook_config::TokenScope;
use as2hook_event::EventKind;
use as2hook_store::{DeliveryState, Filter};
use maud::{Markup, html};

use super::{
    super::{
        components::{Button, COUNTED, Tone, act, action, needs, note, things},
        phrases::bare,
        session::Session,
        standing::health_of,
        times::time,
        url::segment,
    },
    story::ExchangeFacts,
};
use crate::{deliveries::DeliveryDetail, error::ApiError, gateway::ApiState};

/// Returns the notes above the steps, the one about the message first.
pub(super) async fn notes(
    api: &ApiState,
    session: &Session,
    facts: &ExchangeFacts<'_>,
) -> Result<Markup, ApiError> {
    let undelivered = match worst(facts) {
        Some(delivery) => Some(undelivered(api, session, delivery).await?),
        None => None,
    };
    Ok(html! {
        @if let Some(note) = undecrypted(facts) { (note) }
        @if let Some(first) = super::system::text(facts.event, "duplicateOf") {
            (note(Tone::Off, "It came before", &html! {
                p { "The same message, byte for byte, was taken by your AS2 server before. "
                    a href={ "/console/exchanges/" (segment(first)) } { "See the first one" } "." }
            }))
        }
        @if let Some(note) = undelivered { (note) }
    })
}

/// Returns the delivery that needs a person most.
fn worst<'a>(facts: &'a ExchangeFacts<'_>) -> Option<&'a DeliveryDetail> {
    let dead = facts.in_state(DeliveryState::Dead).next();
    let failed = |one: &&DeliveryDetail| !one.attempts.is_empty();
    dead.or_else(|| facts.in_state(DeliveryState::Pending).find(failed))
        .or_else(|| facts.in_state(DeliveryState::Held).next())
        .or_else(|| facts.in_state(DeliveryState::Orphaned).next())
}

async fn undelivered(
    api: &ApiState,
    session: &Session,
    delivery: &DeliveryDetail,
) -> Result<Markup, ApiError> {
    let webhook = &delivery.webhook;
    let state = DeliveryState::named(delivery.status).unwrap_or(DeliveryState::Pending);
    let filter = Filter {
        site: Some(session.caller.site().to_owned()),
        webhook: Some(webhook.clone()),
        state: Some(state),
        ..Filter::default()
    };
    let all = api.store.count_deliveries(&filter, COUNTED + 1).await?;
    // What is more than can be counted stays so without this one.
    let others = if all > COUNTED { all } else { all.saturating_sub(1) };
    let health = health_of(api, &session.caller, webhook);
    let since = health.as_ref().and_then(|health| health.failing_since);
    let last = delivery.attempts.last();
    let code = last.and_then(|last| last.http_code);
    let url = format!("/console/webhooks/{}", segment(webhook));
    let search = super::super::url::with_query(
        "/console/deliveries",
        &[("webhook", webhook), ("status", delivery.status)],
    );
    let content = html! {
        @if let Some(error) = last.and_then(|last| last.error.as_ref()) {
            p { "The last attempt failed: “" (error) "”."
                @if let Some(since) = since { " No attempt of " a href=(url) { (webhook) } " has succeeded since " (time(since)) "." } }
        } @else if state == DeliveryState::Held {
            p { a href=(url) { (webhook) } " is disabled. What is for it is held, and nothing is lost." }
        } @else if state == DeliveryState::Orphaned {
            p { "No rule is named " b { (webhook) } " any more. The delivery can go to another webhook." }
        }
        @if all > 1 {
            p { a href=(search) { (things(others, "other delivery", "other deliveries")) }
                " of " (webhook) " " @if all == 2 { "is" } @else { "are" } " in the same state, so it is likely not this message." }
        }
        p { b { "What helps: " } (remedy(state, code)) }
        @if let DeliveryState::Pending | DeliveryState::Dead = state {
            @if session.may(TokenScope::Admin) {
                div.acts.wide {
                    (act(&action(session, &format!("{url}/test"), &[("back", &session.path)],
                        Button::primary(&format!("Send a test to {webhook}"))),
                        "Shows at once whether it works. The test is marked; this message is not sent."))
                    @if all > 1 {
                        (act(&action(session, "/console/deliveries/retry",
                            &[("back", &session.path), ("webhook", webhook), ("status", delivery.status)],
                            Button::plain(&format!("Retry {} of {webhook} now", things(all, "delivery", "deliveries")))),
                            "All are due at once, with the same webhook-ids as before."))
                    }
                }
            } @else { (needs("Testing and retrying", TokenScope::Admin)) }
        }
    };
    let tone = match state {
        DeliveryState::Held => Tone::Held,
        DeliveryState::Orphaned => Tone::Off,
        _ => Tone::Bad,
    };
    Ok(note(tone, &format!("Why {webhook} does not have it"), &content))
}

/// Returns what helps a delivery in this state whose endpoint responded so.
fn remedy(state: DeliveryState, code: Option<u16>) -> &'static str {
    match (state, code) {
        (DeliveryState::Held, _) => {
            "enable the webhook when its endpoint works. What is held goes out then."
        }
        (DeliveryState::Orphaned, _) => "replay it to another webhook, or cancel it.",
        (DeliveryState::Dead, Some(400 | 413 | 415 | 422)) => {
            "the endpoint refuses this content. Correct what it refuses there, then retry; or cancel the delivery if it is not wanted."
        }
        (DeliveryState::Dead, _) => {
            "mend the endpoint, then retry. Nothing more happens until you act: all attempts are used up."
        }
        (_, Some(401 | 403 | 407)) => {
            "the endpoint refuses the credentials. Correct the headers or the secret of the rule; the backlog uses the new ones at once."
        }
        (_, Some(404 | 405)) => {
            "there is nothing at this URL. Correct the url of the rule; the backlog goes to the new one."
        }
        (_, Some(400 | 413 | 415 | 422)) => {
            "the endpoint refuses this content. Correct what it refuses there. The gateway keeps trying."
        }
        (_, Some(429)) => "nothing: the endpoint asked the gateway to slow down, and it does.",
        _ => {
            "start or mend the endpoint. The gateway keeps trying, and sends what waits once it works. You need not press anything."
        }
    }
}

fn undecrypted(facts: &ExchangeFacts<'_>) -> Option<Markup> {
    let error = facts.error(ErrorCode::Decryption)?;
    let event = facts.event;
    if !matches!(event.kind, EventKind::MessageReceived | EventKind::MessageRejected) {
        return None;
    }
    let (partner, station) = (facts.partner(), event.station.as_deref().unwrap_or("us"));
    let id = event.headers.text("Message-ID").unwrap_or_default();
    let letter = format!(
        "To: the AS2 desk of {partner}\n\nYour message {} of {} is not encrypted for a certificate that we use, so \
         we cannot open it.\nPlease choose our present certificate as the encryption certificate of {station}, and send \
         the message again.",
        bare(&id),
        event.occurred_at.strftime("%-d %B %Y, %H:%M:%S UTC"),
    );
    Some(note(
        Tone::Bad,
        &format!("Why: {partner} encrypted it for a key that you do not have"),
        &html! {
            p { "The decryption says: “" (error) "”." }
            p { b { "What helps: " } "send " (partner) " your certificate, and ask for the message again. If it is for a key that you removed, put the key back." }
            div.acts { a.btn.primary href="/console/certificates" { "See your certificates" } }
            details { summary { "Text for " (partner) ", ready to copy" } pre.copy.wrap { (letter) } }
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_names_what_the_response_says_is_wrong() {
        for (state, code, word) in [
            (DeliveryState::Pending, Some(503), "You need not press anything"),
            (DeliveryState::Pending, None, "You need not press anything"),
            (DeliveryState::Pending, Some(401), "credentials"),
            (DeliveryState::Pending, Some(404), "URL"),
            (DeliveryState::Dead, Some(400), "refuses this content"),
            (DeliveryState::Dead, Some(503), "Nothing more happens until you act"),
            (DeliveryState::Held, Some(410), "enable the webhook"),
            (DeliveryState::Orphaned, None, "another webhook"),
        ] {
            assert!(remedy(state, code).contains(word), "{state:?} {code:?}");
        }
    }
}
