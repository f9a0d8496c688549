//! Many callers share a round trip and a commit.

use std::sync::Arc;

use as2hook_store::{DeliveryOutcome, DeliveryQueue, EventStore, Write};
use as2hook_testing::Postgres;
use tokio::task::JoinSet;

use super::{
    behaviour::{delivery, event, record, settlement},
    connect,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_costs_less_than_two_round_trips_under_load() {
    const CALLERS: usize = 64;
    const EACH: usize = 10;
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let (trips, commits) = (store.round_trips(), store.commits());
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for n in 0..EACH {
                let name = format!("{caller}/{n}");
                let planned = delivery(&name, &format!("hook-{caller}"));
                store.commit(vec![Write::Open(event(&name), vec![planned.clone()])]).await.unwrap();
                store
                    .commit(vec![Write::Settle(settlement(&name, vec![planned.clone()]))])
                    .await
                    .unwrap();
                let claimed = store.claim(&planned.webhook, i64::MAX, 16).await.unwrap();
                let records =
                    claimed.iter().map(|one| record(one, DeliveryOutcome::Delivered)).collect();
                assert_eq!(claimed.len(), 1);
                store.finish(records).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let messages = (CALLERS * EACH) as f64;
    let trips = (store.round_trips() - trips) as f64 / messages;
    let commits = (store.commits() - commits) as f64 / messages;
    assert!(trips < 1.0, "{trips} round trips for each message");
    assert!(commits < 1.0, "{commits} commits for each message");
    // The server's statistics agree: no call was missed by the counter.
    let said = "SELECT pg_sleep(1.2), xact_commit FROM pg_stat_database
        WHERE datname = current_database()";
    let said: f64 = postgres.sql(said).trim_start_matches('|').parse().unwrap();
    assert!(said / messages < 1.5, "{said} transactions for {messages} messages");
}

#[tokio::test]
async fn one_caller_alone_waits_for_two_round_trips_a_call() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let planned = delivery("w1", "erp");
    store.commit(vec![Write::Open(event("warm"), vec![])]).await.unwrap();
    let before = store.round_trips();
    store.commit(vec![Write::Open(event("a"), vec![planned.clone()])]).await.unwrap();
    store.commit(vec![Write::Settle(settlement("a", vec![planned]))]).await.unwrap();
    let claimed = store.claim("erp", 0, 16).await.unwrap();
    store.finish(vec![record(&claimed[0], DeliveryOutcome::Delivered)]).await.unwrap();
    // The first delivery to a webhook stores its name. A heartbeat may run in between.
    assert!(store.round_trips() - before <= 10, "{}", store.round_trips() - before);
}
