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
mod options;
mod pace;
mod serve;
mod shared;
mod slots;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use as2hook_store::{Store, StoreError};
use dashmap::DashMap;
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

pub use bells::Bells;
pub use health::{Health, Standing};
pub use options::{DISABLE_AFTER, DispatcherOptions};

use crate::{
    client::Client,
    directory::{Directory, Notices},
};
use health::Vitals;
use shared::{LaneBell, Phase, Shared};
use slots::Slots;

/// The running dispatcher.
pub struct Dispatcher {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    ledger: Mutex<Option<JoinHandle<()>>>,
}

/// How long putting a webhook back into service may take.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Dispatcher ===

impl Dispatcher {
    /// Starts making deliveries. `bells` are those that the outbox rings; `notices` hears of disabled
    /// webhooks. Spawns its tasks; call within a tokio runtime.
    ///
    /// A store that cannot say how the webhooks did before is asked until it can, and nothing is
    /// delivered before.
    ///
    /// # Errors
    /// None of its own; callers are ready for those of other stores.
    pub async fn start(
        store: Arc<dyn Store>,
        client: Arc<Client>,
        directory: Arc<dyn Directory>,
        notices: Option<Arc<dyn Notices>>,
        bells: Bells,
        options: DispatcherOptions,
    ) -> Result<Self, StoreError> {
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
            vitals: DashMap::new(),
            lanes: DashMap::new(),
            paces: DashMap::new(),
            retold: DashMap::new(),
            asked_back: DashMap::new(),
            look_at_all: AtomicBool::new(true),
            ledger,
            phase: phases,
            running: AtomicUsize::new(0),
            left: Notify::new(),
            unreadable: AtomicBool::new(false),
            store_fails: AtomicBool::new(false),
        });
        let states = shared.store.webhook_states().await;
        let known = shared.note_read(states).map(|states| shared.remember(states)).is_some();
        let tasks = vec![tokio::spawn(serve::run(shared.clone(), known))];
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
