//! Webhooks out of service and back: 410, long failure, changed and removed rules.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use as2hook_delivery::{DispatcherOptions, HealthState, Target};
use as2hook_store::{DeliveryQueue as _, DeliveryState, Payload, WebhookState};

use crate::support::{
    delivered, event, failing,
    gateway::{Gateway, Rules},
    published, rule,
    sink::{Gate, Reply, Sink},
    store::MemoryStore,
    until,
};

fn is_disabled(gateway: &Gateway) -> bool {
    let health = gateway.dispatcher.health("a");
    health.is_some_and(|health| matches!(health.health_state, HealthState::Disabled { .. }))
}

#[tokio::test]
async fn status_410_disables_the_webhook_and_holds_its_deliveries() {
    let gone = Arc::new(AtomicBool::new(true));
    let still = gone.clone();
    let sink = Sink::start(move |_| match still.load(Ordering::SeqCst) {
        true => Reply::Status(410),
        false => Reply::Status(200),
    })
    .await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be disabled", || !gateway.rules.disabled().is_empty()).await;
    let notice = gateway.rules.disabled().remove(0);
    let (webhook, reason, _) = notice;
    assert_eq!((webhook.as_str(), reason.as_str()), ("a", "the endpoint responded with 410 Gone"));
    assert_eq!(
        gateway.dispatcher.health("a").unwrap().health_state,
        HealthState::Disabled { reason }
    );
    let remembered = gateway.store.state("a").unwrap();
    assert_eq!(remembered.disabled.as_deref(), Some("the endpoint responded with 410 Gone"));

    // It still matches its events; new deliveries are held without an attempt.
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be held", || gateway.store.count(DeliveryState::Held) == 4).await;
    assert_eq!(sink.count(), 1);

    gone.store(false, Ordering::SeqCst);
    gateway.dispatcher.enable("a").await.unwrap();
    delivered(&gateway, 4).await;
    assert_eq!(gateway.store.state("a").unwrap().disabled, None);
    assert_eq!(gateway.rules.disabled().len(), 1, "reported once");
}

#[tokio::test]
async fn a_changed_rule_brings_a_disabled_webhook_back() {
    let (gone, there) = (Sink::answering(410).await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &gone.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be disabled", || is_disabled(&gateway)).await;
    // Setting the same rule again changes nothing.
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
        disabled: Some("the endpoint responded with 410 Gone".into()),
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
    assert!(gateway.rules.disabled().is_empty(), "the operator knows");
    gateway.rules.set(rule("a", &sink.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
}

#[tokio::test]
async fn webhook_that_only_fails_for_long_is_disabled() {
    let sink = Sink::answering(500).await;
    let mut failing = rule("a", &sink.url());
    failing.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let options =
        DispatcherOptions { disable_after: Duration::from_millis(200), ..Default::default() };
    let gateway = Gateway::over(MemoryStore::new(), [failing], options).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the notice", || !gateway.rules.disabled().is_empty()).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    let notice = gateway.rules.disabled().remove(0);
    let (_, reason, failing_since) = notice;
    assert!(reason.starts_with("nothing but failures for "), "{reason}");
    assert!(failing_since.is_some());
}

#[tokio::test]
async fn disable_after_of_a_rule_replaces_the_default() {
    let sink = Sink::answering(500).await;
    let mut soon = rule("soon", &sink.url());
    soon.endpoint.retry = vec![Duration::from_millis(20); 1000];
    soon.endpoint.disable_after = Some(Duration::from_millis(100));
    let mut late = rule("late", &sink.url());
    late.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let gateway = Gateway::start([soon, late]).await;
    gateway.exchange(&event(), &["soon", "late"]).await;
    until("the notice", || !gateway.rules.disabled().is_empty()).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    let notices = gateway.rules.disabled();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].0, "soon");
    assert_eq!(notices[0].1, "nothing but failures for 0.1 seconds");
    let late = || gateway.dispatcher.health("late").map(|health| health.health_state);
    until("the other to have failed too", || late() == Some(HealthState::Retrying)).await;
}

#[tokio::test]
async fn deliveries_of_a_removed_rule_are_orphaned_until_it_returns() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let targets = [Target::of(&gateway.rules.get("a"), &event())];
    gateway.rules.remove("a");
    let event = event();
    gateway.outbox.write(published(&event, Payload::None, &targets)).await;
    until("it to be orphaned", || gateway.store.count(DeliveryState::Orphaned) == 1).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().health_state, HealthState::Orphaned);

    // Another process starts from the stored state.
    let store = gateway.store.clone();
    gateway.stop().await;
    let rules = Arc::new(Rules::default());
    let gateway = Gateway::with(store, rules, DispatcherOptions::default()).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().health_state, HealthState::Orphaned);
    gateway.rules.set(rule("a", &sink.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
    let id = event.webhook_id("a");
    assert_eq!(sink.requests()[0].header("webhook-id"), Some(id.as_str()));
}

#[tokio::test]
async fn delivery_that_waits_for_its_retry_is_orphaned_too() {
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
async fn enabling_returns_how_many_deliveries_continue() {
    let sink = failing(1, Reply::Status(410)).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    assert_eq!(gateway.dispatcher.enable("unknown").await.unwrap(), 0);
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be held or delivered", || {
        let held = gateway.store.count(DeliveryState::Held);
        let delivered = gateway.store.count(DeliveryState::Delivered);
        is_disabled(&gateway) && held + delivered == 3
    })
    .await;
    let held = gateway.store.count(DeliveryState::Held) as u64;
    gateway.store.fail(true);
    gateway.dispatcher.enable("a").await.unwrap_err();
    gateway.store.fail(false);
    assert_eq!(gateway.dispatcher.enable("a").await.unwrap(), held);
    delivered(&gateway, 3).await;
}

