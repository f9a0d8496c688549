//! What can be done with all deliveries that a search names, and how many each action takes.

use as2hook_config::TokenScope;
use as2hook_store::{DeliveryChange, DeliveryState, DeliveryTally, clock};
use maud::{Markup, html};

use super::super::{
    components::{Button, Tone, act, action, ask, csrf, needs, note, things},
    session::Session,
    standing::health_of,
    times::time,
    webhooks::webhook_names,
};
use crate::{gateway::ApiState, rfc3339, steering::word};

/// A cancel of more than these asks once more.
const ASKED_ABOVE: u64 = 10;

/// The most webhooks that a replay offers.
const OFFERED: usize = 200;

/// All deliveries that a search names.
pub(super) struct BulkChoice<'a> {
    /// The search, as the API's calls take it; never empty.
    pub(super) fields: &'a [(&'static str, String)],
    /// How many there are in each state, as far as states have an index.
    pub(super) tallies: &'a [DeliveryTally],
    /// How many rows there are, where a page shows all of them.
    pub(super) whole: Option<u64>,
    pub(super) state: Option<DeliveryState>,
    pub(super) webhook: Option<&'a str>,
    pub(super) back: &'a str,
}

/// How many deliveries an action takes. `None`: more than can be counted.
type Taken = Option<u64>;

/// Returns why they wait, and the actions on all of them.
pub(super) fn note_on_all(api: &ApiState, session: &Session, choice: &BulkChoice<'_>) -> Markup {
    let offers = [DeliveryChange::Retry, DeliveryChange::Cancel, DeliveryChange::Replay]
        .map(|change| (change, choice.taken(change)));
    let offers: Vec<_> =
        offers.into_iter().filter_map(|(change, taken)| Some((change, taken?))).collect();
    if offers.is_empty() {
        return html! {};
    }
    let health = choice.webhook.and_then(|webhook| health_of(api, &session.caller, webhook));
    let failing = health.filter(|health| health.failing_since.is_some());
    let tone = if failing.is_some() { Tone::Bad } else { Tone::Off };
    let heading = match (&failing, choice.webhook) {
        (Some(_), Some(webhook)) => format!("{webhook} fails"),
        _ => "All that this search names".to_owned(),
    };
    let content = html! {
        @if let Some(health) = &failing {
            p {
                @if let Some(error) = &health.last_error { "The last attempt failed: “" (error) "”. " }
                @if let Some(since) = health.failing_since { "No attempt has succeeded since " (time(since)) ". " }
                "Once the endpoint works, what waits goes out by itself. Retry only if you cannot wait for the next attempt."
            }
        }
        @if session.may(TokenScope::Admin) {
            div.acts.wide {
                @for (change, taken) in &offers { (offer(api, session, choice, *change, *taken)) }
            }
        } @else { (needs("Retrying, cancelling and replaying", TokenScope::Admin)) }
    };
    note(tone, &heading, &content)
}

fn offer(
    api: &ApiState,
    session: &Session,
    choice: &BulkChoice<'_>,
    change: DeliveryChange,
    taken: Taken,
) -> Markup {
    let (path, of) = (format!("/console/deliveries/{}", word(change)), choice.of());
    let n = taken.map_or_else(
        || "all matching deliveries".to_owned(),
        |n| things(n, "delivery", "deliveries"),
    );
    let now = rfc3339(clock::now()).unwrap_or_default();
    let fields = choice.form_fields(&now);
    match change {
        DeliveryChange::Retry | DeliveryChange::Recover => act(
            &action(session, &path, &fields, Button::primary(&format!("Retry {n}{of} now"))),
            "All are due at once, with the same webhook-id as before.",
        ),
        DeliveryChange::Cancel => {
            let text = format!("Cancel {n}{of}");
            let consequence = "Their webhooks do not get them. The messages themselves are untouched: your AS2 \
                server has them. What is cancelled can be replayed while it is kept.";
            let button = action(session, &path, &fields, Button::danger(&text));
            let button = match taken {
                Some(..=ASKED_ABOVE) => button,
                _ => {
                    ask("ask-cancel", &text, &format!("{text}?"), consequence, &button, "Keep them")
                }
            };
            act(&button, consequence)
        }
        DeliveryChange::Replay => {
            replay(api, session, &path, &fields, &format!("Replay {n}{of}"), choice)
        }
    }
}

