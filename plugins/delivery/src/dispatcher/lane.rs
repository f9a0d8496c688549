//! One webhook's deliveries.
//!
//! A lane is the only one to move its webhook's deliveries from state to state, so that no two moves
//! get in each other's way.

mod claim;
mod ended;
mod place;
mod service;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use as2hook_webhooks::{Rate, Rule};
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::{Instant, sleep_until},
};

use self::{
    claim::{Claiming, Room, claimed},
    place::{Place, caught},
};
use super::{
    LaneBell, Phase, Shared,
    attempt::{self, Ended, Job},
    pace::Pace,
    slots::Slots,
};
use crate::time::{after, now, until};

/// The state of one webhook's lane.
struct Lane {
    shared: Arc<Shared>,
    webhook: String,
    phase: watch::Receiver<Phase>,
    /// The rule that the last look found.
    rule: Option<Arc<Rule>>,
    /// Claimed, not begun.
    ready: VecDeque<Job>,
    /// When the last was added or begun.
    ready_since: Instant,
    /// Nothing is claimed ahead before.
    not_ahead_before: Instant,
    under_way: JoinSet<Ended>,
    /// The deliveries of the attempts under way.
    made: HashMap<Id, i64>,
    claiming: Option<Claiming>,
    /// There may be something due in the store.
    more: bool,
    /// When retries are due.
    retries: BinaryHeap<Reverse<i64>>,
    /// Nothing is begun or claimed before.
    not_before: Instant,
    /// The rule's rate allows nothing more before.
    rate_until: Option<Instant>,
    /// There were no slots for more; asked again then, or when an attempt ends.
    starved_until: Option<Instant>,
}

/// Claims at most so many at once.
const CLAIM_MAX: usize = 64;
/// A lane with nothing to do ends after so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_millis(500);
/// The wait after a panic, before what it was about is tried again: most likely it comes again too.
const PANIC_WAIT: Duration = Duration::from_secs(30);

/// Runs one webhook's lane until there is nothing to do.
pub(super) async fn run(shared: Arc<Shared>, webhook: String, bell: Arc<LaneBell>) {
    let _place = Place::new(shared.clone(), webhook.clone(), bell.clone());
    let mut lane = Lane::new(shared, webhook);
    if caught(lane.live(&bell)).await.is_none() {
        lane.abandon().await;
    }
}

// === impl Lane ===

impl Lane {
    fn new(shared: Arc<Shared>, webhook: String) -> Self {
        Self {
            phase: shared.phase.clone(),
            rule: None,
            ready: VecDeque::new(),
            under_way: JoinSet::new(),
            made: HashMap::new(),
            claiming: None,
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

    async fn live(&mut self, bell: &Arc<LaneBell>) {
        loop {
            match *self.phase.borrow() {
                Phase::Running => {}
                Phase::Draining | Phase::Over => break,
            }
            self.step().await;
            let due = self.next_due();
            let idle = self.is_idle();
            tokio::select! {
                () = bell.heard() => self.more = true,
                Some(ended) = self.under_way.join_next_with_id() => self.ended(ended).await,
                claimed = claimed(&mut self.claiming) => self.took(claimed),
                () = sleep_until(due) => self.retries_due(),
                () = tokio::time::sleep(PATIENCE), if idle => {
                    if bell.leave(&self.shared.lanes, &self.webhook) {
                        break;
                    }
                }
                _ = self.phase.changed() => {}
            }
        }
        self.drain().await;
    }

    /// Gives back all that the lane has claimed, after a panic: it would stay claimed while this
    /// process lives. A claim on its way goes back by itself.
    async fn abandon(&mut self) {
        tracing::error!(webhook = self.webhook, "A lane panicked; its deliveries go on later.");
        self.claiming = None;
        self.under_way.shutdown().await;
        let due = after(now(), PANIC_WAIT);
        let made: Vec<_> = self.made.drain().map(|(_, delivery)| delivery).collect();
        for delivery in made {
            self.vitals(|vitals| vitals.cut_off());
            self.release(delivery, due).await;
        }
        while let Some(job) = self.ready.pop_front() {
            self.release(job.claimed.id, due).await;
        }
    }

    /// Does what can be done without waiting for anything but the store's word.
    async fn step(&mut self) {
        if Instant::now() < self.not_before {
            return;
        }
        if (self.more || !self.ready.is_empty()) && !self.look().await {
            self.give_back().await;
            return;
        }
        let Some(rule) = self.rule.clone() else { return };
        let keeps_failing = self.vitals(|vitals| vitals.keeps_failing());
        let concurrency = if keeps_failing { 1 } else { rule.endpoint.concurrency.max(1) };
        let mut allowed = self.allowed(rule.endpoint.rate);
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
                Some(self.pace(rate, |pace| pace.next()))
            }
            _ => None,
        };
        // What is claimed already counts.
        let allowed = allowed.saturating_sub(self.ready.len());
        if keeps_failing {
            // Its slots are for others while it is tried one by one.
            self.give_back().await;
        }
        let now = Instant::now();
        if !self.ready.is_empty() && now >= self.ready_since + Slots::SLOW_AFTER {
            // Claimed too far ahead for so slow an endpoint.
            self.give_back().await;
            self.not_ahead_before = now + PATIENCE;
        }
        let outstanding = self.under_way.len() + self.ready.len();
        let room = Room {
            now: concurrency.saturating_sub(outstanding).min(CLAIM_MAX).min(allowed),
            ahead: match keeps_failing || now < self.not_ahead_before {
                true => 0,
                false => concurrency.saturating_sub(self.ready.len()).min(CLAIM_MAX),
            },
        };
        let room = Room { ahead: room.ahead.min(allowed - room.now), ..room };

        // A half-empty queue is filled in one go rather than one by one.
        let hungry = room.now > 0 || room.ahead > 0 && self.ready.len() <= concurrency / 2;
        if self.more && hungry && self.claiming.is_none() {
            self.claim(room, keeps_failing);
        }
    }

