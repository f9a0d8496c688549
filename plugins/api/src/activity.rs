//! How much goes on: exchanges of each site and attempts of each webhook, counted in memory by minutes, quarters of
//! an hour and hours, and refilled from the store at start. What other gateways of the store do since then is theirs.

use std::{collections::HashMap, time::Duration};

use as2hook_as2::ErrorCode;
use as2hook_event::EventKind;
use as2hook_store::{Filter, Store, StoreError, clock};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::test_delivery::is_test;

/// Counts of this process. Counting takes a lock for some nanoseconds.
#[derive(Debug)]
pub struct Activity {
    started: i64,
    counts: Mutex<ActivityCounts>,
}

/// Exchanges in a while; each is one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeCounts {
    /// Messages from partners.
    pub received: u64,
    /// Messages to partners.
    pub sent: u64,
    /// Those in either direction that were not sent, were refused, or could not be read.
    pub failed: u64,
}

/// Attempts in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// Those that the endpoint took.
    pub delivered: u64,
    /// The others.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct ActivityCounts {
    sites: HashMap<String, SiteActivity>,
    webhooks: HashMap<String, Slots<AttemptCounts, HOURS>>,
    /// The earliest time from which all is counted.
    complete_since: i64,
}

#[derive(Debug, Default)]
struct SiteActivity {
    minutes: Slots<ExchangeCounts, MINUTES>,
    quarters: Slots<ExchangeCounts, QUARTERS>,
}

/// Counts of the last `N` slots of time, the newest last.
#[derive(Debug)]
struct Slots<T, const N: usize> {
    /// The number of the newest slot since 1970.
    newest: i64,
    counts: [T; N],
}

const MINUTES: usize = 60;
const QUARTERS: usize = 96;
const HOURS: usize = 12;

const MINUTE_MS: i64 = 60 * 1000;
/// The width of a bar of the day's chart.
pub(crate) const QUARTER_MS: i64 = 15 * MINUTE_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The most webhooks that are counted one by one: each takes some hundred bytes.
const WEBHOOKS: usize = 10_000;

/// Rows that the refill reads at once, and how often, with a pause between.
const ROWS: usize = 500;
const READS: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);

// === impl Activity ===

impl Default for Activity {
    fn default() -> Self {
        let started = clock::now();
        let counts = ActivityCounts { complete_since: started, ..ActivityCounts::default() };
        Self { started, counts: Mutex::new(counts) }
    }
}

impl Activity {
    /// An exchange of a site is over, with these codes of processing errors.
    pub fn exchange(&self, site: &str, kind: EventKind, errors: &[u16]) {
        if let Some(count) = counted(kind, errors) {
            self.counts.lock().add(site, clock::now(), count);
        }
    }

    /// A webhook was called.
    pub fn attempt(&self, webhook: &str, is_delivered: bool) {
        self.counts.lock().attempt(webhook, clock::now(), is_delivered);
    }

    /// Returns a site's exchanges of the last 60 minutes.
    pub fn last_hour(&self, site: &str) -> ExchangeCounts {
        let slot = clock::now().div_euclid(MINUTE_MS);
        let counts = self.counts.lock();
        let minutes = counts.sites.get(site).map(|site| site.minutes.until(slot));
        let mut all = ExchangeCounts::default();
        for count in minutes.into_iter().flatten() {
            all.add(count);
        }
        all
    }

    /// Returns a site's exchanges of the last 24 hours by quarters of an hour, the newest last.
    pub fn last_day(&self, site: &str) -> Vec<ExchangeCounts> {
        let slot = clock::now().div_euclid(QUARTER_MS);
        let counts = self.counts.lock();
        let quarters = counts.sites.get(site).map(|site| site.quarters.until(slot));
        quarters.unwrap_or_else(|| vec![ExchangeCounts::default(); QUARTERS])
    }

    /// Returns the attempts of a webhook in the last 12 hours, the newest last.
    pub fn of_webhook(&self, webhook: &str) -> Vec<AttemptCounts> {
        let slot = clock::now().div_euclid(HOUR_MS);
        let counts = self.counts.lock();
        let hours = counts.webhooks.get(webhook).map(|hours| hours.until(slot));
        hours.unwrap_or_else(|| vec![AttemptCounts::default(); HOURS])
    }

