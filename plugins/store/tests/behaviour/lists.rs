//! Lists of the admin API.

use as2hook_store::{
    DeliveryChange, DeliveryOutcome, DeliveryState, Filter, NewDelivery, NewEvent, Prune, Store,
    StoreError, Write,
};

use super::{Factory, claim, delivery, event, finish, id, ordered, publish, webhook_ids};

pub(crate) async fn lists_are_newest_first_and_paged(factory: &dyn Factory) {
    let store = factory.owner().await;
    let names: Vec<String> = (0..7).map(|n| format!("w{n}")).collect();
    publish(&*store, names.iter().map(|name| delivery(name, "erp")).collect()).await;
    let all = Filter::default();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.deliveries(&all, cursor, 3).await.unwrap();
        seen.extend(page.rows.into_iter().map(|row| row.webhook_id));
        cursor = page.next;
        // Rows that arrive meanwhile do not move the pages.
        publish(&*store, vec![delivery(&format!("later{}", seen.len()), "erp")]).await;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, names.iter().rev().cloned().collect::<Vec<_>>());
    let page = store.events(&all, None, 4).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[0].id), (4, id("later7")));
    let rest = store.events(&all, page.next, 100).await.unwrap();
    assert_eq!((rest.rows.len(), rest.next), (6, None));
}

pub(crate) async fn filters_find_rows_that_match_all_fields(factory: &dyn Factory) {
    let store = factory.owner().await;
    let beta = NewEvent {
        partner: Some("BETA".to_owned()),
        kind: "send.error".to_owned(),
        site: "other".to_owned(),
        occurred_at: 2_000,
        ..event("b")
    };
    store
        .commit(vec![Write::Publish(
            event("a"),
            vec![delivery("a1", "erp"), delivery("a2", "crm")],
        )])
        .await
        .unwrap();
    store.commit(vec![Write::Publish(beta, vec![delivery("b1", "erp")])]).await.unwrap();
    store.commit(vec![Write::Open(event("c"), vec![])]).await.unwrap();
    finish(&*store, &claim(&*store, "crm", 0).await[0], DeliveryOutcome::Dead).await;

    let text = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    for (filter, events, deliveries) in [
        (none(), 3, 3),
        (Filter { site: text("other"), ..none() }, 1, 1),
        (Filter { event: Some(id("a")), ..none() }, 1, 2),
        (Filter { kind: text("send.error"), ..none() }, 1, 1),
        (Filter { partner: text("ACME"), ..none() }, 2, 2),
        (Filter { station: text("MY-OWN-ORG"), ..none() }, 3, 3),
        (Filter { message_id: text("<b@acme>"), ..none() }, 1, 1),
        (Filter { from: Some(1_001), ..none() }, 1, 1),
        (Filter { until: Some(2_000), ..none() }, 2, 2),
        (Filter { webhook: text("erp"), ..none() }, 2, 2),
        (Filter { webhook: text("unknown"), ..none() }, 0, 0),
        (Filter { state: Some(DeliveryState::Dead), ..none() }, 1, 1),
        (Filter { state: Some(DeliveryState::Pending), ..none() }, 2, 2),
        (Filter { webhook: text("erp"), state: Some(DeliveryState::Dead), ..none() }, 0, 0),
        (Filter { partner: text("BETA"), webhook: text("erp"), ..none() }, 1, 1),
        (Filter { site: text("main' OR '1'='1"), ..none() }, 0, 0),
    ] {
        let found = store.events(&filter, None, 10).await.unwrap().rows.len();
        assert_eq!(found, events, "events of {filter:?}");
        let found = store.deliveries(&filter, None, 10).await.unwrap().rows.len();
        assert_eq!(found, deliveries, "deliveries of {filter:?}");
    }
    let rows = store.events(&none(), None, 10).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.open).collect::<Vec<_>>(), [true, false, false]);
    let one = store.deliveries(&none(), None, 1).await.unwrap().rows.remove(0);
    let by_number = Filter { delivery: Some(one.id), ..none() };
    assert_eq!(store.deliveries(&by_number, None, 10).await.unwrap().rows, [one]);
    let system = NewEvent { kind: "webhook.disabled".to_owned(), ..event("d") };
    store.commit(vec![Write::Publish(system, vec![delivery("d1", "erp")])]).await.unwrap();
    let exchanges = Filter { exchanges: true, ..none() };
    let rows = store.events(&exchanges, None, 10).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [id("c"), id("b"), id("a")]);
}