    /// How many attempts the rate lets begin now.
    fn allowed(&self, rate: Option<Rate>) -> usize {
        rate.map_or(usize::MAX, |rate| self.pace(rate, |pace| pace.allowed(Instant::now())))
    }

    fn pace<T>(&self, rate: Rate, note: impl FnOnce(&mut Pace) -> T) -> T {
        let now = Instant::now();
        let rested = || Pace::new(rate, now);
        let mut pace = self.shared.paces.entry(self.webhook.clone()).or_insert_with(rested);
        pace.under(rate, now);
        note(&mut pace)
    }

    fn begin(&mut self, rule: &Arc<Rule>, job: Job) {
        if let Some(rate) = rule.endpoint.rate {
            self.pace(rate, |pace| pace.began(Instant::now()));
        }
        self.vitals(|vitals| vitals.began());
        let delivery = job.claimed.id;
        let (shared, rule) = (self.shared.clone(), rule.clone());
        let task = self.under_way.spawn(async move { attempt::make(&shared, &rule, job).await });
        self.made.insert(task.id(), delivery);
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

    /// Begins nothing more, and waits for what is under way until it is over.
    async fn drain(&mut self) {
        // What is claimed in the store has to be known to be given back.
        if let Some(claiming) = self.claiming.take()
            && let Some((jobs, _)) = claiming.await
        {
            self.ready.extend(jobs);
        }
        self.give_back().await;
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                ended = self.under_way.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended).await,
                    None => return,
                },
                () = reached(&mut phase, Phase::Over) => break,
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
            false => (self.ready_since + Slots::SLOW_AFTER).max(self.not_before),
        };
        let starved = self.starved_until.unwrap_or(far).min(self.rate_until.unwrap_or(far));
        retry.min(blocked).min(stale).min(starved)
    }

    fn is_idle(&self) -> bool {
        let soon = |Reverse(at): &Reverse<i64>| until(*at) < PATIENCE;
        self.under_way.is_empty()
            && self.ready.is_empty()
            && self.claiming.is_none()
            // It has something to do, though not now.
            && self.rate_until.is_none()
            && !self.retries.peek().is_some_and(soon)
    }

    fn vitals<T>(&self, note: impl FnOnce(&mut super::Vitals) -> T) -> T {
        if let Some(mut vitals) = self.shared.vitals.get_mut(&self.webhook) {
            return note(&mut vitals);
        }
        note(&mut self.shared.vitals.entry(self.webhook.clone()).or_default())
    }
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The sender lives in the dispatcher; without one it is over in any case.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
