//! How things stand in a site: what the frame of each page and the overview are made of.

use std::sync::Arc;

use as2hook_config::TokenScope;
use as2hook_delivery::{Health, HealthState};
use as2hook_event::Rule;
use as2hook_store::{DeliveryState, DeliveryTally, Filter, clock};
use as2hook_tap::storage;
use maud::{Markup, html};

use super::{
    certificates::certificate_ends,
    components::{COUNTED, Tone},
    layout::NavItem,
    times::time,
};
use crate::{
    activity::AttemptCounts,
    caller::Caller,
    gateway::{ApiState, LastReload},
};

/// How things stand in one site.
pub(crate) struct Standing {
    /// Its deliveries that are not over, by webhook and state; `None` while the store does not respond.
    tallies: Option<Vec<DeliveryTally>>,
    /// Its webhooks, by name; health only of those that were used.
    pub(crate) webhooks: Vec<(Arc<Rule>, Option<Health>)>,
    /// Whether events and their payloads can be stored, as `/readyz` has it.
    pub(crate) is_ready: bool,
    /// Certificates of the config that have expired or do so within 30 days.
    pub(crate) expiring: u64,
    /// How the last reload went; its mistake is shown to the default site alone.
    pub(crate) last_reload: LastReload,
}

/// Deliveries that are not over, each number counted to 10,001 at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenDeliveries {
    pub(crate) pending: u64,
    pub(crate) dead: u64,
    pub(crate) held: u64,
    pub(crate) orphaned: u64,
}

/// So long before its end a certificate is one to look at.
const SOON_SECONDS: i64 = 30 * 24 * 60 * 60;

// === impl Standing ===

impl Standing {
    /// Reads it, as a caller sees it; nothing for a token that may not look.
    pub(crate) async fn read(api: &ApiState, caller: &Caller) -> Self {
        let may_look = caller.may(TokenScope::Read);
        let filter = Filter { site: Some(caller.site().to_owned()), ..Filter::default() };
        let tallies = match may_look {
            true => api.store.tally(&filter, COUNTED + 1).await.ok(),
            false => Some(Vec::new()),
        };
        let mut webhooks: Vec<_> = api.gateway.webhooks();
        webhooks.retain(|rule| may_look && rule.site == caller.site());
        webhooks.sort_by(|a, b| a.name.cmp(&b.name));
        let with_health = |rule: Arc<Rule>| {
            let health = api.dispatcher.health(&rule.name);
            (rule, health)
        };
        let mut last_reload = api.gateway.figures().last_reload;
        last_reload.error = last_reload.error.filter(|_| may_look && caller.is_of_default_site());
        Self {
            tallies,
            webhooks: webhooks.into_iter().map(with_health).collect(),
            is_ready: storage::failures(&api.outbox, &api.payloads).is_empty(),
            expiring: if may_look { expiring(caller) } else { 0 },
            last_reload,
        }
    }

    /// Returns the open deliveries; `None` while the store does not respond.
    pub(crate) fn open(&self) -> Option<OpenDeliveries> {
        self.tallies.as_ref().map(|tallies| OpenDeliveries::of(tallies.iter()))
    }

    /// Whether a delivery is not over.
    pub(crate) fn has_open(&self) -> bool {
        self.open().is_some_and(|open| open != OpenDeliveries::default())
    }

    /// Returns the open deliveries of one webhook.
    pub(crate) fn open_of(&self, webhook: &str) -> OpenDeliveries {
        let all = self.tallies.iter().flatten();
        OpenDeliveries::of(all.filter(|tally| tally.webhook == webhook))
    }

    /// Returns the webhooks that failed before the start and were not called since, with what waits for them.
    pub(crate) fn failed_before<'a>(
        &'a self,
        api: &ApiState,
    ) -> impl Iterator<Item = (&'a Rule, OpenDeliveries)> {
        let unused = self.webhooks.iter().filter(|(rule, health)| rule.enabled && health.is_none());
        let open = unused.map(|(rule, _)| (&**rule, self.open_of(&rule.name)));
        open.filter(|(rule, open)| {
            open.pending > 0 && BeforeStart::of(api, &rule.name) == BeforeStart::Failed
        })
    }

    /// Returns the webhooks with deliveries in this state, by name, and how many.
    pub(crate) fn webhooks_with(&self, state: DeliveryState) -> Vec<(&str, u64)> {
        let all = self.tallies.iter().flatten().filter(|tally| tally.state == state);
        let mut found: Vec<_> = all.map(|tally| (tally.webhook.as_str(), tally.count)).collect();
        found.sort_unstable();
        found
    }

    /// Returns the age of the oldest event with a delivery that is not made, in milliseconds.
    pub(crate) async fn oldest(&self, api: &ApiState, caller: &Caller) -> Option<i64> {
        if self.open()?.pending == 0 {
            return None;
        }
        let is_alone = api.gateway.webhooks().iter().all(|rule| rule.site == caller.site());
        let counts = if is_alone {
            api.store.counts().await
        } else {
            let names = self.webhooks.iter().map(|(rule, _)| rule.name.clone()).collect();
            api.store.counts_of(caller.site(), names).await
        };
        Some(clock::now() - counts.ok()?.oldest_undelivered?)
    }

    /// Returns how many things on a page need a person, and how much.
    pub(super) fn tally(&self, item: NavItem) -> Option<(Tone, u64)> {
        let (tone, n) = match item {
            NavItem::Deliveries => (Tone::Bad, self.open().map_or(0, OpenDeliveries::stuck)),
            NavItem::Webhooks => {
                let troubled =
                    self.webhooks.iter().filter(|(_, health)| is_troubled(health.as_ref()));
                (Tone::Bad, u64::try_from(troubled.count()).unwrap_or(u64::MAX))
            }
            NavItem::Certificates => (Tone::Wait, self.expiring),
            NavItem::Configuration => (Tone::Wait, u64::from(self.last_reload.error.is_some())),
            _ => return None,
        };
        (n > 0).then_some((tone, n))
    }
}

