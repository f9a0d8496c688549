//! The bounds of what the outbox holds in memory.

use super::*;

#[tokio::test]
async fn held_events_are_bounded() {
    let store = MemoryStore::new();
    let bounded = OutboxOptions { held_events: 5, ..options(OnStoreFailure::Pass) };
    let outbox_of_five = outbox(&store, bounded);
    store.fail(true);
    let events: Vec<_> = (0..8).map(|_| event()).collect();
    for event in &events {
        outbox_of_five.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
    }
    let health = outbox_of_five.health();
    assert_eq!((health.held, health.dropped), (5, 3));
    // The verdicts of held events are always accepted; those of dropped events are ignored.
    for event in &events {
        outbox_of_five.write(settled(event.id, &received(), &targets(&["a"]))).await;
    }
    store.fail(false);
    until("what was held to be written", || outbox_of_five.health().is_healthy()).await;
    assert_eq!((store.events(), store.deliveries().len()), (5, 5));

    let bounded = OutboxOptions { held_bytes: 10_000, ..options(OnStoreFailure::Pass) };
    let outbox_of_bytes = outbox(&store, bounded);
    store.fail(true);
    let payload = Payload::Inline(Bytes::from(vec![0; 6_000]));
    for _ in 0..3 {
        outbox_of_bytes.open(opened(&event(), payload.clone(), &[])).await.unwrap();
    }
    let health = outbox_of_bytes.health();
    assert_eq!((health.held, health.dropped), (1, 2));
    assert!(health.held_bytes <= 10_000);
}

#[tokio::test]
async fn verdict_of_an_open_exchange_is_held_when_memory_is_full() {
    let store = MemoryStore::new();
    let bounded = OutboxOptions { held_events: 1, ..options(OnStoreFailure::Pass) };
    let outbox = outbox(&store, bounded);
    let (reported, lost) = (event(), event());
    for event in [&reported, &lost] {
        outbox.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
    }
    store.fail(true);
    outbox.write(published(&event(), Payload::None, &[])).await;
    let held = outbox.write(settled(reported.id, &received(), &targets(&["a"]))).await;
    assert_eq!(
        (held, outbox.write(vec![Write::Discard(lost.id)]).await),
        (Recorded::Held, Recorded::Held)
    );
    assert_eq!((outbox.health().held, outbox.health().dropped), (3, 0));
    store.fail(false);
    until("what was held to be written", || outbox.health().is_healthy()).await;
    assert_eq!(verdict(&store, &reported), Some(received()));
    assert_eq!(store.events(), 2);
}

#[tokio::test]
async fn late_content_is_kept_when_there_is_no_room_for_further_events() {
    let store = MemoryStore::new();
    let bounded = OutboxOptions { held_bytes: 1, ..options(OnStoreFailure::Pass) };
    let outbox = outbox(&store, bounded);
    let stored = Payload::Stored { id: uuid::Uuid::now_v7(), size: 1 << 20 };
    let inline = Payload::Inline(Bytes::from_static(b"UNB+"));
    let events = [(event(), stored.clone(), stored), (event(), inline, Payload::None)];
    for (event, ..) in &events {
        outbox.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
    }
    store.fail(true);
    for (event, payload, _) in &events {
        let planned = targets(&["a"]);
        let late = Event { partner: Some("LATE".to_owned()), ..event.clone() };
        let late = vec![writes::replace(&late, payload.clone()).unwrap()];
        outbox.write([late, settled(event.id, &received(), &planned)].concat()).await;
    }
    store.fail(false);
    until("what was held to be written", || outbox.health().is_healthy()).await;
    for (event, payload, kept) in &events {
        let row = store.event(event.id).unwrap().row;
        assert_eq!((row.partner.as_deref(), &row.payload), (Some("LATE"), kept));
        // A payload in memory is removed last, and the verdict says so.
        let errors = verdict(&store, event).unwrap().errors;
        let codes: Vec<_> = errors.iter().map(|error| error.code).collect();
        let expected = if payload == kept { vec![] } else { vec![ErrorCode::NotDecoded] };
        assert_eq!(codes, expected);
    }
}

#[tokio::test]
async fn memory_stays_bounded_with_large_verdicts() {
    let store = MemoryStore::new();
    let held_bytes = 64 * 1024;
    let bounded = OutboxOptions { held_bytes, ..options(OnStoreFailure::Pass) };
    let outbox = outbox(&store, bounded);
    store.fail(true);
    let long = ProcessingError::new(ErrorCode::Receiver, "ü".repeat(8 * 1024));
    let negative = Verdict { errors: vec![long], ..received() };
    let events: Vec<_> = (0..20).map(|_| event()).collect();
    for event in &events {
        outbox.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
    }
    for event in &events {
        let mdn = Event { kind: EventKind::MdnSent, ..self::event() };
        let large = Payload::Inline(Bytes::from(vec![0; Payload::INLINE_MAX]));
        let verdict = settled(event.id, &negative, &targets(&["a"]));
        outbox.write([verdict, published(&mdn, large, &targets(&["b"]))].concat()).await;
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
    // Further events lose their payloads first, and are counted when they find no room themselves.
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
    store.delay(STORE_TIMEOUT * 3);
    let error = refusing.open(opened(&event(), Payload::None, &targets(&["a"]))).await.unwrap_err();
    assert!(matches!(error, OutboxError::Slow(_)), "{error}");
    store.delay(Duration::ZERO);
    until("the refused exchange to go", || refusing.health().is_healthy()).await;
    assert_eq!(store.events(), 0);

    let passing = outbox(&store, none(OnStoreFailure::Pass));
    store.delay(STORE_TIMEOUT * 3);
    let event = event();
    let opened = passing.open(opened(&event, Payload::None, &targets(&["a"]))).await.unwrap();
    assert_eq!(opened, Recorded::Held, "its write goes on");
    store.delay(Duration::ZERO);
    passing.write(settled(event.id, &received(), &targets(&["a"]))).await;
    until("what was held to be written", || passing.health().is_healthy()).await;
    assert_eq!(verdict(&store, &event), Some(received()));
}

#[tokio::test]
async fn no_more_exchanges_are_adopted_than_there_is_room_for() {
    let store = MemoryStore::new();
    let before = outbox(&store, OutboxOptions::default());
    let events: Vec<_> = (0..3).map(|_| event()).collect();
    for event in &events {
        before.open(opened(event, Payload::None, &targets(&["a"]))).await.unwrap();
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
