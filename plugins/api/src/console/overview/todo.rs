//! What needs a person: found in the state of webhooks, deliveries, certificates and the config.

use as2hook_config::TokenScope;
use as2hook_delivery::{Health, HealthState};
use as2hook_event::Rule;
use as2hook_store::{DeliveryState, Filter};
use as2hook_tap::storage;
use maud::{Markup, html};

use crate::{
    caller::Caller,
    console::{
        components::{Button, Tone, action, count_to_most, needs, things, todo},
        phrases::sentence_of,
        session::Session,
        standing::{OpenDeliveries, Standing},
        times::time,
        url,
    },
    error::ApiError,
    gateway::ApiState,
    partner_webhooks::is_partner_webhook,
};

/// The most webhooks that are looked into; the list of webhooks has all.
const WEBHOOKS: usize = 8;

/// What another site than the default reads of an AS2 server that cannot be reached.
const REFUSED: &str = "Partners are refused until it can be.";

/// What needs a person now, and what can wait.
pub(crate) struct TodoList<'a> {
    now: Vec<Trouble<'a>>,
    later: Vec<Markup>,
}

/// Something that needs a person now.
enum Trouble<'a> {
    /// Events cannot be stored.
    Store,
    /// The AS2 server cannot be reached, as a sentence.
    Receiver(String),
    /// A webhook fails or is disabled.
    Webhook(&'a Rule, &'a Health, OpenDeliveries),
    /// A webhook failed before the start, and was not called since.
    FailedBefore(&'a Rule, OpenDeliveries),
    /// So many deliveries of a webhook are dead.
    Dead(&'a str, u64),
    /// So many deliveries have no rule any more.
    Orphaned(&'a str, u64),
}

// === impl TodoList ===

impl<'a> TodoList<'a> {
    /// Finds all in how things stand, as a caller sees it.
    pub(crate) fn find(api: &ApiState, caller: &Caller, standing: &'a Standing) -> Self {
        let mut now = Vec::new();
        if !standing.is_ready || standing.open().is_none() {
            now.push(Trouble::Store);
        }
        let failure = api.gateway.figures().receiver_failure;
        // The server's address is the default site's.
        let seen = |failure| if caller.is_of_default_site() { failure } else { REFUSED.to_owned() };
        now.extend(failure.map(seen).map(Trouble::Receiver));
        let troubled = standing.webhooks.iter().filter_map(|(rule, health)| {
            let health = health.as_ref()?;
            let open = standing.open_of(&rule.name);
            // What is dead is named below, with the same error.
            let is_said = open.pending == 0 && open.dead > 0;
            let is_trouble = match health.health_state {
                HealthState::Healthy => false,
                HealthState::Retrying => !is_said,
                _ => true,
            };
            is_trouble.then_some(Trouble::Webhook(rule, health, open))
        });
        now.extend(troubled.take(WEBHOOKS));
        let before = standing.failed_before(api).take(WEBHOOKS);
        now.extend(before.map(|(rule, open)| Trouble::FailedBefore(rule, open)));
        let dead = standing.webhooks_with(DeliveryState::Dead).into_iter().take(WEBHOOKS);
        now.extend(dead.map(|(name, n)| Trouble::Dead(name, n)));
        let orphaned = standing.webhooks_with(DeliveryState::Orphaned).into_iter().take(WEBHOOKS);
        now.extend(orphaned.map(|(name, n)| Trouble::Orphaned(name, n)));
        Self { now, later: later(caller, standing) }
    }

    /// Whether anything needs a person now.
    pub(super) fn needs_a_person(&self) -> bool {
        !self.now.is_empty()
    }

    /// The conclusion of the page.
    pub(crate) fn heading(&self) -> String {
        match (self.now.len(), self.later.len()) {
            (0, 0) => "All is well".to_owned(),
            (0, 1) => "All is well. 1 thing can wait.".to_owned(),
            (0, n) => format!("All is well. {n} things can wait."),
            (1, _) => "1 thing needs attention".to_owned(),
            (n, _) => format!("{n} things need attention"),
        }
    }

    pub(super) async fn render(
        &self,
        api: &ApiState,
        session: &Session,
    ) -> Result<Markup, ApiError> {
        let mut now = Vec::new();
        for trouble in &self.now {
            now.push(match trouble {
                Trouble::Store => store(api, session),
                Trouble::Receiver(failure) => receiver(failure),
                Trouble::Webhook(rule, health, open) => webhook(session, rule, health, *open),
                Trouble::FailedBefore(rule, open) => {
                    failed_before(session, &rule.name, open.pending)
                }
                Trouble::Dead(name, n) => {
                    let error = last_error(api, session, name).await.unwrap_or_default();
                    dead(session, name, *n, error.as_deref())
                }
                Trouble::Orphaned(name, n) => orphaned(name, *n),
            });
        }
        Ok(rendered(&now, &self.later))
    }
}

fn rendered(now: &[Markup], later: &[Markup]) -> Markup {
    html! {
        section.panel aria-labelledby="todo-h" {
            h2.vh #todo-h { "What needs attention" }
            @if now.is_empty() {
                ul.todo {
                    (todo(
                        Tone::Ok,
                        &html! { "Nothing needs you now" },
                        &html! { "No webhook fails, and no delivery is stuck." },
                        &html! {},
                    ))
                }
            } @else {
                ul.todo { @for item in now { (item) } }
            }
            @if !later.is_empty() {
                details.fold open[now.is_empty()] {
                    summary { (later.len()) @if !now.is_empty() { " more" } " that can wait" }
                    ul.todo { @for item in later { (item) } }
                }
            }
        }
    }
}

/// Returns how the newest dead delivery of a webhook ended.
async fn last_error(
    api: &ApiState,
    session: &Session,
    webhook: &str,
) -> Result<Option<String>, ApiError> {
    let filter = Filter {
        webhook: Some(webhook.to_owned()),
        state: Some(DeliveryState::Dead),
        ..Filter::default()
    };
    let newest = api.store.deliveries(&filter, None, 1).await?.rows.pop();
    let own = newest.filter(|row| row.event.site == session.caller.site());
    Ok(own.and_then(|row| row.last_error))
}

fn receiver(failure: &str) -> Markup {
    let link =
        html! { a.btn href="/console/exchanges?event=message.rejected" { "See what was refused" } };
    todo(Tone::Bad, &html! { "Your AS2 server cannot be reached" }, &html! { (failure) }, &link)
}

fn store(api: &ApiState, session: &Session) -> Markup {
    let mut reasons = storage::failures(&api.outbox, &api.payloads);
    reasons.retain(|_| session.caller.is_of_default_site());
    let text = html! {
        "Traffic goes on as " code { "on_store_failure" } " says. "
        @if reasons.is_empty() { "The gateway's log has the reason." } @else { (reasons.join(" ")) }
    };
    todo(Tone::Bad, &html! { "Events cannot be stored" }, &text, &html! {})
}

fn webhook(session: &Session, rule: &Rule, health: &Health, open: OpenDeliveries) -> Markup {
    let name = rule.name.as_str();
    let page = format!("/console/webhooks/{}", url::segment(name));
    let see = html! { a.btn href=(page) { "See the webhook" } };
    let may = session.may(TokenScope::Admin);
    if !rule.enabled {
        let text = html! {
            (things(open.held, "delivery is held", "deliveries are held"))
            "; none is lost. They go out once " code { "enabled" } " is true again."
        };
        let place = if is_partner_webhook(rule) { "over the API" } else { "in the file" };
        return todo(Tone::Held, &html! { (name) " is off " (place) }, &text, &see);
    }
    if let HealthState::Disabled { reason } = &health.health_state {
        let text = html! {
            (sentence_of(reason)) " " (things(open.held, "delivery is held", "deliveries are held")) "; none is lost."
        };
        let label = match open.held {
            0 => "Enable it".to_owned(),
            n => format!("Enable it and send {} held", count_to_most(n)),
        };
        let enable = format!("{page}/enable");
        let actions = html! {
            @if may { (action(session, &enable, &[("back", "/console/")], Button::plain(&label))) }
            @else { (needs("Enabling", TokenScope::Admin)) }
            (see)
        };
        return todo(Tone::Held, &html! { (name) " is disabled" }, &text, &actions);
    }
    let what = match (health.last_http_code, &health.last_error) {
        (Some(code), _) if code >= 300 => format!("{name} returns {code}"),
        _ => format!("{name} fails"),
    };
    let problem = html! {
        (what) @if let Some(since) = health.failing_since { " since " (time(since)) }
    };
    let text = html! {
        @if open.pending > 0 {
            (waits(open.pending)) " once the endpoint works again. Partners notice nothing."
        } @else {
            "No delivery waits for it now. " (sentence_of(health.last_error.as_deref().unwrap_or_default()))
        }
    };
    let actions = html! {
        @if open.pending > 0 { (retry_pending(session, name, open.pending)) }
        (see)
    };
    todo(Tone::Bad, &problem, &text, &actions)
}

fn failed_before(session: &Session, name: &str, pending: u64) -> Markup {
    let text = html! {
        (waits(pending)) " at the next attempt, which shows whether the endpoint works again. Partners notice nothing."
    };
    let page = format!("/console/webhooks/{}", url::segment(name));
    let actions =
        html! { (retry_pending(session, name, pending)) a.btn href=(page) { "See the webhook" } };
    todo(Tone::Wait, &html! { (name) " failed before this gateway started" }, &text, &actions)
}

/// Returns the beginning of a sentence: what waits, and that it needs nothing.
fn waits(n: u64) -> String {
    let goes = if n == 1 { "It goes out by itself" } else { "They go out by themselves" };
    format!("{}. {goes}", things(n, "delivery waits", "deliveries wait"))
}

fn retry_pending(session: &Session, name: &str, n: u64) -> Markup {
    let label = format!("Retry {} now", things(n, "delivery", "deliveries"));
    let fields = [("webhook", name), ("status", "pending"), ("back", "/console/")];
    if !session.may(TokenScope::Admin) {
        return needs("Retrying", TokenScope::Admin);
    }
    action(session, "/console/deliveries/retry", &fields, Button::primary(&label))
}

fn dead(session: &Session, name: &str, n: u64, error: Option<&str>) -> Markup {
    let problem = html! { (things(n, "delivery", "deliveries")) " of " (name) @if n == 1 { " is dead" } @else { " are dead" } };
    let text = html! {
        "No attempts are left. " (sentence_of(error.unwrap_or_default()))
        " Nothing more happens until you act."
    };
    let label = format!("Retry {} now", things(n, "delivery", "deliveries"));
    let fields = [("webhook", name), ("status", "dead"), ("back", "/console/")];
    let list = url::with_query("/console/deliveries", &[("webhook", name), ("status", "dead")]);
    let actions = html! {
        @if session.may(TokenScope::Admin) {
            (action(session, "/console/deliveries/retry", &fields, Button::plain(&label)))
        } @else {
            (needs("Retrying", TokenScope::Admin))
        }
        a.btn href=(list) { "See why" }
    };
    todo(Tone::Bad, &problem, &text, &actions)
}

fn orphaned(name: &str, n: u64) -> Markup {
    let problem = html! {
        (things(n, "delivery", "deliveries")) " of " (name) @if n == 1 { " is orphaned" } @else { " are orphaned" }
    };
    let text = html! { "No rule has this name any more. They can be replayed to another webhook, or cancelled." };
    let list = url::with_query("/console/deliveries", &[("webhook", name), ("status", "orphaned")]);
    todo(Tone::Bad, &problem, &text, &html! { a.btn href=(list) { "Choose what to do" } })
}

fn later(caller: &Caller, standing: &Standing) -> Vec<Markup> {
    let mut later = Vec::new();
    if standing.expiring > 0 {
        let problem = html! {
            (things(standing.expiring, "certificate ends", "certificates end")) " within 30 days, or has ended"
        };
        let text = html! { "Partners and you need time to exchange the new one." };
        let link = html! { a.btn href="/console/certificates" { "See which" } };
        later.push(todo(Tone::Wait, &problem, &text, &link));
    }
    if let Some(error) = &standing.last_reload.error {
        let problem = html! { "The last configuration change was refused" };
        let text = html! { "What was in force stays. " (sentence_of(error)) };
        let link = html! { a.btn href="/console/config" { "See the mistakes" } };
        later.push(todo(Tone::Wait, &problem, &text, &link));
    }
    if caller.config().stations.is_empty() && caller.is_of_default_site() {
        let problem = html! { "No station has a key" };
        let text =
            html! { "Messages pass and webhooks are called, but what is inside is not opened." };
        later.push(todo(Tone::Wait, &problem, &text, &html! {}));
    }
    later
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_becomes_a_sentence_of_its_own() {
        for (reason, sentence) in [
            ("the endpoint closed the connection", "The endpoint closed the connection."),
            ("Is it there?", "Is it there?"),
            ("", ""),
        ] {
            assert_eq!(sentence_of(reason), sentence);
        }
    }

    #[test]
    fn heading_says_whether_anything_needs_a_person() {
        let list = |now, later| TodoList {
            now: (0..now).map(|_| Trouble::Store).collect(),
            later: vec![html! {}; later],
        };
        assert_eq!(list(0, 0).heading(), "All is well");
        assert_eq!(list(0, 2).heading(), "All is well. 2 things can wait.");
        assert_eq!(list(1, 2).heading(), "1 thing needs attention");
        assert_eq!(list(3, 0).heading(), "3 things need attention");
    }
}
