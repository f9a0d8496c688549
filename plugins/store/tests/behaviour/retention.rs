//! What is kept, and how much of it.

use as2hook_store::{Attempt, AttemptRecord, DeliveryState, Fate, Filter, Store};

use super::{Factory, claim, delivery, event, finish, id, publish, record};

/// Until the end of time.
const FAR: i64 = i64::MAX;

async fn is_there(store: &dyn Store, name: &str) -> bool {
    store.event(id(name)).await.unwrap().is_some()
}

pub(crate) async fn beyond_their_number_the_longest_done_go_and_dead_ones_stay(
    stores: &dyn Factory,
) {
    let store = stores.owner().await;
    for (name, fate) in [
        ("dead", Fate::Dead),
        ("a", Fate::Delivered),
        ("b", Fate::Delivered),
        ("c", Fate::Delivered),
    ] {
        publish(&*store, vec![delivery(name, name)]).await;
        finish(&*store, &claim(&*store, name, 0).await[0], fate).await;
    }
    publish(&*store, vec![delivery("pending", "pending")]).await;
    assert_eq!(store.prune_beyond(3, 100).await.unwrap(), 0);
    assert_eq!(store.prune_beyond(2, 100).await.unwrap(), 1);
    assert!(!is_there(&*store, "a").await && is_there(&*store, "b").await);
    assert_eq!(store.prune_beyond(0, 1).await.unwrap(), 1);
    assert!(!is_there(&*store, "b").await && is_there(&*store, "c").await);
    assert_eq!(store.prune_beyond(0, 100).await.unwrap(), 1);
    assert!(is_there(&*store, "dead").await && is_there(&*store, "pending").await);
    // Replayed and delivered, it is as the others.
    let filter = Filter { event: Some(id("dead")), ..Filter::default() };
    assert_eq!(store.replay(&filter).await.unwrap(), 1);
    assert_eq!(store.prune_beyond(0, 100).await.unwrap(), 0);
    finish(&*store, &claim(&*store, "dead", FAR).await[0], Fate::Delivered).await;
    assert_eq!(store.prune_beyond(0, 100).await.unwrap(), 1);
}

pub(crate) async fn a_replayed_event_is_not_too_old(stores: &dyn Factory) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("a", "erp"), delivery("b", "erp")]).await;
    for claimed in claim(&*store, "erp", 0).await {
        finish(&*store, &claimed, Fate::Delivered).await;
    }
    let filter = Filter { event: Some(id("a")), ..Filter::default() };
    assert_eq!(store.replay(&filter).await.unwrap(), 1);
    assert_eq!(store.prune(FAR, 100).await.unwrap(), 1);
    assert!(is_there(&*store, "a").await && !is_there(&*store, "b").await);
}

pub(crate) async fn old_attempts_leave_the_log_and_their_delivery_stays(stores: &dyn Factory) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("a", "erp")]).await;
    for at in [10, 20, 30] {
        let claimed = &claim(&*store, "erp", 0).await[0];
        let mut made = record(claimed, Fate::Retry(0));
        made.attempt = made.attempt.map(|attempt| Attempt { at, ..attempt });
        store.finish(vec![made]).await.unwrap();
    }
    assert_eq!(store.prune_attempts(10, 100).await.unwrap(), 0);
    assert_eq!(store.prune_attempts(30, 1).await.unwrap(), 1);
    assert_eq!(store.prune_attempts(30, 100).await.unwrap(), 1);
    let log = store.attempt_log("erp", 0, 10).await.unwrap();
    assert_eq!((log.total, log.rows[0].attempt.number), (1, 3));
    let claimed = &claim(&*store, "erp", 0).await[0];
    assert_eq!((claimed.attempts, claimed.tries), (3, 3));
    finish(&*store, claimed, Fate::Delivered).await;
    assert_eq!(store.attempt_log("erp", 0, 10).await.unwrap().total, 2);
}

pub(crate) async fn an_attempt_of_a_clock_gone_wrong_keeps_no_other_in_the_log(
    stores: &dyn Factory,
) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("a", "erp")]).await;
    for at in [10, 1_000, 20, 30] {
        let claimed = &claim(&*store, "erp", 0).await[0];
        let mut made = record(claimed, Fate::Retry(0));
        made.attempt = made.attempt.map(|attempt| Attempt { at, ..attempt });
        store.finish(vec![made]).await.unwrap();
    }
    assert_eq!(store.prune_attempts(30, 100).await.unwrap(), 2);
    let log = store.attempt_log("erp", 0, 10).await.unwrap();
    let numbers: Vec<_> = log.rows.iter().map(|row| row.attempt.number).collect();
    assert_eq!(numbers, [4, 2]);
}

pub(crate) async fn of_one_delivery_the_newest_attempts_are_kept(stores: &dyn Factory) {
    let store = stores.owner().await;
    store.publish(event("a"), vec![delivery("a", "erp")]).await.unwrap();
    for _ in 0..Attempt::KEPT + 2 {
        let claimed = &claim(&*store, "erp", 0).await[0];
        let made: AttemptRecord = record(claimed, Fate::Retry(0));
        store.finish(vec![made]).await.unwrap();
    }
    let log = store.attempt_log("erp", 0, 500).await.unwrap();
    assert_eq!(log.total, u64::from(Attempt::KEPT));
    assert_eq!(log.rows.last().unwrap().attempt.number, 3);
    assert_eq!(claim(&*store, "erp", 0).await[0].attempts, Attempt::KEPT + 2);
    let rows = store.deliveries(&Filter::default(), None, 10).await.unwrap().rows;
    assert_eq!(rows[0].state, DeliveryState::Claimed);
}
