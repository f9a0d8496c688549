//! Applies the end of an attempt to its webhook: a 410 disables it, a failure counts against it.

use std::{cmp::Reverse, time::Duration};

use as2hook_store::StoreError;
use tokio::{
    task::{Id, JoinError},
    time::Instant,
};

use super::{super::attempt::AttemptEnd, PANIC_WAIT, WebhookWorker};
use crate::{
    directory::WebhookChange,
    time::{after, now},
};

/// The most retry times that a worker remembers; the dispatcher's poll finds the others.
const RETRIES_MAX: usize = 1024;

// === impl WebhookWorker ===

impl WebhookWorker {
    pub(super) async fn ended(&mut self, ended: Result<(Id, AttemptEnd), JoinError>) {
        let ended = match ended {
            Ok((id, ended)) => {
                self.made.remove(&id);
                ended
            }
            Err(error) => {
                // A panic or a cancellation: the attempt did not end, so it is made again.
                self.health(|health| health.cut_off());
                let due = if error.is_panic() { after(now(), PANIC_WAIT) } else { now() };
                if let Some(delivery) = self.made.remove(&error.id()) {
                    self.release(delivery, due).await;
                }
                return;
            }
        };
        let AttemptEnd { mut result, gone, retry, rule, dead } = ended;
        let is_about_webhooks = result.is_about_webhooks;
        // The URL may have changed during the attempt.
        let counts = self.shared.is_target_of(&rule);
        result.is_ignored |= !counts;
        let failed = result.error.is_some() && counts;
        // The body of a 410 stands in the delivery log alone.
        let gone = gone.then(|| match result.http_code {
            Some(_) => "the endpoint responded with 410 Gone".to_owned(),
            None => result.error.clone().unwrap_or_default(),
        });
        let change = self.health(|health| health.ended(result));
        if let Some(dead) = dead {
            self.shared.report_dead(&rule, dead, is_about_webhooks).await;
        }
        if let Some((change, is_event)) = change {
            let has_recovered = matches!(change, WebhookChange::Recovered { .. });
            self.shared.report(&rule, change, !is_event).await;
            if has_recovered && self.health(|health| health.may_recover()) {
                self.shared.recover(&rule);
            }
        }
        if let Some(at) = retry
            && self.retries.len() < RETRIES_MAX
        {
            self.retries.push(Reverse(at));
        }
        if let Some(reason) = gone.filter(|_| counts) {
            self.disable(reason).await;
        } else if failed {
            self.failed().await;
        }
        if self.shared.directory.is_newest() && self.health(|health| health.failing_to_write()) {
            let state = self.health(|health| health.state(&self.webhook));
            match self.shared.store.set_webhook_state(state).await {
                // Another gateway has newer rules now.
                Err(StoreError::OlderConfiguration) => {}
                written => drop(self.shared.note(written)),
            }
        }
    }

    async fn failed(&mut self) {
        let own = self.rule.as_ref().and_then(|rule| rule.endpoint.disable_after);
        let long = own.unwrap_or(self.shared.options.disable_after);
        if self.health(|health| health.fails_for(long)) {
            self.disable(format!("nothing but failures for {}", in_words(long))).await;
        } else if self.health(|health| health.keeps_failing()) {
            self.not_before = Instant::now() + self.health(|health| health.failing_interval());
        }
    }
}

/// Formats a time in a suitable unit.
fn in_words(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 60.0 => format!("{short:.1} seconds"),
        minutes if minutes < 3_600.0 => format!("{:.1} minutes", minutes / 60.0),
        hours if hours < 86_400.0 => format!("{:.1} hours", hours / 3_600.0),
        days => format!("{:.1} days", days / 86_400.0),
    }
}
