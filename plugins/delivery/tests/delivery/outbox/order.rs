//! What the outbox holds for ordered deliveries, and events that the store always rejects.

use super::*;

#[tokio::test]
async fn event_that_the_store_always_rejects_blocks_no_other() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    let poison = event();
    store.poison.lock().unwrap().push(poison.id);
    outbox.write(published(&poison, Payload::None, &targets(&["a"]))).await;
    let mut count = 0;
    while outbox.health().dropped == 0 {
        outbox.write(published(&event(), Payload::None, &targets(&["a"]))).await;
        count += 1;
        until("it to be written", || store.events() == count).await;
    }
    assert_eq!(outbox.health().held, 0);
}

#[tokio::test]
async fn event_that_the_store_always_rejects_blocks_its_order_only_for_a_while() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    let mut ordered = targets(&["a"]);
    ordered[0].order_key = Some("ACME".to_owned());
    let events: Vec<_> = (0..3).map(|_| event()).collect();
    store.poison.lock().unwrap().push(events[0].id);
    for event in &events {
        outbox.write(published(event, Payload::None, &ordered)).await;
    }
    until("the others to be written", || store.deliveries().len() == 2).await;
    assert_eq!(outbox.health().dropped, 1);
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

#[tokio::test]
async fn failing_event_is_not_overtaken_within_its_order() {
    let store = MemoryStore::new();
    let outbox = outbox(&store, options(OnStoreFailure::Pass));
    let mut ordered = targets(&["a"]);
    ordered[0].order_key = Some("ACME".to_owned());
    let events: Vec<_> = (0..8).map(|_| event()).collect();
    store.fail(true);
    for event in &events[..6] {
        outbox.write(published(event, Payload::None, &ordered)).await;
    }
    store.poison.lock().unwrap().push(events[2].id);
    store.fail(false);
    until("those before it to be written", || store.deliveries().len() == 2).await;
    // The store works for others, and later events of the order stay behind it.
    outbox.write(published(&event(), Payload::None, &targets(&["b"]))).await;
    until("another to be written", || store.deliveries().len() == 3).await;
    for event in &events[6..] {
        let recorded = outbox.write(published(event, Payload::None, &ordered)).await;
        assert_eq!(recorded, Recorded::Held);
    }
    store.poison.lock().unwrap().clear();
    until("all to be written", || store.deliveries().len() == 9).await;
    let written = store.deliveries();
    let of_order = written.iter().filter(|it| it.new.webhook == "a").map(|it| it.event);
    assert_eq!(of_order.collect::<Vec<_>>(), events.iter().map(|it| it.id).collect::<Vec<_>>());
    assert_eq!((outbox.health().held, outbox.health().dropped), (0, 0));
}
