//! Gateways that share the store, and payloads that they keep in pieces.

use as2hook_store::{
    DeliveryState, GatewayReport, NewEvent, Payload, SetAside, StoreError, WebhookState, Write,
};

use super::{Factory, delivery, event, id, publish};

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn report(name: &str, started_at: i64, seen_at: i64) -> GatewayReport {
    GatewayReport {
        id: id(name),
        host: name.to_owned(),
        process: 7,
        version: "0.1.0".to_owned(),
        started_at,
        seen_at,
        rules: "same".to_owned(),
        generation: 0,
    }
}

/// The report of a gateway with this configuration; `generation` is the one it got before.
fn content(name: &str, rules: &str, generation: i64) -> GatewayReport {
    GatewayReport { rules: rules.to_owned(), generation, ..report(name, 1_000, now()) }
}

pub(crate) async fn gateways_are_listed_while_they_report(stores: &dyn Factory) {
    let (store, other) = (stores.owner().await, stores.owner().await);
    let now = now();
    store.report(report("second", 2_000, now)).await.unwrap();
    other.report(report("first", 1_000, now)).await.unwrap();
    let changed = GatewayReport { rules: "other".to_owned(), ..report("second", 2_000, now) };
    store.report(changed.clone()).await.unwrap();
    // The store chooses the time and the generation.
    let listed = |listed: Vec<GatewayReport>| -> Vec<_> {
        let as_reported = |it| GatewayReport { seen_at: now, generation: 0, ..it };
        listed.into_iter().map(as_reported).collect()
    };
    let all = vec![report("first", 1_000, now), changed.clone()];
    assert_eq!(listed(other.gateways(now - 60_000).await.unwrap()), all);
    assert_eq!(other.gateways(now + 3_600_000).await.unwrap(), []);
    other.report(report("first", 1_000, 0)).await.unwrap();
    assert_eq!(listed(store.gateways(now - 60_000).await.unwrap()), vec![changed]);
}

pub(crate) async fn changed_content_has_a_newer_generation_and_the_same_content_the_same(
    stores: &dyn Factory,
) {
    let (store, other) = (stores.owner().await, stores.owner().await);
    let first = store.report(content("a", "first", 0)).await.unwrap();
    assert_eq!(other.report(content("b", "first", 0)).await.unwrap(), first);
    let second = other.report(content("b", "second", 0)).await.unwrap();
    assert!(second > first);
    assert_eq!(
        store.report(content("a", "first", first)).await.unwrap(),
        first,
        "it did not reload"
    );
    let third = store.report(content("a", "first", 0)).await.unwrap();
    assert!(third > second, "a former configuration is newer when it is in force again");
    assert_eq!(other.report(content("b", "first", 0)).await.unwrap(), third);
    let listed = store.gateways(now() - 60_000).await.unwrap();
    assert_eq!(listed.iter().map(|gateway| gateway.generation).collect::<Vec<_>>(), [third, third]);
}

pub(crate) async fn older_configuration_moves_no_deliveries_while_a_newer_one_is_reported(
    stores: &dyn Factory,
) {
    let (old, new) = (stores.owner().await, stores.owner().await);
    publish(&*old, vec![delivery("w1", "erp")]).await;
    let generation = old.report(content("old", "first", 0)).await.unwrap();
    let newer = new.report(content("new", "second", 0)).await.unwrap();
    let state = |fingerprint: &str| WebhookState {
        webhook: "erp".to_owned(),
        disabled: Some(fingerprint.to_owned()),
        failing_since: None,
        fingerprint: fingerprint.to_owned(),
    };
    let (pending, held) = (DeliveryState::Pending, DeliveryState::Held);
    let refused = old.change_state("erp", pending, held).await;
    assert!(matches!(refused, Err(StoreError::OlderConfiguration)), "{refused:?}");
    let refused = old.set_webhook_state(state("old")).await;
    assert!(matches!(refused, Err(StoreError::OlderConfiguration)), "{refused:?}");
    assert_eq!(new.change_state("erp", pending, held).await.unwrap(), 1);
    new.set_webhook_state(state("new")).await.unwrap();
    assert!(old.change_state("erp", held, pending).await.is_err());
    new.change_state("erp", held, DeliveryState::Orphaned).await.unwrap();
    let back = old.change_state("erp", DeliveryState::Orphaned, pending).await;
    assert_eq!(back.unwrap(), 1, "orphaned by the newer one, which has no rule for it");
    new.change_state("erp", pending, held).await.unwrap();
    assert_eq!(old.webhook_states().await.unwrap(), [state("new")]);

    new.report(GatewayReport { seen_at: 0, ..content("new", "second", newer) }).await.unwrap();
    assert_eq!(
        old.change_state("erp", held, pending).await.unwrap(),
        1,
        "the newer one has terminated"
    );
    new.report(content("new", "second", newer)).await.unwrap();
    assert!(old.change_state("erp", pending, held).await.is_err());
    assert!(old.report(content("old", "first", 0)).await.unwrap() > newer);
    assert_eq!(old.change_state("erp", pending, held).await.unwrap(), 1, "it was reloaded since");
    assert!(new.change_state("erp", held, pending).await.is_err());
    assert!(generation < newer);
}

pub(crate) async fn webhooks_with_deliveries_set_aside_are_named(stores: &dyn Factory) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("w1", "erp"), delivery("w2", "crm"), delivery("w3", "crm")])
        .await;
    assert_eq!(store.set_aside().await.unwrap(), []);
    let pending = DeliveryState::Pending;
    store.change_state("erp", pending, DeliveryState::Orphaned).await.unwrap();
    store.change_state("crm", pending, DeliveryState::Held).await.unwrap();
    let aside = |webhook: &str, state| SetAside { webhook: webhook.to_owned(), state };
    let expected = [aside("crm", DeliveryState::Held), aside("erp", DeliveryState::Orphaned)];
    assert_eq!(store.set_aside().await.unwrap(), expected);
}

pub(crate) async fn a_payload_in_pieces_is_named_by_its_event(stores: &dyn Factory) {
    let store = stores.owner().await;
    let kept = Payload::Stored { id: id("kept"), size: 300_000 };
    let with_payload = NewEvent { payload: kept.clone(), ..event("one") };
    store.commit(vec![Write::Publish(with_payload, vec![delivery("w1", "erp")])]).await.unwrap();
    assert_eq!(store.event(id("one")).await.unwrap().unwrap().payload, kept);
    assert_eq!(store.claim("erp", i64::MAX, 1).await.unwrap()[0].event.payload, kept);
    let both = vec![id("kept"), id("orphan")];
    assert_eq!(store.unnamed_blobs(both).await.unwrap(), vec![id("orphan")]);
}
