//! `order: partner`: one at a time for each webhook and key.

use as2hook_store::{DeliveryOutcome, DeliveryState, DueWebhook, OrderPlace, Store, Write};

use super::{
    Factory, claim, delivery, event, finish, id, ordered, publish, release, settlement, webhook_ids,
};

pub(crate) async fn ordered_deliveries_are_claimed_one_at_a_time_in_order(factory: &dyn Factory) {
    let (one, two) = (factory.owner().await, factory.owner().await);
    publish(
        &*one,
        vec![
            ordered("a1", "erp", "ACME"),
            ordered("a2", "erp", "ACME"),
            ordered("b1", "erp", "BETA"),
            ordered("c1", "crm", "ACME"),
            delivery("free", "erp"),
            ordered("a3", "erp", "ACME"),
        ],
    )
    .await;
    let first = claim(&*one, "erp", 0).await;
    assert_eq!(webhook_ids(&first), ["a1", "b1", "free"]);
    assert!(claim(&*two, "erp", 0).await.is_empty());
    assert_eq!(webhook_ids(&claim(&*two, "crm", 0).await), ["c1"]);
    for claimed in &first {
        finish(&*one, claimed, DeliveryOutcome::Delivered).await;
    }
    let second = claim(&*two, "erp", 0).await;
    assert_eq!(webhook_ids(&second), ["a2"]);
    assert!(claim(&*one, "erp", 0).await.is_empty());
    finish(&*two, &second[0], DeliveryOutcome::Delivered).await;
    assert_eq!(webhook_ids(&claim(&*one, "erp", 0).await), ["a3"]);
}

pub(crate) async fn a_retry_blocks_its_key_and_no_other(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(
        &*store,
        vec![
            ordered("a1", "erp", "ACME"),
            ordered("b1", "erp", "BETA"),
            ordered("a2", "erp", "ACME"),
            ordered("b2", "erp", "BETA"),
        ],
    )
    .await;
    let first = claim(&*store, "erp", 0).await;
    finish(&*store, &first[0], DeliveryOutcome::Retry(100)).await;
    finish(&*store, &first[1], DeliveryOutcome::Delivered).await;
    assert_eq!(webhook_ids(&claim(&*store, "erp", 99).await), ["b2"]);
    let retried = claim(&*store, "erp", 100).await;
    assert_eq!(webhook_ids(&retried), ["a1"]);
    store.finish(vec![release(&retried[0], 200)]).await.unwrap();
    assert!(claim(&*store, "erp", 199).await.is_empty());
}

pub(crate) async fn dead_delivery_does_not_block_its_order(factory: &dyn Factory) {
    for outcome in [DeliveryOutcome::Dead, DeliveryOutcome::Orphaned] {
        let store = factory.owner().await;
        let webhook = format!("{outcome:?}");
        let names = [format!("{outcome:?}1"), format!("{outcome:?}2")];
        publish(&*store, names.iter().map(|name| ordered(name, &webhook, "ACME")).collect()).await;
        let first = claim(&*store, &webhook, 0).await;
        finish(&*store, &first[0], outcome).await;
        assert_eq!(webhook_ids(&claim(&*store, &webhook, 0).await), [&names[1]]);
    }
}

pub(crate) async fn held_delivery_keeps_its_place(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    let first = claim(&*store, "erp", 0).await;
    finish(&*store, &first[0], DeliveryOutcome::Held).await;
    publish(&*store, vec![ordered("a3", "erp", "ACME")]).await;
    assert!(claim(&*store, "erp", 0).await.is_empty());
    assert_eq!(
        store.change_state("erp", DeliveryState::Pending, DeliveryState::Held).await.unwrap(),
        2
    );
    publish(&*store, vec![ordered("a4", "erp", "ACME")]).await;
    assert_eq!(
        store.change_state("erp", DeliveryState::Held, DeliveryState::Pending).await.unwrap(),
        3
    );
    for expected in ["a1", "a2", "a3", "a4"] {
        let claimed = claim(&*store, "erp", 0).await;
        assert_eq!(webhook_ids(&claimed), [expected]);
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    }
}

pub(crate) async fn a_blocked_webhook_is_not_due(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    let first = claim(&*store, "erp", 0).await;
    assert!(store.due().await.unwrap().is_empty());
    finish(&*store, &first[0], DeliveryOutcome::Retry(500)).await;
    let erp = DueWebhook { webhook: "erp".to_owned(), due: 500 };
    assert_eq!(store.due().await.unwrap(), [erp]);
}

