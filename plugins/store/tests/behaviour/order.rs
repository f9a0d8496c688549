//! `order: partner`: one at a time for each webhook and key.

use as2hook_store::{DeliveryState, DueWebhook, Fate};

use super::{Factory, claim, delivery, finish, ordered, publish, release, webhook_ids};

pub(crate) async fn one_at_a_time_in_the_order_they_came(factory: &dyn Factory) {
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
        finish(&*one, claimed, Fate::Delivered).await;
    }
    let second = claim(&*two, "erp", 0).await;
    assert_eq!(webhook_ids(&second), ["a2"]);
    assert!(claim(&*one, "erp", 0).await.is_empty());
    finish(&*two, &second[0], Fate::Delivered).await;
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
    finish(&*store, &first[0], Fate::Retry(100)).await;
    finish(&*store, &first[1], Fate::Delivered).await;
    assert_eq!(webhook_ids(&claim(&*store, "erp", 99).await), ["b2"]);
    let retried = claim(&*store, "erp", 100).await;
    assert_eq!(webhook_ids(&retried), ["a1"]);
    store.finish(vec![release(&retried[0], 200)]).await.unwrap();
    assert!(claim(&*store, "erp", 199).await.is_empty());
}

pub(crate) async fn a_dead_one_does_not_block(factory: &dyn Factory) {
    for fate in [Fate::Dead, Fate::Orphaned] {
        let store = factory.owner().await;
        let webhook = format!("{fate:?}");
        let names = [format!("{fate:?}1"), format!("{fate:?}2")];
        publish(&*store, names.iter().map(|name| ordered(name, &webhook, "ACME")).collect()).await;
        let first = claim(&*store, &webhook, 0).await;
        finish(&*store, &first[0], fate).await;
        assert_eq!(webhook_ids(&claim(&*store, &webhook, 0).await), [&names[1]]);
    }
}

pub(crate) async fn a_held_one_keeps_its_place(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    let first = claim(&*store, "erp", 0).await;
    finish(&*store, &first[0], Fate::Held).await;
    publish(&*store, vec![ordered("a3", "erp", "ACME")]).await;
    assert!(claim(&*store, "erp", 0).await.is_empty());
    assert_eq!(store.shift("erp", DeliveryState::Pending, DeliveryState::Held).await.unwrap(), 2);
    publish(&*store, vec![ordered("a4", "erp", "ACME")]).await;
    assert_eq!(store.shift("erp", DeliveryState::Held, DeliveryState::Pending).await.unwrap(), 3);
    for expected in ["a1", "a2", "a3", "a4"] {
        let claimed = claim(&*store, "erp", 0).await;
        assert_eq!(webhook_ids(&claimed), [expected]);
        finish(&*store, &claimed[0], Fate::Delivered).await;
    }
}

pub(crate) async fn a_blocked_webhook_is_not_due(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    let first = claim(&*store, "erp", 0).await;
    assert!(store.due().await.unwrap().is_empty());
    finish(&*store, &first[0], Fate::Retry(500)).await;
    let erp = DueWebhook { webhook: "erp".to_owned(), due: 500 };
    assert_eq!(store.due().await.unwrap(), [erp]);
}

pub(crate) async fn claims_of_the_dead_keep_their_order(factory: &dyn Factory) {
    let (dead, heir) = (factory.owner().await, factory.owner().await);
    publish(&*dead, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    assert_eq!(claim(&*dead, "erp", 0).await.len(), 1);
    factory.kill(dead).await;
    heir.adopt().await.unwrap();
    assert_eq!(webhook_ids(&claim(&*heir, "erp", 0).await), ["a1"]);
}

pub(crate) async fn orphans_come_back_in_their_place(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![ordered("a1", "erp", "ACME"), ordered("a2", "erp", "ACME")]).await;
    let moved = store.shift("erp", DeliveryState::Pending, DeliveryState::Orphaned).await.unwrap();
    assert_eq!(moved, 2);
    publish(&*store, vec![ordered("a3", "erp", "ACME")]).await;
    let third = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&third), ["a3"]);
    store.shift("erp", DeliveryState::Orphaned, DeliveryState::Pending).await.unwrap();
    // While one of the key is on its way, nothing else goes; then the first one that is left.
    assert!(claim(&*store, "erp", 0).await.is_empty());
    finish(&*store, &third[0], Fate::Retry(0)).await;
    for expected in ["a1", "a2", "a3"] {
        let claimed = claim(&*store, "erp", i64::MAX).await;
        assert_eq!(webhook_ids(&claimed), [expected]);
        finish(&*store, &claimed[0], Fate::Delivered).await;
    }
}
