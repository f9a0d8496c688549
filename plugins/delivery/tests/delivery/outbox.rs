//! Record first, settle later, whatever the store does.
//!
//! Where it is slow, the clock goes on only when nobody has anything to do.

use std::{sync::Arc, time::Duration};

use as2hook_as2::{ErrorCode, ProcessingError};
use as2hook_delivery::{
    Bells, Further, OnStoreFailure, Outbox, OutboxError, OutboxOptions, Recorded, Target,
};
use as2hook_store::{DeliveryState, Payload};
use as2hook_webhooks::{Direction, Event, EventKind, Order, PayloadMode, Verdict};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{event, rule, store::MemoryStore, until};

const PATIENCE: Duration = Duration::from_millis(100);

fn outbox(store: &Arc<MemoryStore>, options: OutboxOptions) -> Outbox {
    Outbox::new(store.clone(), Bells::new(), options)
}

fn options(on_store_failure: OnStoreFailure) -> OutboxOptions {
    let recover_every = Duration::from_millis(20);
    OutboxOptions {
        on_store_failure,
        patience: PATIENCE,
        recover_every,
        ..OutboxOptions::default()
    }
}

fn targets(names: &[&str]) -> Vec<Target> {
    let mode = PayloadMode::Json;
    names.iter().map(|n| Target { webhook: (*n).into(), mode, order_key: None }).collect()
}

fn received() -> Verdict {
    Verdict::of(EventKind::MessageReceived)
}

fn verdict(store: &MemoryStore, event: &Event) -> Option<Verdict> {
    serde_json::from_slice(&store.event(event.id)?.verdict?).ok()
}

#[tokio::test]
async fn an_exchange_is_recorded_and_then_due() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, OutboxOptions::default());
    let event = event();
    let planned = targets(&["a", "b"]);
    let payload = Payload::Inline(Bytes::from_static(b"UNB+"));
    outbox.open(&event, payload.clone(), &planned).await.unwrap();
    let row = store.event(event.id).unwrap().row;
    assert_eq!((row.kind.as_str(), row.site.as_str()), ("message.received", "main"));
    assert_eq!(
        (row.partner.as_deref(), row.station.as_deref()),
        (Some("ACME"), Some("MY-OWN-ORG"))
    );
    assert_eq!(row.message_id.as_deref(), Some("<1@acme>"));
    assert_eq!(row.payload, payload);
    assert_eq!(serde_json::from_slice::<Event>(&row.body).unwrap(), event);
    assert!(store.deliveries().is_empty(), "nobody is told before the verdict");

    outbox.settle(event.id, &received(), &planned).await.unwrap();
    let due = store.deliveries();
    assert_eq!(due.len(), 2);
    assert_eq!(due[0].new.webhook_id, event.webhook_id("a"));
    assert_eq!((due[0].new.mode.as_str(), due[1].new.webhook.as_str()), ("json", "b"));
    assert_eq!(verdict(&store, &event), Some(received()));
    assert!(outbox.health().is_healthy());
}

#[tokio::test]
async fn a_discarded_exchange_is_forgotten() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, OutboxOptions::default());
    let event = event();
    outbox.open(&event, Payload::None, &targets(&["a"])).await.unwrap();
    outbox.discard(event.id).await;
    assert_eq!(store.events(), 0);
}

#[tokio::test]
async fn pass_holds_exchanges_until_the_store_is_back() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.fail(true);
    let events: Vec<_> = (0..20).map(|_| event()).collect();
    for event in &events {
        outbox.open(event, Payload::None, &targets(&["a"])).await.unwrap();
    }
    // Half of them get their answer while the store is away.
    for event in &events[..10] {
        outbox.settle(event.id, &received(), &targets(&["a"])).await.unwrap();
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
        outbox.settle(event.id, &received(), &targets(&["a"])).await.unwrap();
    }
    assert_eq!(store.count(DeliveryState::Pending), 20);
    assert_eq!(outbox.health().held_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn pass_waits_for_a_slow_store_no_longer_than_its_patience() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.delay(PATIENCE * 5);
    let begun = Instant::now();
    let event = event();
    outbox.open(&event, Payload::None, &targets(&["a"])).await.unwrap();
    assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
    assert_eq!(outbox.health().held, 1);
    // The next does not even try.
    let begun = Instant::now();
    outbox.settle(event.id, &received(), &targets(&["a"])).await.unwrap();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());

    // What is written late is written; but the store is no quicker for it.
    until("the slow writes to end", || outbox.health().held == 0).await;
    assert_eq!((store.events(), store.deliveries().len()), (1, 1));
    assert!(outbox.health().failing_since.is_some());
    store.delay(Duration::ZERO);
    until("the store to be found well", || outbox.health().is_healthy()).await;
}

