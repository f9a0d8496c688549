//! Makes the deliveries of one webhook.
//!
//! A webhook's worker is the only one that changes the states of its deliveries, so that no two
//! changes conflict.

mod attempt_end;
mod claim;
mod service;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use as2hook_event::{Rate, Rule};
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::{Instant, sleep_until},
};

use self::claim::{ClaimRoom, Claiming, ClaimingNext, claimed};
use super::{
    DispatcherPhase, DispatcherState, WorkerWakeup,
    attempt::{self, AttemptEnd, ClaimedJob},
    concurrency::ConcurrencyPool,
    rate_limiter::RateLimiter,
};
use crate::time::{after, now, until};

/// While it exists, no other worker of this webhook runs, and the shutdown waits for this one.
struct WorkerRegistration {
    shared: Arc<DispatcherState>,
    webhook: String,
    wakeup: Arc<WorkerWakeup>,
}

/// The worker of one webhook.
struct WebhookWorker {
    shared: Arc<DispatcherState>,
    webhook: String,
    phase: watch::Receiver<DispatcherPhase>,
    /// The rule found by the last check.
    rule: Option<Arc<Rule>>,
    /// A rule's URL as it is stored: to seal it takes longer than to store the attempt.
    url_at_rest: Option<(Arc<Rule>, Arc<str>)>,
    /// Claimed, but not begun.
    ready: VecDeque<ClaimedJob>,
    /// When the last one was added or begun.
    ready_since: Instant,
    /// No claims ahead of free slots before this time.
    not_ahead_before: Instant,
    under_way: JoinSet<AttemptEnd>,
    /// The deliveries of the attempts in progress.
    made: HashMap<Id, i64>,
    claiming: Option<Claiming>,
    /// Waits for the next commit that makes deliveries due.
    claiming_next: Option<ClaimingNext>,
    /// The store may have due deliveries.
    more: bool,
    /// When retries are due.
    retries: BinaryHeap<Reverse<i64>>,
    /// No attempts and no claims before this time.
    not_before: Instant,
    /// The rule's rate allows no attempt before this time.
    rate_until: Option<Instant>,
    /// No slots were free; tried again at this time, or when an attempt ends.
    starved_until: Option<Instant>,
}

/// The most deliveries in one claim.
const CLAIM_MAX: usize = 64;
/// An idle worker ends after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_millis(500);
/// The wait after a panic before the same work is tried again: it is likely to panic again.
const PANIC_WAIT: Duration = Duration::from_secs(30);

/// Runs the worker of one webhook until it is idle.
pub(super) async fn run(shared: Arc<DispatcherState>, webhook: String, wakeup: Arc<WorkerWakeup>) {
    let registration = WorkerRegistration { shared, webhook, wakeup };
    let mut worker = WebhookWorker::new(registration.shared.clone(), registration.webhook.clone());
    if caught(worker.run_until_idle(&registration.wakeup)).await.is_none() {
        worker.release_all().await;
    }
}

impl Drop for WorkerRegistration {
    fn drop(&mut self) {
        let Self { shared, webhook, wakeup } = self;
        // A worker that ended by itself may have a successor by now.
        shared.workers.remove_if(webhook, |_, known| Arc::ptr_eq(known, wakeup));
        shared.running.send_modify(|running| *running -= 1);
    }
}

// === impl WebhookWorker ===

impl WebhookWorker {
    fn new(shared: Arc<DispatcherState>, webhook: String) -> Self {
        Self {
            phase: shared.phase.clone(),
            rule: None,
            url_at_rest: None,
            ready: VecDeque::new(),
            under_way: JoinSet::new(),
            made: HashMap::new(),
            claiming: None,
            claiming_next: None,
            more: true,
            retries: BinaryHeap::new(),
            ready_since: Instant::now(),
            not_ahead_before: Instant::now(),
            not_before: Instant::now(),
            rate_until: None,
            starved_until: None,
            shared,
            webhook,
        }
    }

