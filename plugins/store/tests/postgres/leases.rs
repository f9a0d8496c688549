//! Gateways that terminate, and gateways that only seemed to.

use std::time::Duration;

use as2hook_store::{DeliveryOutcome, DeliveryState, EventStore, PostgresOptions, Store, Write};
use as2hook_testing::Postgres;

use super::{
    behaviour::{claim, delivery, event, finish, id, of, publish, settlement, webhook_ids},
    connect, connect_with, end_lease, last_owner, until,
};

/// Short, but long enough for a machine that stalls for some seconds.
fn short() -> PostgresOptions {
    PostgresOptions { lease: Duration::from_secs(8), ..PostgresOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_and_exchanges_are_taken_over_when_the_lease_of_their_gateway_ends() {
    let postgres = Postgres::shared();
    let dead = connect_with(&postgres, short()).await;
    dead.commit(vec![Write::Open(event("open"), vec![delivery("planned", "erp")])]).await.unwrap();
    publish(&*dead, vec![delivery("w1", "erp")]).await;
    assert_eq!(claim(&*dead, "erp", 0).await.len(), 1);
    let successor = connect(&postgres).await;
    assert!(successor.adopt().await.unwrap().is_empty());
    // Its lease is not renewed any more, and nothing was released.
    drop(dead);
    let adopted = until(|| async {
        let adopted = successor.adopt().await.unwrap();
        (!adopted.is_empty()).then_some(adopted)
    })
    .await;
    assert_eq!((adopted.len(), adopted[0].0.id), (1, id("open")));
    assert_eq!(adopted[0].1, [delivery("planned", "erp")]);
    assert_eq!(webhook_ids(&claim(&*successor, "erp", 0).await), ["w1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_gateway_keeps_its_claims_beyond_the_first_lease() {
    let postgres = Postgres::shared();
    let (living, other) =
        (connect_with(&postgres, short()).await, connect_with(&postgres, short()).await);
    living.commit(vec![Write::Open(event("open"), vec![])]).await.unwrap();
    publish(&*living, vec![delivery("w1", "erp")]).await;
    let claimed = claim(&*living, "erp", 0).await;
    let beyond = "SELECT count(*) FROM as2hook.owner
        WHERE clock_timestamp() > started_at + interval '9 seconds'";
    until(|| async { (postgres.sql(beyond) == "2").then_some(()) }).await;
    assert!(other.adopt().await.unwrap().is_empty());
    finish(&*living, &claimed[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&other.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

#[tokio::test]
async fn gateway_whose_lease_ended_continues_as_a_new_owner() {
    let postgres = Postgres::shared();
    let stalled = connect(&postgres).await;
    let number = last_owner(&postgres);
    let successor = connect(&postgres).await;
    for name in ["first", "second"] {
        stalled
            .commit(vec![Write::Open(event(name), vec![delivery(&format!("{name}?"), "unknown")])])
            .await
            .unwrap();
    }
    publish(&*stalled, vec![delivery("w1", "erp")]).await;
    let before = claim(&*stalled, "erp", 0).await;
    end_lease(&postgres, &number);
    assert_eq!(successor.adopt().await.unwrap().len(), 2);

    // The true outcome wins if the new owner has not published yet, and nothing is published twice.
    stalled
        .commit(vec![Write::Settle(settlement("first", vec![delivery("first", "published")]))])
        .await
        .unwrap();
    successor
        .commit(vec![Write::Settle(settlement("first", vec![delivery("first?", "unknown")]))])
        .await
        .unwrap();
    successor
        .commit(vec![Write::Settle(settlement("second", vec![delivery("second?", "unknown")]))])
        .await
        .unwrap();
    stalled
        .commit(vec![Write::Settle(settlement("second", vec![delivery("second", "published")]))])
        .await
        .unwrap();
    assert_eq!(webhook_ids(&claim(&*successor, "published", 0).await), ["first"]);
    assert_eq!(webhook_ids(&claim(&*successor, "unknown", 0).await), ["second?"]);
    assert!(successor.adopt().await.unwrap().is_empty());

    // Another owner may have its claims by now, and that owner's outcome counts.
    let now = claim(&*successor, "erp", 0).await;
    assert_eq!(webhook_ids(&now), ["w1"]);
    finish(&*stalled, &before[0], DeliveryOutcome::Dead).await;
    let counts = successor.counts().await.unwrap();
    assert_eq!(of(&counts, DeliveryState::Dead), 0);
    finish(&*successor, &now[0], DeliveryOutcome::Delivered).await;
    // It is registered as an owner again.
    publish(&*stalled, vec![delivery("w2", "erp")]).await;
    let again = claim(&*stalled, "erp", 0).await;
    finish(&*stalled, &again[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&successor.counts().await.unwrap(), DeliveryState::Delivered), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earlier_claim_does_not_finish_a_later_one() {
    let postgres = Postgres::shared();
    let stalled = connect(&postgres).await;
    let number = last_owner(&postgres);
    let successor = connect(&postgres).await;
    publish(&*stalled, vec![delivery("w1", "erp")]).await;
    let before = claim(&*stalled, "erp", 0).await;
    end_lease(&postgres, &number);
    successor.adopt().await.unwrap();
    let between = claim(&*successor, "erp", 0).await;
    assert_eq!(webhook_ids(&between), ["w1"]);
    // Skipped, and forgotten: this delivery belongs to another owner.
    finish(&*stalled, &before[0], DeliveryOutcome::Delivered).await;
    finish(&*successor, &between[0], DeliveryOutcome::Retry(0)).await;
    let now = claim(&*stalled, "erp", 0).await;
    assert_eq!((webhook_ids(&now), now[0].attempts), (vec!["w1"], 1));
    finish(&*stalled, &now[0], DeliveryOutcome::Delivered).await;
    assert_eq!(of(&successor.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

/// When the database recovers from a stall, all leases have ended; the first gateway to reconnect
/// must not reclaim the others' claims.
#[tokio::test]
async fn stalled_database_ends_no_ownership() {
    let postgres = Postgres::shared();
    let stores = [connect(&postgres).await, connect(&postgres).await];
    stores[0]
        .commit(vec![Write::Open(event("one"), vec![delivery("unknown", "erp")])])
        .await
        .unwrap();
    stores[1]
        .commit(vec![Write::Open(event("other"), vec![delivery("unknown", "erp")])])
        .await
        .unwrap();
    postgres.sql("UPDATE as2hook.owner SET lease_until = clock_timestamp() - interval '1 second'");
    assert!(stores[0].adopt().await.unwrap().is_empty());
    stores[1]
        .commit(vec![Write::Settle(settlement("other", vec![delivery("w2", "erp")]))])
        .await
        .unwrap();
    assert!(stores[1].adopt().await.unwrap().is_empty());
    stores[0]
        .commit(vec![Write::Settle(settlement("one", vec![delivery("w1", "erp")]))])
        .await
        .unwrap();
    assert_eq!(webhook_ids(&claim(&*stores[0], "erp", 0).await), ["w2", "w1"]);
}

/// A group that was in progress when its gateway closed, and was committed afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchange_without_an_owner_is_taken_over() {
    let postgres = Postgres::shared();
    let mut lost = Vec::new();
    for name in ["one", "other"] {
        let gone = connect(&postgres).await;
        gone.commit(vec![Write::Open(event(name), vec![delivery(&format!("{name}?"), "erp")])])
            .await
            .unwrap();
        publish(&*gone, vec![delivery(&format!("{name}!"), "erp")]).await;
        assert_eq!(claim(&*gone, "erp", 0).await.len(), 1);
        lost.push((last_owner(&postgres), gone));
    }
    for (number, _) in &lost {
        postgres.sql(&format!("DELETE FROM as2hook.owner WHERE id = {number}"));
    }
    let successor = connect(&postgres).await;
    assert_eq!(successor.adopt().await.unwrap().len(), 2);
    assert_eq!(webhook_ids(&claim(&*successor, "erp", 0).await), ["one!", "other!"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_calls_in_progress_on_the_server() {
    let postgres = Postgres::shared();
    let closing = connect(&postgres).await;
    let number = last_owner(&postgres);
    publish(&*closing, vec![delivery("w1", "erp")]).await;
    let successor = connect(&postgres).await;
    // Like a group whose sender gave up.
    let url = postgres.url();
    let (mut client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let group = client.transaction().await.unwrap();
    let late = format!(
        "SELECT as2hook.keep_lease({number}, interval '30 seconds');
        UPDATE as2hook.event SET owner = {number}"
    );
    group.batch_execute(&format!("SET LOCAL search_path TO as2hook; {late}")).await.unwrap();
    let close = tokio::spawn(async move { closing.close().await });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until(|| async { (postgres.sql(waits) != "0").then_some(()) }).await;
    group.commit().await.unwrap();
    close.await.unwrap();
    let adopted =
        postgres.sql("SELECT count(*) FROM as2hook.owner WHERE lease_until = '-infinity'");
    assert_eq!(adopted, "1", "its open exchange is taken over at once");
    successor.adopt().await.unwrap();
    assert_eq!(postgres.sql("SELECT count(*) FROM as2hook.owner"), "1");
}
