//! The deliveries of an event, each with its attempts and what can be done about it.

use as2hook_config::TokenScope;
use as2hook_store::DeliveryState;
use maud::{Markup, html};

use super::super::{
    components::{Button, Tone, act, action, facts, mark, needs},
    phrases::{state_chip, state_tone, time_of},
    session::Session,
    url::{segment, with_query},
};
use crate::deliveries::{AttemptView, DeliveryDetail};

/// The most attempts that are shown of a delivery, the newest ones.
const SHOWN: usize = 20;

/// Returns one delivery as a block with its own anchor.
pub(super) fn hook(session: &Session, delivery: &DeliveryDetail) -> Markup {
    let state = DeliveryState::named(delivery.status).unwrap_or(DeliveryState::Pending);
    let has_failed = delivery.attempts.iter().any(|attempt| attempt.error.is_some());
    let tone = match state {
        DeliveryState::Pending if has_failed => Tone::Bad,
        other => state_tone(other),
    };
    html! {
        article class={ "hook " (tone.class()) } id={ "d" (delivery.id) } {
            header {
                h4 { a href={ "/console/webhooks/" (segment(&delivery.webhook)) } { (delivery.webhook) } }
                (state_chip(delivery.status))
                span.sub { (remark(delivery, state)) }
            }
            @if !delivery.attempts.is_empty() { (attempts(&delivery.attempts)) }
            (actions(session, delivery, state))
            details {
                summary { "Details" }
                (facts(&[
                    ("webhook-id", Some(html! { span.id { (delivery.webhook_id) } })),
                    ("Sends", Some(html! { (delivery.payload) })),
                    ("URL", delivery.attempts.last().map(|last| html! { (last.url) })),
                    ("Number", Some(html! { (delivery.id) })),
                    ("Replay", delivery.replay.then(|| html! { "yes" })),
                ]))
            }
        }
    }
}

fn remark(delivery: &DeliveryDetail, state: DeliveryState) -> Markup {
    let last = delivery.attempts.last();
    html! {
        @match (state, last) {
            (DeliveryState::Pending, _) => @if let Some(at) = &delivery.next_attempt_at {
                "next attempt at " (time_of(at))
            },
            (DeliveryState::Delivered, Some(last)) => {
                @if last.n == 1 { "at the first attempt" } @else { "at attempt " (last.n) }
                ", in " (last.duration_ms) " ms"
            },
            (DeliveryState::Dead, _) => "no attempts are left",
            (DeliveryState::Held, _) => "until the webhook is enabled",
            (DeliveryState::Orphaned, _) => "no rule has this name any more",
            (DeliveryState::Cancelled, _) => "given up by a person",
            (DeliveryState::Claimed, _) => "an attempt is under way",
            (DeliveryState::Delivered, None) => "",
        }
    }
}

fn attempts(all: &[AttemptView]) -> Markup {
    let older = all.len().saturating_sub(SHOWN);
    html! {
        div.scroll tabindex="0" role="group" aria-label="Attempts" {
            table.cards role="table" {
                caption.vh { "Attempts" }
                thead role="rowgroup" {
                    tr role="row" {
                        th scope="col" role="columnheader" { "Attempt" }
                        th scope="col" role="columnheader" { "Time" }
                        th scope="col" role="columnheader" { "Result" }
                        th.num scope="col" role="columnheader" { "Took" }
                    }
                }
                tbody role="rowgroup" {
                    @for attempt in all.iter().rev().take(SHOWN) {
                        tr role="row" {
                            td.nowrap role="cell" data-pre="Attempt" { (attempt.n) }
                            td.end.nowrap role="cell" { (time_of(&attempt.at)) }
                            td.row role="cell" { (result(attempt)) }
                            td.num.drop role="cell" { (attempt.duration_ms) " ms" }
                        }
                    }
                }
            }
        }
        @if older > 0 { p.sub { (older) " older attempts are not shown." } }
    }
}

fn result(attempt: &AttemptView) -> Markup {
    let tone = if attempt.error.is_none() { Tone::Ok } else { Tone::Bad };
    let code = attempt.http_code.map_or_else(|| "no response".to_owned(), |code| code.to_string());
    html! {
        (mark(tone, &code))
        @if let Some(error) = &attempt.error { " “" (error) "”" }
    }
}

fn actions(session: &Session, delivery: &DeliveryDetail, state: DeliveryState) -> Markup {
    if state == DeliveryState::Claimed {
        return html! {};
    }
    if !session.may(TokenScope::Admin) {
        return needs("Retrying, cancelling and replaying", TokenScope::Admin);
    }
    let (id, webhook) = (delivery.id, &delivery.webhook);
    let back = format!("{}#d{id}", session.path);
    let button = |change: &str, button| {
        action(session, &format!("/console/deliveries/{id}/{change}"), &[("back", &back)], button)
    };
    let next = delivery.attempts.last().map_or(1, |last| last.n + 1);
    let retry = |consequence: &str| {
        act(&button("retry", Button::primary("Retry this delivery now")), consequence)
    };
    let cancel = || {
        let consequence = format!("{webhook} never gets this message, unless you replay it later.");
        act(&button("cancel", Button::danger("Cancel this delivery")), &consequence)
    };
    let same = format!("Sent to {webhook} at once, as attempt {next}, with the same webhook-id.");
    let again = format!(
        "{webhook} gets it once more, with the same webhook-id and the header X-AS2-Replay: 1."
    );
    html! {
        @match state {
            DeliveryState::Pending => div.acts.wide { (retry(&same)) (cancel()) },
            DeliveryState::Dead => div.acts.wide {
                (retry(&format!("{same} The retry schedule begins anew.")))
                (cancel())
            },
            DeliveryState::Held => div.acts.wide {
                (act(&html! { a.btn href={ "/console/webhooks/" (segment(webhook)) } { "See " (webhook) } },
                    "It can be enabled there; what is held goes out then."))
                (cancel())
            },
            DeliveryState::Orphaned => div.acts.wide {
                (act(&html! { a.btn href=(with_query("/console/deliveries", &[("webhook", webhook), ("status", "orphaned")])) { "Choose another webhook" } },
                    "Its deliveries can be replayed to another one."))
                (cancel())
            },
            _ => details {
                summary { "Send it again" }
                (act(&button("replay", Button::plain("Replay this delivery")), &again))
            },
        }
    }
}