    async fn run_until_idle(&mut self, wakeup: &Arc<WorkerWakeup>) {
        loop {
            match *self.phase.borrow() {
                DispatcherPhase::Running => {}
                DispatcherPhase::Draining | DispatcherPhase::Stopped => break,
            }
            self.step().await;
            let due = self.next_due();
            let idle = self.is_idle();
            tokio::select! {
                () = wakeup.woken() => self.more = true,
                Some(ended) = self.under_way.join_next_with_id() => self.ended(ended).await,
                claimed = claimed(&mut self.claiming) => self.add_claimed(claimed),
                claimed = claimed(&mut self.claiming_next) => self.add_next(claimed).await,
                () = sleep_until(due) => self.retries_due(),
                () = tokio::time::sleep(IDLE_TIMEOUT), if idle => {
                    if wakeup.leave(&self.shared.workers, &self.webhook) {
                        break;
                    }
                }
                _ = self.phase.changed() => {}
            }
        }
        self.drain().await;
    }

    /// Releases all claims of the worker after a panic: they would stay claimed as long as this
    /// process runs. A claim in progress releases itself.
    async fn release_all(&mut self) {
        tracing::error!(
            webhook = self.webhook,
            "The worker of a webhook panicked; its deliveries continue later."
        );
        (self.claiming, self.claiming_next) = (None, None);
        self.under_way.shutdown().await;
        let due = after(now(), PANIC_WAIT);
        let made: Vec<_> = self.made.drain().map(|(_, delivery)| delivery).collect();
        for delivery in made {
            self.health(|health| health.cut_off());
            self.release(delivery, due).await;
        }
        while let Some(job) = self.ready.pop_front() {
            self.release(job.claimed.id, due).await;
        }
    }

    /// Makes the next steps that need no wait except for the store.
    async fn step(&mut self) {
        if Instant::now() < self.not_before {
            self.end_claim_next().await;
            return;
        }
        if self.health(|health| health.keeps_failing() || health.is_out_of_service()) {
            // Before the rule is checked: what it has taken may have to be released.
            self.end_claim_next().await;
        }
        if (self.more || !self.ready.is_empty()) && !self.check_rule().await {
            self.end_claim_next().await;
            self.release_claims().await;
            return;
        }
        let Some(rule) = self.rule.clone() else { return };
        let keeps_failing = self.health(|health| health.keeps_failing());
        let is_in_service = self.health(|health| !health.is_out_of_service());
        let concurrency = if keeps_failing { 1 } else { rule.endpoint.concurrency.max(1) };
        let mut allowed = self.allowed(rule.endpoint.rate);
        if allowed == 0 {
            self.end_claim_next().await;
        }
        while self.under_way.len() < concurrency
            && allowed > 0
            && let Some(job) = self.ready.pop_front()
        {
            self.begin(&rule, job);
            allowed -= 1;
            self.ready_since = Instant::now();
        }
        self.rate_until = match rule.endpoint.rate {
            Some(rate) if allowed == 0 && (self.more || !self.ready.is_empty()) => {
                Some(self.rate_limiter(rate, |limiter| limiter.next()))
            }
            _ => None,
        };
        // Claimed deliveries count already.
        let allowed = allowed.saturating_sub(self.ready.len());
        if keeps_failing {
            // Other workers get its slots while it makes one attempt at a time.
            self.release_claims().await;
        }
        let now = Instant::now();
        if !self.ready.is_empty() && now >= self.ready_since + ConcurrencyPool::SLOW_AFTER {
            // Too many are claimed ahead for so slow an endpoint.
            self.release_claims().await;
            self.not_ahead_before = now + IDLE_TIMEOUT;
        }
        let outstanding = self.under_way.len() + self.ready.len();
        let room = ClaimRoom {
            now: concurrency.saturating_sub(outstanding).min(CLAIM_MAX).min(allowed),
            ahead: match keeps_failing || now < self.not_ahead_before {
                true => 0,
                false => concurrency.saturating_sub(self.ready.len()).min(CLAIM_MAX),
            },
        };
        let room = ClaimRoom { ahead: room.ahead.min(allowed - room.now), ..room };

        // A half-empty queue is refilled by one claim instead of one by one.
        let hungry = room.now > 0 || room.ahead > 0 && self.ready.len() <= concurrency / 2;
        if self.more && hungry && self.claiming.is_none() {
            self.claim(room, keeps_failing);
        } else if room.now > 0
            && is_in_service
            && !(self.more || keeps_failing)
            && self.claiming.is_none()
            && self.claiming_next.is_none()
        {
            self.claim_next(room.now);
        }
    }

