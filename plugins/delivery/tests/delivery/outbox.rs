//! Record first, settle later, whatever the store does.
//!
//! For a slow store the clock is paused: it only advances for timers.

mod bounds;
mod order;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use as2hook_as2::{ErrorCode, ProcessingError};
use as2hook_delivery::{
    OnStoreFailure, Outbox, OutboxError, OutboxOptions, Recorded, Target, Wakeups, writes,
};
use as2hook_event::{Direction, Event, EventKind, Order, PayloadMode, Verdict};
use as2hook_store::{DeliveryState, Payload, StoreError, Write};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{event, opened, published, rule, settled, store::MemoryStore, until};

const STORE_TIMEOUT: Duration = Duration::from_millis(100);

fn outbox(store: &Arc<MemoryStore>, options: OutboxOptions) -> Outbox {
    Outbox::new(store.clone(), Wakeups::new(), options)
}

fn options(on_store_failure: OnStoreFailure) -> OutboxOptions {
    let recover_every = Duration::from_millis(20);
    OutboxOptions {
        on_store_failure,
        patience: STORE_TIMEOUT,
        recover_every,
        ..OutboxOptions::default()
    }
}

fn targets(names: &[&str]) -> Vec<Target> {
    let mode = PayloadMode::JSON;
    names.iter().map(|n| Target { webhook: (*n).into(), mode, order_key: None }).collect()
}

fn received() -> Verdict {
    Verdict::of(EventKind::MessageReceived)
}

fn verdict(store: &MemoryStore, event: &Event) -> Option<Verdict> {
    serde_json::from_slice(&store.event(event.id)?.verdict?).ok()
}

#[tokio::test]
async fn settled_exchange_is_recorded_first_and_due_afterwards() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, OutboxOptions::default());
    let event = event();
    let planned = targets(&["a", "b"]);
    let payload = Payload::Inline(Bytes::from_static(b"UNB+"));
    outbox.open(opened(&event, payload.clone(), &planned)).await.unwrap();
    let row = store.event(event.id).unwrap().row;
    assert_eq!((row.kind.as_str(), row.site.as_str()), ("message.received", "main"));
    assert_eq!(
        (row.partner.as_deref(), row.station.as_deref()),
        (Some("ACME"), Some("MY-OWN-ORG"))
    );
    assert_eq!(row.message_id.as_deref(), Some("<1@acme>"));
    assert_eq!(row.payload, payload);
    assert_eq!(serde_json::from_slice::<Event>(&row.body).unwrap(), event);
    assert!(store.deliveries().is_empty(), "no delivery before the verdict");

    outbox.write(settled(event.id, &received(), &planned)).await;
    let due = store.deliveries();
    assert_eq!(due.len(), 2);
    assert_eq!(due[0].new.webhook_id, event.webhook_id("a"));
    assert_eq!((due[0].new.mode.as_str(), due[1].new.webhook.as_str()), ("json", "b"));
    assert_eq!(verdict(&store, &event), Some(received()));
    assert!(outbox.health().is_healthy());
}

#[tokio::test]
async fn discarded_exchange_is_removed() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, OutboxOptions::default());
    let event = event();
    outbox.open(opened(&event, Payload::None, &targets(&["a"]))).await.unwrap();
    outbox.write(vec![Write::Discard(event.id)]).await;
    assert_eq!(store.events(), 0);
}

#[tokio::test]
async fn pass_holds_exchanges_until_the_store_works_again() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.fail(true);
    let events: Vec<_> = (0..20).map(|_| event()).collect();
    for event in &events {
        outbox.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
    }
    // Half of them are settled while the store fails.
    for event in &events[..10] {
        outbox.write(settled(event.id, &received(), &targets(&["a"]))).await;
    }
    let health = outbox.health();
    assert!(health.failing_since.is_some() && !health.is_healthy());
    assert_eq!((health.held, health.dropped), (20, 0));
    assert_eq!(health.last_error.as_deref(), Some("the store failed: disk I/O error"));
    assert!(health.held_bytes > 20 * 200);

    store.fail(false);
    until("what was held to be written", || outbox.health().is_healthy()).await;
    assert_eq!((store.events(), store.deliveries().len()), (20, 10));
    for event in &events[10..] {
        outbox.write(settled(event.id, &received(), &targets(&["a"]))).await;
    }
    assert_eq!(store.count(DeliveryState::Pending), 20);
    assert_eq!(outbox.health().held_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn pass_waits_for_a_slow_store_no_longer_than_its_timeout() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.delay(STORE_TIMEOUT * 5);
    let begun = Instant::now();
    let event = event();
    outbox.open(opened(&event, Payload::None, &targets(&["a"]))).await.unwrap();
    assert!(begun.elapsed() < STORE_TIMEOUT * 2, "{:?}", begun.elapsed());
    assert_eq!(outbox.health().held, 1);
    // The next call does not even try.
    let begun = Instant::now();
    outbox.write(settled(event.id, &received(), &targets(&["a"]))).await;
    assert!(begun.elapsed() < STORE_TIMEOUT, "{:?}", begun.elapsed());

    // A late write is stored, but the store does not count as working for that.
    until("the slow writes to end", || outbox.health().held == 0).await;
    assert_eq!((store.events(), store.deliveries().len()), (1, 1));
    assert!(outbox.health().failing_since.is_some());
    store.delay(Duration::ZERO);
    until("the store to be found well", || outbox.health().is_healthy()).await;
}

