//! What is reported about webhooks: in the log, and by events for the other webhooks.

use std::{sync::Arc, time::Duration};

use as2hook_event::Rule;
use as2hook_store::{DeliveryChange, DeliveryState, Filter};
use dashmap::mapref::entry::Entry;

use super::DispatcherState;
use crate::{
    directory::{DeadDelivery, Notice, WebhookChange},
    time::now,
};

/// Between two notices of dead deliveries of a webhook.
const DEAD_INTERVAL: Duration = Duration::from_secs(60);

/// Deliveries that died since the last notice.
pub(super) struct UnreportedDead {
    count: u64,
    last: DeadDelivery,
    rule: Arc<Rule>,
}

// === impl DispatcherState ===

impl DispatcherState {
    /// Logs what became of a webhook, and makes an event of it unless that would be about such an event
    /// itself.
    pub(super) async fn report(&self, rule: &Rule, what: WebhookChange, is_about_webhooks: bool) {
        let webhook = rule.name.as_str();
        match &what {
            WebhookChange::Disabled { reason, .. } => tracing::error!(
                webhook,
                reason,
                "Disabled a webhook; its deliveries are held until it is enabled or its rule changes."
            ),
            WebhookChange::Failing { failures, error, .. } => tracing::warn!(
                webhook,
                failures,
                error,
                "A webhook keeps failing; its deliveries wait and are retried one at a time."
            ),
            WebhookChange::Recovered { failures, .. } => {
                tracing::info!(webhook, failures, "A webhook works again.");
            }
            WebhookChange::Dead { count, last } => tracing::error!(
                webhook,
                webhook_id = last.webhook_id,
                event = %last.event,
                attempts = last.attempts,
                error = last.error,
                count,
                "A delivery is dead: no attempt is left. Mend its endpoint and replay it."
            ),
        }
        if let Some(notices) = self.notices.as_ref().filter(|_| !is_about_webhooks) {
            let (webhook, site) = (rule.name.clone(), rule.site.clone());
            notices.notice(Notice { webhook, site, at: now(), what }).await;
        }
    }

    /// Reports a dead delivery at once, and those within the next minute together.
    pub(super) async fn report_dead(
        self: &Arc<Self>,
        rule: &Arc<Rule>,
        last: DeadDelivery,
        is_about_webhooks: bool,
    ) {
        let key = (rule.name.clone(), is_about_webhooks);
        match self.unreported_dead.entry(key.clone()) {
            Entry::Occupied(mut unreported) => {
                let unreported = unreported.get_mut();
                unreported.count += 1;
                unreported.last = last;
                return;
            }
            Entry::Vacant(place) => {
                let rule = rule.clone();
                place.insert(UnreportedDead { count: 0, last: last.clone(), rule });
            }
        }
        self.report(rule, WebhookChange::Dead { count: 1, last }, is_about_webhooks).await;
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(DEAD_INTERVAL).await;
                let is_quiet = |_: &_, unreported: &UnreportedDead| unreported.count == 0;
                if shared.unreported_dead.remove_if(&key, is_quiet).is_some() {
                    return;
                }
                shared.report_rest(&key).await;
            }
        });
    }

    /// Reports the dead deliveries that have not been, before the process ends.
    pub(super) async fn report_all_dead(&self) {
        let keys: Vec<_> = self.unreported_dead.iter().map(|entry| entry.key().clone()).collect();
        for key in keys {
            self.report_rest(&key).await;
        }
    }

    async fn report_rest(&self, key: &(String, bool)) {
        let taken = self.unreported_dead.get_mut(key).map(|mut unreported| {
            let count = std::mem::take(&mut unreported.count);
            (unreported.rule.clone(), count, unreported.last.clone())
        });
        if let Some((rule, count, last)) = taken.filter(|(_, count, _)| *count > 0) {
            self.report(&rule, WebhookChange::Dead { count, last }, key.1).await;
        }
    }

    /// Makes the deliveries due that wait for a retry, once the webhook works again.
    pub(super) fn recover(self: &Arc<Self>, rule: &Rule) {
        let (shared, webhook) = (Arc::clone(self), rule.name.clone());
        tokio::spawn(async move {
            let waiting = Filter {
                webhook: Some(webhook.clone()),
                state: Some(DeliveryState::Pending),
                ..Filter::default()
            };
            let changed = shared.store.change_deliveries(DeliveryChange::Recover, &waiting).await;
            match shared.note(changed) {
                Some(0) => {}
                Some(deliveries) => {
                    tracing::info!(webhook, deliveries, "Deliveries that waited are made now.");
                    shared.ring(&webhook);
                }
                // The next recovery may do it.
                None => {
                    if let Some(mut health) = shared.health.get_mut(&webhook) {
                        health.recovery_failed();
                    }
                }
            }
        });
    }
}
