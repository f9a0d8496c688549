//! How long payloads are kept.

use as2hook_store::{DeliveryState, Fate, Filter, NewDelivery, NewEvent, Payload, RAW, Store};

use super::{Factory, claim, delivery, event, file, finish, id, settlement};

fn raw(webhook_id: &str, webhook: &str) -> NewDelivery {
    NewDelivery { mode: RAW.to_owned(), ..delivery(webhook_id, webhook) }
}

fn small() -> Payload {
    Payload::Inline(b"UNB+".to_vec().into())
}

async fn payload(store: &dyn Store, name: &str) -> Payload {
    store.event(id(name)).await.unwrap().unwrap().payload
}

pub(crate) async fn sealed_payloads_come_back_sealed(factory: &dyn Factory) {
    let store = factory.owner().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, spilt) = file(&folder, "payload");
    let pieces = Payload::Stored { id: id("pieces"), size: 300_080 };
    for (name, kept) in [("a", small()), ("b", spilt), ("c", pieces)] {
        let sealed = Payload::Sealed { size: 2, kept: Box::new(kept) };
        let event = NewEvent { payload: sealed.clone(), ..event(name) };
        store.publish(event, vec![delivery(name, "erp")]).await.unwrap();
        assert_eq!(payload(&*store, name).await, sealed);
        assert_eq!(claim(&*store, "erp", 0).await[0].event.payload, sealed);
    }
}

pub(crate) async fn what_was_delivered_is_spent_and_its_event_stays(factory: &dyn Factory) {
    let store = factory.owner().await;
    let folder = tempfile::tempdir().unwrap();
    let (path, spilt) = file(&folder, "payload");
    let pieces = Payload::Stored { id: id("pieces"), size: 300_000 };
    let sealed = Payload::Sealed { size: 2, kept: Box::new(small()) };
    for (name, payload) in [("a", small()), ("b", spilt), ("c", pieces), ("d", sealed)] {
        let event = NewEvent { payload, ..event(name) };
        store
            .publish(event, vec![raw(name, "erp"), delivery(&format!("{name}-json"), "other")])
            .await
            .unwrap();
    }
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
    for claimed in claim(&*store, "erp", 0).await {
        finish(&*store, &claimed, Fate::Delivered).await;
    }
    // The others are still to be made, and do not need it.
    assert_eq!(store.spend(0, 10).await.unwrap().events, 0);
    assert_eq!(store.spend(i64::MAX, 3).await.unwrap().events, 3);
    let spent = store.spend(i64::MAX, 10).await.unwrap();
    assert_eq!(spent.events, 1);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(payload(&*store, name).await, Payload::Spent, "{name}");
    }
    assert!(!path.exists());
    assert_eq!(store.unnamed_pieces(vec![id("pieces")]).await.unwrap(), [id("pieces")]);
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
    assert_eq!(claim(&*store, "other", 0).await.len(), 4);
}

pub(crate) async fn the_pieces_of_what_is_spent_are_named(factory: &dyn Factory) {
    let store = factory.owner().await;
    let pieces = Payload::Stored { id: id("pieces"), size: 300_000 };
    let sealed = Payload::Sealed { size: 299_000, kept: Box::new(pieces) };
    store.publish(NewEvent { payload: sealed, ..event("a") }, vec![]).await.unwrap();
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().pieces, [id("pieces")]);
}

pub(crate) async fn whoever_still_needs_a_payload_has_it(factory: &dyn Factory) {
    let store = factory.owner().await;
    for (webhook, fate) in [
        ("dead", Fate::Dead),
        ("held", Fate::Held),
        ("orphaned", Fate::Orphaned),
        ("retried", Fate::Retry(5)),
    ] {
        let event = NewEvent { payload: small(), ..event(webhook) };
        let told = vec![raw(webhook, webhook), raw(&format!("{webhook}-2"), "erp")];
        store.publish(event, told).await.unwrap();
        finish(&*store, &claim(&*store, webhook, 0).await[0], fate).await;
        finish(&*store, &claim(&*store, "erp", 0).await[0], Fate::Delivered).await;
        assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0, "{webhook}");
    }
    // One whose outcome is not known may still be told.
    store.open(NewEvent { payload: small(), ..event("open") }, vec![]).await.unwrap();
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
    store.settle(settlement("open", vec![delivery("json", "other")])).await.unwrap();
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 1);
    // What is back in service is delivered in the end.
    store.shift("held", DeliveryState::Held, DeliveryState::Pending).await.unwrap();
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
    finish(&*store, &claim(&*store, "held", i64::MAX).await[0], Fate::Delivered).await;
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 1);
}

pub(crate) async fn a_replay_needs_its_payload_again(factory: &dyn Factory) {
    let store = factory.owner().await;
    let event = NewEvent { payload: small(), ..event("a") };
    store.publish(event, vec![raw("w1", "erp")]).await.unwrap();
    finish(&*store, &claim(&*store, "erp", 0).await[0], Fate::Delivered).await;
    assert_eq!(store.replay(&Filter::default()).await.unwrap(), 1);
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
    let again = claim(&*store, "erp", i64::MAX).await;
    assert_eq!(again[0].event.payload, small());
    finish(&*store, &again[0], Fate::Delivered).await;
    // Told to another, it is needed again as well.
    store.tell(id("a"), vec![raw("w2", "other")]).await.unwrap();
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
    finish(&*store, &claim(&*store, "other", 0).await[0], Fate::Delivered).await;
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 1);
    // Once it is spent, a replay is told so, and nothing is spent twice.
    assert_eq!(store.replay(&Filter::default()).await.unwrap(), 2);
    let late = claim(&*store, "erp", i64::MAX).await;
    assert_eq!(late[0].event.payload, Payload::Spent);
    finish(&*store, &late[0], Fate::Dead).await;
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 0);
}

pub(crate) async fn an_event_whose_payload_is_spent_is_pruned_as_ever(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.publish(NewEvent { payload: small(), ..event("a") }, vec![]).await.unwrap();
    assert_eq!(store.spend(i64::MAX, 10).await.unwrap().events, 1);
    assert_eq!(store.prune(i64::MAX, 10).await.unwrap(), 1);
    assert_eq!(store.event(id("a")).await.unwrap(), None);
}