/// A replay goes to the same webhook, or to another.
fn replay(
    api: &ApiState,
    session: &Session,
    path: &str,
    fields: &[(&str, &str)],
    text: &str,
    choice: &BulkChoice<'_>,
) -> Markup {
    html! {
        form.act method="post" action=(path) {
            (csrf(session))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            label for="to" { "Send them to" }
            (targets(api, session, choice))
            button.btn { (text) }
            small { "The same webhook gets them with the same webhook-id and X-AS2-Replay: 1. Another one gets each event that it has not had before, under a webhook-id of its own." }
        }
    }
}

fn targets(api: &ApiState, session: &Session, choice: &BulkChoice<'_>) -> Markup {
    let names = webhook_names(api, session.caller.site(), OFFERED);
    let is_orphaned = choice.state == Some(DeliveryState::Orphaned);
    html! {
        select #to name="to" {
            @if !is_orphaned { option value="" selected { "The same webhook" } }
            @for name in names.iter().filter(|name| Some(name.as_str()) != choice.webhook) {
                option value=(name) { (name) }
            }
        }
    }
}

// === impl BulkChoice ===

impl BulkChoice<'_> {
    fn of(&self) -> String {
        self.webhook.map(|webhook| format!(" of {webhook}")).unwrap_or_default()
    }

    /// Returns the fields of its forms: what comes after the page, made at `now`, is not in the page's numbers.
    fn form_fields<'a>(&'a self, now: &'a str) -> Vec<(&'a str, &'a str)> {
        let search = self.fields.iter().map(|(name, value)| (*name, value.as_str()));
        let until = self.fields.iter().all(|(name, _)| *name != "until").then_some(("until", now));
        search.chain(until).chain([("back", self.back)]).collect()
    }

    /// Returns how many deliveries a change takes. `None`: none, or the search names a state that it does not take.
    fn taken(&self, change: DeliveryChange) -> Option<Taken> {
        if self.state.is_some_and(|state| !change.takes().contains(&state)) {
            return None;
        }
        if self.state.is_some() && self.whole.is_some() {
            return self.whole.filter(|n| *n > 0).map(Some);
        }
        let counted = self.tallies.iter().filter(|tally| change.takes().contains(&tally.state));
        let counted: u64 = counted.map(|tally| tally.count).sum();
        let has_index =
            !matches!(self.state, Some(DeliveryState::Delivered | DeliveryState::Cancelled));
        match (change, self.state) {
            // Delivered and cancelled ones are many, and not counted.
            (DeliveryChange::Replay, None) => None,
            _ if !has_index => Some(None),
            _ => (counted > 0).then_some(Some(counted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(
        state: Option<DeliveryState>,
        whole: Option<u64>,
        change: DeliveryChange,
    ) -> Option<Taken> {
        let tally = |state, count| DeliveryTally { webhook: "erp".to_owned(), state, count };
        let tallies = [tally(DeliveryState::Pending, 28), tally(DeliveryState::Dead, 3)];
        let fields = [("webhook", "erp".to_owned())];
        BulkChoice {
            fields: &fields,
            tallies: &tallies,
            whole,
            state,
            webhook: Some("erp"),
            back: "",
        }
        .taken(change)
    }

    #[test]
    fn form_without_an_end_ends_with_its_page() {
        let until = |fields: &[(&'static str, String)]| {
            let choice = BulkChoice {
                fields,
                tallies: &[],
                whole: None,
                state: None,
                webhook: None,
                back: "/console/deliveries",
            };
            let fields = choice.form_fields("2026-11-18T18:00:00Z");
            assert_eq!(fields.last(), Some(&("back", "/console/deliveries")));
            let all = fields.iter().filter(|(name, _)| *name == "until");
            all.map(|(_, value)| (*value).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(until(&[("webhook", "erp".to_owned())]), ["2026-11-18T18:00:00Z"]);
        assert_eq!(
            until(&[("until", "2026-11-01T00:00:00Z".to_owned())]),
            ["2026-11-01T00:00:00Z"]
        );
    }

    #[test]
    fn action_is_offered_for_the_states_that_it_takes_and_counts_them() {
        use DeliveryChange::{Cancel, Replay, Retry};
        use DeliveryState::{Delivered, Pending};
        assert_eq!(taken(None, None, Retry), Some(Some(31)));
        assert_eq!(taken(None, None, Cancel), Some(Some(31)));
        assert_eq!(taken(None, None, Replay), None);
        assert_eq!(taken(Some(Pending), Some(28), Retry), Some(Some(28)));
        assert_eq!(taken(Some(Pending), Some(28), Replay), None);
        assert_eq!(taken(Some(Delivered), None, Replay), Some(None));
        assert_eq!(taken(Some(Delivered), Some(0), Replay), None);
        assert_eq!(taken(Some(Delivered), None, Retry), None);
    }
}
