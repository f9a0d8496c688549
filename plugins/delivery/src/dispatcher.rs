//! Makes due deliveries: one worker for each webhook, so that webhooks do not wait for each other.
//!
//! A worker claims deliveries from the store while it has room for them, makes them, and passes the
//! outcomes to the completion batcher, which writes many in one commit. Workers are woken by the
//! outbox right after a commit, by their own retries, and by a change of the rules. A poll of the
//! store finds what these miss.
//!
//! **Fairness.** All workers share a number of slots in first-come order. An attempt that takes
//! longer than a second moves to a pool of slow attempts. A webhook that keeps failing gets one
//! attempt at a time, from a pool of its own kind, until one succeeds. Endpoints that hang
//! therefore do not use up the slots of healthy ones.
//!
//! **Rates.** A rule's `rate` holds for every attempt of this process, retries and replays
//! included. A worker that may not begin an attempt yet claims nothing and holds no slot; it wakes
//! when it may.
//!
//! **Several processes.** When another process of the same store changes a webhook's state, this
//! one takes the change over ([`Dispatcher::take_over`]): a webhook disabled there is disabled
//! here, and enabled likewise. Only processes with the newest rules ([`Directory::is_newest`])
//! write the state and move deliveries. They also make deliveries pending again that are held or
//! orphaned without a reason in the state or in the newest rules.
//!
//! **Memory.** A delivery is claimed only when there is a slot for it, so the backlog stays in the
//! store whatever its length. A worker with nothing to do has the store claim up to 16 deliveries with
//! the commit that makes them due; those for which no slot is free then are released at once.

mod attempt;
mod completion;
mod concurrency;
mod health;
mod judgement;
mod notices;
mod order_patience;
mod rate_limiter;
mod state;
mod wakeups;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use as2hook_event::{Event, Rule};
use as2hook_format::Formats;
use as2hook_sink::{Delivered, SinkError, Sinks};
use as2hook_store::{DeliveryQueue, DeliveryState, Payloads, StoreError};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

pub use attempt::KeptPayload;
pub use health::{Health, HealthState};
pub use wakeups::Wakeups;

use crate::directory::{Directory, Notices};
use concurrency::ConcurrencyPool;
use health::EndpointHealth;
use state::{DispatcherPhase, DispatcherState, WorkerWakeup};

/// The running dispatcher.
pub struct Dispatcher {
    shared: Arc<DispatcherState>,
    phase: watch::Sender<DispatcherPhase>,
    /// Wakes the workers.
    serving: JoinHandle<()>,
    completion_writer: Mutex<Option<JoinHandle<()>>>,
}

/// The options of a [`Dispatcher`]. Every field has a default.
#[derive(Clone)]
pub struct DispatcherOptions {
    /// The most attempts at once, of all webhooks. With `slow` and `probes` it also bounds the
    /// connections in use and the deliveries in memory, but for those claimed with their commit that
    /// find no slot and are released.
    pub slots: usize,
    /// The most attempts at once that have taken longer than a second; in addition to `slots`.
    pub slow: usize,
    /// The most attempts at once to webhooks that keep failing; in addition to `slots`.
    pub probes: usize,
    /// The longest time between two polls of the store for due deliveries.
    pub poll: Duration,
    /// How long a webhook may only fail before it is disabled, unless its rule says otherwise. This
    /// process must have seen it fail for as long itself, or for an hour.
    pub disable_after: Duration,
    /// The most outcomes of attempts that wait for a commit.
    pub completions: usize,
    /// Where payloads are stored. The default reads unsealed payloads from rows and files.
    pub payloads: Payloads,
    /// What rules may name as `payload`.
    pub formats: Formats,
}

/// The default of [`DispatcherOptions::disable_after`]: five days.
pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

/// The limit for putting a webhook back into service.
const ENABLE_TIMEOUT: Duration = Duration::from_secs(10);

// === impl Dispatcher ===

impl Dispatcher {
    /// Starts making deliveries. `wakeups` are those that the outbox rings; `notices` receives
    /// what becomes of webhooks. Spawns its tasks; call within a tokio runtime.
    ///
    /// While the store cannot return the former states of the webhooks, it is asked again, and
    /// nothing is delivered.
    ///
    /// # Errors
    /// None today; the signature leaves room for stores that fail at start.
    pub async fn start(
        store: Arc<dyn DeliveryQueue>,
        sinks: Sinks,
        directory: Arc<dyn Directory>,
        notices: Option<Arc<dyn Notices>>,
        wakeups: Wakeups,
        options: DispatcherOptions,
    ) -> Result<Self, StoreError> {
        let (phase, phases) = watch::channel(DispatcherPhase::Running);
        let (completions, writer) =
            completion::start(store.clone(), wakeups.clone(), options.completions);
        let shared = Arc::new(DispatcherState {
            slots: ConcurrencyPool::new(options.slots, options.slow, options.probes),
            store,
            sinks,
            directory,
            notices,
            wakeups,
            options,
            health: DashMap::new(),
            workers: DashMap::new(),
            rate_limiters: DashMap::new(),
            changed_elsewhere: DashMap::new(),
            wrongly_set_aside: DashMap::new(),
            set_aside_before: Mutex::default(),
            enable_requests: DashMap::new(),
            unreported_dead: DashMap::new(),
            check_all: AtomicBool::new(true),
            completions,
            phase: phases,
            running: watch::Sender::new(0),
            unreadable: AtomicBool::new(false),
            store_fails: AtomicBool::new(false),
        });
        let states = shared.store.webhook_states().await;
        let known = shared.note_read(states).map(|states| shared.remember(states)).is_some();
        let serving = tokio::spawn(wakeups::serve(shared.clone(), known));
        Ok(Self { shared, phase, serving, completion_writer: Mutex::new(Some(writer)) })
    }

