//! How long payloads are kept.

use as2hook_store::{
    DeliveryChange, DeliveryOutcome, DeliveryState, Filter, NewDelivery, NewEvent, Payload, Prune,
    RAW, Store, Write,
};

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

pub(crate) async fn sealed_payloads_are_returned_sealed(factory: &dyn Factory) {
    let store = factory.owner().await;
    let (_, spilt) = file(factory, "payload");
    let pieces = Payload::Stored { id: id("pieces"), size: 300_080 };
    for (name, kept) in [("a", small()), ("b", spilt), ("c", pieces)] {
        let sealed = Payload::Sealed { size: 2, kept: Box::new(kept) };
        let event = NewEvent { payload: sealed.clone(), ..event(name) };
        store.commit(vec![Write::Publish(event, vec![delivery(name, "erp")])]).await.unwrap();
        assert_eq!(payload(&*store, name).await, sealed);
        assert_eq!(claim(&*store, "erp", 0).await[0].event.payload, sealed);
    }
}

pub(crate) async fn payload_of_delivered_event_is_spent_and_its_event_stays(factory: &dyn Factory) {
    let store = factory.owner().await;
    let (path, spilt) = file(factory, "payload");
    let pieces = Payload::Stored { id: id("pieces"), size: 300_000 };
    let sealed = Payload::Sealed { size: 2, kept: Box::new(small()) };
    for (name, payload) in [("a", small()), ("b", spilt), ("c", pieces), ("d", sealed)] {
        let event = NewEvent { payload, ..event(name) };
        store
            .commit(vec![Write::Publish(
                event,
                vec![raw(name, "erp"), delivery(&format!("{name}-json"), "other")],
            )])
            .await
            .unwrap();
    }
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
    for claimed in claim(&*store, "erp", 0).await {
        finish(&*store, &claimed, DeliveryOutcome::Delivered).await;
    }
    // The other deliveries are still to be made, but do not need it.
    assert_eq!(store.purge_payloads(0, 10).await.unwrap().events, 0);
    assert_eq!(store.purge_payloads(i64::MAX, 3).await.unwrap().events, 3);
    let spent = store.purge_payloads(i64::MAX, 10).await.unwrap();
    assert_eq!(spent.events, 1);
    for name in ["a", "b", "c", "d"] {
        assert!(matches!(payload(&*store, name).await, Payload::Purged { .. }), "{name}");
    }
    assert!(!path.exists());
    assert_eq!(store.unnamed_blobs(vec![id("pieces")]).await.unwrap(), [id("pieces")]);
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
    assert_eq!(claim(&*store, "other", 0).await.len(), 4);
}

pub(crate) async fn spend_returns_the_pieces_to_remove(factory: &dyn Factory) {
    let store = factory.owner().await;
    let pieces = Payload::Stored { id: id("pieces"), size: 300_000 };
    let sealed = Payload::Sealed { size: 299_000, kept: Box::new(pieces) };
    store
        .commit(vec![Write::Publish(NewEvent { payload: sealed, ..event("a") }, vec![])])
        .await
        .unwrap();
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().blobs, [id("pieces")]);
}

pub(crate) async fn payload_that_a_delivery_needs_is_not_spent(factory: &dyn Factory) {
    let store = factory.owner().await;
    for (webhook, outcome) in [
        ("dead", DeliveryOutcome::Dead),
        ("held", DeliveryOutcome::Held),
        ("orphaned", DeliveryOutcome::Orphaned),
        ("retried", DeliveryOutcome::Retry(5)),
    ] {
        let event = NewEvent { payload: small(), ..event(webhook) };
        let planned = vec![raw(webhook, webhook), raw(&format!("{webhook}-2"), "erp")];
        store.commit(vec![Write::Publish(event, planned)]).await.unwrap();
        finish(&*store, &claim(&*store, webhook, 0).await[0], outcome).await;
        finish(&*store, &claim(&*store, "erp", 0).await[0], DeliveryOutcome::Delivered).await;
        assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0, "{webhook}");
    }
    // An event with an unknown outcome may still be delivered.
    store
        .commit(vec![Write::Open(NewEvent { payload: small(), ..event("open") }, vec![])])
        .await
        .unwrap();
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
    store
        .commit(vec![Write::Settle(settlement("open", vec![delivery("json", "other")]))])
        .await
        .unwrap();
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 1);
    // A delivery that is back in service will be made.
    store.change_state("held", DeliveryState::Held, DeliveryState::Pending).await.unwrap();
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
    finish(&*store, &claim(&*store, "held", i64::MAX).await[0], DeliveryOutcome::Delivered).await;
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 1);
}

