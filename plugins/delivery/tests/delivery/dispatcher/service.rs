//! Out of service and back: 410, long failure, rules that change or go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use as2hook_delivery::{DispatcherOptions, Standing, Target};
use as2hook_store::{DeliveryState, Payload, Store as _, WebhookState};

use crate::support::{
    delivered, event, failing,
    gateway::{Gateway, Rules},
    rule,
    sink::{Reply, Sink},
    store::MemoryStore,
    until,
};

fn is_disabled(gateway: &Gateway) -> bool {
    let health = gateway.dispatcher.health("a");
    health.is_some_and(|health| matches!(health.standing, Standing::Disabled { .. }))
}

#[tokio::test]
async fn gone_disables_the_webhook_and_holds_its_deliveries() {
    let gone = Arc::new(AtomicBool::new(true));
    let still = gone.clone();
    let sink = Sink::start(move |_| match still.load(Ordering::SeqCst) {
        true => Reply::Status(410),
        false => Reply::Status(200),
    })
    .await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be disabled", || !gateway.rules.disabled.lock().unwrap().is_empty()).await;
    let notice = gateway.rules.disabled.lock().unwrap()[0].clone();
    assert_eq!((notice.webhook.as_str(), notice.site.as_str()), ("a", "main"));
    assert_eq!(notice.reason, "the endpoint answered 410 Gone");
    let reason = notice.reason;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Disabled { reason });
    let remembered = gateway.store.state("a").unwrap();
    assert_eq!(remembered.disabled.as_deref(), Some("the endpoint answered 410 Gone"));

    // It still wins its routing; what comes is held without an attempt.
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be held", || gateway.store.count(DeliveryState::Held) == 4).await;
    assert_eq!(sink.count(), 1);

    gone.store(false, Ordering::SeqCst);
    gateway.dispatcher.enable("a").await.unwrap();
    delivered(&gateway, 4).await;
    assert_eq!(gateway.store.state("a").unwrap().disabled, None);
    assert_eq!(gateway.rules.disabled.lock().unwrap().len(), 1, "told once");
}

#[tokio::test]
async fn a_changed_rule_brings_a_disabled_webhook_back() {
    let (gone, there) = (Sink::answering(410).await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &gone.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be disabled", || is_disabled(&gateway)).await;
    // The same rule anew changes nothing.
    gateway.rules.set(rule("a", &gone.url()));
    gateway.dispatcher.rules_changed();
    gateway.exchange(&event(), &["a"]).await;
    until("both to be held", || gateway.store.count(DeliveryState::Held) == 2).await;

    gateway.rules.set(rule("a", &there.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 2).await;
    assert_eq!((gone.count(), there.count()), (1, 2));
}

#[tokio::test]
async fn a_disabled_webhook_stays_so_over_a_restart() {
    let sink = Sink::answering(200).await;
    let store = MemoryStore::new();
    let disabled = rule("a", &sink.url());
    let state = WebhookState {
        webhook: "a".into(),
        disabled: Some("the endpoint answered 410 Gone".into()),
        failing_since: None,
        fingerprint: disabled.fingerprint(),
    };
    store.set_webhook_state(state).await.unwrap();
    let gateway = Gateway::over(store, [disabled], DispatcherOptions::default()).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn a_rule_that_is_switched_off_holds_its_backlog() {
    let sink = Sink::answering(200).await;
    let mut off = rule("a", &sink.url());
    off.enabled = false;
    let gateway = Gateway::start([off]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    assert!(gateway.rules.disabled.lock().unwrap().is_empty(), "the operator knows");
    gateway.rules.set(rule("a", &sink.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
}

#[tokio::test]
async fn nothing_but_failures_for_long_disables() {
    let sink = Sink::answering(500).await;
    let mut failing = rule("a", &sink.url());
    failing.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let options =
        DispatcherOptions { disable_after: Duration::from_millis(200), ..Default::default() };
    let gateway = Gateway::over(MemoryStore::new(), [failing], options).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the notice", || !gateway.rules.disabled.lock().unwrap().is_empty()).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    let notice = gateway.rules.disabled.lock().unwrap()[0].clone();
    assert!(notice.reason.starts_with("nothing but failures for "), "{}", notice.reason);
    assert!(notice.failing_since.is_some());
}

#[tokio::test]
async fn a_rule_says_itself_after_how_long_it_is_disabled() {
    let sink = Sink::answering(500).await;
    let mut soon = rule("soon", &sink.url());
    soon.endpoint.retry = vec![Duration::from_millis(20); 1000];
    soon.endpoint.disable_after = Some(Duration::from_millis(100));
    let mut late = rule("late", &sink.url());
    late.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let gateway = Gateway::start([soon, late]).await;
    gateway.exchange(&event(), &["soon", "late"]).await;
    until("the notice", || !gateway.rules.disabled.lock().unwrap().is_empty()).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    let notices = gateway.rules.disabled.lock().unwrap().clone();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].webhook, "soon");
    assert_eq!(notices[0].reason, "nothing but failures for 0.1 seconds");
    let late = || gateway.dispatcher.health("late").map(|health| health.standing);
    until("the other to have failed too", || late() == Some(Standing::Retrying)).await;
}

#[tokio::test]
async fn deliveries_of_a_removed_rule_are_orphaned_until_it_returns() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let targets = [Target::of(&gateway.rules.get("a"), &event())];
    gateway.rules.remove("a");
    let event = event();
    gateway.outbox.publish(&event, Payload::None, &targets).await.unwrap();
    until("it to be orphaned", || gateway.store.count(DeliveryState::Orphaned) == 1).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Orphaned);

    // Another process remembers.
    let store = gateway.store.clone();
    gateway.stop().await;
    let rules = Arc::new(Rules::default());
    let gateway = Gateway::with(store, rules, DispatcherOptions::default()).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Orphaned);
    gateway.rules.set(rule("a", &sink.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
    let id = event.webhook_id("a");
    assert_eq!(sink.requests()[0].header("webhook-id"), Some(id.as_str()));
}

#[tokio::test]
async fn what_waits_for_its_retry_is_orphaned_too() {
    let sink = Sink::answering(500).await;
    let mut slow = rule("a", &sink.url());
    slow.endpoint.retry = vec![Duration::from_secs(3600)];
    let gateway = Gateway::start([slow]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the first attempt", || gateway.store.attempts().len() == 1).await;
    gateway.rules.remove("a");
    gateway.dispatcher.rules_changed();
    until("it to be orphaned", || gateway.store.count(DeliveryState::Orphaned) == 1).await;
}

#[tokio::test]
async fn enabling_says_how_many_go_on() {
    let sink = failing(1, Reply::Status(410)).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    assert_eq!(gateway.dispatcher.enable("nobody").await.unwrap(), 0);
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be held or told", || {
        let held = gateway.store.count(DeliveryState::Held);
        let told = gateway.store.count(DeliveryState::Delivered);
        is_disabled(&gateway) && held + told == 3
    })
    .await;
    let held = gateway.store.count(DeliveryState::Held) as u64;
    gateway.store.fail(true);
    gateway.dispatcher.enable("a").await.unwrap_err();
    gateway.store.fail(false);
    assert_eq!(gateway.dispatcher.enable("a").await.unwrap(), held);
    delivered(&gateway, 3).await;
}
