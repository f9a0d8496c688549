//! Decides whether a webhook is in service, from the rule in force and the webhook's health.

use std::time::Duration;

use as2hook_event::Rule;
use as2hook_store::{DeliveryState, StoreError};
use tokio::time::Instant;

use super::{super::EndpointHealth, STORE_WAIT, WebhookWorker};
use crate::{directory::WebhookChange, time::until};

impl WebhookWorker {
    /// Checks the rule in force and applies its changes. Returns whether deliveries may be made.
    pub(super) async fn check_rule(&mut self) -> bool {
        let is_newest = self.shared.directory.is_newest();
        let rule = self.shared.directory.endpoint(&self.webhook);
        let Some(rule) = rule else {
            self.rule = None;
            self.shared.changed_elsewhere.remove(&self.webhook);
            self.shared.rate_limiters.remove(&self.webhook);
            self.shared.wrongly_set_aside.remove(&self.webhook);
            if !is_newest || !self.shared.directory.is_agreed() {
                // Another gateway may have the rule and deliver what is pending.
                self.release_claims().await;
                self.more = false;
                return false;
            }
            // There is no webhook to enable: dropping the sender reports that to the caller.
            self.shared.enable_requests.remove(&self.webhook);
            self.health(|health| health.orphan());
            self.put_aside(DeliveryState::Orphaned).await;
            return false;
        };
        self.rule = Some(rule.clone());
        let is_other = self.health(|health| health.apply_rule(&rule));
        if rule.enabled && is_newest && self.health(|health| health.to_hasten) {
            self.hasten().await;
        }
        if self.shared.changed_elsewhere.remove(&self.webhook).is_some()
            && !self.take_over(&rule).await
        {
            return false;
        }
        let wrongly_set_aside = self.shared.wrongly_set_aside.remove(&self.webhook).is_some();
        if let Some((_, asked)) = self.shared.enable_requests.remove(&self.webhook) {
            let moved = self.bring_back(rule.fingerprint()).await;
            let back = moved.is_ok();
            // The caller may be gone; the webhook is enabled all the same.
            let _ = asked.send(moved);
            if !back {
                return false;
            }
        } else if self.health(|health| health.is_out_of_service()) {
            let fingerprint = rule.fingerprint();
            let other = self.health(|health| health.fingerprint != fingerprint);
            if other && rule.enabled && is_newest {
                if self.bring_back(fingerprint).await.is_err() {
                    return false;
                }
            } else if is_other && rule.enabled && !is_newest {
                // Gateways with newer rules may not have it: deliver what is pending.
                self.health(|health| health.enable_here(fingerprint));
            }
        } else if rule.enabled && is_newest {
            let unwritten = self.health(|health| health.enabled_here);
            if (wrongly_set_aside || unwritten)
                && self.bring_back(rule.fingerprint()).await.is_err()
            {
                return false;
            }
        } else if rule.enabled && wrongly_set_aside && !self.bring_back_orphaned().await {
            return false;
        }
        if !rule.enabled && !self.health(|health| health.is_disabled()) {
            let reason = "its rule is switched off (enabled: false)".to_owned();
            self.health(|health| health.disable(reason, rule.fingerprint()));
        }
        if self.health(|health| health.is_disabled()) {
            if self.put_aside(DeliveryState::Held).await {
                self.report_disabled(&rule).await;
            }
            return false;
        }
        match self.health(|health| health.paused_until()) {
            Some(end) => {
                self.not_before = Instant::now() + until(end).min(Duration::from_secs(1));
                false
            }
            None => true,
        }
    }

    /// Takes over a state that another process stored for this webhook, if that process has the
    /// same rule or newer rules. Returns whether the state could be read.
    async fn take_over(&mut self, rule: &Rule) -> bool {
        let Some(states) = self.shared.note(self.shared.store.webhook_states().await) else {
            self.shared.changed_elsewhere.insert(self.webhook.clone(), ());
            self.not_before = Instant::now() + STORE_WAIT;
            return false;
        };
        let found = states.into_iter().find(|state| state.webhook == self.webhook);
        let Some(state) = found.filter(|state| self.health(|health| health.differs(state))) else {
            return true;
        };
        let fingerprint = rule.fingerprint();
        let is_newest = self.shared.directory.is_newest();
        let webhook = self.webhook.as_str();
        match state.disabled {
            Some(reason) if state.fingerprint == fingerprint || !is_newest => {
                tracing::warn!(webhook, reason, "Another gateway disabled a webhook.");
                self.health(|health| {
                    health.disable(reason, state.fingerprint);
                    health.written = true;
                });
                true
            }
            None if state.fingerprint == fingerprint && rule.enabled && !is_newest => {
                self.health(|health| health.enable(fingerprint));
                true
            }
            // Here it may be held because its rule is disabled on this gateway only.
            None if state.fingerprint == fingerprint && rule.enabled => {
                tracing::info!(webhook, "Another gateway put a webhook back into service.");
                self.bring_back(fingerprint).await.is_ok()
            }
            // The other gateway has no such rule and orphaned the deliveries; this one has it.
            None if state.fingerprint == EndpointHealth::NO_RULE && rule.enabled && is_newest => {
                self.bring_back(fingerprint).await.is_ok()
            }
            _ => true,
        }
    }

