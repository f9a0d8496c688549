//! Exchanges and their outcomes.

use as2hook_store::{
    DeliveryOutcome, DeliveryState, Filter, NewEvent, Payload, Prune, StoreError, WebhookState,
    Write,
};

use super::{Factory, claim, delivery, event, file, finish, id, of, settlement, webhook_ids};

/// Later than the present by any clock.
const FAR: i64 = i64::MAX;

pub(crate) async fn opened_event_has_no_delivery_until_it_is_settled(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Open(event("a"), vec![delivery("planned", "erp")])]).await.unwrap();
    assert!(store.due().await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap().open, 1);

    store.commit(vec![Write::Settle(settlement("a", vec![delivery("w1", "erp")]))]).await.unwrap();
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
    store.commit(vec![Write::Open(event("a"), vec![delivery("planned", "erp")])]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("a", vec![]))]).await.unwrap();
    factory.kill(store).await;
    let next = factory.owner().await;
    assert!(next.adopt().await.unwrap().is_empty());
    assert!(next.due().await.unwrap().is_empty());
}

pub(crate) async fn settling_twice_changes_nothing(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("a", vec![delivery("w1", "erp")]))]).await.unwrap();
    let mut second = settlement("a", vec![delivery("w1", "erp"), delivery("w2", "erp")]);
    second.verdict = b"another".to_vec();
    store.commit(vec![Write::Settle(second)]).await.unwrap();
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!(claimed[0].event.verdict.as_deref(), Some(&b"answered"[..]));
}

pub(crate) async fn settling_an_unknown_event_is_an_error(factory: &dyn Factory) {
    let store = factory.owner().await;
    let error = store.commit(vec![Write::Settle(settlement("a", vec![]))]).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownEvent(event) if event == id("a")), "{error}");
}

pub(crate) async fn opening_twice_changes_nothing(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("a", vec![delivery("w1", "erp")]))]).await.unwrap();
    store
        .commit(vec![Write::Open(NewEvent { body: b"other".to_vec(), ..event("a") }, vec![])])
        .await
        .unwrap();
    assert_eq!(store.counts().await.unwrap().open, 0);
    assert_eq!(claim(&*store, "erp", 0).await[0].event.body, b"a");
}

pub(crate) async fn discarded_event_is_removed(factory: &dyn Factory) {
    let store = factory.owner().await;
    let (path, payload) = file(factory, "payload");
    store
        .commit(vec![Write::Open(NewEvent { payload, ..event("a") }, vec![delivery("w1", "erp")])])
        .await
        .unwrap();
    store.commit(vec![Write::Discard(id("a"))]).await.unwrap();
    store.commit(vec![Write::Discard(id("a"))]).await.unwrap();
    assert!(!path.exists());
    assert_eq!(store.counts().await.unwrap().open, 0);
    assert!(matches!(
        store.commit(vec![Write::Settle(settlement("a", vec![]))]).await,
        Err(StoreError::UnknownEvent(_))
    ));
}

pub(crate) async fn discarding_does_not_remove_a_settled_event(factory: &dyn Factory) {
    let store = factory.owner().await;
    let (path, payload) = file(factory, "payload");
    store.commit(vec![Write::Open(NewEvent { payload, ..event("a") }, vec![])]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("a", vec![delivery("w1", "erp")]))]).await.unwrap();
    store.commit(vec![Write::Discard(id("a"))]).await.unwrap();
    assert!(path.exists());
    assert_eq!(webhook_ids(&claim(&*store, "erp", 0).await), ["w1"]);
}

