//! A server that stops, dies, hangs, moves or is read-only: every call ends in time with a clear
//! error, and the next one recovers by itself.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use as2hook_store::{
    Before, DeliveryOutcome, DeliveryQueue, DeliveryState, EventStore, Filter, NewDelivery,
    NewEvent, PostgresOptions, PostgresStore, Record, RecordChange, Store, StoreError, Write,
};
use as2hook_testing::Postgres;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    SOON,
    behaviour::{claim, delivery, event, finish, id, of, publish, record},
    connect, until,
};

/// Opens a store with short time limits. A machine that stalls exceeds them in calls that would
/// succeed, so each of those is repeated until it does.
async fn connect_impatient(url: &str) -> PostgresStore {
    let wait = Duration::from_secs(2);
    let options = PostgresOptions { wait, ..PostgresOptions::default() };
    until(async || PostgresStore::connect(url, options.clone()).await.ok()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_server_causes_no_error() {
    let mut postgres = Postgres::start();
    let store = connect(&postgres).await;
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
    store.counts().await.unwrap();
    postgres.restart();
    store.commit(vec![Write::Open(event("b"), vec![])]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 2);
}

/// Its tables have not been created yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_unavailable_at_start_is_waited_for() {
    let mut postgres = Postgres::start();
    postgres.stop();
    let opened = PostgresStore::connect_or_wait(&postgres.url(), PostgresOptions::default()).await;
    let (store, away) = opened.unwrap();
    assert!(matches!(away, Some(StoreError::Unreachable(_))), "{away:?}");
    let error = store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    postgres.restart();
    until(async || store.commit(vec![Write::Open(event("a"), vec![])]).await.ok()).await;
    publish(&store, vec![delivery("b", "erp")]).await;
    assert_eq!(claim(&store, "erp", 1_000).await.len(), 1);
    assert_eq!(store.counts().await.unwrap().open, 1);
    assert_eq!(postgres.sql("SELECT count(*) FROM as2hook.owner"), "1");
}

/// An operator has to correct it and is waiting, so the error comes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_refuses_the_login_at_start_is_not_waited_for() {
    let postgres = Postgres::start();
    let url = format!("{}_that_is_not_there", postgres.url());
    let error =
        PostgresStore::connect_or_wait(&url, PostgresOptions::default()).await.err().unwrap();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_server_is_reported_and_recovered_from() {
    let mut postgres = Postgres::start();
    let store = connect(&postgres).await;
    postgres.stop();
    let started = Instant::now();
    for _ in 0..3 {
        let error = store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
        let error = store.counts().await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    }
    // With a wait each would take ten seconds.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let options = PostgresOptions::default();
    let error = PostgresStore::connect(&postgres.url(), options).await.err().unwrap();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    postgres.restart();
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_events_survive_a_power_cut() {
    let mut postgres = Postgres::start();
    let store = connect(&postgres).await;
    let written: Arc<Mutex<BTreeSet<Uuid>>> = Arc::default();
    let ending = Arc::new(AtomicBool::new(false));
    let mut work = JoinSet::new();
    for n in 0..8 {
        let (store, written, ending) =
            (Arc::clone(&store), Arc::clone(&written), Arc::clone(&ending));
        work.spawn(async move {
            for m in 0.. {
                if ending.load(Ordering::SeqCst) {
                    break;
                }
                let event = event(&format!("{n}/{m}"));
                let id = event.id;
                let planned = vec![delivery(&format!("{n}/{m}"), "erp")];
                if store.commit(vec![Write::Publish(event, planned)]).await.is_ok() {
                    written.lock().unwrap().insert(id);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let count = |at_least: usize| {
        let written = Arc::clone(&written);
        move || {
            let enough = written.lock().unwrap().len() >= at_least;
            async move { enough.then_some(()) }
        }
    };
    until(count(50)).await;
    postgres.kill();
    postgres.restart();
    let before = written.lock().unwrap().len();
    until(count(before + 50)).await;
    ending.store(true, Ordering::SeqCst);
    tokio::time::timeout(SOON, work.join_all()).await.expect("every call ends");
    let all = store.events(&Filter::default(), None, 1_000_000).await.unwrap().rows;
    let kept: BTreeSet<_> = all.iter().map(|row| row.id).collect();
    let lost: Vec<_> = written.lock().unwrap().difference(&kept).copied().collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(kept.len(), all.len());
    let counts = store.counts().await.unwrap();
    assert_eq!(of(&counts, DeliveryState::Pending), all.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_to_a_hanging_server_times_out() {
    let mut postgres = Postgres::start();
    let store = connect_impatient(&postgres.url()).await;
    let planned = vec![delivery("w1", "erp")];
    until(async || store.commit(vec![Write::Publish(event("w1"), planned.clone())]).await.ok())
        .await;
    until(async || store.counts().await.ok()).await;
    postgres.pause();
    let started = Instant::now();
    let (opened, claimed, counted) = tokio::join!(
        store.commit(vec![Write::Open(event("a"), vec![])]),
        store.claim("erp", 0, 10),
        store.counts()
    );
    for error in [opened.unwrap_err(), claimed.unwrap_err(), counted.unwrap_err()] {
        let slow = matches!(error, StoreError::Slow(_) | StoreError::Unreachable(_));
        assert!(slow, "{error}");
    }
    // No connection can be made either.
    assert!(store.counts().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    postgres.resume();
    until(|| async { store.commit(vec![Write::Open(event("a"), vec![])]).await.ok() }).await;
    assert_eq!(until(async || store.counts().await.ok()).await.open, 1);
    // Deliveries of a claim without a known result are released.
    let claimed = until(|| async {
        let claimed = store.claim("erp", 0, 10).await.unwrap_or_default();
        (!claimed.is_empty()).then_some(claimed)
    })
    .await;
    let finished = vec![record(&claimed[0], DeliveryOutcome::Delivered)];
    until(async || store.finish(finished.clone()).await.ok()).await;
    let counts = until(async || store.counts().await.ok()).await;
    assert_eq!(of(&counts, DeliveryState::Delivered), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoted_standby_is_used() {
    let mut first = Postgres::start();
    let mut second = first.standby();
    let url = first.url_with(&second);
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    publish(&store, vec![delivery("w1", "erp")]).await;
    let here = first.sql("SELECT pg_current_wal_lsn()");
    let followed = format!("SELECT pg_last_wal_replay_lsn() >= '{here}'");
    until(|| async { (second.sql(&followed) == "t").then_some(()) }).await;
    first.kill();
    let error = store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    second.promote();
    until(|| async { store.commit(vec![Write::Open(event("a"), vec![])]).await.ok() }).await;
    let claimed = claim(&store, "erp", 0).await;
    finish(&store, &claimed[0], DeliveryOutcome::Delivered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standby_is_used_when_the_first_server_hangs() {
    let mut first = Postgres::start();
    let mut second = first.standby();
    let url = first.url_with(&second);
    let store = connect_impatient(&url).await;
    until(|| async { store.commit(vec![Write::Open(event("a"), vec![])]).await.ok() }).await;
    first.pause();
    second.promote();
    until(|| async { store.commit(vec![Write::Open(event("b"), vec![])]).await.ok() }).await;
    assert!(until(async || store.event(id("b")).await.ok()).await.is_some());
}

#[tokio::test]
async fn read_only_store_is_reported_and_recovered_from() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let set = |value: &str| {
        postgres.sql(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER ROLE as2hook IN DATABASE %I {value}',
                current_database()); END $$"
        ));
    };
    set("SET default_transaction_read_only = on");
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'as2hook'",
    );
    let error = store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert_eq!(store.counts().await.unwrap().open, 0);
    set("RESET default_transaction_read_only");
    store.commit(vec![Write::Open(event("a"), vec![])]).await.unwrap();
}

#[tokio::test]
async fn refused_login_is_reported_with_the_reason() {
    let postgres = Postgres::shared();
    let url = postgres.url().replace("as2hook@", "unknown:hunter2@");
    let error = PostgresStore::connect(&url, PostgresOptions::default()).await.err().unwrap();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_call_does_not_fail_others_of_its_group() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    // A statement that the database itself rejects.
    postgres.sql("ALTER TABLE as2hook.event ADD CHECK (site <> 'refused')");
    let mut calls = JoinSet::new();
    for n in 0..40 {
        let store = Arc::clone(&store);
        calls.spawn(async move {
            let site = if n % 2 == 0 { "main" } else { "refused" }.to_owned();
            let opened = store
                .commit(vec![Write::Open(NewEvent { site, ..event(&n.to_string()) }, vec![])])
                .await;
            (n % 2 == 0) == opened.is_ok()
        });
    }
    while let Some(as_expected) = calls.join_next().await {
        assert!(as_expected.unwrap());
    }
    assert_eq!(store.counts().await.unwrap().open, 20);
}

/// Partners choose these texts, and a header may be 64 KiB long.
#[tokio::test]
async fn long_and_unusual_texts_are_stored() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let noise: String = (0..1_700).map(|_| Uuid::now_v7().to_string()).collect();
    for (n, text) in [noise, "A\0B".to_owned(), "é".repeat(5_000)].into_iter().enumerate() {
        let name = n.to_string();
        let planned = NewEvent {
            partner: Some(text.clone()),
            station: Some(text.clone()),
            message_id: Some(text.clone()),
            ..event(&name)
        };
        let webhook_id = format!("{name}{text}");
        let first = NewDelivery { order_key: Some(text.clone()), ..delivery(&webhook_id, "erp") };
        let second = NewDelivery { webhook_id: format!("{text}{name}"), ..first.clone() };
        let note = Record { key: text.clone(), body: vec![0], due: None, expires: i64::MAX };
        let change = RecordChange { record: note.clone(), before: Before::Absent };
        let writes = vec![Write::Publish(planned, vec![first, second]), Write::Record(change)];
        store.commit(writes).await.unwrap();
        assert_eq!(store.record(&text).await.unwrap(), Some(note));
        let filter =
            Filter { partner: Some(text.clone()), message_id: Some(text), ..Filter::default() };
        assert_eq!(store.events(&filter, None, 10).await.unwrap().rows.len(), 1);
        let claimed = claim(&*store, "erp", 0).await;
        assert_eq!(claimed.len(), 1);
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
        let claimed = claim(&*store, "erp", 0).await;
        finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    }
}