#[tokio::test(start_paused = true)]
async fn refuse_says_so_and_leaves_nothing_behind() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Refuse));
    store.fail(true);
    let error = outbox.open(&event(), Payload::None, &[]).await.unwrap_err();
    assert!(matches!(error, OutboxError::Store(_)), "{error}");
    assert_eq!(outbox.health().held, 0);
    let error = outbox.open(&event(), Payload::None, &[]).await.unwrap_err();
    assert!(
        matches!(error, OutboxError::Failing(_)),
        "nobody waits for a store that fails: {error}"
    );
    store.fail(false);
    until("the store to be found well", || outbox.health().is_healthy()).await;

    // What is written after it was refused must not be told.
    store.delay(PATIENCE * 3);
    let error = outbox.open(&event(), Payload::None, &targets(&["a"])).await.unwrap_err();
    assert_eq!(error.to_string(), "the store did not answer within 0.1 s");
    store.delay(Duration::ZERO);
    until("the refused exchange to go", || outbox.health().is_healthy()).await;
    assert_eq!(store.events(), 0);

    outbox.open(&event(), Payload::None, &[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_written_many_at_once_and_in_its_order() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.fail(true);
    let events: Vec<_> = (0..500).map(|_| event()).collect();
    for event in &events {
        outbox.publish(event, Payload::None, &targets(&["a"])).await.unwrap();
    }
    assert_eq!(outbox.health().held, 500);
    store.delay(Duration::from_millis(20));
    store.fail(false);
    let begun = Instant::now();
    until("what was held to be written", || outbox.health().is_healthy()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let told: Vec<_> = store.deliveries().into_iter().map(|due| due.new.webhook_id).collect();
    let expected: Vec<_> = events.iter().map(|event| event.webhook_id("a")).collect();
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_late_is_not_back() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.delay(PATIENCE * 2);
    outbox.publish(&event(), Payload::None, &[]).await.unwrap();
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
    outbox.open(&event, Payload::None, &targets(&["a"])).await.unwrap();
    store.fail(true);
    outbox.settle(event.id, &received(), &targets(&["a"])).await.unwrap();
    assert_eq!(outbox.health().held, 1);
    store.fail(false);
    until("the verdict to be written", || outbox.health().is_healthy()).await;
    assert_eq!(verdict(&store, &event), Some(received()));
}

#[tokio::test]
async fn the_memory_has_a_bound() {
    let store = MemoryStore::new();
    let bounded = OutboxOptions { held_events: 5, ..options(OnStoreFailure::Pass) };
    let outbox_of_five = outbox(&store, bounded);
    store.fail(true);
    let events: Vec<_> = (0..8).map(|_| event()).collect();
    for event in &events {
        outbox_of_five.open(event, Payload::None, &targets(&["a"])).await.unwrap();
    }
    let health = outbox_of_five.health();
    assert_eq!((health.held, health.dropped), (5, 3));
    // The verdicts of those that were held are always taken, those of the lost mean nothing.
    for event in &events {
        outbox_of_five.settle(event.id, &received(), &targets(&["a"])).await.unwrap();
    }
    store.fail(false);
    until("what was held to be written", || outbox_of_five.health().is_healthy()).await;
    assert_eq!((store.events(), store.deliveries().len()), (5, 5));

    let bounded = OutboxOptions { held_bytes: 10_000, ..options(OnStoreFailure::Pass) };
    let outbox_of_bytes = outbox(&store, bounded);
    store.fail(true);
    let payload = Payload::Inline(Bytes::from(vec![0; 6_000]));
    for _ in 0..3 {
        outbox_of_bytes.open(&event(), payload.clone(), &[]).await.unwrap();
    }
    let health = outbox_of_bytes.health();
    assert_eq!((health.held, health.dropped), (1, 2));
    assert!(health.held_bytes <= 10_000);
}

#[tokio::test]
async fn a_full_memory_has_room_for_the_verdict_of_an_open_exchange() {
    let store = MemoryStore::new();
    let bounded = OutboxOptions { held_events: 1, ..options(OnStoreFailure::Pass) };
    let outbox = outbox(&store, bounded);
    let (told, forgotten) = (event(), event());
    for event in [&told, &forgotten] {
        outbox.open(event, Payload::None, &targets(&["a"])).await.unwrap();
    }
    store.fail(true);
    outbox.publish(&event(), Payload::None, &[]).await.unwrap();
    let held = outbox.settle(told.id, &received(), &targets(&["a"])).await.unwrap();
    assert_eq!((held, outbox.discard(forgotten.id).await), (Recorded::Held, Recorded::Held));
    assert_eq!((outbox.health().held, outbox.health().dropped), (3, 0));
    store.fail(false);
    until("what was held to be written", || outbox.health().is_healthy()).await;
    assert_eq!(verdict(&store, &told), Some(received()));
    assert_eq!(store.events(), 2);
}

#[tokio::test]
async fn the_bound_holds_whatever_comes_with_verdicts() {
    let store = MemoryStore::new();
    let held_bytes = 64 * 1024;
    let bounded = OutboxOptions { held_bytes, ..options(OnStoreFailure::Pass) };
    let outbox = outbox(&store, bounded);
    store.fail(true);
    let long = ProcessingError::new(ErrorCode::Receiver, "ü".repeat(8 * 1024));
    let negative = Verdict { errors: vec![long], ..received() };
    let events: Vec<_> = (0..20).map(|_| event()).collect();
    for event in &events {
        outbox.open(event, Payload::None, &targets(&["a"])).await.unwrap();
    }
    for event in &events {
        let mdn = Event { kind: EventKind::MdnSent, ..self::event() };
        let large = Payload::Inline(Bytes::from(vec![0; Payload::INLINE_MAX]));
        let further = vec![Further::Event(mdn, large, targets(&["b"]))];
        let told = targets(&["a"]);
        outbox.settle_further(event.id, &negative, &told, further).await.unwrap();
    }
    let health = outbox.health();
    assert_eq!(health.held, 20);
    assert!(health.held_bytes < held_bytes + 20 * 4096, "{}", health.held_bytes);
    store.fail(false);
    until("what was held to be written", || outbox.health().is_healthy()).await;
    let mut whole = 0;
    for event in &events {
        let kept = verdict(&store, event).unwrap();
        assert_eq!((kept.kind, kept.errors[0].code), (negative.kind, ErrorCode::Receiver));
        whole += usize::from(kept == negative);
    }
    assert!(whole < 20, "all were whole");
    // Further events lose their payload first, and are counted when they find no room themselves.
    let lost = outbox.health().dropped;
    assert_eq!(store.deliveries().len() as u64, 40 - lost);
    assert!((1..20).contains(&lost), "{lost}");
    assert_eq!(outbox.health().held_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_opening_that_finds_no_room_is_neither_left_open_nor_lost() {
    let store = MemoryStore::new();
    let none = |on_failure| OutboxOptions { held_events: 0, ..options(on_failure) };
    let refusing = outbox(&store, none(OnStoreFailure::Refuse));
    store.delay(PATIENCE * 3);
    let error = refusing.open(&event(), Payload::None, &targets(&["a"])).await.unwrap_err();
    assert!(matches!(error, OutboxError::Slow(_)), "{error}");
    store.delay(Duration::ZERO);
    until("the refused exchange to go", || refusing.health().is_healthy()).await;
    assert_eq!(store.events(), 0);

    let passing = outbox(&store, none(OnStoreFailure::Pass));
    store.delay(PATIENCE * 3);
    let event = event();
    let opened = passing.open(&event, Payload::None, &targets(&["a"])).await.unwrap();
    assert_eq!(opened, Recorded::Held, "its write goes on");
    store.delay(Duration::ZERO);
    passing.settle(event.id, &received(), &targets(&["a"])).await.unwrap();
    until("what was held to be written", || passing.health().is_healthy()).await;
    assert_eq!(verdict(&store, &event), Some(received()));
}

#[tokio::test]
async fn an_event_that_the_store_never_takes_stops_no_other() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    let poison = event();
    store.poison.lock().unwrap().push(poison.id);
    outbox.publish(&poison, Payload::None, &targets(&["a"])).await.unwrap();
    let mut published = 0;
    while outbox.health().dropped == 0 {
        outbox.publish(&event(), Payload::None, &targets(&["a"])).await.unwrap();
        published += 1;
        until("it to be written", || store.events() == published).await;
    }
    assert_eq!(outbox.health().held, 0);
}

#[tokio::test]
async fn what_a_dead_process_left_has_an_unknown_outcome() {
    let store = MemoryStore::new();
    let before = outbox(&store, OutboxOptions::default());
    let inbound = event();
    let outbound =
        Event { direction: Direction::Outbound, kind: EventKind::MessageSent, ..event() };
    for event in [&inbound, &outbound] {
        before.open(event, Payload::None, &targets(&["a"])).await.unwrap();
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
async fn no_more_exchanges_are_adopted_than_there_is_room_for() {
    let store = MemoryStore::new();
    let before = outbox(&store, OutboxOptions::default());
    let events: Vec<_> = (0..3).map(|_| event()).collect();
    for event in &events {
        before.open(event, Payload::None, &targets(&["a"])).await.unwrap();
    }
    store.orphan_everything();
    store.poison.lock().unwrap().extend(events.iter().map(|event| event.id));
    let bounded = OutboxOptions { held_events: 1, ..options(OnStoreFailure::Pass) };
    let after = outbox(&store, bounded);
    assert_eq!(after.recover().await.unwrap(), 1);
    assert_eq!((after.health().held, after.health().dropped), (1, 0));
    store.poison.lock().unwrap().clear();
    until("all to be adopted", || store.deliveries().len() == 3).await;
}

#[tokio::test]
async fn the_verdict_of_an_event_that_the_store_does_not_have_is_not_held() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    let told = outbox.settle(event().id, &received(), &targets(&["a"])).await.unwrap();
    assert_eq!(told, Recorded::Dropped);
    assert!(outbox.health().is_healthy());
}

#[tokio::test]
async fn dead_processes_are_looked_for_all_the_time() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    outbox.open(&event(), Payload::None, &targets(&["a"])).await.unwrap();
    store.orphan_everything();
    until("the exchange to be adopted", || store.deliveries().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn closing_writes_down_what_it_can() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    store.fail(true);
    outbox.publish(&event(), Payload::None, &[]).await.unwrap();
    assert_eq!(outbox.close(PATIENCE).await, 1);

    let store = MemoryStore::new();
    let outbox = self::outbox(&store, options(OnStoreFailure::Pass));
    store.delay(PATIENCE * 2);
    outbox.publish(&event(), Payload::None, &[]).await.unwrap();
    assert_eq!(outbox.close(Duration::from_secs(10)).await, 0);
    assert_eq!(store.events(), 1);
}

#[test]
fn the_order_key_is_the_pair_of_partner_and_station() {
    let mut rule = rule("a", "http://erp.example/");
    let mut event = event();
    assert_eq!(Target::of(&rule, &event).order_key, None);
    rule.endpoint.order = Order::Partner;
    let key = Target::of(&rule, &event).order_key.unwrap();
    event.partner = Some("ACME\",\"MY".into());
    event.station = Some("OWN-ORG".into());
    assert_ne!(Target::of(&rule, &event).order_key.unwrap(), key);
}