pub(crate) async fn attempts_are_logged_with_their_outcome(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp"), delivery("w2", "crm")]).await;
    for outcome in [DeliveryOutcome::Retry(9), DeliveryOutcome::Dead] {
        finish(&*store, &claim(&*store, "erp", i64::MAX).await[0], outcome).await;
    }
    finish(&*store, &claim(&*store, "crm", 0).await[0], DeliveryOutcome::Delivered).await;
    let erp = Filter { webhook: Some("erp".to_owned()), ..Filter::default() };
    let rows = store.attempts(&erp, None, 10).await.unwrap().rows;
    let seen: Vec<_> =
        rows.iter().map(|row| (row.attempt.number, row.state, row.next_at)).collect();
    assert_eq!(seen, [(2, DeliveryState::Dead, None), (1, DeliveryState::Pending, Some(9))]);
    let row = &rows[0];
    assert_eq!((&row.webhook_id[..], &row.webhook[..], row.event.id), ("w1", "erp", id("w1")));
    assert_eq!(row.attempt.url, "https://erp.example/");
    assert_eq!((row.attempt.http_code, row.attempt.duration_ms), (Some(500), 7));
    assert_eq!(store.attempts(&Filter::default(), None, 10).await.unwrap().rows.len(), 3);
}

pub(crate) async fn replayed_deliveries_restart_their_schedule(factory: &dyn Factory) {
    let store = factory.owner().await;
    let fates = [
        DeliveryOutcome::Delivered,
        DeliveryOutcome::Dead,
        DeliveryOutcome::Orphaned,
        DeliveryOutcome::Held,
        DeliveryOutcome::Retry(1),
    ];
    for (n, outcome) in fates.into_iter().enumerate() {
        let name = format!("w{n}");
        publish(&*store, vec![delivery(&name, "erp")]).await;
        finish(&*store, &claim(&*store, "erp", 0).await[0], outcome).await;
    }
    publish(&*store, vec![delivery("other", "crm")]).await;
    let erp = Filter { webhook: Some("erp".to_owned()), ..Filter::default() };
    assert_eq!(store.change_deliveries(DeliveryChange::Replay, &erp).await.unwrap(), 3);
    assert_eq!(store.change_deliveries(DeliveryChange::Replay, &erp).await.unwrap(), 0);
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 0);
    let claimed = claim(&*store, "erp", i64::MAX).await;
    let seen: Vec<_> = claimed
        .iter()
        .filter(|claimed| claimed.replay)
        .map(|claimed| (&claimed.webhook_id[..], claimed.attempts, claimed.tries))
        .collect();
    assert_eq!(seen, [("w0", 1, 0), ("w1", 1, 0), ("w2", 1, 0)]);
    // The numbers of the attempts continue in the replay.
    finish(&*store, &claimed[1], DeliveryOutcome::Delivered).await;
    let log = store.attempts(&erp, None, 1).await.unwrap().rows;
    assert_eq!(log[0].attempt.number, 2);
}

pub(crate) async fn a_replayed_delivery_goes_before_later_ones(factory: &dyn Factory) {
    let store = factory.owner().await;
    let all = ["a1", "a2", "a3"].map(|name| ordered(name, "erp", "ACME"));
    publish(&*store, all.to_vec()).await;
    finish(&*store, &claim(&*store, "erp", 0).await[0], DeliveryOutcome::Dead).await;
    let dead = Filter { state: Some(DeliveryState::Dead), ..Filter::default() };
    assert_eq!(store.change_deliveries(DeliveryChange::Replay, &dead).await.unwrap(), 1);
    for expected in ["a1", "a2", "a3"] {
        let claimed = claim(&*store, "erp", i64::MAX).await;
        assert_eq!(webhook_ids(&claimed), [expected]);
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    }
}

