//! Makes what is due: one lane for each webhook, so that none waits for another.
//!
//! A lane claims deliveries from the store while it has room for them, makes them, and hands what
//! became of them to the ledger, which writes many at once. Lanes are woken by the outbox right after a
//! commit, by their own retries, and by a change of the rules; a poll of the store is the net below.
//!
//! **Fairness.** All lanes share a number of slots, in turns. An attempt that takes longer than a second
//! moves out of the way, and a webhook that fails again and again is cut down to one attempt at a time,
//! out of slots kept for such, until one succeeds: endpoints that hang do not use up the slots of those
//! that answer.
//!
//! **Rates.** A rule's `rate` holds for every attempt, retries and replays included, and for this
//! process. A lane that may begin nothing yet claims nothing and holds no slot; it wakes when it may.
//!
//! **Several processes.** What another one of the same store wrote of a webhook's state is taken over
//! ([`Dispatcher::take_over`]): disabled there, it is disabled here, and back in service likewise.
//!
//! **Memory.** A delivery is claimed only when there is a slot for it, so the backlog stays in the
//! store whatever its length.

mod attempt;
mod bells;
mod fate;
mod health;
mod lane;
mod ledger;
mod pace;
mod slots;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use as2hook_store::{Payloads, Store, StoreError};
use dashmap::{DashMap, mapref::entry::Entry};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

pub use bells::Bells;
pub use health::{Health, Standing};

use crate::{
    client::Client,
    directory::{Directory, Notices},
    time::{now, until},
};
use health::Vitals;
use ledger::Ledger;
use pace::Pace;
use slots::Slots;

/// The running dispatcher.
pub struct Dispatcher {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    ledger: Mutex<Option<JoinHandle<()>>>,
}

/// How a [`Dispatcher`] behaves. Every field has a default.
#[derive(Clone, Debug)]
pub struct DispatcherOptions {
    /// Attempts under way at once, all webhooks together. With `slow` and `probes` it also bounds the
    /// deliveries in memory and the connections in use.
    pub slots: usize,
    /// Attempts under way at once that have taken longer than a second, all together; besides `slots`.
    pub slow: usize,
    /// Attempts under way at once to webhooks that keep failing, all together; besides `slots`.
    pub probes: usize,
    /// The store is asked at least so often what is due.
    pub poll: Duration,
    /// A webhook that did nothing but fail for so long is disabled, unless its rule says otherwise.
    pub disable_after: Duration,
    /// Attempts whose outcome may wait to be written.
    pub ledger: usize,
    /// Who gives payloads back. The default reads those that lie in rows and files, unsealed.
    pub payloads: Payloads,
}

/// What the lanes share.
struct Shared {
    store: Arc<dyn Store>,
    client: Arc<Client>,
    directory: Arc<dyn Directory>,
    notices: Option<Arc<dyn Notices>>,
    bells: Bells,
    options: DispatcherOptions,
    slots: Slots,
    vitals: DashMap<String, Vitals>,
    lanes: DashMap<String, Arc<LaneBell>>,
    /// Of webhooks whose rule has a rate.
    paces: DashMap<String, Pace>,
    /// Webhooks whose remembered state is not the one here: their lanes look which it is.
    retold: DashMap<String, ()>,
    /// Webhooks that are to be put back into service, with who waits for it.
    asked_back: DashMap<String, oneshot::Sender<Result<u64, StoreError>>>,
    /// The rules changed: deliveries of webhooks that are gone are looked for.
    look_at_all: AtomicBool,
    ledger: Ledger,
    phase: watch::Receiver<Phase>,
    /// Lanes that still run, for the shutdown.
    running: AtomicUsize,
    left: Notify,
    store_fails: AtomicBool,
}

/// Wakes one lane.
#[derive(Default)]
struct LaneBell {
    rung: AtomicBool,
    notify: Notify,
}

/// A webhook that did nothing but fail for so long is disabled, unless somebody says otherwise: five
/// days.
pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