pub(crate) async fn claims_of_terminated_owners_keep_their_order(factory: &dyn Factory) {
    let (dead, successor) = (factory.owner().await, factory.owner().await);
    publish(&*dead, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    assert_eq!(claim(&*dead, "erp", 0).await.len(), 1);
    factory.kill(dead).await;
    successor.adopt().await.unwrap();
    assert_eq!(webhook_ids(&claim(&*successor, "erp", 0).await), ["a1"]);
}

pub(crate) async fn orphaned_deliveries_become_pending_in_their_place(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    let moved =
        store.change_state("erp", DeliveryState::Pending, DeliveryState::Orphaned).await.unwrap();
    assert_eq!(moved, 2);
    publish(&*store, vec![ordered("a3", "erp", "ACME")]).await;
    let third = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&third), ["a3"]);
    store.change_state("erp", DeliveryState::Orphaned, DeliveryState::Pending).await.unwrap();
    // While one delivery of the key is claimed, no other is; then the first remaining one.
    assert!(claim(&*store, "erp", 0).await.is_empty());
    finish(&*store, &third[0], DeliveryOutcome::Retry(0)).await;
    for expected in ["a1", "a2", "a3"] {
        let claimed = claim(&*store, "erp", i64::MAX).await;
        assert_eq!(webhook_ids(&claimed), [expected]);
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    }
}

/// Records an exchange that has places in the orders of ACME at these webhooks.
async fn record(store: &dyn Store, name: &str, webhooks: &[&str]) {
    let place = |webhook: &&str| OrderPlace {
        webhook: (*webhook).to_owned(),
        order_key: "ACME".to_owned(),
    };
    let places = webhooks.iter().map(place).collect();
    let open = Write::Open(event(name), vec![]);
    store.commit(vec![open, Write::Reserve(id(name), places)]).await.unwrap();
}

async fn settle(store: &dyn Store, name: &str, webhooks: &[&str]) {
    let deliveries = webhooks.iter().map(|hook| ordered(&format!("{name}-{hook}"), hook, "ACME"));
    store.commit(vec![Write::Settle(settlement(name, deliveries.collect()))]).await.unwrap();
}

pub(crate) async fn later_event_waits_for_the_outcome_of_an_earlier_one(factory: &dyn Factory) {
    let (one, two) = (factory.owner().await, factory.owner().await);
    record(&*one, "first", &["erp"]).await;
    record(&*two, "second", &["erp", "crm"]).await;
    settle(&*two, "second", &["erp", "crm"]).await;
    assert!(claim(&*two, "erp", i64::MAX).await.is_empty());
    assert_eq!(webhook_ids(&claim(&*two, "crm", i64::MAX).await), ["second-crm"]);
    publish(&*two, vec![ordered("other", "erp", "BETA")]).await;
    assert_eq!(webhook_ids(&claim(&*two, "erp", i64::MAX).await), ["other"]);
    settle(&*one, "first", &["erp"]).await;
    let claimed = claim(&*two, "erp", i64::MAX).await;
    assert_eq!(webhook_ids(&claimed), ["first-erp"]);
    finish(&*two, &claimed[0], DeliveryOutcome::Delivered).await;
    assert_eq!(webhook_ids(&claim(&*one, "erp", i64::MAX).await), ["second-erp"]);
}

pub(crate) async fn discarded_event_loses_its_place(factory: &dyn Factory) {
    let store = factory.owner().await;
    for (n, name) in ["discarded", "for-another"].into_iter().enumerate() {
        let second = format!("second{n}");
        record(&*store, name, &["erp"]).await;
        record(&*store, &second, &["erp"]).await;
        settle(&*store, &second, &["erp"]).await;
        assert!(claim(&*store, "erp", i64::MAX).await.is_empty());
        match n {
            0 => drop(store.commit(vec![Write::Discard(id(name))]).await.unwrap()),
            _ => settle(&*store, name, &["crm"]).await,
        }
        let claimed = claim(&*store, "erp", i64::MAX).await;
        assert_eq!(webhook_ids(&claimed), [format!("{second}-erp")]);
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    }
}

/// Its place follows the order of recording, even without a reserved place.
pub(crate) async fn event_settled_late_goes_before_later_ones(factory: &dyn Factory) {
    let store = factory.owner().await;
    record(&*store, "first", &[]).await;
    publish(&*store, vec![ordered("second", "erp", "ACME"), ordered("third", "erp", "ACME")]).await;
    settle(&*store, "first", &["erp"]).await;
    for expected in ["first-erp", "second", "third"] {
        let claimed = claim(&*store, "erp", i64::MAX).await;
        assert_eq!(webhook_ids(&claimed), [expected]);
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    }
}

pub(crate) async fn place_of_an_adopted_event_is_kept_until_it_is_settled(factory: &dyn Factory) {
    let (dead, successor) = (factory.owner().await, factory.owner().await);
    record(&*dead, "first", &["erp"]).await;
    record(&*successor, "second", &["erp"]).await;
    settle(&*successor, "second", &["erp"]).await;
    factory.kill(dead).await;
    assert_eq!(successor.adopt().await.unwrap().len(), 1);
    assert!(claim(&*successor, "erp", i64::MAX).await.is_empty());
    settle(&*successor, "first", &["erp"]).await;
    assert_eq!(webhook_ids(&claim(&*successor, "erp", i64::MAX).await), ["first-erp"]);
}