#[tokio::test]
async fn status_410_of_a_former_url_disables_nothing() {
    let gate = Gate::default();
    let late = Reply::Behind(gate.clone(), 410);
    let (old, new) = (Sink::start(move |_| late.clone()).await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &old.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the attempt to be under way", || old.count() == 1).await;
    gateway.rules.set(rule("a", &new.url()));
    gateway.dispatcher.rules_changed();
    gate.open();
    delivered(&gateway, 1).await;
    assert_eq!((old.count(), new.count()), (1, 1));
    assert!(!is_disabled(&gateway) && gateway.rules.disabled().is_empty());
}

/// Asks for a pause of an hour.
async fn busy() -> Sink {
    Sink::start(|_| Reply::With(429, "Retry-After: 3600".to_owned())).await
}

#[tokio::test]
async fn retry_after_of_a_former_url_delays_nothing() {
    let (old, new) = (busy().await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &old.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    let paused = || gateway.dispatcher.health("a").is_some_and(|it| it.paused_until.is_some());
    until("the pause", paused).await;
    // Another part of the rule changes: the endpoint is the same one.
    let mut same = rule("a", &old.url());
    same.endpoint.concurrency = 3;
    gateway.rules.set(same);
    gateway.dispatcher.rules_changed();
    gateway.exchange(&event(), &["a"]).await;
    until("the store to be looked at", || gateway.store.count(DeliveryState::Pending) == 2).await;
    assert!(paused());
    gateway.rules.set(rule("a", &new.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 2).await;
    assert_eq!((old.count(), new.count()), (1, 2));
}

#[tokio::test]
async fn retry_after_of_a_former_url_delays_nothing_after_a_restart() {
    let (old, new) = (busy().await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &old.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be remembered", || gateway.store.state("a").is_some()).await;
    let store = gateway.store.clone();
    gateway.stop().await;
    let changed = [rule("a", &new.url())];
    let gateway = Gateway::over(store, changed, DispatcherOptions::default()).await;
    delivered(&gateway, 1).await;
}

#[tokio::test]
async fn failures_of_a_former_url_do_not_disable_the_new_one() {
    let sink = Sink::answering(500).await;
    let store = MemoryStore::new();
    let day = 24 * 3_600_000;
    let state = WebhookState {
        webhook: "a".into(),
        disabled: None,
        failing_since: Some(jiff::Timestamp::now().as_millisecond() - 6 * day),
        fingerprint: rule("a", "http://former.invalid/").fingerprint(),
    };
    store.set_webhook_state(state).await.unwrap();
    let gateway =
        Gateway::over(store, [rule("a", &sink.url())], DispatcherOptions::default()).await;
    gateway.exchange(&event(), &["a"]).await;
    until("a failure", || gateway.dispatcher.health("a").is_some_and(|it| it.failed == 1)).await;
    let since = gateway.dispatcher.health("a").unwrap().failing_since.unwrap();
    assert!(since > jiff::Timestamp::now().as_millisecond() - day, "{since}");
}

#[tokio::test]
async fn process_with_older_rules_moves_no_deliveries_and_writes_no_state() {
    let sink = Sink::answering(410).await;
    let mut off = rule("off", &sink.url());
    off.enabled = false;
    let gateway = Gateway::start([rule("a", &sink.url()), off, rule("gone", &sink.url())]).await;
    gateway.rules.outdated.store(true, Ordering::SeqCst);
    let targets = [Target::of(&gateway.rules.get("gone"), &event())];
    gateway.rules.remove("gone");
    gateway.outbox.write(published(&event(), Payload::None, &targets)).await;
    gateway.exchange(&event(), &["a", "off"]).await;
    until("the attempt", || gateway.store.attempts().len() == 1).await;
    until("it to be out of service here", || is_disabled(&gateway)).await;
    gateway.exchange(&event(), &["a", "off"]).await;
    assert_eq!(gateway.store.count(DeliveryState::Pending), 5);
    assert!(gateway.store.state("a").is_none() && gateway.store.state("off").is_none());
    assert!(gateway.rules.disabled().is_empty(), "nothing was disabled");

    // The others have terminated.
    gateway.rules.outdated.store(false, Ordering::SeqCst);
    gateway.dispatcher.rules_changed();
    until("all to be held", || gateway.store.count(DeliveryState::Held) == 4).await;
    until("it to be orphaned", || gateway.store.count(DeliveryState::Orphaned) == 1).await;
    assert!(gateway.store.state("a").is_some_and(|state| state.disabled.is_some()));
    assert_eq!(sink.count(), 1);
    until("it to be reported", || !gateway.rules.disabled().is_empty()).await;
    assert_eq!(gateway.rules.disabled()[0].0, "a");
}

#[tokio::test]
async fn process_with_older_rules_delivers_what_is_pending_when_its_rule_changes() {
    let (gone, there) = (Sink::answering(410).await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &gone.url())]).await;
    gateway.rules.outdated.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    until("it to be out of service here", || is_disabled(&gateway)).await;
    until("it to be pending again", || gateway.store.count(DeliveryState::Pending) == 1).await;

    gateway.rules.set(rule("a", &there.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
    assert!(gateway.store.state("a").is_none(), "only a gateway with newer rules stores it");
}

#[tokio::test]
async fn process_with_older_rules_brings_back_what_another_orphaned() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.rules.outdated.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    gateway
        .store
        .change_state("a", DeliveryState::Delivered, DeliveryState::Orphaned)
        .await
        .unwrap();
    for _ in 0..2 {
        gateway.dispatcher.take_over().await.unwrap();
    }
    until("another attempt", || sink.count() == 2).await;
    delivered(&gateway, 1).await;
}

#[tokio::test]
async fn deliveries_held_without_a_reason_are_brought_back() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url()), rule("b", &sink.url())]).await;
    let mut off = rule("b", &sink.url());
    off.enabled = false;
    gateway.rules.set(off);
    gateway.dispatcher.rules_changed();
    gateway.exchange(&event(), &["b"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    // As another process may have left it.
    gateway.store.change_state("a", DeliveryState::Delivered, DeliveryState::Held).await.unwrap();
    for _ in 0..2 {
        gateway.dispatcher.take_over().await.unwrap();
    }
    until("another attempt", || sink.count() == 2).await;
    delivered(&gateway, 1).await;
    assert_eq!(gateway.store.count(DeliveryState::Held), 1, "the delivery of the disabled rule");
}

/// A webhook whose endpoint fails until the switch is turned, with a first retry far off after each of many
/// deliveries.
async fn failing_with_backlog(switch: &Arc<AtomicBool>) -> (Sink, Gateway) {
    let works = switch.clone();
    let sink = Sink::start(move |_| match works.load(Ordering::SeqCst) {
        true => Reply::Status(200),
        false => Reply::Status(500),
    })
    .await;
    let mut down = rule("a", &sink.url());
    down.endpoint.retry = vec![Duration::from_secs(3600); 5];
    let gateway = Gateway::start([down]).await;
    for _ in 0..12 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to have failed", || gateway.store.attempts().len() == 12).await;
    (sink, gateway)
}

#[tokio::test]
async fn deliveries_that_wait_for_a_webhook_are_made_when_it_works_again() {
    let works = Arc::new(AtomicBool::new(false));
    let (_sink, gateway) = failing_with_backlog(&works).await;
    until("it to be reported", || gateway.rules.reported() == ["failing"]).await;
    works.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 13).await;
    assert_eq!(gateway.rules.reported(), ["failing", "recovered"]);
}

#[tokio::test]
async fn deliveries_that_wait_are_made_at_once_only_every_five_minutes() {
    let works = Arc::new(AtomicBool::new(false));
    let (_sink, gateway) = failing_with_backlog(&works).await;
    works.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 13).await;
    works.store(false, Ordering::SeqCst);
    for _ in 0..12 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to have failed", || gateway.store.attempts().len() == 12 + 13 + 12).await;
    works.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    let reported = ["failing", "recovered", "failing", "recovered"];
    until("both to be reported", || gateway.rules.reported() == reported).await;
    delivered(&gateway, 14).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gateway.store.count(DeliveryState::Delivered), 14, "the others wait");
}

#[tokio::test]
async fn dead_delivery_is_reported_at_once_and_the_next_ones_with_the_minute() {
    let sink = Sink::answering(500).await;
    let mut brief = rule("a", &sink.url());
    brief.endpoint.retry = Vec::new();
    let gateway = Gateway::start([brief]).await;
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be dead", || gateway.store.count(DeliveryState::Dead) == 3).await;
    until("it to be reported", || gateway.rules.reported() == ["dead"]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gateway.rules.reported(), ["dead"]);
}