#[tokio::test(start_paused = true)]
async fn refused_exchange_is_an_error_and_leaves_no_event() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Refuse));
    store.fail(true);
    let error = outbox.open(opened(&event(), Payload::None, &[])).await.unwrap_err();
    assert!(matches!(error, OutboxError::Store(_)), "{error}");
    assert_eq!(outbox.health().held, 0);
    let error = outbox.open(opened(&event(), Payload::None, &[])).await.unwrap_err();
    assert!(matches!(error, OutboxError::Failing(_)), "no wait for a failing store: {error}");
    store.fail(false);
    until("the store to be found well", || outbox.health().is_healthy()).await;

    // An exchange whose late write follows its refusal must not be reported.
    store.delay(STORE_TIMEOUT * 3);
    let error = outbox.open(opened(&event(), Payload::None, &targets(&["a"]))).await.unwrap_err();
    assert_eq!(error.to_string(), "the store did not respond within 0.1 s");
    store.delay(Duration::ZERO);
    until("the refused exchange to go", || outbox.health().is_healthy()).await;
    assert_eq!(store.events(), 0);

    outbox.open(opened(&event(), Payload::None, &[])).await.unwrap();
}

/// The process is stopped while the database commits: when it continues, the time limit has passed.
#[tokio::test(start_paused = true)]
async fn refused_exchange_that_was_committed_unseen_is_discarded() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Refuse));
    store.committing_unseen.store(true, Ordering::SeqCst);
    let error = outbox.open(opened(&event(), Payload::None, &targets(&["a"]))).await.unwrap_err();
    assert!(matches!(error, OutboxError::Store(StoreError::Slow(_))), "{error}");
    assert_eq!(store.events(), 1);
    store.committing_unseen.store(false, Ordering::SeqCst);
    until("the refused exchange to go", || store.events() == 0).await;
    until("the store to be found well", || outbox.health().is_healthy()).await;
}

#[tokio::test(start_paused = true)]
async fn held_events_are_written_many_at_once_and_in_order() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.fail(true);
    let events: Vec<_> = (0..500).map(|_| event()).collect();
    for event in &events {
        outbox.write(published(event, Payload::None, &targets(&["a"]))).await;
    }
    assert_eq!(outbox.health().held, 500);
    store.delay(Duration::from_millis(20));
    store.fail(false);
    let begun = Instant::now();
    until("what was held to be written", || outbox.health().is_healthy()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let delivered: Vec<_> = store.deliveries().into_iter().map(|due| due.new.webhook_id).collect();
    let expected: Vec<_> = events.iter().map(|event| event.webhook_id("a")).collect();
    assert_eq!(delivered, expected);
}

#[tokio::test(start_paused = true)]
async fn store_that_responds_late_does_not_count_as_working() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.delay(STORE_TIMEOUT * 2);
    outbox.write(published(&event(), Payload::None, &[])).await;
    until("the late write to end", || outbox.health().held == 0).await;
    assert!(outbox.health().failing_since.is_some());
    store.delay(Duration::ZERO);
    until("the store to be found well", || outbox.health().is_healthy()).await;
}

#[tokio::test]
async fn a_verdict_is_held_with_refuse_too() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Refuse));
    let event = event();
    outbox.open(opened(&event, Payload::None, &targets(&["a"]))).await.unwrap();
    store.fail(true);
    outbox.write(settled(event.id, &received(), &targets(&["a"]))).await;
    assert_eq!(outbox.health().held, 1);
    store.fail(false);
    until("the verdict to be written", || outbox.health().is_healthy()).await;
    assert_eq!(verdict(&store, &event), Some(received()));
}

#[tokio::test]
async fn exchange_left_open_by_a_terminated_process_has_an_unknown_outcome() {
    let store = MemoryStore::new();
    let before = outbox(&store, OutboxOptions::default());
    let inbound = event();
    let outbound =
        Event { direction: Direction::Outbound, kind: EventKind::MessageSent, ..event() };
    for event in [&inbound, &outbound] {
        before.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
    }
    store.orphan_everything();

    let after = outbox(&store, OutboxOptions::default());
    assert_eq!(after.recover().await.unwrap(), 2);
    assert_eq!(after.recover().await.unwrap(), 0);
    let due = store.deliveries();
    assert_eq!(due.len(), 2);
    assert!(due.iter().any(|d| d.new.webhook_id == inbound.webhook_id("a")));
    let inbound = verdict(&store, &inbound).unwrap();
    assert_eq!(inbound, Verdict::unknown(Direction::Inbound, EventKind::MessageReceived));
    let outbound = verdict(&store, &outbound).unwrap();
    assert_eq!(outbound.kind, EventKind::SendError);
}

#[tokio::test]
async fn verdict_of_an_event_that_is_not_in_the_store_is_not_held() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    let settled = outbox.write(settled(event().id, &received(), &targets(&["a"]))).await;
    assert_eq!(settled, Recorded::Dropped);
    assert!(outbox.health().is_healthy());
}

#[tokio::test]
async fn exchanges_of_terminated_processes_are_looked_for_periodically() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    outbox.open(opened(&event(), Payload::None, &targets(&["a"]))).await.unwrap();
    store.orphan_everything();
    until("the exchange to be adopted", || store.deliveries().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn closing_writes_what_it_can_in_time() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.fail(true);
    outbox.write(published(&event(), Payload::None, &[])).await;
    assert_eq!(outbox.close(STORE_TIMEOUT).await, 1);

    let store = MemoryStore::new();
    let outbox = self::outbox(&store, options(OnStoreFailure::Pass));
    store.delay(STORE_TIMEOUT * 2);
    outbox.write(published(&event(), Payload::None, &[])).await;
    assert_eq!(outbox.close(Duration::from_secs(10)).await, 0);
    assert_eq!(store.events(), 1);
}