    /// Returns how many attempts the rate allows now.
    fn allowed(&self, rate: Option<Rate>) -> usize {
        rate.map_or(usize::MAX, |rate| {
            self.rate_limiter(rate, |limiter| limiter.allowed(Instant::now()))
        })
    }

    fn rate_limiter<T>(&self, rate: Rate, note: impl FnOnce(&mut RateLimiter) -> T) -> T {
        let now = Instant::now();
        let rested = || RateLimiter::new(rate, now);
        let mut limiter =
            self.shared.rate_limiters.entry(self.webhook.clone()).or_insert_with(rested);
        limiter.apply_rate(rate, now);
        note(&mut limiter)
    }

    fn begin(&mut self, rule: &Arc<Rule>, job: ClaimedJob) {
        if let Some(rate) = rule.endpoint.rate {
            self.rate_limiter(rate, |limiter| limiter.began(Instant::now()));
        }
        self.health(|health| health.began());
        let delivery = job.claimed.id;
        let (shared, rule, url) = (self.shared.clone(), rule.clone(), self.url_at_rest(rule));
        let task =
            self.under_way.spawn(async move { attempt::make(&shared, &rule, &url, job).await });
        self.made.insert(task.id(), delivery);
    }

    fn url_at_rest(&mut self, rule: &Arc<Rule>) -> Arc<str> {
        if let Some((of, url)) = &self.url_at_rest
            && Arc::ptr_eq(of, rule)
        {
            return url.clone();
        }
        let shown = attempt::shown(&rule.endpoint.url);
        let url: Arc<str> = self.shared.directory.at_rest(&self.webhook, shown).into();
        self.url_at_rest = Some((rule.clone(), url.clone()));
        url
    }

    fn retries_due(&mut self) {
        self.starved_until = None;
        self.rate_until = None;
        let now = now();
        while self.retries.peek().is_some_and(|Reverse(at)| *at <= now) {
            self.retries.pop();
            self.more = true;
        }
    }

    /// Begins nothing more, and waits for the attempts in progress until the dispatcher stops.
    async fn drain(&mut self) {
        self.end_claim_next().await;
        // Only claims that the worker knows can be released.
        if let Some(claiming) = self.claiming.take()
            && let Some((jobs, _)) = claiming.await
        {
            self.ready.extend(jobs);
        }
        self.release_claims().await;
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                ended = self.under_way.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended).await,
                    None => return,
                },
                () = reached(&mut phase, DispatcherPhase::Stopped) => break,
            }
        }
        self.under_way.abort_all();
        while let Some(ended) = self.under_way.join_next_with_id().await {
            self.ended(ended).await;
        }
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let far = now + Duration::from_secs(3600);
        let retry = self.retries.peek().map_or(far, |Reverse(at)| now + until(*at));
        let blocked = if self.not_before > now { self.not_before } else { far };
        let stale = match self.ready.is_empty() {
            true => far,
            false => (self.ready_since + ConcurrencyPool::SLOW_AFTER).max(self.not_before),
        };
        let starved = self.starved_until.unwrap_or(far).min(self.rate_until.unwrap_or(far));
        retry.min(blocked).min(stale).min(starved)
    }

    fn is_idle(&self) -> bool {
        let soon = |Reverse(at): &Reverse<i64>| until(*at) < IDLE_TIMEOUT;
        self.under_way.is_empty()
            && self.ready.is_empty()
            && self.claiming.is_none()
            // It has work at a later time.
            && self.rate_until.is_none()
            && !self.retries.peek().is_some_and(soon)
    }

    fn health<T>(&self, note: impl FnOnce(&mut super::EndpointHealth) -> T) -> T {
        if let Some(mut health) = self.shared.health.get_mut(&self.webhook) {
            return note(&mut health);
        }
        note(&mut self.shared.health.entry(self.webhook.clone()).or_default())
    }
}

/// Runs a future to its end. `None`: it panicked; the panic hook has logged that.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

async fn reached(phase: &mut watch::Receiver<DispatcherPhase>, wanted: DispatcherPhase) {
    // The sender lives in the dispatcher; when it is dropped, the dispatcher has stopped.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
