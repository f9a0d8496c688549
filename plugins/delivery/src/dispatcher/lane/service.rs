//! In service or not: what the rule in force and the webhook's health say.

use std::{sync::Arc, time::Duration};

use as2hook_store::{DeliveryState, StoreError};
use as2hook_webhooks::Rule;
use tokio::time::Instant;

use super::{super::Vitals, Lane, STORE_WAIT};
use crate::{
    directory::Disabled,
    time::{now, until},
};

impl Lane {
    /// Looks what rule is in force, and does what a change calls for. Returns whether deliveries may
    /// be made.
    pub(super) async fn look(&mut self) -> bool {
        let rule = self.shared.directory.endpoint(&self.webhook);
        let Some(rule) = rule else {
            self.rule = None;
            self.shared.retold.remove(&self.webhook);
            self.shared.paces.remove(&self.webhook);
            if !self.shared.directory.is_agreed() {
                // Another gateway may have the rule: what is there is for it to deliver.
                self.give_back().await;
                self.more = false;
                return false;
            }
            // There is nothing to be brought back: dropped, the question is answered so.
            self.shared.asked_back.remove(&self.webhook);
            self.vitals(|vitals| vitals.orphan());
            self.put_aside(DeliveryState::Orphaned).await;
            return false;
        };
        let same = self.rule.as_ref().is_some_and(|known| Arc::ptr_eq(known, &rule));
        if !same {
            let changed = self.rule.as_ref().is_some_and(|known| **known != *rule);
            self.rule = Some(rule.clone());
            if changed {
                self.vitals(|vitals| vitals.forgive());
            }
        }
        if self.shared.retold.remove(&self.webhook).is_some() && !self.take_over(&rule).await {
            return false;
        }
        if let Some((_, asked)) = self.shared.asked_back.remove(&self.webhook) {
            let moved = self.bring_back(rule.fingerprint()).await;
            let back = moved.is_ok();
            // Whoever asked may have gone; the webhook is back all the same.
            let _ = asked.send(moved);
            if !back {
                return false;
            }
        } else if self.vitals(|vitals| vitals.is_out_of_service()) {
            let fingerprint = rule.fingerprint();
            let other = self.vitals(|vitals| vitals.fingerprint() != fingerprint);
            if other && rule.enabled && self.bring_back(fingerprint).await.is_err() {
                return false;
            }
        }
        if !rule.enabled && !self.vitals(|vitals| vitals.is_disabled()) {
            let reason = "its rule is switched off (enabled: false)".to_owned();
            self.vitals(|vitals| vitals.disable(reason, rule.fingerprint()));
        }
        if self.vitals(|vitals| vitals.is_disabled()) {
            self.put_aside(DeliveryState::Held).await;
            return false;
        }
        match self.vitals(|vitals| vitals.paused_until()) {
            Some(end) => {
                self.not_before = Instant::now() + until(end).min(Duration::from_secs(1));
                false
            }
            None => true,
        }
    }

    /// Does as another process of the same store did with this webhook, as far as it has the same rule:
    /// with another one it has other reasons. Returns whether that could be found out.
    async fn take_over(&mut self, rule: &Rule) -> bool {
        let Some(states) = self.shared.note(self.shared.store.webhook_states().await) else {
            self.shared.retold.insert(self.webhook.clone(), ());
            self.not_before = Instant::now() + STORE_WAIT;
            return false;
        };
        let found = states.into_iter().find(|state| state.webhook == self.webhook);
        let Some(state) = found.filter(|state| self.vitals(|vitals| vitals.differs(state))) else {
            return true;
        };
        let fingerprint = rule.fingerprint();
        let webhook = self.webhook.as_str();
        match state.disabled {
            Some(reason) if state.fingerprint == fingerprint => {
                tracing::warn!(webhook, reason, "Another gateway disabled a webhook.");
                self.vitals(|vitals| vitals.disabled_elsewhere(reason, fingerprint));
                true
            }
            // What it is held for here may be a rule that is switched off here alone.
            None if state.fingerprint == fingerprint && rule.enabled => {
                tracing::info!(webhook, "Another gateway put a webhook back into service.");
                self.bring_back(fingerprint).await.is_ok()
            }
            // It has no such rule there, and put the deliveries aside. It is told of here.
            None if Vitals::is_no_rule(&state.fingerprint) && rule.enabled => {
                self.bring_back(fingerprint).await.is_ok()
            }
            _ => true,
        }
    }

    /// Keeps what is pending out of the way, and remembers why.
    async fn put_aside(&mut self, state: DeliveryState) {
        self.give_back().await;
        let written = self.vitals(|vitals| vitals.is_written());
        let remembered = self.vitals(|vitals| vitals.state(&self.webhook));
        let store = self.shared.store.clone();
        let result: Result<u64, StoreError> = async {
            if !written {
                store.set_webhook_state(remembered).await?;
            }
            store.shift(&self.webhook, DeliveryState::Pending, state).await
        }
        .await;
        match self.shared.note(result) {
            Some(_) => {
                self.more = false;
                self.vitals(|vitals| vitals.wrote());
            }
            None => self.not_before = Instant::now() + STORE_WAIT,
        }
    }

    /// Puts the webhook back into service, with everything that was put aside. Returns how many
    /// deliveries that are.
    async fn bring_back(&mut self, fingerprint: String) -> Result<u64, StoreError> {
        let state = Vitals::in_service(&self.webhook, &fingerprint);
        let store = self.shared.store.clone();
        let result: Result<u64, StoreError> = async {
            let mut moved = 0;
            for aside in [DeliveryState::Held, DeliveryState::Orphaned] {
                moved += store.shift(&self.webhook, aside, DeliveryState::Pending).await?;
            }
            // Last, so that a crash in between does it again.
            store.set_webhook_state(state).await?;
            Ok(moved)
        }
        .await;
        match &result {
            Ok(moved) => {
                self.vitals(|vitals| vitals.enable(fingerprint));
                tracing::info!(webhook = self.webhook, moved, "A webhook is back in service.");
            }
            Err(_) => self.not_before = Instant::now() + STORE_WAIT,
        }
        result
    }

    /// Takes the webhook out of service.
    pub(super) async fn disable(&mut self, reason: String) {
        let Some(rule) = self.rule.clone() else { return };
        if self.vitals(|vitals| vitals.is_disabled()) {
            return;
        }
        let failing_since = self.vitals(|vitals| {
            vitals.disable(reason.clone(), rule.fingerprint());
            vitals.failing_since()
        });
        let webhook = self.webhook.clone();
        tracing::error!(webhook, reason, "Disabled a webhook; its deliveries are held.");
        self.put_aside(DeliveryState::Held).await;
        if let Some(notices) = &self.shared.notices {
            let site = rule.site.clone();
            notices.disabled(Disabled { webhook, site, reason, at: now(), failing_since }).await;
        }
    }
}
