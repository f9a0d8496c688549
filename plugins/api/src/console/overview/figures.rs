//! The figures and the route of a message, which the stream brings up to date.

use as2hook_delivery::HealthState;
use maud::{Markup, html};

use crate::{
    caller::Caller,
    console::{
        components::{RouteStop, Tone, count, count_to_most, tile},
        phrases::listed,
        standing::{Standing, is_troubled},
        times::span,
    },
    gateway::ApiState,
};

/// Webhooks that a sentence names.
const NAMED: usize = 2;

/// Whether messages pass, in a sentence.
pub(super) fn sentence(api: &ApiState, caller: &Caller) -> String {
    let failure = api.gateway.figures().receiver_failure;
    match failure {
        None => "Messages pass: partners are served and get their receipts.".to_owned(),
        Some(failure) if caller.is_of_default_site() => failure,
        Some(_) => "The AS2 server cannot be reached: partners are refused.".to_owned(),
    }
}

/// Returns the tiles.
pub(crate) async fn tiles(api: &ApiState, caller: &Caller, standing: &Standing) -> Markup {
    let hour = api.gateway.activity().last_hour(caller.site());
    let open = standing.open().unwrap_or_default();
    let oldest = standing.oldest(api, caller).await;
    let failed = (hour.failed > 0).then_some(Tone::Bad);
    let waiting = (open.pending > 0).then_some(Tone::Wait);
    let stuck = (open.stuck() > 0).then_some(Tone::Bad);
    let both = format!("{} received, {} sent", count(hour.received), count(hour.sent));
    let known = |text: String| if standing.open().is_some() { text } else { "–".to_owned() };
    html! {
        (tile(None, "Exchanges, last hour", &count(hour.all()), &both))
        (tile(failed, "Failed messages, last hour", &count(hour.failed), "not sent, refused or not readable"))
        (tile(waiting, "Deliveries pending", &known(count_to_most(open.pending)), "they go out by themselves"))
        (tile(waiting, "Oldest pending", &oldest.map_or_else(|| "–".to_owned(), span), "since its message"))
        (tile(stuck, "Deliveries stuck", &known(count_to_most(open.stuck())), "dead, held or orphaned"))
    }
}

/// Returns the route of a message through the whole service.
pub(super) fn route_list(api: &ApiState, caller: &Caller, standing: &Standing) -> Markup {
    html! { ol.route data-live="route" { (route_stops(api, caller, standing)) } }
}

/// Returns the stops of the route.
pub(crate) fn route_stops(api: &ApiState, caller: &Caller, standing: &Standing) -> Markup {
    let stops =
        [partners(api, caller), gateway(standing), receiver(api, caller), webhooks(api, standing)];
    html! {
        @for stop in &stops {
            li class=(stop.tone.class()) { b { (stop.name) } span { (stop.text) } }
        }
    }
}

fn partners(api: &ApiState, caller: &Caller) -> RouteStop<'static> {
    let partners = &caller.config().partners;
    let own = partners.iter().filter(|partner| partner.site == caller.site()).count();
    let hour = api.gateway.activity().last_hour(caller.site());
    let text = match hour.received {
        0 => format!("{own} configured, no message within the hour"),
        n => format!("{own} configured, {} messages within the hour", count(n)),
    };
    let tone = if hour.all() > 0 { Tone::Ok } else { Tone::Off };
    RouteStop { tone, name: "Partners", text }
}

fn gateway(standing: &Standing) -> RouteStop<'static> {
    let (tone, text) = if standing.is_ready && standing.open().is_some() {
        (Tone::Ok, "Ready. Events can be stored.")
    } else {
        (Tone::Bad, "Events cannot be stored now.")
    };
    RouteStop { tone, name: "This gateway", text: text.to_owned() }
}

fn receiver(api: &ApiState, caller: &Caller) -> RouteStop<'static> {
    let (tone, text) = match api.gateway.figures().receiver_failure {
        Some(_) => (Tone::Bad, "cannot be reached".to_owned()),
        None => {
            let origin = caller.config().receiver.origins.first();
            let first = origin.filter(|_| caller.is_of_default_site());
            (
                Tone::Ok,
                first.map_or_else(
                    || "takes messages".to_owned(),
                    |url| format!("takes messages on {}", url.authority()),
                ),
            )
        }
    };
    RouteStop { tone, name: "Your AS2 server", text }
}

fn webhooks(api: &ApiState, standing: &Standing) -> RouteStop<'static> {
    let all = standing.webhooks.len();
    let troubled: Vec<_> =
        standing.webhooks.iter().filter(|(_, health)| is_troubled(health.as_ref())).collect();
    let named = troubled.iter().take(NAMED).map(|(rule, health)| {
        let does = match health.as_ref().map(|health| &health.health_state) {
            Some(HealthState::Retrying) => "fails",
            _ => "is disabled",
        };
        format!("{} {does}", rule.name)
    });
    let mut named = named.collect::<Vec<_>>().join(", ");
    if troubled.len() > NAMED {
        named.push_str(&format!(", and {} more", troubled.len() - NAMED));
    }
    let failed_before: Vec<_> =
        standing.failed_before(api).map(|(rule, _)| rule.name.as_str()).collect();
    let is_known = standing.webhooks.iter().all(|(_, health)| health.is_some());
    let (tone, text) = match (all, troubled.len()) {
        (0, _) => (Tone::Off, "no rule yet".to_owned()),
        (_, 0) if !failed_before.is_empty() => {
            (Tone::Wait, format!("{} failed before the start", listed(&failed_before)))
        }
        (1, 0) if !is_known => (Tone::Off, "the only one was not called yet".to_owned()),
        (all, 0) if !is_known => (Tone::Ok, format!("none of {all} fails")),
        // One that is off is not known to work.
        (all, 0) => (Tone::Ok, format!("{all} in all, none fails")),
        (all, _) => (Tone::Bad, format!("{all} in all; {named}")),
    };
    RouteStop { tone, name: "Your webhooks", text }
}
