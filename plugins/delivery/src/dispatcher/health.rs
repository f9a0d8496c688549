//! The health of each webhook: in memory, with what must outlive a restart in the store.

use std::{sync::Arc, time::Duration};

use as2hook_event::Rule;
use as2hook_store::WebhookState;
use tokio::time::Instant;

use super::attempt::outline;
use crate::{
    directory::WebhookChange,
    time::{after, now},
};

/// The health of a webhook, for the admin API and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its name.
    pub webhook: String,
    /// Its state in a word.
    pub health_state: HealthState,
    /// The time of the first failure since the last success, in milliseconds since 1970.
    pub failing_since: Option<i64>,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// Attempts that succeeded since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Deliveries that used up their retries since the start.
    pub dead: u64,
    /// Attempts in progress.
    pub in_flight: usize,
    /// When the last attempt ended, in milliseconds since 1970.
    pub last_attempt: Option<i64>,
    /// The status of the last response.
    pub last_http_code: Option<u16>,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// The end of the pause that the endpoint asked for (`Retry-After`), in milliseconds since
    /// 1970.
    pub paused_until: Option<i64>,
}

/// A webhook's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealthState {
    /// The last attempt succeeded, or there was none.
    #[default]
    Healthy,
    /// The last attempt failed.
    Retrying,
    /// Out of service; its deliveries are held.
    Disabled {
        /// The reason, as a sentence.
        reason: String,
    },
    /// No rule has its name; its deliveries are orphaned.
    Orphaned,
}

/// What a worker records about its webhook.
#[derive(Clone, Debug, Default)]
pub(super) struct EndpointHealth {
    /// What is reported of it, but for its name and state.
    seen: Health,
    /// Why it is out of service.
    disabled: Option<String>,
    /// Its rule is gone, and its deliveries are orphaned.
    orphaned: bool,
    /// The fingerprint of the rule that this record is about: the rule at the time when it went out
    /// of service, otherwise the last one in force.
    pub(super) fingerprint: String,
    /// The last rule in force. `None`: the record comes from another process.
    rule: Option<Arc<Rule>>,
    /// The fields above are in the store.
    pub(super) written: bool,
    /// It is in service in this process, whatever the store has.
    pub(super) enabled_here: bool,
    /// The disabling has not been reported yet.
    pub(super) to_report: bool,
    /// Deliveries may be waiting because of a former target.
    pub(super) to_hasten: bool,
    failing_written: bool,
    /// It was reported that it keeps failing.
    reported_failing: bool,
    /// When its waiting deliveries were made due because it worked again.
    recovered: Option<Instant>,
    /// Since when this process has seen it fail, by the monotonic clock.
    seen_failing: Option<Instant>,
}

/// The result of an attempt, for its webhook.
#[derive(Clone, Debug)]
pub(super) struct AttemptResult {
    pub(super) http_code: Option<u16>,
    /// `None`: it succeeded.
    pub(super) error: Option<String>,
    /// The result does not count: the failure was local, or the attempt used another target than
    /// the rule in force has.
    pub(super) is_ignored: bool,
    pub(super) dead: bool,
    /// What was to be delivered is about webhooks itself.
    pub(super) is_about_webhooks: bool,
    pub(super) pause: Option<Duration>,
}

// === impl EndpointHealth ===

impl EndpointHealth {
    /// From so many failures in a row on, a webhook counts as one that keeps failing.
    const BREAKER: u32 = 10;
    /// A failure is stored when it has lasted this long, in milliseconds: a short one costs no
    /// commit.
    const WORTH_WRITING: i64 = 60_000;
    /// How long this process must have seen a webhook fail before it counts as failing for long.
    const WORTH_SEEING: Duration = Duration::from_secs(3600);
    /// Between two times that waiting deliveries are made due because it works again.
    const RECOVERY_INTERVAL: Duration = Duration::from_secs(300);
    /// The fingerprint of a webhook without a rule.
    pub(super) const NO_RULE: &str = "";

    /// Restores the state from the store.
    pub(super) fn remembered(state: WebhookState) -> Self {
        Self {
            orphaned: state.disabled.is_none() && state.fingerprint == Self::NO_RULE,
            disabled: state.disabled,
            seen: Health { failing_since: state.failing_since, ..Health::default() },
            failing_written: state.failing_since.is_some(),
            fingerprint: state.fingerprint,
            written: true,
            ..Self::default()
        }
    }