pub(crate) async fn open_event_has_its_replaced_content_once_it_is_settled(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Open(event("a"), vec![delivery("planned", "erp")])]).await.unwrap();
    let (path, payload) = file(factory, "payload");
    let late = NewEvent {
        body: b"late".to_vec(),
        message_id: Some("<late@partner>".to_owned()),
        payload: payload.clone(),
        ..event("a")
    };
    let settle = Write::Settle(settlement("a", vec![delivery("w1", "erp")]));
    let writes = vec![Write::Replace(late.clone()), settle];
    store.commit(writes.clone()).await.unwrap();
    // Repeated, it changes nothing.
    store.commit(writes).await.unwrap();
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!((&claimed[0].event.body[..], &claimed[0].event.payload), (&b"late"[..], &payload));
    let filter = Filter { message_id: late.message_id, ..Filter::default() };
    assert_eq!(store.events(&filter, None, 10).await.unwrap().rows.len(), 1);
    assert!(path.exists());

    store.commit(vec![Write::Open(event("b"), vec![])]).await.unwrap();
    let payload = Payload::Inline("small".into());
    let late = NewEvent { body: b"late".to_vec(), payload, ..event("b") };
    store.commit(vec![Write::Replace(late)]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("b", vec![delivery("w2", "erp")]))]).await.unwrap();
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(claimed[0].event.payload, Payload::Inline("small".into()));
}

pub(crate) async fn settled_event_is_not_replaced(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("a", vec![delivery("w1", "erp")]))]).await.unwrap();
    let late = |name| Write::Replace(NewEvent { body: b"late".to_vec(), ..event(name) });
    store.commit(vec![late("a"), late("never opened")]).await.unwrap();
    assert_eq!(claim(&*store, "erp", 0).await[0].event.body, b"a");
    assert!(store.event(id("never opened")).await.unwrap().is_none());
}

pub(crate) async fn a_published_event_is_due_and_published_once(factory: &dyn Factory) {
    let store = factory.owner().await;
    for _ in 0..2 {
        store.commit(vec![Write::Publish(event("a"), vec![delivery("w1", "erp")])]).await.unwrap();
    }
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!(claimed[0].event.verdict, None);
}

pub(crate) async fn inline_payloads_are_read_as_written(factory: &dyn Factory) {
    let store = factory.owner().await;
    let inline = Payload::Inline(vec![0xE9; Payload::INLINE_MAX].into());
    let (_, spilt) = file(factory, "payload");
    for (name, payload) in [("a", &inline), ("b", &spilt), ("c", &Payload::None)] {
        let event = NewEvent { payload: payload.clone(), ..event(name) };
        store.commit(vec![Write::Publish(event, vec![delivery(name, "erp")])]).await.unwrap();
    }
    let claimed = claim(&*store, "erp", 0).await;
    let payloads: Vec<_> = claimed.into_iter().map(|claimed| claimed.event.payload).collect();
    assert_eq!(payloads, [inline, spilt, Payload::None]);
}

pub(crate) async fn adopt_returns_open_exchanges_of_terminated_owners_only(factory: &dyn Factory) {
    let (dead, living, successor) =
        (factory.owner().await, factory.owner().await, factory.owner().await);
    dead.commit(vec![Write::Open(event("dead"), vec![delivery("w1", "erp")])]).await.unwrap();
    living.commit(vec![Write::Open(event("living"), vec![delivery("w2", "erp")])]).await.unwrap();
    successor.commit(vec![Write::Open(event("own"), vec![delivery("w3", "erp")])]).await.unwrap();
    assert!(successor.adopt().await.unwrap().is_empty());
    factory.kill(dead).await;

    let adopted = successor.adopt().await.unwrap();
    assert_eq!(adopted.len(), 1);
    let (event, planned) = &adopted[0];
    assert_eq!((event.id, &event.body[..], &event.verdict), (id("dead"), &b"dead"[..], &None));
    assert_eq!(planned, &[delivery("w1", "erp")]);
    assert!(living.adopt().await.unwrap().is_empty());
    living.commit(vec![Write::Settle(settlement("living", vec![]))]).await.unwrap();
}

pub(crate) async fn adopted_events_are_returned_until_they_are_settled(factory: &dyn Factory) {
    let (dead, successor) = (factory.owner().await, factory.owner().await);
    for name in ["a", "b", "c"] {
        dead.commit(vec![Write::Open(event(name), vec![])]).await.unwrap();
    }
    factory.kill(dead).await;
    assert_eq!(successor.adopt().await.unwrap().len(), 3);
    successor
        .commit(vec![Write::Settle(settlement("a", vec![delivery("w1", "erp")]))])
        .await
        .unwrap();
    successor.commit(vec![Write::Discard(id("b"))]).await.unwrap();
    assert_eq!(successor.adopt().await.unwrap().len(), 1);
    assert_eq!(webhook_ids(&claim(&*successor, "erp", 0).await), ["w1"]);
    // It terminates as well: the next one gets what is left.
    factory.kill(successor).await;
    let next = factory.owner().await;
    assert_eq!(next.adopt().await.unwrap()[0].0.id, id("c"));
    assert_eq!(webhook_ids(&claim(&*next, "erp", 0).await), ["w1"]);
}