    /// Applies changed rules: checks webhooks that were disabled or had no rule.
    pub fn rules_changed(&self) {
        self.shared.check_all.store(true, Ordering::Relaxed);
        for health in &self.shared.health {
            if health.needs_check() {
                self.shared.wakeups.ring(health.key());
            }
        }
        for worker in &self.shared.workers {
            // It may wait for a rate that has changed.
            worker.ring();
        }
    }

    /// Wakes a webhook's worker. To be called when another process may have made a delivery due.
    pub fn ring(&self, webhook: &str) {
        self.shared.wakeups.ring(webhook);
    }

    /// Takes over the states of webhooks that another process changed, and finds deliveries that
    /// are held or orphaned without a reason: by a process with older rules, or by one that
    /// terminated in between.
    ///
    /// # Errors
    /// When the store cannot be read; nothing is changed then.
    pub async fn take_over(&self) -> Result<(), StoreError> {
        let mut aside = self.shared.store.set_aside().await?;
        if !self.shared.directory.is_newest() {
            // Held deliveries are decided by processes with newer rules. Orphaned ones may belong
            // to a rule that only this process has.
            aside.retain(|aside| aside.state == DeliveryState::Orphaned);
        }
        for state in self.shared.store.webhook_states().await? {
            let other = match self.shared.health.get(&state.webhook) {
                Some(health) => health.differs(&state),
                None => EndpointHealth::default().differs(&state),
            };
            if other {
                // The state may be outdated by now. The worker reads it again: it is the only one
                // in this process that changes it.
                self.shared.changed_elsewhere.insert(state.webhook.clone(), ());
                self.shared.wakeups.ring(&state.webhook);
            }
        }
        // After the states, because a worker checks those first.
        self.shared.check_set_aside(aside.into_iter().map(|aside| aside.webhook).collect());
        Ok(())
    }

    /// Puts a webhook back into service. Held deliveries continue at once, at their place in the
    /// retry schedule. Returns how many those are; 0 when there is no such webhook.
    ///
    /// # Errors
    /// When the store does not accept the change; the webhook then stays as it was.
    pub async fn enable(&self, webhook: &str) -> Result<u64, StoreError> {
        if self.shared.directory.endpoint(webhook).is_none() {
            return Ok(0);
        }
        let (ask, response) = oneshot::channel();
        self.shared.enable_requests.insert(webhook.to_owned(), ask);
        self.shared.ring(webhook);
        match timeout(ENABLE_TIMEOUT, response).await {
            Ok(Ok(moved)) => moved,
            // The rule is gone, or another call replaced this one.
            Ok(Err(_)) => Ok(0),
            Err(_) => {
                self.shared.enable_requests.remove(webhook);
                Err(StoreError::Slow(ENABLE_TIMEOUT))
            }
        }
    }

    /// Sends a notification of this event to a webhook at once, marked as a test. Its other deliveries, their
    /// order, its rate and its health do not notice.
    ///
    /// # Errors
    /// When the endpoint did not take it.
    pub async fn send_test(
        &self,
        rule: &Rule,
        event: &Event,
        deadline: Instant,
    ) -> Result<Delivered, SinkError> {
        attempt::send_test(&self.shared, rule, event, deadline).await
    }

    /// Returns the health of a webhook. `None`: nothing was sent to it since the start.
    pub fn health(&self, webhook: &str) -> Option<Health> {
        self.shared.health.get(webhook).map(|health| health.report(webhook))
    }

    /// Returns the health of all webhooks with an attempt since the start, and of those out of
    /// service.
    pub fn healths(&self) -> Vec<Health> {
        self.shared.health.iter().map(|health| health.report(health.key())).collect()
    }

    /// Counts attempts in progress and claimed deliveries that wait for an attempt.
    pub fn in_flight(&self) -> usize {
        self.shared.slots.taken()
    }

    /// Stops: claims nothing more, lets attempts in progress finish within `drain`, and releases
    /// the other claims. Returns how many attempts were cut off. Returns at once when idle.
    pub async fn shutdown(&self, drain: Duration) -> usize {
        let deadline = Instant::now() + drain;
        self.phase.send_replace(DispatcherPhase::Draining);
        self.serving.abort();
        let _ = timeout_at(deadline, self.shared.all_workers_ended()).await;
        let cut = self.shared.slots.taken();
        self.phase.send_replace(DispatcherPhase::Stopped);
        // Releasing the claims takes milliseconds unless the store is unavailable; the lease ends
        // them then.
        const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        let _ = timeout_at(deadline, self.shared.all_workers_ended()).await;
        let _ = timeout_at(deadline, self.shared.report_all_dead()).await;
        self.shared.completions.close();
        let writer = self.completion_writer.lock().take();
        if let Some(mut writer) = writer
            && timeout_at(deadline, &mut writer).await.is_err()
        {
            writer.abort();
            tracing::error!(
                "Stopped before the outcomes of the last attempts were stored; these deliveries \
                 are made again."
            );
        }
        cut
    }
}

impl Drop for Dispatcher {
    /// Cuts off attempts in progress, unless [`Dispatcher::shutdown`] has run.
    fn drop(&mut self) {
        self.phase.send_replace(DispatcherPhase::Stopped);
        self.serving.abort();
    }
}

// === impl DispatcherOptions ===

impl Default for DispatcherOptions {
    fn default() -> Self {
        Self {
            slots: 512,
            slow: 2048,
            probes: 64,
            poll: Duration::from_secs(1),
            disable_after: DISABLE_AFTER,
            completions: 1024,
            payloads: Payloads::default(),
            formats: Formats::default(),
        }
    }
}