/// How long putting a webhook back into service may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The dispatcher's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Nothing is claimed any more.
    Draining,
    /// What is still under way is given up.
    Over,
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Starts making deliveries. `bells` are those that the outbox rings; `notices` hears of disabled
    /// webhooks. Spawns its tasks; call within a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot say how the webhooks did before.
    pub async fn start(
        store: Arc<dyn Store>,
        client: Arc<Client>,
        directory: Arc<dyn Directory>,
        notices: Option<Arc<dyn Notices>>,
        bells: Bells,
        options: DispatcherOptions,
    ) -> Result<Self, StoreError> {
        let vitals = DashMap::new();
        for state in store.webhook_states().await? {
            let name = state.webhook.clone();
            bells.ring(&name);
            vitals.insert(name, Vitals::remembered(state));
        }
        let (phase, phases) = watch::channel(Phase::Running);
        let (ledger, writer) = ledger::start(store.clone(), bells.clone(), options.ledger);
        let shared = Arc::new(Shared {
            slots: Slots::new(options.slots, options.slow, options.probes),
            store,
            client,
            directory,
            notices,
            bells,
            options,
            vitals,
            lanes: DashMap::new(),
            paces: DashMap::new(),
            retold: DashMap::new(),
            asked_back: DashMap::new(),
            look_at_all: AtomicBool::new(true),
            ledger,
            phase: phases,
            running: AtomicUsize::new(0),
            left: Notify::new(),
            store_fails: AtomicBool::new(false),
        });
        let tasks = vec![tokio::spawn(hear(shared.clone())), tokio::spawn(poll(shared.clone()))];
        Ok(Self { shared, phase, tasks: Mutex::new(tasks), ledger: Mutex::new(Some(writer)) })
    }

    /// To be called when other rules are in force: webhooks that were disabled or gone are looked at
    /// anew.
    pub fn rules_changed(&self) {
        self.shared.look_at_all.store(true, Ordering::Relaxed);
        for vitals in &self.shared.vitals {
            if vitals.needs_a_look() {
                self.shared.bells.ring(vitals.key());
            }
        }
        for lane in &self.shared.lanes {
            // It may wait for a rate that is another by now.
            lane.ring();
        }
    }

    /// To be called when something of a webhook may be due that another process made so.
    pub fn ring(&self, webhook: &str) {
        self.shared.bells.ring(webhook);
    }

    /// Takes over what the store remembers of webhooks where another process changed it.
    ///
    /// # Errors
    /// When the store does not say; everything stays as it was.
    pub async fn take_over(&self) -> Result<(), StoreError> {
        for state in self.shared.store.webhook_states().await? {
            let other = match self.shared.vitals.get(&state.webhook) {
                Some(vitals) => vitals.differs(&state),
                None => Vitals::default().differs(&state),
            };
            if other {
                // What was just read may be out of date by now: the lane, which is the only one here
                // to change it, looks again.
                self.shared.retold.insert(state.webhook.clone(), ());
                self.shared.bells.ring(&state.webhook);
            }
        }
        Ok(())
    }

    /// Puts a webhook back into service; what was held goes on at once, on the retry schedule where it
    /// stood. Returns how many deliveries that are; none when there is no such webhook.
    ///
    /// # Errors
    /// When the store does not take it; the webhook then stays as it was.
    pub async fn enable(&self, webhook: &str) -> Result<u64, StoreError> {
        if self.shared.directory.endpoint(webhook).is_none() {
            return Ok(0);
        }
        let (ask, answer) = oneshot::channel();
        self.shared.asked_back.insert(webhook.to_owned(), ask);
        self.shared.ring(webhook);
        match timeout(PATIENCE, answer).await {
            Ok(Ok(moved)) => moved,
            // The rule is gone since, or another call took this one's place.
            Ok(Err(_)) => Ok(0),
            Err(_) => {
                self.shared.asked_back.remove(webhook);
                Err(StoreError::Slow(PATIENCE))
            }
        }
    }

    /// How a webhook does. `None`: nothing was ever sent to it since the start.
    pub fn health(&self, webhook: &str) -> Option<Health> {
        self.shared.vitals.get(webhook).map(|vitals| vitals.report(webhook))
    }

    /// How all webhooks do to which something was sent since the start, and those out of service.
    pub fn healths(&self) -> Vec<Health> {
        self.shared.vitals.iter().map(|vitals| vitals.report(vitals.key())).collect()
    }

    /// Attempts under way, and claimed deliveries that wait for theirs.
    pub fn in_flight(&self) -> usize {
        self.shared.slots.taken()
    }

    /// Stops: claims nothing more, lets attempts under way finish within `drain`, and gives the rest
    /// back to the store. Returns how many attempts were cut off. At once when idle.
    pub async fn shutdown(&self, drain: Duration) -> usize {
        let deadline = Instant::now() + drain;
        self.phase.send_replace(Phase::Draining);
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        let _ = timeout_at(deadline, self.shared.all_left()).await;
        let cut = self.shared.slots.taken();
        self.phase.send_replace(Phase::Over);
        // What is cut off is given back in no time, unless the store is away; then the lease says so.
        const LAST_WORDS: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + LAST_WORDS;
        let _ = timeout_at(deadline, self.shared.all_left()).await;
        self.shared.ledger.close();
        let writer = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut writer) = writer
            && timeout_at(deadline, &mut writer).await.is_err()
        {
            writer.abort();
            tracing::error!("Stopped without writing down the last attempts; they are made again.");
        }
        cut
    }
}