    /// Makes deliveries due now that wait because of a response of a former target.
    async fn hasten(&mut self) {
        let (store, webhook) = (self.shared.store.clone(), self.webhook.clone());
        let result: Result<u64, StoreError> = async {
            // After a crash in between they become pending again, like all that is held without a
            // reason.
            store.change_state(&webhook, DeliveryState::Pending, DeliveryState::Held).await?;
            store.change_state(&webhook, DeliveryState::Held, DeliveryState::Pending).await
        }
        .await;
        let done = match result {
            Err(StoreError::OlderConfiguration) => false,
            result => self.shared.note(result).is_some(),
        };
        if done {
            self.health(|health| health.to_hasten = false);
        } else {
            self.not_before = Instant::now() + STORE_WAIT;
        }
        self.more = true;
    }

    /// Moves pending deliveries to `state` and stores the reason. Returns false when a gateway with
    /// newer rules has to decide.
    async fn put_aside(&mut self, state: DeliveryState) -> bool {
        // What is claimed is not moved.
        self.end_claim_next().await;
        self.release_claims().await;
        if !self.shared.directory.is_newest() {
            self.more = false;
            return false;
        }
        let written = self.health(|health| health.written);
        let remembered = self.health(|health| health.state(&self.webhook));
        let store = self.shared.store.clone();
        let result: Result<u64, StoreError> = async {
            if !written {
                store.set_webhook_state(remembered).await?;
            }
            store.change_state(&self.webhook, DeliveryState::Pending, state).await
        }
        .await;
        if matches!(result, Err(StoreError::OlderConfiguration)) {
            self.more = false;
            return false;
        }
        match self.shared.note(result) {
            Some(moved) => {
                self.more = false;
                self.health(|health| health.written = true);
                if state == DeliveryState::Orphaned && moved > 0 {
                    tracing::warn!(
                        webhook = self.webhook,
                        deliveries = moved,
                        "No rule has this webhook's name any more, and its deliveries are orphaned. POST \
                         /admin/replay with \"webhook\" and \"to\" hands them over to another."
                    );
                }
            }
            None => self.not_before = Instant::now() + STORE_WAIT,
        }
        true
    }

    /// Puts the webhook back into service, with its held and orphaned deliveries. Returns how many
    /// those are.
    async fn bring_back(&mut self, fingerprint: String) -> Result<u64, StoreError> {
        let state = EndpointHealth::in_service(&self.webhook, &fingerprint);
        let store = self.shared.store.clone();
        let result: Result<u64, StoreError> = async {
            let mut moved = 0;
            for aside in [DeliveryState::Held, DeliveryState::Orphaned] {
                moved += store.change_state(&self.webhook, aside, DeliveryState::Pending).await?;
            }
            // Stored last, so that after a crash in between it is done again.
            store.set_webhook_state(state).await?;
            Ok(moved)
        }
        .await;
        match &result {
            Ok(moved) => {
                self.health(|health| health.enable(fingerprint));
                tracing::info!(webhook = self.webhook, moved, "A webhook is back in service.");
            }
            Err(error) => {
                if matches!(error, StoreError::OlderConfiguration) {
                    self.health(|health| health.enable_here(fingerprint));
                }
                self.not_before = Instant::now() + STORE_WAIT;
            }
        }
        result
    }

    /// Makes deliveries pending again that a gateway without this rule orphaned, whichever gateway
    /// has the newest rules. Returns whether the store accepted it.
    async fn bring_back_orphaned(&mut self) -> bool {
        let (orphaned, pending) = (DeliveryState::Orphaned, DeliveryState::Pending);
        let moved = self.shared.store.change_state(&self.webhook, orphaned, pending).await;
        let Some(moved) = self.shared.note(moved) else {
            self.not_before = Instant::now() + STORE_WAIT;
            return false;
        };
        if moved > 0 {
            let webhook = self.webhook.as_str();
            tracing::info!(
                webhook,
                moved,
                "Made deliveries pending again that another gateway had orphaned."
            );
        }
        true
    }

    /// Takes the webhook out of service.
    pub(super) async fn disable(&mut self, reason: String) {
        let Some(rule) = self.rule.clone() else { return };
        if self.health(|health| health.is_disabled()) {
            return;
        }
        self.health(|health| {
            health.disable(reason.clone(), rule.fingerprint());
            health.to_report = true;
        });
        if self.put_aside(DeliveryState::Held).await {
            self.report_disabled(&rule).await;
        } else {
            tracing::warn!(
                webhook = self.webhook,
                reason,
                "Stopped deliveries to a webhook here; they stay pending for a gateway with a newer configuration. \
                 They go on here when the webhook's rule changes or it is enabled."
            );
        }
    }

    /// Reports that the webhook was disabled, once.
    async fn report_disabled(&mut self, rule: &Rule) {
        let Some((reason, failing_since)) = self.health(|health| health.take_report()) else {
            return;
        };
        let change = WebhookChange::Disabled { reason, failing_since };
        self.shared.report(rule, change, false).await;
    }
}