    /// Returns the stored state of a webhook in service.
    pub(super) fn in_service(webhook: &str, fingerprint: &str) -> WebhookState {
        WebhookState {
            webhook: webhook.to_owned(),
            disabled: None,
            failing_since: None,
            fingerprint: fingerprint.to_owned(),
        }
    }

    /// Returns the state to store.
    pub(super) fn state(&self, webhook: &str) -> WebhookState {
        WebhookState {
            webhook: webhook.to_owned(),
            disabled: self.disabled.clone(),
            failing_since: self.seen.failing_since,
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// Whether another process stored another service state. A change that is not stored yet here
    /// takes precedence.
    pub(super) fn differs(&self, state: &WebhookState) -> bool {
        let Self { disabled, orphaned, .. } = Self::remembered(state.clone());
        let known = self.written || !self.is_out_of_service();
        known
            && !self.enabled_here
            && (self.disabled.is_some(), self.orphaned) != (disabled.is_some(), orphaned)
    }

    /// Whether a change of the rules may put it back into service, or end a wait of its deliveries.
    pub(super) fn needs_check(&self) -> bool {
        self.is_out_of_service()
            || self.seen.paused_until.is_some()
            || self.seen.failing_since.is_some()
            || self.enabled_here
            || self.to_hasten
    }

    pub(super) fn is_out_of_service(&self) -> bool {
        self.disabled.is_some() || self.orphaned
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.disabled.is_some()
    }

    /// Whether every attempt failed for this long. Time in which the gateway was off does not
    /// count, and neither does a change of the system clock.
    pub(super) fn fails_for(&self, long: Duration) -> bool {
        let failing = self.seen.failing_since.map(|since| now().saturating_sub(since));
        let seen = self.seen_failing.map(|since| since.elapsed());
        let Ok(most) = i64::try_from(long.as_millis()) else { return false };
        failing.is_some_and(|failing| failing >= most)
            && seen.is_some_and(|seen| seen >= long.min(Self::WORTH_SEEING))
    }

    /// Takes it out of service.
    pub(super) fn disable(&mut self, reason: String, fingerprint: String) {
        self.disabled = Some(reason);
        self.fingerprint = fingerprint;
        self.orphaned = false;
        self.written = false;
        self.enabled_here = false;
        self.to_report = false;
    }

    /// Returns why it was disabled and since when it had failed, if that is still to be reported.
    pub(super) fn take_report(&mut self) -> Option<(String, Option<i64>)> {
        let reason = self.disabled.clone()?;
        std::mem::take(&mut self.to_report).then_some((reason, self.seen.failing_since))
    }

    /// Marks it as a webhook without a rule.
    pub(super) fn orphan(&mut self) {
        if !self.orphaned {
            *self = Self { orphaned: true, ..Self::default() };
        }
    }

    /// Puts it back into service, as the store has it already.
    pub(super) fn enable(&mut self, fingerprint: String) {
        self.disabled = None;
        self.orphaned = false;
        self.fingerprint = fingerprint;
        self.written = true;
        self.enabled_here = false;
        self.to_report = false;
        self.clear_failures();
        self.failing_written = false;
    }

    /// Puts it back into service in this process only; a process with newer rules changes the
    /// store.
    pub(super) fn enable_here(&mut self, fingerprint: String) {
        self.enable(fingerprint);
        self.enabled_here = true;
    }

    /// Applies the rule in force. The failures under another rule do not count, except a pause that
    /// the same target asked for. Returns whether another rule was in force in this process before.
    pub(super) fn apply_rule(&mut self, rule: &Arc<Rule>) -> bool {
        let before = self.rule.replace(rule.clone());
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, rule)) {
            return false;
        }
        let fingerprint = rule.fingerprint();
        let is_other = before.as_ref().is_some_and(|before| before.fingerprint() != fingerprint);
        if self.is_out_of_service() || self.fingerprint == fingerprint {
            return is_other;
        }
        let same_target = before.is_some_and(|it| it.endpoint.has_target_of(&rule.endpoint));
        let was_failing = self.seen.failing_since.is_some() || self.seen.paused_until.is_some();
        let was_failing = was_failing && !self.fingerprint.is_empty();
        let pause = self.seen.paused_until.filter(|_| same_target);
        self.clear_failures();
        self.seen.paused_until = pause;
        self.fingerprint = fingerprint;
        self.to_hasten |= was_failing && !same_target;
        is_other
    }

    /// Clears its failures.
    pub(super) fn clear_failures(&mut self) {
        self.seen.failing_since = None;
        self.seen_failing = None;
        self.reported_failing = false;
        self.seen.consecutive_failures = 0;
        self.seen.paused_until = None;
    }

