//! Times stamped by a clock that was set later.

use as2hook_store::{
    Attempt, AttemptRecord, Before, DeliveryOutcome, Filter, Prune, Record, RecordChange, Write,
};

use super::{Factory, claim, delivery, event, finish, ordered, publish};

const NOW: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

pub(crate) async fn deliveries_planned_by_a_clock_ahead_become_due_earlier_once(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    let mut fresh = delivery("fresh", "erp");
    fresh.due = NOW + DAY;
    let mut blocked = ordered("blocked", "crm", "ACME");
    blocked.due = NOW + DAY;
    // Attempted at `at`, and to be retried at another time.
    let retried = [
        ("ahead", NOW + DAY, NOW + DAY + 60_000),
        ("right", NOW, NOW + 2 * DAY),
        ("soon", NOW + 1_000, NOW + 3_000),
    ];
    for (name, at, next) in retried {
        publish(&*store, vec![delivery(name, "erp")]).await;
        let claimed = claim(&*store, "erp", 0).await.remove(0);
        let url = "https://erp.example/".to_owned();
        let attempt =
            Attempt { number: 1, at, url, http_code: Some(500), error: None, duration_ms: 1 };
        let outcome = DeliveryOutcome::Retry(next);
        let record = AttemptRecord { delivery: claimed.id, attempt: Some(attempt), outcome };
        store.finish(vec![record]).await.unwrap();
    }
    publish(&*store, vec![fresh, ordered("first", "crm", "ACME"), blocked]).await;
    assert_eq!(store.advance_due_times(NOW).await.unwrap(), 3);
    assert_eq!(store.advance_due_times(NOW).await.unwrap(), 0);
    let all = store.deliveries(&Filter::default(), None, 10).await.unwrap().rows;
    let mut due: Vec<_> = all.iter().map(|row| (row.webhook_id.as_str(), row.due)).collect();
    due.sort_unstable();
    assert_eq!(
        due,
        [
            ("ahead", NOW + 60_000),
            ("blocked", NOW),
            ("first", 0),
            ("fresh", NOW),
            ("right", NOW + 2 * DAY),
            ("soon", NOW + 3_000),
        ]
    );
}

pub(crate) async fn newest_time_is_that_of_the_last_record(factory: &dyn Factory) {
    let store = factory.owner().await;
    assert_eq!(store.newest().await.unwrap(), None);
    let mut last = event("a");
    last.occurred_at = NOW;
    store.commit(vec![Write::Publish(last, vec![delivery("w1", "erp")])]).await.unwrap();
    assert_eq!(store.newest().await.unwrap(), Some(NOW));
    finish(&*store, &claim(&*store, "erp", 0).await[0], DeliveryOutcome::Delivered).await;
    // Stamped by the store's own clock.
    assert!(store.newest().await.unwrap() > Some(NOW));
}

pub(crate) async fn many_expired_notes_are_forgotten_in_one_call(factory: &dyn Factory) {
    let store = factory.owner().await;
    let note = |n: i64| {
        let (key, body) = (format!("sent:{n}"), Vec::new());
        let note = Record { key, body, due: None, expires: n };
        Write::Record(RecordChange { record: note, before: Before::Any })
    };
    for batch in 0..24 {
        store.commit((1..=500).map(|n| note(batch * 500 + n)).collect()).await.unwrap();
    }
    assert_eq!(store.prune(Prune::Records(11_500), 10_000).await.unwrap(), 10_000);
    assert_eq!(store.prune(Prune::Records(11_500), 10_000).await.unwrap(), 1_500);
    assert_eq!(store.prune(Prune::Records(11_500), 10_000).await.unwrap(), 0);
}
