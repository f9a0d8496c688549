//! One webhook's deliveries.
//!
//! A lane is the only one to move its webhook's deliveries from state to state, so that no two moves
//! get in each other's way.

mod service;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use as2hook_store::{AttemptRecord, Claimed, Fate};
use as2hook_webhooks::{Rate, Rule};
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    LaneBell, Phase, Shared,
    attempt::{self, Ended, Job},
    pace::Pace,
    slots::{Purpose, Slot, Slots},
};
use crate::time::{now, until};

/// A claim on its way: what was taken, and whether there may be more.
type Claiming = Pin<Box<dyn Future<Output = Option<(Vec<Job>, bool)>> + Send>>;

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

/// How many deliveries there is room for.
#[derive(Clone, Copy)]
struct Room {
    /// To begin at once.
    now: usize,
    /// To be there when those are done, so that nobody waits for the store.
    ahead: usize,
}

/// Claims at most so many at once.
const CLAIM_MAX: usize = 64;
/// Retries that a lane remembers; the dispatcher's poll knows all.
const RETRIES_MAX: usize = 1024;
/// A lane with nothing to do ends after so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait for more slots beside those that the lane has.
const STARVED_WAIT: Duration = Duration::from_millis(20);
/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_millis(500);

/// Runs one webhook's lane until there is nothing to do.
pub(super) async fn run(shared: Arc<Shared>, webhook: String, bell: Arc<LaneBell>) {
    let mut lane = Lane {
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
        shared: shared.clone(),
        webhook,
    };
    loop {
        match *lane.phase.borrow() {
            Phase::Running => {}
            Phase::Draining | Phase::Over => break,
        }
        lane.step().await;
        let due = lane.next_due();
        let idle = lane.is_idle();
        tokio::select! {
            () = bell.heard() => lane.more = true,
            Some(ended) = lane.under_way.join_next_with_id() => lane.ended(ended).await,
            claimed = claimed(&mut lane.claiming) => lane.took(claimed),
            () = sleep_until(due) => lane.retries_due(),
            () = tokio::time::sleep(PATIENCE), if idle => {
                if lane.shared.leave(&lane.webhook) {
                    break;
                }
            }
            _ = lane.phase.changed() => {}
        }
    }
    lane.drain().await;
    shared.leave(&lane.webhook);
    shared.running.fetch_sub(1, Ordering::Relaxed);
    shared.left.notify_waiters();
}

// === impl Lane ===

impl Lane {
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

    fn claim(&mut self, room: Room, probe: bool) {
        let mut slots = Vec::new();
        if !self.under_way.is_empty() || !self.ready.is_empty() {
            // Only who has nothing waits in the queue for slots.
            slots = more(&self.shared.slots, room.now, room.ahead);
            if slots.is_empty() {
                self.starved_until = Some(Instant::now() + STARVED_WAIT);
                return;
            }
        }
        self.starved_until = None;
        self.more = false;
        let shared = self.shared.clone();
        let webhook = self.webhook.clone();
        let mut phase = self.phase.clone();
        self.claiming = Some(Box::pin(async move {
            if slots.is_empty() {
                tokio::select! {
                    slot = shared.slots.first(probe) => slots.extend(slot),
                    () = reached(&mut phase, Phase::Draining) => return Some((Vec::new(), true)),
                }
                if !probe {
                    slots.append(&mut more(&shared.slots, room.now.saturating_sub(1), room.ahead));
                }
            }
            let claimed = shared.store.claim(&webhook, now(), slots.len()).await;
            let claimed = shared.note(claimed)?;
            let more = claimed.len() >= slots.len();
            Some((jobs(claimed, slots), more))
        }));
    }

    fn took(&mut self, claimed: Option<(Vec<Job>, bool)>) {
        self.claiming = None;
        match claimed {
            Some((jobs, more)) => {
                self.ready.extend(jobs);
                self.ready_since = Instant::now();
                self.more |= more;
            }
            None => {
                self.more = true;
                self.not_before = Instant::now() + STORE_WAIT;
            }
        }
    }

    async fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let ended = match ended {
            Ok((id, ended)) => {
                self.made.remove(&id);
                ended
            }
            Err(error) => {
                // A bug, or a cut-off: either way the attempt did not end, so it is made again.
                self.vitals(|vitals| vitals.cut_off());
                if let Some(delivery) = self.made.remove(&error.id()) {
                    self.release(delivery, now()).await;
                }
                return;
            }
        };
        let (gone, retry) = (ended.gone, ended.retry);
        let failed = ended.sign.error.is_some();
        self.vitals(|vitals| vitals.ended(ended.sign));
        if let Some(at) = retry
            && self.retries.len() < RETRIES_MAX
        {
            self.retries.push(Reverse(at));
        }
        if gone {
            self.disable("the endpoint answered 410 Gone".to_owned()).await;
        } else if failed {
            self.failed().await;
        }
        if self.vitals(|vitals| vitals.failing_to_write()) {
            let mut state = self.vitals(|vitals| vitals.state(&self.webhook));
            if let (None, Some(rule)) = (&state.disabled, &self.rule) {
                state.fingerprint = rule.fingerprint();
            }
            self.shared.note(self.shared.store.set_webhook_state(state).await);
        }
    }

    async fn failed(&mut self) {
        let since = self.vitals(|vitals| vitals.failing_since());
        let failing = since.map_or(0, |since| now().saturating_sub(since));
        let own = self.rule.as_ref().and_then(|rule| rule.endpoint.disable_after);
        let after = own.unwrap_or(self.shared.options.disable_after);
        let most = i64::try_from(after.as_millis());
        if most.is_ok_and(|most| failing >= most) {
            self.disable(format!("nothing but failures for {}", in_words(after))).await;
        } else if self.vitals(|vitals| vitals.keeps_failing()) {
            self.not_before = Instant::now() + self.vitals(|vitals| vitals.pace());
        }
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

    /// Gives back what is claimed and not begun.
    async fn give_back(&mut self) {
        while let Some(job) = self.ready.pop_front() {
            self.release(job.claimed.id, now()).await;
            self.more = true;
        }
    }

    async fn release(&mut self, delivery: i64, due: i64) {
        let record = AttemptRecord { delivery, attempt: None, fate: Fate::Released(due) };
        self.shared.ledger.enter(record, Some(self.webhook.clone())).await;
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

async fn claimed(claiming: &mut Option<Claiming>) -> Option<(Vec<Job>, bool)> {
    match claiming {
        Some(claiming) => claiming.await,
        None => std::future::pending().await,
    }
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The sender lives in the dispatcher; without one it is over in any case.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

fn more(slots: &Slots, now: usize, ahead: usize) -> Vec<Slot> {
    let mut taken = slots.more(now, Purpose::Now);
    if taken.len() == now {
        taken.append(&mut slots.more(ahead, Purpose::Ahead));
    }
    taken
}

fn jobs(claimed: Vec<Claimed>, slots: Vec<Slot>) -> Vec<Job> {
    // Slots that found no delivery are free again.
    claimed.into_iter().zip(slots).map(|(claimed, slot)| Job { claimed, slot }).collect()
}

/// A time in the unit that suits it.
fn in_words(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 60.0 => format!("{short:.1} seconds"),
        minutes if minutes < 3_600.0 => format!("{:.1} minutes", minutes / 60.0),
        hours if hours < 86_400.0 => format!("{:.1} hours", hours / 3_600.0),
        days => format!("{:.1} days", days / 86_400.0),
    }
}
