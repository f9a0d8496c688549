//! Exchanges and their outcome.

use as2hook_store::{DeliveryState, Fate, NewEvent, Payload, StoreError, WebhookState};

use super::{Factory, claim, delivery, event, file, finish, id, of, settlement, webhook_ids};

/// Later than anything that a store's own clock says now.
const FAR: i64 = i64::MAX;

pub(crate) async fn an_opened_event_is_no_delivery_until_it_is_settled(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.open(event("a"), vec![delivery("planned", "erp")]).await.unwrap();
    assert!(store.due().await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap().open, 1);

    store.settle(settlement("a", vec![delivery("w1", "erp")])).await.unwrap();
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!(claimed[0].event.id, id("a"));
    assert_eq!(claimed[0].event.body, b"a");
    assert_eq!(claimed[0].event.verdict.as_deref(), Some(&b"answered"[..]));
    assert_eq!((claimed[0].attempts, claimed[0].tries, claimed[0].replay), (0, 0, false));
    assert_eq!(store.counts().await.unwrap().open, 0);
}

pub(crate) async fn planned_deliveries_are_dropped_at_settle(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.open(event("a"), vec![delivery("planned", "erp")]).await.unwrap();
    store.settle(settlement("a", vec![])).await.unwrap();
    factory.kill(store).await;
    let next = factory.owner().await;
    assert!(next.adopt().await.unwrap().is_empty());
    assert!(next.due().await.unwrap().is_empty());
}

pub(crate) async fn settling_twice_changes_nothing(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.open(event("a"), vec![]).await.unwrap();
    store.settle(settlement("a", vec![delivery("w1", "erp")])).await.unwrap();
    let mut second = settlement("a", vec![delivery("w1", "erp"), delivery("w2", "erp")]);
    second.verdict = b"another".to_vec();
    store.settle(second).await.unwrap();
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!(claimed[0].event.verdict.as_deref(), Some(&b"answered"[..]));
}

pub(crate) async fn settling_an_unknown_event_says_so(factory: &dyn Factory) {
    let store = factory.owner().await;
    let error = store.settle(settlement("a", vec![])).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownEvent(event) if event == id("a")), "{error}");
}

pub(crate) async fn opening_twice_changes_nothing(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.open(event("a"), vec![]).await.unwrap();
    store.settle(settlement("a", vec![delivery("w1", "erp")])).await.unwrap();
    store.open(NewEvent { body: b"other".to_vec(), ..event("a") }, vec![]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 0);
    assert_eq!(claim(&*store, "erp", 0).await[0].event.body, b"a");
}

pub(crate) async fn a_discarded_event_is_forgotten(factory: &dyn Factory) {
    let store = factory.owner().await;
    let folder = tempfile::tempdir().unwrap();
    let (path, payload) = file(&folder, "payload");
    store.open(NewEvent { payload, ..event("a") }, vec![delivery("w1", "erp")]).await.unwrap();
    store.discard(id("a")).await.unwrap();
    store.discard(id("a")).await.unwrap();
    assert!(!path.exists());
    assert_eq!(store.counts().await.unwrap().open, 0);
    assert!(matches!(
        store.settle(settlement("a", vec![])).await,
        Err(StoreError::UnknownEvent(_))
    ));
}

pub(crate) async fn discarding_spares_what_is_settled(factory: &dyn Factory) {
    let store = factory.owner().await;
    let folder = tempfile::tempdir().unwrap();
    let (path, payload) = file(&folder, "payload");
    store.open(NewEvent { payload, ..event("a") }, vec![]).await.unwrap();
    store.settle(settlement("a", vec![delivery("w1", "erp")])).await.unwrap();
    store.discard(id("a")).await.unwrap();
    assert!(path.exists());
    assert_eq!(webhook_ids(&claim(&*store, "erp", 0).await), ["w1"]);
}

pub(crate) async fn a_published_event_is_due_and_published_once(factory: &dyn Factory) {
    let store = factory.owner().await;
    for _ in 0..2 {
        store.publish(event("a"), vec![delivery("w1", "erp")]).await.unwrap();
    }
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!(claimed[0].event.verdict, None);
}

pub(crate) async fn inline_payloads_come_back(factory: &dyn Factory) {
    let store = factory.owner().await;
    let folder = tempfile::tempdir().unwrap();
    let inline = Payload::Inline(vec![0xE9; Payload::INLINE_MAX].into());
    let (_, spilt) = file(&folder, "payload");
    for (name, payload) in [("a", &inline), ("b", &spilt), ("c", &Payload::None)] {
        let event = NewEvent { payload: payload.clone(), ..event(name) };
        store.publish(event, vec![delivery(name, "erp")]).await.unwrap();
    }
    let claimed = claim(&*store, "erp", 0).await;
    let payloads: Vec<_> = claimed.into_iter().map(|claimed| claimed.event.payload).collect();
    assert_eq!(payloads, [inline, spilt, Payload::None]);
}

