//! What is kept, and how much of it.

use as2hook_store::{
    Attempt, AttemptRecord, DeliveryChange, DeliveryOutcome, DeliveryState, Filter, NewEvent,
    Payload, Prune, Store, Write,
};

use super::{Factory, claim, delivery, event, finish, id, publish, record};

/// The end of time.
const FAR: i64 = i64::MAX;

async fn is_there(store: &dyn Store, name: &str) -> bool {
    store.event(id(name)).await.unwrap().is_some()
}

pub(crate) async fn events_beyond_the_limit_are_pruned_longest_done_first_and_dead_ones_stay(
    stores: &dyn Factory,
) {
    let store = stores.owner().await;
    for (name, outcome) in [
        ("dead", DeliveryOutcome::Dead),
        ("a", DeliveryOutcome::Delivered),
        ("b", DeliveryOutcome::Delivered),
        ("c", DeliveryOutcome::Delivered),
    ] {
        publish(&*store, vec![delivery(name, name)]).await;
        finish(&*store, &claim(&*store, name, 0).await[0], outcome).await;
    }
    publish(&*store, vec![delivery("pending", "pending")]).await;
    assert_eq!(store.prune(Prune::EventsBeyond(3), 100).await.unwrap(), 0);
    assert_eq!(store.prune(Prune::EventsBeyond(2), 100).await.unwrap(), 1);
    assert!(!is_there(&*store, "a").await && is_there(&*store, "b").await);
    assert_eq!(store.prune(Prune::EventsBeyond(0), 1).await.unwrap(), 1);
    assert!(!is_there(&*store, "b").await && is_there(&*store, "c").await);
    assert_eq!(store.prune(Prune::EventsBeyond(0), 100).await.unwrap(), 1);
    assert!(is_there(&*store, "dead").await && is_there(&*store, "pending").await);
    // Replayed and delivered, it is like the others.
    let filter = Filter { event: Some(id("dead")), ..Filter::default() };
    assert_eq!(store.change_deliveries(DeliveryChange::Replay, &filter).await.unwrap(), 1);
    assert_eq!(store.prune(Prune::EventsBeyond(0), 100).await.unwrap(), 0);
    finish(&*store, &claim(&*store, "dead", FAR).await[0], DeliveryOutcome::Delivered).await;
    assert_eq!(store.prune(Prune::EventsBeyond(0), 100).await.unwrap(), 1);
}

pub(crate) async fn replayed_event_is_not_pruned_by_age(stores: &dyn Factory) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("a", "erp"), delivery("b", "erp")]).await;
    for claimed in claim(&*store, "erp", 0).await {
        finish(&*store, &claimed, DeliveryOutcome::Delivered).await;
    }
    let filter = Filter { event: Some(id("a")), ..Filter::default() };
    assert_eq!(store.change_deliveries(DeliveryChange::Replay, &filter).await.unwrap(), 1);
    assert_eq!(store.prune(Prune::Events(FAR), 100).await.unwrap(), 1);
    assert!(is_there(&*store, "a").await && !is_there(&*store, "b").await);
}

pub(crate) async fn old_attempts_leave_the_log_and_their_delivery_stays(stores: &dyn Factory) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("a", "erp")]).await;
    for at in [10, 20, 30] {
        let claimed = &claim(&*store, "erp", 0).await[0];
        let mut made = record(claimed, DeliveryOutcome::Retry(0));
        made.attempt = made.attempt.map(|attempt| Attempt { at, ..attempt });
        store.finish(vec![made]).await.unwrap();
    }
    assert_eq!(store.prune(Prune::Attempts(10), 100).await.unwrap(), 0);
    assert_eq!(store.prune(Prune::Attempts(30), 1).await.unwrap(), 1);
    assert_eq!(store.prune(Prune::Attempts(30), 100).await.unwrap(), 1);
    let log = store.attempt_log("erp", 0, 10).await.unwrap();
    assert_eq!((log.total, log.rows[0].attempt.number), (1, 3));
    let claimed = &claim(&*store, "erp", 0).await[0];
    assert_eq!((claimed.attempts, claimed.tries), (3, 3));
    finish(&*store, claimed, DeliveryOutcome::Delivered).await;
    assert_eq!(store.attempt_log("erp", 0, 10).await.unwrap().total, 2);
}

