//! Many callers share a round trip and a commit.

use std::sync::Arc;

use as2hook_store::{
    Before, DeliveryOutcome, DeliveryQueue, EventStore, Record, RecordChange, Write,
};
use as2hook_testing::Postgres;
use tokio::task::JoinSet;

use super::{
    behaviour::{delivery, event, ordered, publish, record, settlement},
    connect, until,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_uses_a_bounded_number_of_locks() {
    const KEYS: usize = 1_000;
    let postgres = Arc::new(Postgres::shared());
    let store = connect(&postgres).await;
    publish(&*store, vec![delivery("warm", "erp")]).await;
    let record = |n: usize| {
        let record = Record { key: format!("{n}"), body: Vec::new(), due: None, expires: 0 };
        Write::Record(RecordChange { record, before: Before::Any })
    };
    let deliveries = (0..KEYS).map(|n| ordered(&n.to_string(), "erp", &n.to_string())).collect();
    let writes = (0..KEYS).map(record).chain([Write::Publish(event("many"), deliveries)]).collect();
    // The records wait for a lock of their table, until the others are counted.
    let counting = tokio::task::spawn_blocking({
        let postgres = Arc::clone(&postgres);
        move || {
            postgres.sql(
                "LOCK TABLE as2hook.note IN EXCLUSIVE MODE;
                DO $$ BEGIN FOR n IN 1..2000 LOOP
                    PERFORM 1 FROM pg_locks JOIN pg_database d ON d.oid = database
                        WHERE datname = current_database()
                            AND relation = 'as2hook.note'::regclass AND NOT granted;
                    EXIT WHEN FOUND;
                    PERFORM pg_sleep(0.02);
                END LOOP; END $$;
                SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                    WHERE datname = current_database() AND classid = 1634882402",
            )
        }
    });
    let held = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
        WHERE datname = current_database()
            AND relation = 'as2hook.note'::regclass AND mode = 'ExclusiveLock'";
    until(async || (postgres.sql(held) == "1").then_some(())).await;
    store.commit(writes).await.unwrap();
    let counted = counting.await.unwrap();
    let count: usize = counted.lines().last().unwrap().parse().unwrap();
    assert!((200..=256).contains(&count), "{counted}");
}