pub(crate) async fn closed_store_is_an_error_and_keeps_its_open_events(factory: &dyn Factory) {
    let (store, next) = (factory.owner().await, factory.owner().await);
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
    store.commit(vec![Write::Publish(event("b"), vec![delivery("w1", "erp")])]).await.unwrap();
    assert_eq!(claim(&*store, "erp", 0).await.len(), 1);
    store.close().await;
    store.close().await;
    assert!(matches!(store.commit(vec![Write::Discard(id("a"))]).await, Err(StoreError::Closed)));
    assert!(matches!(store.counts().await, Err(StoreError::Closed)));
    assert_eq!(next.adopt().await.unwrap()[0].0.id, id("a"));
    assert_eq!(webhook_ids(&claim(&*next, "erp", 0).await), ["w1"]);
}

pub(crate) async fn prune_removes_done_events_and_their_files(factory: &dyn Factory) {
    let store = factory.owner().await;
    let mut paths = Vec::new();
    for (name, outcome) in [
        ("delivered", Some(DeliveryOutcome::Delivered)),
        ("dead", Some(DeliveryOutcome::Dead)),
        ("held", Some(DeliveryOutcome::Held)),
        ("orphaned", Some(DeliveryOutcome::Orphaned)),
        ("retried", Some(DeliveryOutcome::Retry(9))),
        ("pending", None),
    ] {
        let (path, payload) = file(factory, name);
        // Two deliveries each: an event with one of them done is not done.
        let both = vec![delivery(name, name), delivery(&format!("{name}-2"), "other")];
        store
            .commit(vec![Write::Publish(NewEvent { payload, ..event(name) }, both)])
            .await
            .unwrap();
        if let Some(outcome) = outcome {
            finish(&*store, &claim(&*store, name, 0).await[0], outcome).await;
        }
        paths.push(path);
    }
    store.commit(vec![Write::Publish(event("without-deliveries"), vec![])]).await.unwrap();
    store.commit(vec![Write::Open(event("open"), vec![])]).await.unwrap();
    assert_eq!(store.prune(Prune::Events(FAR), 100).await.unwrap(), 1);
    for claimed in claim(&*store, "other", 0).await {
        finish(&*store, &claimed, DeliveryOutcome::Delivered).await;
    }
    assert_eq!(store.prune(Prune::Events(0), 100).await.unwrap(), 0);
    assert_eq!(store.prune(Prune::Events(FAR), 1).await.unwrap(), 1);
    assert_eq!(store.prune(Prune::Events(FAR), 100).await.unwrap(), 1);
    let left: Vec<_> = paths.iter().map(|path| path.exists()).collect();
    assert_eq!(left, [false, false, true, true, true, true]);
    let counts = store.counts().await.unwrap();
    assert_eq!((of(&counts, DeliveryState::Delivered), of(&counts, DeliveryState::Dead)), (4, 0));
    assert_eq!(counts.open, 1);

    // An event with pending deliveries again is not pruned.
    assert_eq!(
        store.change_state("held", DeliveryState::Held, DeliveryState::Dead).await.unwrap(),
        1
    );
    assert_eq!(
        store.change_state("held", DeliveryState::Dead, DeliveryState::Pending).await.unwrap(),
        1
    );
    assert_eq!(store.prune(Prune::Events(FAR), 100).await.unwrap(), 0);
    assert_eq!(webhook_ids(&claim(&*store, "held", 0).await), ["held"]);
}

pub(crate) async fn webhook_health_is_stored(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Publish(event("a"), vec![delivery("w1", "healthy")])]).await.unwrap();
    assert!(store.webhook_states().await.unwrap().is_empty());
    let mut state = WebhookState {
        webhook: "erp".to_owned(),
        disabled: Some("It responded with 410.".to_owned()),
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
