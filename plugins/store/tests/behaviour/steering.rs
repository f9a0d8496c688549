//! Deliveries that an operator retries, replays or cancels.

use as2hook_store::{
    AuditEntry, DeliveryChange, DeliveryOutcome, DeliveryState, Filter, NewDelivery, Prune, Store,
};

use super::{Factory, claim, delivery, finish, of, ordered, publish, release, webhook_ids};

/// Later than any clock says, so that it is not due.
const LATER: i64 = i64::MAX / 2;

async fn change(store: &dyn Store, change: DeliveryChange) -> u64 {
    store.change_deliveries(change, &Filter::default()).await.unwrap()
}

async fn count(store: &dyn Store, state: DeliveryState) -> u64 {
    of(&store.counts().await.unwrap(), state)
}

/// Returns now, later than what a change made due.
fn soon() -> i64 {
    as2hook_store::clock::now() + 1
}

pub(crate) async fn retry_of_a_pending_delivery_is_due_at_once_and_uses_up_no_step(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let first = claim(&*store, "erp", 0).await;
    finish(&*store, &first[0], DeliveryOutcome::Retry(LATER)).await;
    assert!(claim(&*store, "erp", soon()).await.is_empty());
    assert_eq!(change(&*store, DeliveryChange::Retry).await, 1);
    let asked = claim(&*store, "erp", soon()).await;
    assert_eq!(webhook_ids(&asked), ["w1"]);
    assert_eq!((asked[0].attempts, asked[0].tries, asked[0].asked), (1, 1, true));
    finish(&*store, &asked[0], DeliveryOutcome::Retry(0)).await;
    let next = claim(&*store, "erp", soon()).await;
    assert_eq!((next[0].attempts, next[0].tries, next[0].asked), (2, 1, false));
}

pub(crate) async fn retry_of_a_dead_delivery_begins_its_schedule_anew(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let first = claim(&*store, "erp", 0).await;
    finish(&*store, &first[0], DeliveryOutcome::Dead).await;
    assert_eq!(change(&*store, DeliveryChange::Retry).await, 1);
    assert_eq!(count(&*store, DeliveryState::Pending).await, 1);
    let again = claim(&*store, "erp", soon()).await;
    assert_eq!(webhook_ids(&again), ["w1"]);
    let got = (again[0].attempts, again[0].tries, again[0].asked, again[0].replay);
    assert_eq!(got, (1, 0, false, false));
}

pub(crate) async fn retry_that_is_not_made_is_still_none_of_the_schedule(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![NewDelivery { due: LATER, ..delivery("w1", "erp") }]).await;
    assert_eq!(change(&*store, DeliveryChange::Retry).await, 1);
    let asked = claim(&*store, "erp", soon()).await;
    assert!(asked[0].asked);
    store.finish(vec![release(&asked[0], 0)]).await.unwrap();
    assert!(claim(&*store, "erp", soon()).await[0].asked);
}

pub(crate) async fn recovery_makes_waiting_deliveries_due_only(factory: &dyn Factory) {
    let store = factory.owner().await;
    let waiting = NewDelivery { due: LATER, ..delivery("w1", "erp") };
    publish(&*store, vec![waiting, delivery("w2", "erp"), delivery("w3", "erp")]).await;
    let dead = store.claim("erp", 0, 1).await.unwrap();
    finish(&*store, &dead[0], DeliveryOutcome::Dead).await;
    assert_eq!(change(&*store, DeliveryChange::Recover).await, 1);
    let due = claim(&*store, "erp", soon()).await;
    let mut due: Vec<_> = due.iter().map(|one| (one.webhook_id.as_str(), one.asked)).collect();
    due.sort_unstable();
    assert_eq!(due, [("w1", true), ("w3", false)]);
}

pub(crate) async fn cancelled_delivery_is_never_claimed_and_can_be_replayed(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp"), delivery("w2", "erp")]).await;
    let dead = store.claim("erp", 0, 1).await.unwrap();
    finish(&*store, &dead[0], DeliveryOutcome::Dead).await;
    assert_eq!(change(&*store, DeliveryChange::Cancel).await, 2);
    assert_eq!(change(&*store, DeliveryChange::Cancel).await, 0);
    assert_eq!(change(&*store, DeliveryChange::Retry).await, 0);
    assert_eq!(count(&*store, DeliveryState::Cancelled).await, 2);
    assert!(claim(&*store, "erp", i64::MAX).await.is_empty());
    let cancelled = Filter { state: Some(DeliveryState::Cancelled), ..Filter::default() };
    assert_eq!(store.deliveries(&cancelled, None, 10).await.unwrap().rows.len(), 2);
    assert_eq!(store.change_deliveries(DeliveryChange::Replay, &cancelled).await.unwrap(), 2);
    assert_eq!(claim(&*store, "erp", soon()).await.len(), 2);
}