pub(crate) async fn a_replay_needs_its_payload_again(factory: &dyn Factory) {
    let store = factory.owner().await;
    let event = NewEvent { payload: small(), ..event("a") };
    store.commit(vec![Write::Publish(event, vec![raw("w1", "erp")])]).await.unwrap();
    finish(&*store, &claim(&*store, "erp", 0).await[0], DeliveryOutcome::Delivered).await;
    assert_eq!(
        store.change_deliveries(DeliveryChange::Replay, &Filter::default()).await.unwrap(),
        1
    );
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
    let again = claim(&*store, "erp", i64::MAX).await;
    assert_eq!(again[0].event.payload, small());
    finish(&*store, &again[0], DeliveryOutcome::Delivered).await;
    // A delivery to another webhook needs it as well.
    store.enqueue(id("a"), vec![raw("w2", "other")]).await.unwrap();
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
    finish(&*store, &claim(&*store, "other", 0).await[0], DeliveryOutcome::Delivered).await;
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 1);
    // Once it is spent, a replay gets an error, and nothing is spent twice.
    assert_eq!(
        store.change_deliveries(DeliveryChange::Replay, &Filter::default()).await.unwrap(),
        2
    );
    let late = claim(&*store, "erp", i64::MAX).await;
    assert!(matches!(late[0].event.payload, Payload::Purged { .. }));
    finish(&*store, &late[0], DeliveryOutcome::Dead).await;
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 0);
}

pub(crate) async fn event_with_a_spent_payload_is_pruned(factory: &dyn Factory) {
    let store = factory.owner().await;
    store
        .commit(vec![Write::Publish(NewEvent { payload: small(), ..event("a") }, vec![])])
        .await
        .unwrap();
    assert_eq!(store.purge_payloads(i64::MAX, 10).await.unwrap().events, 1);
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 1);
    assert_eq!(store.event(id("a")).await.unwrap(), None);
}

pub(crate) async fn payload_file_is_recognized_in_any_root(factory: &dyn Factory) {
    let store = factory.owner().await;
    let name = || uuid::Uuid::now_v7().to_string();
    let (relative, whole, unnamed) = (name(), name(), name());
    for path in [format!("process/{relative}"), format!("/srv/as2hook/payloads/process/{whole}")] {
        let payload = Payload::File { path: path.clone().into(), size: 300_000 };
        store
            .commit(vec![Write::Publish(NewEvent { payload, ..event(&path) }, vec![])])
            .await
            .unwrap();
    }
    let files = |root: &str| -> Vec<_> {
        let all = [&relative, &whole, &unnamed].map(|name| format!("{root}/process/{name}"));
        all.map(std::path::PathBuf::from).to_vec()
    };
    for root in ["/srv/as2hook/payloads", "/mnt/larger/payloads"] {
        let left = store.unnamed_payloads(files(root)).await.unwrap();
        assert_eq!(left, files(root)[2..], "{root}");
    }
}

pub(crate) async fn store_has_one_identity_and_remembers_its_payload_roots(factory: &dyn Factory) {
    let (one, other) = (factory.owner().await, factory.owner().await);
    let first = one.identity(Some("/one".to_owned())).await.unwrap();
    let second = other.identity(Some("/two".to_owned())).await.unwrap();
    assert_eq!((first.id, first.mark), (second.id, second.mark));
    assert!(!first.id.is_nil());
    assert_eq!(second.former_roots, [std::path::PathBuf::from("/one")]);
    let nowhere = one.identity(None).await.unwrap();
    assert_eq!(nowhere.former_roots.len(), 2);
}
