//! Outbox, dispatcher and rules, put together as in the gateway.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use as2hook_delivery::{
    Directory, Dispatcher, DispatcherOptions, Notice, Notices, Outbox, OutboxOptions, Target,
    Wakeups, WebhookChange,
};
use as2hook_event::{Event, Rule, Verdict};
use as2hook_sink::{Client, Sinks};
use as2hook_store::Payload;
use async_trait::async_trait;

use super::{AMPLE, opened, settled, store::MemoryStore};

pub struct Gateway {
    pub store: Arc<MemoryStore>,
    pub outbox: Outbox,
    pub dispatcher: Dispatcher,
    pub rules: Arc<Rules>,
}

#[derive(Default)]
pub struct Rules {
    rules: Mutex<HashMap<String, Arc<Rule>>>,
    pub notices: Mutex<Vec<Notice>>,
    /// Another gateway has other rules.
    pub at_odds: AtomicBool,
    /// Another gateway has newer rules.
    pub outdated: AtomicBool,
    /// The next worker that looks up its rule panics.
    pub breaks_worker: AtomicBool,
    /// The next attempt panics.
    pub breaks_attempt: AtomicBool,
}

impl Rules {
    pub fn set(&self, rule: Rule) {
        self.rules.lock().unwrap().insert(rule.name.clone(), Arc::new(rule));
    }

    pub fn remove(&self, name: &str) {
        self.rules.lock().unwrap().remove(name);
    }

    /// Returns the webhooks that were reported as disabled, with the reason and since when they failed.
    pub fn disabled(&self) -> Vec<(String, String, Option<i64>)> {
        let notices = self.notices.lock().unwrap().clone();
        let disabled = notices.into_iter().filter_map(|notice| match notice.what {
            WebhookChange::Disabled { reason, failing_since } => {
                assert_eq!(notice.site, "main");
                Some((notice.webhook, reason, failing_since))
            }
            _ => None,
        });
        disabled.collect()
    }

    /// Returns in a word each what was reported.
    pub fn reported(&self) -> Vec<&'static str> {
        let notices = self.notices.lock().unwrap();
        let word = |notice: &Notice| match notice.what {
            WebhookChange::Disabled { .. } => "disabled",
            WebhookChange::Failing { .. } => "failing",
            WebhookChange::Recovered { .. } => "recovered",
            WebhookChange::Dead { .. } => "dead",
        };
        notices.iter().map(word).collect()
    }

    pub fn get(&self, name: &str) -> Arc<Rule> {
        self.rules.lock().unwrap()[name].clone()
    }
}

impl Directory for Rules {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        assert!(!self.breaks_worker.swap(false, Ordering::SeqCst), "a worker is to break");
        self.rules.lock().unwrap().get(webhook).cloned()
    }

    fn is_newest(&self) -> bool {
        !self.outdated.load(Ordering::SeqCst)
    }

    fn is_agreed(&self) -> bool {
        !self.at_odds.load(Ordering::SeqCst)
    }

    fn leading(&self, _rule: &Rule, _event: &Event) -> Vec<(&'static str, serde_json::Value)> {
        assert!(!self.breaks_attempt.swap(false, Ordering::SeqCst), "an attempt is to break");
        Vec::new()
    }
}

#[async_trait]
impl Notices for Rules {
    async fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }
}

impl Gateway {
    pub async fn start(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::over(MemoryStore::new(), rules, DispatcherOptions::default()).await
    }

    pub async fn over(
        store: Arc<MemoryStore>,
        rules: impl IntoIterator<Item = Rule>,
        options: DispatcherOptions,
    ) -> Self {
        let known = Arc::new(Rules::default());
        for rule in rules {
            known.set(rule);
        }
        Self::with(store, known, options).await
    }

    pub async fn with(
        store: Arc<MemoryStore>,
        rules: Arc<Rules>,
        options: DispatcherOptions,
    ) -> Self {
        let client = Arc::new(Client::new().await.unwrap());
        Self::of(store, rules, options, client.into()).await
    }

    pub async fn of(
        store: Arc<MemoryStore>,
        rules: Arc<Rules>,
        options: DispatcherOptions,
        sinks: Sinks,
    ) -> Self {
        let wakeups = Wakeups::new();
        let outbox = Outbox::new(store.clone(), wakeups.clone(), OutboxOptions::default());
        let notices: Arc<dyn Notices> = rules.clone();
        let dispatcher =
            Dispatcher::start(store.clone(), sinks, rules.clone(), Some(notices), wakeups, options)
                .await
                .unwrap();
        Self { store, outbox, dispatcher, rules }
    }

    /// Makes an exchange from its opening to its verdict.
    pub async fn exchange(&self, event: &Event, webhooks: &[&str]) {
        self.exchange_with(event, Payload::None, webhooks).await;
    }

    pub async fn exchange_with(&self, event: &Event, payload: Payload, webhooks: &[&str]) {
        let targets: Vec<_> =
            webhooks.iter().map(|name| Target::of(&self.rules.get(name), event)).collect();
        self.outbox.open(opened(event, payload, &targets)).await.unwrap();
        self.outbox.write(settled(event.id, &Verdict::of(event.kind), &targets)).await;
    }

    pub async fn stop(&self) -> usize {
        self.dispatcher.shutdown(AMPLE).await
    }
}