    pub(super) fn began(&mut self) {
        self.seen.in_flight += 1;
    }

    pub(super) fn cut_off(&mut self) {
        self.seen.in_flight = self.seen.in_flight.saturating_sub(1);
    }

    /// Records the result of an attempt. Returns what becomes of the webhook, and whether that is an event: that it
    /// works again is one where it was one that it fails.
    pub(super) fn ended(&mut self, result: AttemptResult) -> Option<(WebhookChange, bool)> {
        let now = now();
        self.seen.in_flight = self.seen.in_flight.saturating_sub(1);
        self.seen.last_attempt = Some(now);
        self.seen.last_http_code = result.http_code;
        self.seen.dead += u64::from(result.dead);
        if result.error.is_none() {
            self.seen.delivered += 1;
            if result.is_ignored {
                return None;
            }
            let (failures, failing_since) =
                (self.seen.consecutive_failures, self.seen.failing_since);
            let was_reported = self.reported_failing;
            // An attempt that began before the endpoint asked for a pause does not end it.
            let pause = self.paused_until();
            self.clear_failures();
            self.seen.paused_until = pause;
            (failures >= Self::BREAKER)
                .then_some((WebhookChange::Recovered { failures, failing_since }, was_reported))
        } else {
            self.seen.failed += 1;
            let error = outline(result.http_code, result.error.as_deref());
            self.seen.last_error = result.error;
            if result.is_ignored {
                return None;
            }
            self.seen.consecutive_failures = self.seen.consecutive_failures.saturating_add(1);
            self.seen.failing_since.get_or_insert(now);
            self.seen_failing.get_or_insert_with(Instant::now);
            if let Some(pause) = result.pause {
                self.seen.paused_until = self.seen.paused_until.max(Some(after(now, pause)));
            }
            if !self.keeps_failing() || self.reported_failing || result.is_about_webhooks {
                return None;
            }
            self.reported_failing = true;
            let change = WebhookChange::Failing {
                failures: self.seen.consecutive_failures,
                error,
                failing_since: self.seen.failing_since,
            };
            Some((change, true))
        }
    }

    /// Its waiting deliveries could not be made due.
    pub(super) fn recovery_failed(&mut self) {
        self.recovered = None;
    }

    /// Whether its waiting deliveries are to be made due, now that it works again.
    pub(super) fn may_recover(&mut self) -> bool {
        let is_due = self.recovered.is_none_or(|at| at.elapsed() >= Self::RECOVERY_INTERVAL);
        if is_due {
            self.recovered = Some(Instant::now());
        }
        is_due
    }

    /// Whether the beginning or end of a failure is to be stored now. A long pause is stored at
    /// once, so that it does not count after a restart with another URL.
    pub(super) fn failing_to_write(&mut self) -> bool {
        let pause = self.seen.paused_until.map_or(0, |until| until.saturating_sub(now()));
        let long = |since: i64| now().saturating_sub(since).max(pause) >= Self::WORTH_WRITING;
        let write = match self.seen.failing_since {
            Some(since) => !self.failing_written && long(since),
            None => self.failing_written,
        };
        if write {
            self.failing_written = self.seen.failing_since.is_some();
        }
        write
    }

    /// Whether it failed so often in a row that it gets one attempt at a time.
    pub(super) fn keeps_failing(&self) -> bool {
        self.seen.consecutive_failures >= Self::BREAKER
    }

    /// Returns the wait between the attempts of a webhook that keeps failing: a hundredth of the
    /// time it has failed for. A short outage ends soon, and a long one costs little.
    pub(super) fn failing_interval(&self) -> Duration {
        let failing = self.seen.failing_since.map_or(0, |since| now().saturating_sub(since));
        Duration::from_millis(u64::try_from(failing / 100).unwrap_or(0).clamp(10, 1000))
    }

    /// Returns until when nothing is to be sent.
    pub(super) fn paused_until(&self) -> Option<i64> {
        self.seen.paused_until.filter(|until| *until > now())
    }

    pub(super) fn report(&self, webhook: &str) -> Health {
        let health_state = match &self.disabled {
            Some(reason) => HealthState::Disabled { reason: reason.clone() },
            None if self.orphaned => HealthState::Orphaned,
            None if self.seen.failing_since.is_some() => HealthState::Retrying,
            None => HealthState::Healthy,
        };
        let paused_until = self.paused_until();
        Health { webhook: webhook.to_owned(), health_state, paused_until, ..self.seen.clone() }
    }
}

#[cfg(test)]
mod tests;