pub(crate) async fn attempt_with_a_wrong_time_does_not_keep_others_in_the_log(
    stores: &dyn Factory,
) {
    let store = stores.owner().await;
    publish(&*store, vec![delivery("a", "erp")]).await;
    for at in [10, 1_000, 20, 30] {
        let claimed = &claim(&*store, "erp", 0).await[0];
        let mut made = record(claimed, DeliveryOutcome::Retry(0));
        made.attempt = made.attempt.map(|attempt| Attempt { at, ..attempt });
        store.finish(vec![made]).await.unwrap();
    }
    assert_eq!(store.prune(Prune::Attempts(30), 100).await.unwrap(), 2);
    let log = store.attempt_log("erp", 0, 10).await.unwrap();
    let numbers: Vec<_> = log.rows.iter().map(|row| row.attempt.number).collect();
    assert_eq!(numbers, [4, 2]);
}

pub(crate) async fn newest_attempts_of_a_delivery_are_kept(stores: &dyn Factory) {
    let store = stores.owner().await;
    store.commit(vec![Write::Publish(event("a"), vec![delivery("a", "erp")])]).await.unwrap();
    for _ in 0..Attempt::KEPT + 2 {
        let claimed = &claim(&*store, "erp", 0).await[0];
        let made: AttemptRecord = record(claimed, DeliveryOutcome::Retry(0));
        store.finish(vec![made]).await.unwrap();
    }
    let log = store.attempt_log("erp", 0, 500).await.unwrap();
    assert_eq!(log.total, u64::from(Attempt::KEPT));
    assert_eq!(log.rows.last().unwrap().attempt.number, 3);
    assert_eq!(claim(&*store, "erp", 0).await[0].attempts, Attempt::KEPT + 2);
    let rows = store.deliveries(&Filter::default(), None, 10).await.unwrap().rows;
    assert_eq!(rows[0].state, DeliveryState::Claimed);
}

pub(crate) async fn bytes_follow_what_is_kept(stores: &dyn Factory) {
    const KIB: u64 = 1 << 10;
    let store = stores.owner().await;
    let empty = store.bytes().await.unwrap();
    let body = vec![b'x'; 40 << 10];
    for name in ["a", "b", "c", "d"] {
        let payload = Payload::Inline(vec![b'x'; 10 << 10].into());
        let event = NewEvent { body: body.clone(), payload, ..event(name) };
        store.commit(vec![Write::Publish(event, vec![])]).await.unwrap();
    }
    let inline = store.bytes().await.unwrap() - empty;
    assert!((200 * KIB..260 * KIB).contains(&inline), "{inline}");
    super::file(stores, "large");
    let payload = Payload::File { path: "process/large".into(), size: 100 << 20 };
    store
        .commit(vec![Write::Publish(NewEvent { payload, ..event("large") }, vec![])])
        .await
        .unwrap();
    let stored = Payload::Stored { id: id("pieces"), size: 50 << 20 };
    store
        .commit(vec![Write::Publish(NewEvent { payload: stored, ..event("stored") }, vec![])])
        .await
        .unwrap();
    let all = store.bytes().await.unwrap() - empty - inline;
    assert!((150 << 20..151 << 20).contains(&all), "{all}");
    // Payloads are removed before their events.
    assert_eq!(store.purge_payloads(FAR, 100).await.unwrap().events, 6);
    let spent = store.bytes().await.unwrap() - empty;
    assert!((160 * KIB..240 * KIB).contains(&spent), "{spent}");
    // The longest done events are removed first.
    assert_eq!(store.prune(Prune::EventsBeyond(0), 2).await.unwrap(), 2);
    assert!(!is_there(&*store, "b").await && is_there(&*store, "c").await);
    let half = store.bytes().await.unwrap() - empty;
    assert!((80 * KIB..150 * KIB).contains(&half), "{half}");
    assert_eq!(store.prune(Prune::EventsBeyond(0), 100).await.unwrap(), 4);
    let left = store.bytes().await.unwrap().saturating_sub(empty);
    assert!(left < 40 * KIB, "{left}");
}