    /// Returns the time from which all is counted, in milliseconds since 1970.
    pub fn complete_since(&self) -> i64 {
        self.counts.lock().complete_since
    }

    /// Counts what the store has of the time before this process, as far as that is not too much: the newest
    /// 100,000 rows. Called once.
    pub(crate) async fn refill(&self, store: &dyn Store) {
        match self.refill_events(store).await {
            Ok(since) => self.counts.lock().complete_since = since,
            Err(error) => tracing::debug!(%error, "Exchanges before the start are not counted."),
        }
        if let Err(error) = self.refill_attempts(store).await {
            tracing::debug!(%error, "Attempts before the start are not counted.");
        }
    }

    async fn refill_events(&self, store: &dyn Store) -> Result<i64, StoreError> {
        let from = self.started - i64::try_from(QUARTERS).unwrap_or(0) * QUARTER_MS;
        let (mut cursor, mut since) = (None, self.started);
        for _ in 0..READS {
            let page = store.events(&Filter::default(), cursor, ROWS).await?;
            for row in page.rows {
                if row.occurred_at < from {
                    return Ok(from);
                }
                since = since.min(row.occurred_at);
                let is_old = row.occurred_at < self.started && !is_test(&row);
                let kind = row.kind.parse().ok().filter(|_| is_old);
                if let Some(count) = kind.and_then(|kind| counted(kind, &row.errors)) {
                    self.counts.lock().add(&row.site, row.occurred_at, count);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(from);
            }
            sleep(PAUSE).await;
        }
        Ok(since)
    }

    async fn refill_attempts(&self, store: &dyn Store) -> Result<(), StoreError> {
        let from = self.started - i64::try_from(HOURS).unwrap_or(0) * HOUR_MS;
        let mut cursor = None;
        for _ in 0..READS {
            let page = store.attempts(&Filter::default(), cursor, ROWS).await?;
            for row in page.rows {
                if row.attempt.at < from {
                    return Ok(());
                }
                if row.attempt.at < self.started {
                    let is_delivered = row.attempt.error.is_none();
                    self.counts.lock().attempt(&row.webhook, row.attempt.at, is_delivered);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Errors by which a message failed. Of the others, a signature that cannot be checked and a key that is not
/// configured are no fault of the message, and an unknown outcome is none.
const FAILURES: [ErrorCode; 5] = [
    ErrorCode::Decryption,
    ErrorCode::Decompression,
    ErrorCode::Parse,
    ErrorCode::Receiver,
    ErrorCode::Limit,
];

/// Returns what an event with these codes of processing errors counts as; `None`: it is no message of its own.
fn counted(kind: EventKind, errors: &[u16]) -> Option<ExchangeCounts> {
    let none = ExchangeCounts::default();
    let has_failed = FAILURES.iter().any(|code| errors.contains(&code.number()));
    match kind {
        EventKind::MessageReceived | EventKind::MessageDuplicate if has_failed => {
            Some(ExchangeCounts { failed: 1, ..none })
        }
        EventKind::MessageReceived | EventKind::MessageDuplicate => {
            Some(ExchangeCounts { received: 1, ..none })
        }
        EventKind::MessageSent => Some(ExchangeCounts { sent: 1, ..none }),
        EventKind::SendError | EventKind::MessageRejected => {
            Some(ExchangeCounts { failed: 1, ..none })
        }
        _ => None,
    }
}

// === impl ActivityCounts ===

impl ActivityCounts {
    fn add(&mut self, site: &str, at: i64, count: ExchangeCounts) {
        // Sites stand in the config, so they are few.
        if !self.sites.contains_key(site) {
            self.sites.insert(site.to_owned(), SiteActivity::default());
        }
        if let Some(site) = self.sites.get_mut(site) {
            site.minutes.at(at.div_euclid(MINUTE_MS), |slot| slot.add(count));
            site.quarters.at(at.div_euclid(QUARTER_MS), |slot| slot.add(count));
        }
    }

    fn attempt(&mut self, webhook: &str, at: i64, is_delivered: bool) {
        if !self.webhooks.contains_key(webhook) {
            if self.webhooks.len() >= WEBHOOKS {
                return;
            }
            self.webhooks.insert(webhook.to_owned(), Slots::default());
        }
        if let Some(hours) = self.webhooks.get_mut(webhook) {
            hours.at(at.div_euclid(HOUR_MS), |slot| {
                slot.delivered += u64::from(is_delivered);
                slot.failed += u64::from(!is_delivered);
            });
        }
    }
}

// === impl ExchangeCounts ===

impl ExchangeCounts {
    /// Returns all of them.
    pub fn all(self) -> u64 {
        self.received + self.sent + self.failed
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.failed += other.failed;
    }
}

// === impl Slots ===

impl<T: Copy + Default, const N: usize> Default for Slots<T, N> {
    fn default() -> Self {
        Self { newest: 0, counts: [T::default(); N] }
    }
}

impl<T: Copy + Default, const N: usize> Slots<T, N> {
    /// Changes the count of a slot, unless it is too old.
    fn at(&mut self, slot: i64, change: impl FnOnce(&mut T)) {
        if slot > self.newest {
            self.counts = self.shown(slot);
            self.newest = slot;
        }
        let back = usize::try_from(self.newest - slot).unwrap_or(N);
        if back < N {
            change(&mut self.counts[N - 1 - back]);
        }
    }

    /// Returns the counts when `slot` is the newest.
    fn until(&self, slot: i64) -> Vec<T> {
        self.shown(slot).to_vec()
    }

    fn shown(&self, slot: i64) -> [T; N] {
        let gone = usize::try_from(slot - self.newest).unwrap_or(0).min(N);
        let mut counts = [T::default(); N];
        counts[..N - gone].copy_from_slice(&self.counts[gone..]);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_move_out_as_time_goes_on() {
        let mut slots = Slots::<u64, 3>::default();
        for slot in [100, 100, 102, 101, 99, 100] {
            slots.at(slot, |n| *n += 1);
        }
        assert_eq!(slots.until(102), [3, 1, 1]);
        assert_eq!(slots.until(103), [1, 1, 0]);
        assert_eq!(slots.until(1_000), [0, 0, 0]);
        slots.at(103, |n| *n += 5);
        assert_eq!(slots.until(103), [1, 1, 5]);
    }

    #[test]
    fn site_sees_its_own_exchanges_alone() {
        let activity = Activity::default();
        activity.exchange("main", EventKind::MessageReceived, &[]);
        activity.exchange("main", EventKind::SendError, &[]);
        activity.exchange("main", EventKind::MdnReceived, &[]);
        activity.exchange("other", EventKind::MessageSent, &[]);
        let main = ExchangeCounts { received: 1, sent: 0, failed: 1 };
        assert_eq!(activity.last_hour("main"), main);
        assert_eq!(activity.last_day("main").last(), Some(&main));
        assert_eq!(activity.last_hour("none"), ExchangeCounts::default());
        activity.attempt("erp", true);
        activity.attempt("erp", false);
        let erp = AttemptCounts { delivered: 1, failed: 1 };
        assert_eq!(activity.of_webhook("erp").last(), Some(&erp));
    }

    #[test]
    fn message_counts_once_and_as_failed_where_it_was_not_read_or_not_taken() {
        use EventKind::{MdnReceived, MessageReceived, MessageRejected, MessageSent};
        let [received, sent, failed] = [(1, 0, 0), (0, 1, 0), (0, 0, 1)];
        for (kind, errors, count) in [
            (MessageReceived, [].as_slice(), Some(received)),
            (MessageReceived, &[900, 1400, 1500], Some(received)),
            (MessageReceived, &[900, 800], Some(failed)),
            (MessageReceived, &[1200], Some(failed)),
            (MessageRejected, &[1100], Some(failed)),
            (MessageSent, &[1100], Some(sent)),
            (MdnReceived, &[800], None),
        ] {
            let counted = counted(kind, errors).map(|n| (n.received, n.sent, n.failed));
            assert_eq!(counted, count, "{kind:?} {errors:?}");
        }
    }

    #[test]
    fn webhooks_that_are_counted_are_bounded() {
        let activity = Activity::default();
        for n in 0..WEBHOOKS + 10 {
            activity.attempt(&n.to_string(), true);
        }
        assert_eq!(activity.counts.lock().webhooks.len(), WEBHOOKS);
    }
}
