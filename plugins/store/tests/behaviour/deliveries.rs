//! Deliveries and their outcomes.

use std::{pin::pin, time::Duration};

use as2hook_store::{
    Claimed, DeliveryOutcome, DeliveryState, DueWebhook, NewDelivery, NewEvent, Payload, Store,
    StoreError, Write,
};

use super::{Factory, claim, delivery, event, finish, of, publish, record, release, webhook_ids};

pub(crate) async fn a_duplicate_webhook_id_is_ignored(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    store
        .commit(vec![Write::Publish(
            event("b"),
            vec![delivery("w1", "crm"), delivery("w2", "crm")],
        )])
        .await
        .unwrap();
    assert_eq!(webhook_ids(&claim(&*store, "crm", 0).await), ["w2"]);
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!((webhook_ids(&claimed), &claimed[0].event.body[..]), (vec!["w1"], &b"w1"[..]));
}

pub(crate) async fn only_due_deliveries_are_claimed_oldest_first(factory: &dyn Factory) {
    let store = factory.owner().await;
    let at = |webhook_id, due| NewDelivery { due, ..delivery(webhook_id, "erp") };
    publish(&*store, vec![at("late", 30), at("b", 20), at("a", 10), at("b2", 20)]).await;
    publish(&*store, vec![delivery("other", "crm")]).await;
    assert!(store.claim("erp", 9, 10).await.unwrap().is_empty());
    assert!(store.claim("erp", 100, 0).await.unwrap().is_empty());
    assert!(store.claim("unknown", 100, 10).await.unwrap().is_empty());
    assert_eq!(webhook_ids(&store.claim("erp", 20, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(webhook_ids(&store.claim("erp", 20, 10).await.unwrap()), ["b2"]);
    assert_eq!(webhook_ids(&store.claim("erp", 30, 10).await.unwrap()), ["late"]);
}

pub(crate) async fn claimed_delivery_is_not_claimed_by_another_owner(factory: &dyn Factory) {
    let (one, two) = (factory.owner().await, factory.owner().await);
    let names: Vec<String> = (0..60).map(|n| format!("w{n}")).collect();
    publish(&*one, names.iter().map(|name| delivery(name, "erp")).collect()).await;
    let mut got = Vec::new();
    loop {
        let (a, b) = tokio::join!(one.claim("erp", 0, 7), two.claim("erp", 0, 7));
        let (a, b) = (a.unwrap(), b.unwrap());
        if a.is_empty() && b.is_empty() {
            break;
        }
        got.extend(a.into_iter().chain(b).map(|claimed| claimed.webhook_id));
    }
    got.sort();
    let mut names = names;
    names.sort();
    assert_eq!(got, names);
}

pub(crate) async fn attempts_are_counted_and_releases_are_not(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let first = claim(&*store, "erp", 0).await;
    store.finish(vec![release(&first[0], 10)]).await.unwrap();
    assert!(claim(&*store, "erp", 9).await.is_empty());
    let second = claim(&*store, "erp", 10).await;
    assert_eq!((second[0].attempts, second[0].tries), (0, 0));
    finish(&*store, &second[0], DeliveryOutcome::Retry(20)).await;
    assert!(claim(&*store, "erp", 19).await.is_empty());
    let third = claim(&*store, "erp", 20).await;
    assert_eq!((third[0].attempts, third[0].tries), (1, 1));
    finish(&*store, &third[0], DeliveryOutcome::Dead).await;
    assert!(claim(&*store, "erp", i64::MAX).await.is_empty());
}

pub(crate) async fn finishing_twice_changes_nothing(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let first = claim(&*store, "erp", 0).await;
    finish(&*store, &first[0], DeliveryOutcome::Retry(10)).await;
    finish(&*store, &first[0], DeliveryOutcome::Delivered).await;
    let second = claim(&*store, "erp", 10).await;
    assert_eq!(second[0].attempts, 1);
    // Not even while the next attempt is in progress.
    finish(&*store, &first[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&store.counts().await.unwrap(), DeliveryState::Claimed), 1);
    finish(&*store, &second[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&store.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

pub(crate) async fn delivery_claimed_by_another_owner_is_not_finished(factory: &dyn Factory) {
    let (one, two) = (factory.owner().await, factory.owner().await);
    publish(&*one, vec![delivery("w1", "erp"), delivery("w2", "erp")]).await;
    let claimed = one.claim("erp", 0, 1).await.unwrap();
    finish(&*two, &claimed[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&one.counts().await.unwrap(), DeliveryState::Claimed), 1);
    // A skipped record does not affect the others.
    let own = two.claim("erp", 0, 1).await.unwrap();
    let mut records = vec![
        record(&claimed[0], DeliveryOutcome::Dead),
        record(&own[0], DeliveryOutcome::Delivered),
    ];
    records[0].delivery = 999_999;
    two.finish(records).await.unwrap();
    assert_eq!(of(&one.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

pub(crate) async fn due_names_each_webhook_once_soonest_first(factory: &dyn Factory) {
    let store = factory.owner().await;
    let at = |webhook_id, webhook, due| NewDelivery { due, ..delivery(webhook_id, webhook) };
    publish(&*store, vec![at("a", "erp", 30), at("b", "erp", 20), at("c", "crm", 10)]).await;
    let due = |webhook: &str, due| DueWebhook { webhook: webhook.to_owned(), due };
    assert_eq!(store.due().await.unwrap(), [due("crm", 10), due("erp", 20)]);
    claim(&*store, "crm", 10).await;
    store.claim("erp", 20, 1).await.unwrap();
    assert_eq!(store.due().await.unwrap(), [due("erp", 30)]);
}

pub(crate) async fn shift_moves_one_webhooks_deliveries(factory: &dyn Factory) {
    let store = factory.owner().await;
    let many: Vec<String> = (0..450).map(|n| format!("w{n}")).collect();
    let all = many.iter().map(|name| delivery(name, "erp")).collect();
    store.commit(vec![Write::Publish(event("a"), all)]).await.unwrap();
    publish(&*store, vec![delivery("other", "crm")]).await;
    let (pending, held) = (DeliveryState::Pending, DeliveryState::Held);
    assert_eq!(store.change_state("erp", pending, held).await.unwrap(), 450);
    assert_eq!(store.change_state("erp", pending, held).await.unwrap(), 0);
    assert_eq!(store.change_state("unknown", pending, held).await.unwrap(), 0);
    assert!(claim(&*store, "erp", 0).await.is_empty());
    assert_eq!(webhook_ids(&claim(&*store, "crm", 0).await), ["other"]);
    assert_eq!(store.change_state("erp", held, pending).await.unwrap(), 450);
    assert_eq!(store.claim("erp", 0, 1_000).await.unwrap().len(), 450);
}

pub(crate) async fn shifted_deliveries_keep_their_place_in_the_schedule(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let claimed = claim(&*store, "erp", 0).await;
    // Far in the future by any clock.
    finish(&*store, &claimed[0], DeliveryOutcome::Retry(i64::MAX - 1)).await;
    store.change_state("erp", DeliveryState::Pending, DeliveryState::Held).await.unwrap();
    store.change_state("erp", DeliveryState::Held, DeliveryState::Pending).await.unwrap();
    let now = i64::MAX - 2;
    let claimed = claim(&*store, "erp", now).await;
    assert_eq!((claimed[0].attempts, claimed[0].tries, claimed[0].replay), (1, 1, false));
}

pub(crate) async fn counts_follow_every_move(factory: &dyn Factory) {
    let store = factory.owner().await;
    let fates = [
        DeliveryOutcome::Delivered,
        DeliveryOutcome::Dead,
        DeliveryOutcome::Held,
        DeliveryOutcome::Orphaned,
        DeliveryOutcome::Retry(1),
        DeliveryOutcome::Released(1),
    ];
    for (n, outcome) in (0_i64..).zip(fates) {
        let name = format!("w{n}");
        let event = NewEvent { occurred_at: 100 + n, ..event(&name) };
        store.commit(vec![Write::Publish(event, vec![delivery(&name, &name)])]).await.unwrap();
        let claimed = claim(&*store, &name, 0).await;
        finish(&*store, &claimed[0], outcome).await;
    }
    publish(&*store, vec![delivery("claimed", "erp")]).await;
    claim(&*store, "erp", 0).await;
    let counts = store.counts().await.unwrap();
    let numbers: Vec<_> = DeliveryState::ALL.iter().map(|state| of(&counts, *state)).collect();
    assert_eq!(numbers, [2, 1, 1, 1, 1, 1, 0]);
    assert_eq!(counts.oldest_undelivered, Some(104));
}

pub(crate) async fn counts_of_a_site_are_those_of_its_webhooks(factory: &dyn Factory) {
    let store = factory.owner().await;
    for n in 0..4_i64 {
        let (own, other) = (format!("own-{n}"), format!("other-{n}"));
        let event = NewEvent { occurred_at: 100 - n, ..event(&own) };
        let deliveries = vec![delivery(&own, "own"), delivery(&other, "other")];
        store.commit(vec![Write::Publish(event, deliveries)]).await.unwrap();
    }
    let claimed = store.claim("own", 0, 2).await.unwrap();
    finish(&*store, &claimed[0], DeliveryOutcome::Dead).await;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let counts = store.counts_of("main", names(&["own", "unknown"])).await.unwrap();
    assert_eq!((of(&counts, DeliveryState::Pending), of(&counts, DeliveryState::Dead)), (3, 1));
    assert_eq!(counts.oldest_undelivered, Some(97));
    let nothing = store.counts_of("elsewhere", Vec::new()).await.unwrap();
    assert_eq!(
        (of(&nothing, DeliveryState::Pending), of(&nothing, DeliveryState::Dead), nothing.open),
        (0, 0, 0)
    );
    assert_eq!(nothing.oldest_undelivered, None);
}

pub(crate) async fn claims_of_terminated_owners_are_released(factory: &dyn Factory) {
    let (dead, living, successor) =
        (factory.owner().await, factory.owner().await, factory.owner().await);
    publish(&*dead, vec![delivery("w1", "erp"), delivery("w2", "erp")]).await;
    assert_eq!(webhook_ids(&dead.claim("erp", 0, 1).await.unwrap()), ["w1"]);
    assert_eq!(webhook_ids(&living.claim("erp", 0, 1).await.unwrap()), ["w2"]);
    successor.adopt().await.unwrap();
    assert!(claim(&*successor, "erp", 0).await.is_empty());
    factory.kill(dead).await;
    successor.adopt().await.unwrap();
    assert_eq!(webhook_ids(&claim(&*successor, "erp", 0).await), ["w1"]);
}

pub(crate) async fn a_retry_keeps_its_time_and_its_place_over_a_restart(factory: &dyn Factory) {
    let before = factory.owner().await;
    publish(&*before, vec![delivery("w1", "erp")]).await;
    finish(&*before, &claim(&*before, "erp", 0).await[0], DeliveryOutcome::Retry(500)).await;
    before.close().await;
    let after = factory.owner().await;
    after.adopt().await.unwrap();
    assert!(claim(&*after, "erp", 499).await.is_empty());
    let claimed = claim(&*after, "erp", 500).await;
    assert_eq!(webhook_ids(&claimed), ["w1"]);
    assert_eq!((claimed[0].attempts, claimed[0].tries), (1, 1));
}

pub(crate) async fn large_event_is_claimed_completely(factory: &dyn Factory) {
    let store = factory.owner().await;
    let large = Payload::Inline(vec![b'p'; 100_000].into());
    let small = Payload::Inline(vec![b'p'; 10].into());
    let large = [
        ("body", NewEvent { body: vec![b'b'; 200_000], ..event("body") }),
        ("payload", NewEvent { payload: large, ..event("payload") }),
        ("small", NewEvent { payload: small, ..event("small") }),
    ];
    for (name, event) in &large {
        store
            .commit(vec![Write::Publish(event.clone(), vec![delivery(name, "erp")])])
            .await
            .unwrap();
    }
    let claimed = claim(&*store, "erp", 0).await;
    assert_eq!(webhook_ids(&claimed), ["body", "payload", "small"]);
    for (claimed, (_, event)) in claimed.iter().zip(&large) {
        assert!(claimed.event.body == event.body, "{}", claimed.webhook_id);
        assert!(claimed.event.payload == event.payload, "{}", claimed.webhook_id);
    }
}

pub(crate) async fn claim_whose_caller_is_gone_is_released(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    for steps in 0..30 {
        // Dropped at another moment each time: before, during and after its execution.
        let claim = store.claim("erp", 0, 1);
        let claimed = tokio::time::timeout(Duration::from_micros(steps * 50), claim).await;
        if let Ok(claimed) = claimed {
            let records: Vec<_> = claimed.unwrap().iter().map(|one| release(one, 0)).collect();
            store.finish(records).await.unwrap();
        }
    }
    let got = released(&*store, "erp").await;
    assert_eq!(webhook_ids(&got), ["w1"]);
}

/// Waits, within a bound, until a webhook's delivery is released, and claims it.
async fn released(store: &dyn Store, webhook: &str) -> Vec<Claimed> {
    let got = async {
        loop {
            let claimed = claim(store, webhook, i64::MAX).await;
            if !claimed.is_empty() {
                break claimed;
            }
            tokio::task::yield_now().await;
        }
    };
    let got = tokio::time::timeout(Duration::from_secs(60), got).await;
    got.expect("the claim is released in time")
}

pub(crate) async fn waiting_claim_takes_a_delivery_with_the_commit_that_makes_it_due(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    let mut waiting = pin!(store.claim_next("erp", 4));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let other = vec![Write::Publish(event("a"), vec![delivery("w1", "crm")])];
    assert_eq!(store.commit(other).await.unwrap(), ["crm"]);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let due = vec![Write::Publish(event("b"), vec![delivery("w2", "erp")])];
    assert!(store.commit(due).await.unwrap().is_empty(), "nothing is left to be claimed");
    let claimed = waiting.await.unwrap();
    assert_eq!(webhook_ids(&claimed), ["w2"]);
    finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&store.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

pub(crate) async fn waiting_claim_that_is_dropped_leaves_the_delivery_to_others(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    {
        let mut waiting = pin!(store.claim_next("erp", 4));
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    let due = vec![Write::Publish(event("a"), vec![delivery("w1", "erp")])];
    assert_eq!(store.commit(due).await.unwrap(), ["erp"]);
    assert_eq!(webhook_ids(&claim(&*store, "erp", i64::MAX).await), ["w1"]);
}

pub(crate) async fn waiting_claim_that_is_dropped_after_the_commit_is_released(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    {
        let mut waiting = pin!(store.claim_next("erp", 4));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let due = vec![Write::Publish(event("a"), vec![delivery("w1", "erp")])];
        assert!(store.commit(due).await.unwrap().is_empty());
    }
    assert_eq!(webhook_ids(&released(&*store, "erp").await), ["w1"]);
}

pub(crate) async fn waiting_claim_ends_with_its_store(factory: &dyn Factory) {
    let store = factory.owner().await;
    let mut waiting = pin!(store.claim_next("erp", 4));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    store.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(matches!(ended, Ok(Err(StoreError::Closed))), "{ended:?}");
}
