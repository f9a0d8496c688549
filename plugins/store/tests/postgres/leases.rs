//! Gateways that die, and gateways that only seemed to.

use std::time::Duration;

use as2hook_store::{DeliveryState, Fate, PostgresOptions, Store};
use as2hook_testing::Postgres;

use super::{
    behaviour::{claim, delivery, event, finish, id, of, publish, settlement, webhook_ids},
    connect, connect_with, end_lease, last_owner, until,
};

/// Short, and long enough for a machine that stands still for some seconds.
fn short() -> PostgresOptions {
    PostgresOptions { lease: Duration::from_secs(8), ..PostgresOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_gateway_had_is_taken_over_when_its_lease_ends() {
    let postgres = Postgres::shared();
    let dead = connect_with(&postgres, short()).await;
    dead.open(event("open"), vec![delivery("planned", "erp")]).await.unwrap();
    publish(&*dead, vec![delivery("w1", "erp")]).await;
    assert_eq!(claim(&*dead, "erp", 0).await.len(), 1);
    let heir = connect(&postgres).await;
    assert!(heir.adopt().await.unwrap().is_empty());
    // Nobody renews its lease any more, and nothing was given up.
    drop(dead);
    let adopted = until(|| async {
        let adopted = heir.adopt().await.unwrap();
        (!adopted.is_empty()).then_some(adopted)
    })
    .await;
    assert_eq!((adopted.len(), adopted[0].0.id), (1, id("open")));
    assert_eq!(adopted[0].1, [delivery("planned", "erp")]);
    assert_eq!(webhook_ids(&claim(&*heir, "erp", 0).await), ["w1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_gateway_keeps_what_it_has_beyond_its_first_lease() {
    let postgres = Postgres::shared();
    let (living, other) =
        (connect_with(&postgres, short()).await, connect_with(&postgres, short()).await);
    living.open(event("open"), vec![]).await.unwrap();
    publish(&*living, vec![delivery("w1", "erp")]).await;
    let claimed = claim(&*living, "erp", 0).await;
    let beyond = "SELECT count(*) FROM as2hook.owner
        WHERE clock_timestamp() > started_at + interval '9 seconds'";
    until(|| async { (postgres.sql(beyond) == "2").then_some(()) }).await;
    assert!(other.adopt().await.unwrap().is_empty());
    finish(&*living, &claimed[0], Fate::Delivered).await;
    assert_eq!(of(&other.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

#[tokio::test]
async fn one_that_was_taken_for_dead_goes_on_as_another() {
    let postgres = Postgres::shared();
    let stalled = connect(&postgres).await;
    let number = last_owner(&postgres);
    let heir = connect(&postgres).await;
    for name in ["first", "second"] {
        stalled.open(event(name), vec![delivery(&format!("{name}?"), "unknown")]).await.unwrap();
    }
    publish(&*stalled, vec![delivery("w1", "erp")]).await;
    let before = claim(&*stalled, "erp", 0).await;
    end_lease(&postgres, &number);
    assert_eq!(heir.adopt().await.unwrap().len(), 2);

    // The true outcome wins where the heir has told nothing yet, and nothing is told twice.
    stalled.settle(settlement("first", vec![delivery("first", "told")])).await.unwrap();
    heir.settle(settlement("first", vec![delivery("first?", "unknown")])).await.unwrap();
    heir.settle(settlement("second", vec![delivery("second?", "unknown")])).await.unwrap();
    stalled.settle(settlement("second", vec![delivery("second", "told")])).await.unwrap();
    assert_eq!(webhook_ids(&claim(&*heir, "told", 0).await), ["first"]);
    assert_eq!(webhook_ids(&claim(&*heir, "unknown", 0).await), ["second?"]);
    assert!(heir.adopt().await.unwrap().is_empty());

    // What it claimed may be another's by now, and the other's word counts.
    let now = claim(&*heir, "erp", 0).await;
    assert_eq!(webhook_ids(&now), ["w1"]);
    finish(&*stalled, &before[0], Fate::Dead).await;
    let counts = heir.counts().await.unwrap();
    assert_eq!(of(&counts, DeliveryState::Dead), 0);
    finish(&*heir, &now[0], Fate::Delivered).await;
    // It is an owner of its own again.
    publish(&*stalled, vec![delivery("w2", "erp")]).await;
    let again = claim(&*stalled, "erp", 0).await;
    finish(&*stalled, &again[0], Fate::Delivered).await;
    assert_eq!(of(&heir.counts().await.unwrap(), DeliveryState::Delivered), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_claim_does_not_finish_a_new_one() {
    let postgres = Postgres::shared();
    let stalled = connect(&postgres).await;
    let number = last_owner(&postgres);
    let heir = connect(&postgres).await;
    publish(&*stalled, vec![delivery("w1", "erp")]).await;
    let before = claim(&*stalled, "erp", 0).await;
    end_lease(&postgres, &number);
    heir.adopt().await.unwrap();
    let between = claim(&*heir, "erp", 0).await;
    assert_eq!(webhook_ids(&between), ["w1"]);
    // Passed over, and forgotten: it was not its to finish any more.
    finish(&*stalled, &before[0], Fate::Delivered).await;
    finish(&*heir, &between[0], Fate::Retry(0)).await;
    let now = claim(&*stalled, "erp", 0).await;
    assert_eq!((webhook_ids(&now), now[0].attempts), (vec!["w1"], 1));
    finish(&*stalled, &now[0], Fate::Delivered).await;
    assert_eq!(of(&heir.counts().await.unwrap(), DeliveryState::Delivered), 1);
}

/// When the database comes back after a stall, everybody's lease has ended; the first to be back must
/// not bury the others.
#[tokio::test]
async fn a_stalled_database_kills_nobody() {
    let postgres = Postgres::shared();
    let stores = [connect(&postgres).await, connect(&postgres).await];
    stores[0].open(event("one"), vec![delivery("unknown", "erp")]).await.unwrap();
    stores[1].open(event("other"), vec![delivery("unknown", "erp")]).await.unwrap();
    postgres.sql("UPDATE as2hook.owner SET lease_until = clock_timestamp() - interval '1 second'");
    assert!(stores[0].adopt().await.unwrap().is_empty());
    stores[1].settle(settlement("other", vec![delivery("w2", "erp")])).await.unwrap();
    assert!(stores[1].adopt().await.unwrap().is_empty());
    stores[0].settle(settlement("one", vec![delivery("w1", "erp")])).await.unwrap();
    assert_eq!(webhook_ids(&claim(&*stores[0], "erp", 0).await), ["w2", "w1"]);
}

/// A group that was under way when its gateway closed, and was committed behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_owner_any_more_is_taken_over() {
    let postgres = Postgres::shared();
    let mut lost = Vec::new();
    for name in ["one", "other"] {
        let gone = connect(&postgres).await;
        gone.open(event(name), vec![delivery(&format!("{name}?"), "erp")]).await.unwrap();
        publish(&*gone, vec![delivery(&format!("{name}!"), "erp")]).await;
        assert_eq!(claim(&*gone, "erp", 0).await.len(), 1);
        lost.push((last_owner(&postgres), gone));
    }
    for (number, _) in &lost {
        postgres.sql(&format!("DELETE FROM as2hook.owner WHERE id = {number}"));
    }
    let heir = connect(&postgres).await;
    assert_eq!(heir.adopt().await.unwrap().len(), 2);
    assert_eq!(webhook_ids(&claim(&*heir, "erp", 0).await), ["one!", "other!"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_what_is_under_way_on_the_server() {
    let postgres = Postgres::shared();
    let closing = connect(&postgres).await;
    let number = last_owner(&postgres);
    publish(&*closing, vec![delivery("w1", "erp")]).await;
    let heir = connect(&postgres).await;
    // As a group whose sender was given up.
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
    assert_eq!(adopted, "1", "what it left open is the next one's at once");
    heir.adopt().await.unwrap();
    assert_eq!(postgres.sql("SELECT count(*) FROM as2hook.owner"), "1");
}