// === impl OpenDeliveries ===

impl OpenDeliveries {
    fn of<'a>(tallies: impl Iterator<Item = &'a DeliveryTally>) -> Self {
        let mut open = Self::default();
        for DeliveryTally { state, count, .. } in tallies {
            match state {
                DeliveryState::Pending | DeliveryState::Claimed => open.pending += count,
                DeliveryState::Dead => open.dead += count,
                DeliveryState::Held => open.held += count,
                DeliveryState::Orphaned => open.orphaned += count,
                DeliveryState::Delivered | DeliveryState::Cancelled => {}
            }
        }
        open
    }

    /// Returns those that nothing happens to until a person acts.
    pub(crate) fn stuck(self) -> u64 {
        self.dead + self.held + self.orphaned
    }
}

/// Returns how many deliveries are in a state.
pub(crate) fn total(open: &[DeliveryTally], state: DeliveryState) -> u64 {
    open.iter().filter(|tally| tally.state == state).map(|tally| tally.count).sum()
}

/// Returns a webhook's health, unless its rule is another site's, or gone.
pub(crate) fn health_of(api: &ApiState, caller: &Caller, webhook: &str) -> Option<Health> {
    let rule = api.directory.endpoint(webhook)?;
    api.dispatcher.health(webhook).filter(|_| rule.site == caller.site())
}

/// Whether a webhook fails or is out of service.
pub(crate) fn is_troubled(health: Option<&Health>) -> bool {
    health.is_some_and(|health| health.health_state != HealthState::Healthy)
}

/// What the attempts before the start of this process say of a webhook that was not called since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeforeStart {
    /// The last ones succeeded.
    Worked,
    /// The last ones failed.
    Failed,
    /// Both, within its last hour.
    Mixed,
    /// None is known of the last 12 hours.
    Unused,
}

impl BeforeStart {
    pub(crate) fn of(api: &ApiState, webhook: &str) -> Self {
        Self::in_hours(&api.gateway.activity().of_webhook(webhook))
    }

    fn in_hours(hours: &[AttemptCounts]) -> Self {
        let used = hours.iter().rev().find(|hour| hour.delivered + hour.failed > 0);
        match used.map(|hour| (hour.delivered, hour.failed)) {
            None => Self::Unused,
            Some((_, 0)) => Self::Worked,
            Some((0, _)) => Self::Failed,
            Some(_) => Self::Mixed,
        }
    }
}

/// Returns a webhook's state in a word.
pub(crate) fn webhook_chip(api: &ApiState, rule: &Rule, health: Option<&Health>) -> Markup {
    let tone = webhook_tone(api, rule, health);
    let (text, since) = match health.map(|health| &health.health_state) {
        _ if !rule.enabled => ("Off", None),
        Some(HealthState::Disabled { .. }) => ("Disabled", None),
        Some(HealthState::Orphaned) => ("Orphaned", None),
        Some(HealthState::Retrying) => ("Failing", health.and_then(|health| health.failing_since)),
        Some(HealthState::Healthy) => ("Healthy", None),
        None => match BeforeStart::of(api, &rule.name) {
            BeforeStart::Worked => ("Worked before the start", None),
            BeforeStart::Failed => ("Failed before the start", None),
            BeforeStart::Mixed => ("Failed at times before the start", None),
            BeforeStart::Unused => ("Not called since the start", None),
        },
    };
    html! {
        span class={ "chip " (tone.class()) } {
            (text) @if let Some(since) = since { " since " (time(since)) }
        }
    }
}

/// Returns the colour of a webhook's state.
fn webhook_tone(api: &ApiState, rule: &Rule, health: Option<&Health>) -> Tone {
    match health.map(|health| &health.health_state) {
        _ if !rule.enabled => Tone::Off,
        Some(HealthState::Disabled { .. }) => Tone::Held,
        Some(HealthState::Orphaned) => Tone::Off,
        Some(HealthState::Retrying) => Tone::Bad,
        Some(HealthState::Healthy) => Tone::Ok,
        None => match BeforeStart::of(api, &rule.name) {
            BeforeStart::Failed | BeforeStart::Mixed => Tone::Wait,
            BeforeStart::Worked | BeforeStart::Unused => Tone::Off,
        },
    }
}

fn expiring(caller: &Caller) -> u64 {
    let soon = clock::now().div_euclid(1000) + SOON_SECONDS;
    let ends = certificate_ends(caller).filter(|end| *end < soon);
    u64::try_from(ends.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_hour_with_attempts_says_how_a_webhook_was_before_the_start() {
        let hour = |delivered, failed| AttemptCounts { delivered, failed };
        for (hours, was) in [
            (vec![hour(0, 0), hour(0, 0)], BeforeStart::Unused),
            (vec![hour(0, 3), hour(2, 0), hour(0, 0)], BeforeStart::Worked),
            (vec![hour(5, 0), hour(0, 2)], BeforeStart::Failed),
            (vec![hour(1, 2)], BeforeStart::Mixed),
        ] {
            assert_eq!(BeforeStart::in_hours(&hours), was);
        }
    }
}