pub(crate) async fn cancelled_delivery_lets_the_next_of_its_order_go_on(factory: &dyn Factory) {
    let store = factory.owner().await;
    let poison = NewDelivery { due: LATER, ..ordered("w1", "erp", "ACME") };
    publish(&*store, vec![poison, ordered("w2", "erp", "ACME"), ordered("w3", "erp", "ACME")])
        .await;
    assert!(claim(&*store, "erp", soon()).await.is_empty());
    let page = store.deliveries(&Filter::default(), None, 10).await.unwrap();
    let poison = page.rows.iter().find(|row| row.webhook_id == "w1").map(|row| row.id);
    let poison = Filter { delivery: poison, ..Filter::default() };
    assert_eq!(store.change_deliveries(DeliveryChange::Cancel, &poison).await.unwrap(), 1);
    let next = claim(&*store, "erp", soon()).await;
    assert_eq!(webhook_ids(&next), ["w2"]);
    finish(&*store, &next[0], DeliveryOutcome::Delivered).await;
    assert_eq!(webhook_ids(&claim(&*store, "erp", soon()).await), ["w3"]);
}

pub(crate) async fn claimed_delivery_is_neither_retried_nor_cancelled(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let claimed = claim(&*store, "erp", 0).await;
    for it in [DeliveryChange::Retry, DeliveryChange::Recover, DeliveryChange::Cancel] {
        assert_eq!(change(&*store, it).await, 0, "{it:?}");
    }
    finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    assert_eq!(count(&*store, DeliveryState::Delivered).await, 1);
}

pub(crate) async fn event_with_cancelled_deliveries_is_pruned(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 0);
    change(&*store, DeliveryChange::Cancel).await;
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 1);
    assert_eq!(count(&*store, DeliveryState::Cancelled).await, 0);
}

pub(crate) async fn actions_are_kept_for_their_site_newest_first(factory: &dyn Factory) {
    let store = factory.owner().await;
    let action = |site: &str, at| AuditEntry {
        at,
        token: "night".to_owned(),
        site: site.to_owned(),
        action: "retry".to_owned(),
        target: "delivery 7\0".to_owned(),
        result: "1 retried".to_owned(),
    };
    for at in 1..=3 {
        store.audit(action("main", at)).await.unwrap();
        store.audit(action("other", at)).await.unwrap();
    }
    let page = store.audit_log("main", None, 2).await.unwrap();
    assert_eq!(page.rows.iter().map(|entry| entry.at).collect::<Vec<_>>(), [3, 2]);
    let rest = store.audit_log("main", page.next, 2).await.unwrap();
    assert_eq!(rest.rows.iter().map(|entry| entry.at).collect::<Vec<_>>(), [1]);
    assert_eq!(rest.next, None);
}

pub(crate) async fn store_of_the_first_version_is_migrated_with_its_deliveries(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp"), delivery("w2", "erp")]).await;
    let dead = store.claim("erp", 0, 1).await.unwrap();
    finish(&*store, &dead[0], DeliveryOutcome::Dead).await;
    store.close().await;
    drop(store);
    for index in ["cancelled", "webhook"] {
        factory.execute(&format!("DROP INDEX delivery_{index}"));
    }
    for index in ["about", "file", "errors", "kind", "station"] {
        factory.execute(&format!("DROP INDEX event_{index}"));
    }
    for column in ["delivery DROP COLUMN asked", "delivery DROP COLUMN extra"] {
        factory.execute(&format!("ALTER TABLE {column}"));
    }
    for column in ["about", "file_name", "errors"] {
        factory.execute(&format!("ALTER TABLE event DROP COLUMN {column}"));
    }
    factory.execute("DROP TABLE audit");
    factory.execute(factory.first_version());
    let store = factory.owner().await;
    assert_eq!(change(&*store, DeliveryChange::Cancel).await, 2);
    assert_eq!(change(&*store, DeliveryChange::Replay).await, 2);
    let mut claimed = claim(&*store, "erp", soon()).await;
    claimed.sort_by_key(|one| one.id);
    assert_eq!(webhook_ids(&claimed), ["w1", "w2"]);
    assert_eq!((claimed[0].attempts, claimed[0].tries, claimed[0].extra), (1, 0, 0));
    assert!(store.audit_log("main", None, 1).await.unwrap().rows.is_empty());
}
