//! How each webhook does: in memory, with what must outlive a restart in the store.

use std::time::Duration;

use as2hook_store::WebhookState;
use tokio::time::Instant;

use crate::time::{after, now};

/// How a webhook does, for the admin API and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its name.
    pub webhook: String,
    /// Its state in a word.
    pub standing: Standing,
    /// Since when it fails without a success between, in milliseconds since 1970.
    pub failing_since: Option<i64>,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// Attempts that succeeded since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Deliveries that used up their retries since the start.
    pub dead: u64,
    /// Attempts under way.
    pub in_flight: usize,
    /// When the last attempt ended, in milliseconds since 1970.
    pub last_attempt: Option<i64>,
    /// The status of the last answer.
    pub last_http_code: Option<u16>,
    /// Why the last failed attempt failed.
    pub last_error: Option<String>,
    /// Until when the endpoint asked us to stay away (`Retry-After`), in milliseconds since 1970.
    pub paused_until: Option<i64>,
}

/// A webhook's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The last attempt succeeded, or there was none.
    Healthy,
    /// The last attempt failed.
    Retrying,
    /// Out of service; its deliveries are held.
    Disabled {
        /// Why, in a sentence.
        reason: String,
    },
    /// No rule has its name; its deliveries are kept as orphaned.
    Orphaned,
}

/// What a lane notes down of its webhook.
#[derive(Clone, Debug, Default)]
pub(super) struct Vitals {
    /// Why it is out of service.
    disabled: Option<String>,
    /// Its rule is gone, and its deliveries are orphaned.
    orphaned: bool,
    /// The rule's fingerprint when it went out of service.
    fingerprint: String,
    /// What stands above is in the store.
    written: bool,
    failing_since: Option<i64>,
    failing_written: bool,
    /// Since when this process sees it fail, by a clock that nobody sets.
    seen_failing: Option<Instant>,
    consecutive_failures: u32,
    delivered: u64,
    failed: u64,
    dead: u64,
    in_flight: usize,
    last_attempt: Option<i64>,
    last_http_code: Option<u16>,
    last_error: Option<String>,
    paused_until: Option<i64>,
}

/// What an attempt's end tells of its webhook.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    pub(super) http_code: Option<u16>,
    /// `None`: it succeeded.
    pub(super) error: Option<String>,
    /// It failed by our own fault, and says nothing of the endpoint.
    pub(super) own: bool,
    pub(super) dead: bool,
    pub(super) pause: Option<Duration>,
}

// === impl Vitals ===

impl Vitals {
    /// So many failures in a row make a webhook one that keeps failing.
    const BREAKER: u32 = 10;
    /// Failing is written down when it has lasted so long: a hiccup costs no commit.
    const WORTH_WRITING: i64 = 60_000;
    /// So long this process has to have seen a webhook fail itself before it counts as failing for long.
    const WORTH_SEEING: Duration = Duration::from_secs(3600);
    /// The fingerprint of a webhook without a rule.
    const NO_RULE: &str = "";

    /// Whether a fingerprint is that of a webhook without a rule.
    pub(super) fn is_no_rule(fingerprint: &str) -> bool {
        fingerprint == Self::NO_RULE
    }

    /// As the store remembers it.
    pub(super) fn remembered(state: WebhookState) -> Self {
        Self {
            orphaned: state.disabled.is_none() && state.fingerprint == Self::NO_RULE,
            disabled: state.disabled,
            failing_since: state.failing_since,
            failing_written: state.failing_since.is_some(),
            fingerprint: state.fingerprint,
            written: true,
            ..Self::default()
        }
    }

    /// What the store remembers of a webhook with nothing to remember.
    pub(super) fn in_service(webhook: &str, fingerprint: &str) -> WebhookState {
        WebhookState {
            webhook: webhook.to_owned(),
            disabled: None,
            failing_since: None,
            fingerprint: fingerprint.to_owned(),
        }
    }