pub(crate) async fn adopt_hands_over_what_the_dead_left_and_nothing_of_the_living(
    factory: &dyn Factory,
) {
    let (dead, living, heir) =
        (factory.owner().await, factory.owner().await, factory.owner().await);
    dead.open(event("dead"), vec![delivery("w1", "erp")]).await.unwrap();
    living.open(event("living"), vec![delivery("w2", "erp")]).await.unwrap();
    heir.open(event("own"), vec![delivery("w3", "erp")]).await.unwrap();
    assert!(heir.adopt().await.unwrap().is_empty());
    factory.kill(dead).await;

    let adopted = heir.adopt().await.unwrap();
    assert_eq!(adopted.len(), 1);
    let (event, planned) = &adopted[0];
    assert_eq!((event.id, &event.body[..], &event.verdict), (id("dead"), &b"dead"[..], &None));
    assert_eq!(planned, &[delivery("w1", "erp")]);
    assert!(living.adopt().await.unwrap().is_empty());
    living.settle(settlement("living", vec![])).await.unwrap();
}

pub(crate) async fn adopted_events_are_handed_over_until_they_are_settled(factory: &dyn Factory) {
    let (dead, heir) = (factory.owner().await, factory.owner().await);
    for name in ["a", "b", "c"] {
        dead.open(event(name), vec![]).await.unwrap();
    }
    factory.kill(dead).await;
    assert_eq!(heir.adopt().await.unwrap().len(), 3);
    heir.settle(settlement("a", vec![delivery("w1", "erp")])).await.unwrap();
    heir.discard(id("b")).await.unwrap();
    assert_eq!(heir.adopt().await.unwrap().len(), 1);
    assert_eq!(webhook_ids(&claim(&*heir, "erp", 0).await), ["w1"]);
    // It dies as well: the next one has what is left.
    factory.kill(heir).await;
    let next = factory.owner().await;
    assert_eq!(next.adopt().await.unwrap()[0].0.id, id("c"));
    assert_eq!(webhook_ids(&claim(&*next, "erp", 0).await), ["w1"]);
}

pub(crate) async fn a_closed_store_says_so_and_leaves_its_open_events(factory: &dyn Factory) {
    let (store, next) = (factory.owner().await, factory.owner().await);
    store.open(event("a"), vec![]).await.unwrap();
    store.publish(event("b"), vec![delivery("w1", "erp")]).await.unwrap();
    assert_eq!(claim(&*store, "erp", 0).await.len(), 1);
    store.close().await;
    store.close().await;
    assert!(matches!(store.discard(id("a")).await, Err(StoreError::Closed)));
    assert!(matches!(store.counts().await, Err(StoreError::Closed)));
    assert_eq!(next.adopt().await.unwrap()[0].0.id, id("a"));
    assert_eq!(webhook_ids(&claim(&*next, "erp", 0).await), ["w1"]);
}

pub(crate) async fn prune_removes_what_is_done_and_its_files(factory: &dyn Factory) {
    let store = factory.owner().await;
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (name, fate) in [
        ("delivered", Some(Fate::Delivered)),
        ("dead", Some(Fate::Dead)),
        ("held", Some(Fate::Held)),
        ("orphaned", Some(Fate::Orphaned)),
        ("retried", Some(Fate::Retry(9))),
        ("pending", None),
    ] {
        let (path, payload) = file(&folder, name);
        // Two deliveries each: one that is done does not do for both.
        let both = vec![delivery(name, name), delivery(&format!("{name}-2"), "other")];
        store.publish(NewEvent { payload, ..event(name) }, both).await.unwrap();
        if let Some(fate) = fate {
            finish(&*store, &claim(&*store, name, 0).await[0], fate).await;
        }
        paths.push(path);
    }
    store.publish(event("nobody"), vec![]).await.unwrap();
    store.open(event("open"), vec![]).await.unwrap();
    assert_eq!(store.prune(FAR, 100).await.unwrap(), 1);
    for claimed in claim(&*store, "other", 0).await {
        finish(&*store, &claimed, Fate::Delivered).await;
    }
    assert_eq!(store.prune(0, 100).await.unwrap(), 0);
    assert_eq!(store.prune(FAR, 1).await.unwrap(), 1);
    assert_eq!(store.prune(FAR, 100).await.unwrap(), 1);
    let left: Vec<_> = paths.iter().map(|path| path.exists()).collect();
    assert_eq!(left, [false, false, true, true, true, true]);
    let counts = store.counts().await.unwrap();
    assert_eq!((of(&counts, DeliveryState::Delivered), of(&counts, DeliveryState::Dead)), (4, 0));
    assert_eq!(counts.open, 1);

    // What comes back to life is not pruned.
    assert_eq!(store.shift("held", DeliveryState::Held, DeliveryState::Dead).await.unwrap(), 1);
    assert_eq!(store.shift("held", DeliveryState::Dead, DeliveryState::Pending).await.unwrap(), 1);
    assert_eq!(store.prune(FAR, 100).await.unwrap(), 0);
    assert_eq!(webhook_ids(&claim(&*store, "held", 0).await), ["held"]);
}

pub(crate) async fn webhook_health_is_remembered(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.publish(event("a"), vec![delivery("w1", "healthy")]).await.unwrap();
    assert!(store.webhook_states().await.unwrap().is_empty());
    let mut state = WebhookState {
        webhook: "erp".to_owned(),
        disabled: Some("It answered 410.".to_owned()),
        failing_since: Some(7),
        fingerprint: "f1".to_owned(),
    };
    store.set_webhook_state(state.clone()).await.unwrap();
    assert_eq!(store.webhook_states().await.unwrap(), std::slice::from_ref(&state));
    state.disabled = None;
    state.failing_since = None;
    store.set_webhook_state(state.clone()).await.unwrap();
    factory.kill(store).await;
    assert_eq!(factory.owner().await.webhook_states().await.unwrap(), [state]);
}