impl Drop for Dispatcher {
    /// Without [`Dispatcher::shutdown`], attempts under way are cut off.
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Over);
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Wakes a webhook's lane, or begins one.
    fn ring(self: &Arc<Self>, webhook: &str) {
        if let Some(bell) = self.lanes.get(webhook) {
            bell.ring();
            return;
        }
        if self.phase() > Phase::Running {
            return;
        }
        match self.lanes.entry(webhook.to_owned()) {
            Entry::Occupied(bell) => bell.get().ring(),
            Entry::Vacant(place) => {
                let bell = Arc::new(LaneBell::default());
                place.insert(bell.clone());
                self.running.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(lane::run(self.clone(), webhook.to_owned(), bell));
            }
        }
    }

    /// Ends a lane, unless it was rung meanwhile.
    fn leave(&self, webhook: &str) -> bool {
        // The map's lock keeps a ring from falling between the look and the removal.
        self.lanes.remove_if(webhook, |_, bell| !bell.rung.load(Ordering::Relaxed)).is_some()
    }

    async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            if self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            left.await;
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Says once that the store fails, and once that it is back.
    fn note<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        let failed = result.is_err();
        let changed = self.store_fails.swap(failed, Ordering::Relaxed) != failed;
        match result {
            Ok(value) => {
                if changed {
                    tracing::info!("The store gives deliveries again.");
                }
                Some(value)
            }
            Err(error) => {
                if changed {
                    tracing::error!(%error, "The store gives no deliveries; they wait in it.");
                }
                None
            }
        }
    }
}

// === impl LaneBell ===

impl LaneBell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    async fn heard(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Relaxed);
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
            ledger: 1024,
            payloads: Payloads::default(),
        }
    }
}

/// The fast path: the outbox rings, the lane runs.
async fn hear(shared: Arc<Shared>) {
    loop {
        for webhook in shared.bells.heard().await {
            shared.ring(&webhook);
        }
    }
}

/// The net: what another process left, what a dead process left, retries of lanes that ended, and
/// deliveries whose rule is gone.
async fn poll(shared: Arc<Shared>) {
    loop {
        let mut next = shared.options.poll;
        let all = shared.look_at_all.swap(false, Ordering::Relaxed);
        let due = shared.note(shared.store.due().await);
        if due.is_none() && all {
            shared.look_at_all.store(true, Ordering::Relaxed);
        }
        for due in due.unwrap_or_default() {
            let is_due = due.due <= now();
            if is_due || all && shared.directory.endpoint(&due.webhook).is_none() {
                shared.ring(&due.webhook);
            }
            if !is_due {
                next = next.min(until(due.due));
                if !all {
                    // Soonest first: all others are later.
                    break;
                }
            }
        }
        sleep(next.max(Duration::from_millis(10))).await;
    }
}