    /// What the store is to remember.
    pub(super) fn state(&self, webhook: &str) -> WebhookState {
        WebhookState {
            webhook: webhook.to_owned(),
            disabled: self.disabled.clone(),
            failing_since: self.failing_since,
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// Whether another process wrote down something else about its service. What is not written down
    /// yet here goes before it.
    pub(super) fn differs(&self, state: &WebhookState) -> bool {
        let Self { disabled, orphaned, .. } = Self::remembered(state.clone());
        let known = self.written || !self.is_out_of_service();
        known && (self.disabled.is_some(), self.orphaned) != (disabled.is_some(), orphaned)
    }

    /// As another process left it: out of service for this reason, under the rule in force.
    pub(super) fn disabled_elsewhere(&mut self, reason: String, fingerprint: String) {
        self.disable(reason, fingerprint);
        self.written = true;
    }

    /// Whether a change of the rules may put it back into service.
    pub(super) fn needs_a_look(&self) -> bool {
        self.disabled.is_some() || self.orphaned || self.paused_until.is_some()
    }

    pub(super) fn is_out_of_service(&self) -> bool {
        self.disabled.is_some() || self.orphaned
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.disabled.is_some()
    }

    pub(super) fn is_written(&self) -> bool {
        self.written
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn failing_since(&self) -> Option<i64> {
        self.failing_since
    }

    /// Whether it did nothing but fail for so long. That nobody called it, since the gateway was off,
    /// does not speak against it, and neither does a clock that was set.
    pub(super) fn fails_for(&self, long: Duration) -> bool {
        let failing = self.failing_since.map(|since| now().saturating_sub(since));
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
    }

    /// Its rule is gone.
    pub(super) fn orphan(&mut self) {
        if !self.orphaned {
            *self = Self { orphaned: true, ..Self::default() };
        }
    }

    /// Puts it back into service; the store knows.
    pub(super) fn enable(&mut self, fingerprint: String) {
        self.disabled = None;
        self.orphaned = false;
        self.fingerprint = fingerprint;
        self.written = true;
        self.forgive();
        self.failing_written = false;
    }

    /// The state is in the store.
    pub(super) fn wrote(&mut self) {
        self.written = true;
    }

    /// Another rule is in force: what was held against the old one does not count.
    pub(super) fn forgive(&mut self) {
        self.failing_since = None;
        self.seen_failing = None;
        self.consecutive_failures = 0;
        self.paused_until = None;
    }

    pub(super) fn began(&mut self) {
        self.in_flight += 1;
    }

    pub(super) fn cut_off(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Notes down an attempt's end.
    pub(super) fn ended(&mut self, sign: Sign) {
        let now = now();
        self.in_flight = self.in_flight.saturating_sub(1);
        self.last_attempt = Some(now);
        self.last_http_code = sign.http_code;
        self.dead += u64::from(sign.dead);
        if sign.error.is_none() {
            self.delivered += 1;
            self.forgive();
        } else {
            self.failed += 1;
            self.last_error = sign.error;
            if sign.own {
                return;
            }
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            self.failing_since.get_or_insert(now);
            self.seen_failing.get_or_insert_with(Instant::now);
            if let Some(pause) = sign.pause {
                self.paused_until = self.paused_until.max(Some(after(now, pause)));
            }
        }
    }

    /// Whether since when it fails, or that it no longer does, is to be written down now.
    pub(super) fn failing_to_write(&mut self) -> bool {
        let long = |since: i64| now().saturating_sub(since) >= Self::WORTH_WRITING;
        let write = match self.failing_since {
            Some(since) => !self.failing_written && long(since),
            None => self.failing_written,
        };
        if write {
            self.failing_written = self.failing_since.is_some();
        }
        write
    }

    /// Whether it failed so often in a row that it gets one attempt at a time.
    pub(super) fn keeps_failing(&self) -> bool {
        self.consecutive_failures >= Self::BREAKER
    }

    /// The wait between the attempts of a webhook that keeps failing: a hundredth of the time that it
    /// did, so that a short outage is soon over and a long one costs little.
    pub(super) fn pace(&self) -> Duration {
        let failing = self.failing_since.map_or(0, |since| now().saturating_sub(since));
        Duration::from_millis(u64::try_from(failing / 100).unwrap_or(0).clamp(10, 1000))
    }

    /// Until when nothing is to be sent.
    pub(super) fn paused_until(&self) -> Option<i64> {
        self.paused_until.filter(|until| *until > now())
    }

    pub(super) fn report(&self, webhook: &str) -> Health {
        let standing = match &self.disabled {
            Some(reason) => Standing::Disabled { reason: reason.clone() },
            None if self.orphaned => Standing::Orphaned,
            None if self.failing_since.is_some() => Standing::Retrying,
            None => Standing::Healthy,
        };
        Health {
            webhook: webhook.to_owned(),
            standing,
            failing_since: self.failing_since,
            consecutive_failures: self.consecutive_failures,
            delivered: self.delivered,
            failed: self.failed,
            dead: self.dead,
            in_flight: self.in_flight,
            last_attempt: self.last_attempt,
            last_http_code: self.last_http_code,
            last_error: self.last_error.clone(),
            paused_until: self.paused_until(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn failed() -> Sign {
        let error = Some("the endpoint answered 500".to_owned());
        Sign { http_code: Some(500), error, own: false, dead: false, pause: None }
    }

    fn failing_for(days: i64) -> Vitals {
        let failing_since = Some(now() - days * 24 * 3_600_000);
        Vitals::remembered(WebhookState {
            failing_since,
            ..Vitals::in_service("erp", "fingerprint")
        })
    }

    fn seen_for(vitals: &mut Vitals, time: Duration) {
        vitals.seen_failing = Instant::now().checked_sub(time);
    }

    #[test]
    fn time_that_nobody_saw_fail_does_not_disable() {
        let mut vitals = failing_for(6);
        vitals.ended(failed());
        assert!(!vitals.fails_for(5 * DAY), "the gateway was off, or its clock was set");
        seen_for(&mut vitals, HOUR);
        vitals.ended(failed());
        assert!(vitals.fails_for(5 * DAY));
        assert!(!vitals.fails_for(7 * DAY));
        vitals.forgive();
        assert!(!vitals.fails_for(Duration::ZERO));
    }

    #[test]
    fn a_short_limit_is_as_short_for_what_is_seen() {
        let mut vitals = failing_for(1);
        vitals.ended(failed());
        assert!(!vitals.fails_for(Duration::from_secs(60)));
        seen_for(&mut vitals, Duration::from_secs(60));
        assert!(vitals.fails_for(Duration::from_secs(60)));
    }
}