pub(crate) async fn many_deliveries_are_replayed_in_one_call(factory: &dyn Factory) {
    let store = factory.owner().await;
    let all: Vec<NewDelivery> = (0..900).map(|n| delivery(&format!("w{n}"), "erp")).collect();
    store.commit(vec![Write::Publish(event("a"), all)]).await.unwrap();
    store.change_state("erp", DeliveryState::Pending, DeliveryState::Dead).await.unwrap();
    assert_eq!(
        store.change_deliveries(DeliveryChange::Replay, &Filter::default()).await.unwrap(),
        900
    );
    assert_eq!(store.claim("erp", i64::MAX, 1_000).await.unwrap().len(), 900);
}

pub(crate) async fn event_can_be_delivered_to_another_webhook(factory: &dyn Factory) {
    let store = factory.owner().await;
    store.commit(vec![Write::Open(event("open"), vec![])]).await.unwrap();
    for name in ["open", "unknown"] {
        let result = store.enqueue(id(name), vec![delivery("w9", "new")]).await;
        assert!(matches!(result, Err(StoreError::UnknownEvent(_))));
    }
    store.commit(vec![Write::Publish(event("a"), vec![delivery("w1", "gone")])]).await.unwrap();
    finish(&*store, &claim(&*store, "gone", 0).await[0], DeliveryOutcome::Dead).await;
    assert_eq!(store.enqueue(id("a"), vec![delivery("w2", "new")]).await.unwrap(), 1);
    assert_eq!(store.enqueue(id("a"), vec![delivery("w2", "new")]).await.unwrap(), 0);
    let both = vec![delivery("w2", "new"), delivery("w3", "newer")];
    assert_eq!(store.enqueue(id("a"), both).await.unwrap(), 1);
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 0);
    let claimed = claim(&*store, "new", 0).await;
    assert_eq!((webhook_ids(&claimed), claimed[0].event.id), (vec!["w2"], id("a")));
    assert_eq!(store.event(id("a")).await.unwrap().unwrap().body, b"a");
    assert_eq!(store.event(id("unknown")).await.unwrap(), None);
}

/// This many were delivered, and are to be replayed.
async fn replayed(store: &dyn Store, count: usize) {
    let all: Vec<NewDelivery> = (0..count).map(|n| delivery(&format!("r{n}"), "erp")).collect();
    store.commit(vec![Write::Publish(event("old"), all)]).await.unwrap();
    store.change_state("erp", DeliveryState::Pending, DeliveryState::Delivered).await.unwrap();
    assert_eq!(
        store.change_deliveries(DeliveryChange::Replay, &Filter::default()).await.unwrap(),
        count as u64
    );
}

pub(crate) async fn replays_come_after_others_and_get_a_quarter_of_each_claim(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    replayed(&*store, 40).await;
    // Due later than the replays.
    let mut fresh: Vec<_> = (0..10).map(|n| delivery(&format!("f{n}"), "erp")).collect();
    fresh.iter_mut().for_each(|delivery| delivery.due = i64::MAX - 1);
    store.commit(vec![Write::Publish(event("new"), fresh)]).await.unwrap();
    let mut shares = Vec::new();
    for _ in 0..3 {
        let claimed = store.claim("erp", i64::MAX, 8).await.unwrap();
        assert!(claimed.is_sorted_by_key(|claimed| claimed.replay), "after the others");
        shares.push(claimed.iter().filter(|claimed| claimed.replay).count());
    }
    assert_eq!(shares, [2, 4, 8]);
    assert_eq!(store.due().await.unwrap().len(), 1);
}

pub(crate) async fn replays_get_one_of_four_claims_of_one_delivery(factory: &dyn Factory) {
    let store = factory.owner().await;
    replayed(&*store, 100).await;
    let fresh = (0..100).map(|n| delivery(&format!("f{n}"), "erp")).collect();
    store.commit(vec![Write::Publish(event("new"), fresh)]).await.unwrap();
    let mut replays = 0;
    for _ in 0..100 {
        let claimed = store.claim("erp", i64::MAX, 1).await.unwrap();
        replays += usize::from(claimed[0].replay);
    }
    assert!((1..60).contains(&replays), "{replays} of 100");
}
