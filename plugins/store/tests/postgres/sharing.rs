//! Several gateways on one database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use as2hook_store::{
    DeliveryChange, DeliveryOutcome, DeliveryQueue, DeliveryState, EventStore, Filter,
    GatewayChange, GatewayReport, PartnerWebhookChange, PostgresOptions, PostgresStore, Prune,
    Store, StoreError, WebhookState, Write,
};
use as2hook_testing::Postgres;
use tokio::{sync::broadcast, task::JoinSet};

use super::{
    SOON,
    behaviour::{delivery, event, finish, id, ordered, publish},
    connect, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_gateways_start_at_once_on_an_empty_database() {
    let postgres = Postgres::shared();
    let mut starting = JoinSet::new();
    for _ in 0..10 {
        let url = postgres.url();
        let options = PostgresOptions { readers: 1, writers: 1, ..PostgresOptions::default() };
        starting.spawn(async move { PostgresStore::connect(&url, options).await });
    }
    let stores: Vec<_> = starting.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(postgres.sql("SELECT count(*) FROM as2hook.owner"), "10");
    for (n, store) in stores.iter().enumerate() {
        publish(store, vec![delivery(&format!("w{n}"), "erp")]).await;
    }
    for store in &stores {
        assert_eq!(store.events(&Filter::default(), None, 100).await.unwrap().rows.len(), 10);
    }
}

#[tokio::test]
async fn newer_schema_is_refused_with_a_reason() {
    let postgres = Postgres::shared();
    connect(&postgres).await.close().await;
    postgres.sql("INSERT INTO as2hook.migration (version) VALUES (999)");
    let refused = PostgresStore::connect(&postgres.url(), PostgresOptions::default()).await;
    let error = refused.err().unwrap();
    assert!(matches!(error, StoreError::TooNew { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn two_installations_share_a_database() {
    let postgres = Postgres::shared();
    let options = PostgresOptions { schema: "the \"other\"".to_owned(), ..Default::default() };
    let (one, other) = (connect(&postgres).await, super::connect_with(&postgres, options).await);
    publish(&*one, vec![delivery("w1", "erp")]).await;
    assert!(other.claim("erp", 0, 10).await.unwrap().is_empty());
    assert_eq!(one.claim("erp", 0, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_claimed_twice() {
    const ALL: usize = 600;
    let postgres = Postgres::shared();
    let stores = [connect(&postgres).await, connect(&postgres).await];
    let planned = (0..ALL).map(|n| delivery(&format!("w{n}"), "erp")).collect();
    stores[0].commit(vec![Write::Publish(event("a"), planned)]).await.unwrap();
    let (got, left) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(ALL)));
    let mut workers = JoinSet::new();
    for n in 0..8 {
        let (store, got, left) = (Arc::clone(&stores[n % 2]), Arc::clone(&got), Arc::clone(&left));
        workers.spawn(async move {
            while left.load(Ordering::SeqCst) > 0 {
                for claimed in store.claim("erp", 0, 9).await.unwrap() {
                    finish(&*store, &claimed, DeliveryOutcome::Delivered).await;
                    got.lock().unwrap().push(claimed.webhook_id);
                    left.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
    }
    tokio::time::timeout(SOON, workers.join_all()).await.expect("all are claimed");
    let got = std::mem::take(&mut *got.lock().unwrap());
    assert_eq!((got.len(), got.iter().collect::<BTreeSet<_>>().len()), (ALL, ALL));
    let counts = stores[1].counts().await.unwrap();
    assert!(counts.deliveries.contains(&(DeliveryState::Delivered, ALL as u64)), "{counts:?}");
    // When the last of its deliveries is done, the event is idle, whichever gateway made it.
    assert_eq!(stores[1].prune(Prune::Events(i64::MAX), 10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_holds_across_gateways() {
    an_order_holds(&Postgres::shared()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_holds_whatever_the_default_isolation_is() {
    let postgres = Postgres::shared();
    postgres.sql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO %L',
            current_database(), 'repeatable read'); END $$",
    );
    an_order_holds(&postgres).await;
}

async fn an_order_holds(postgres: &Postgres) {
    const KEYS: usize = 3;
    const EACH: usize = 20;
    let stores = [connect(postgres).await, connect(postgres).await];
    let done = Arc::new(AtomicUsize::new(0));
    // For each key the last delivery made, and whether one is in progress.
    let lines: Arc<Mutex<BTreeMap<String, (i64, bool)>>> = Arc::default();
    let mut workers = JoinSet::new();
    for store in &stores {
        for n in 0..KEYS * EACH / 2 {
            let (store, key) = (Arc::clone(store), format!("key-{}", n % KEYS));
            let name = format!("{key}/{n}/{:p}", Arc::as_ptr(&store));
            workers.spawn(async move { publish(&*store, vec![ordered(&name, "erp", &key)]).await });
        }
        for _ in 0..3 {
            let (store, done, lines) = (Arc::clone(store), Arc::clone(&done), Arc::clone(&lines));
            workers.spawn(async move {
                while done.load(Ordering::SeqCst) < KEYS * EACH {
                    for claimed in store.claim("erp", 0, 2).await.unwrap() {
                        let key = claimed.webhook_id.split('/').next().unwrap().to_owned();
                        let before = lines.lock().unwrap().insert(key.clone(), (claimed.id, true));
                        let in_order =
                            before.is_none_or(|(last, under_way)| !under_way && last <= claimed.id);
                        assert!(in_order, "{key}: {before:?}, then {}", claimed.id);
                        tokio::task::yield_now().await;
                        lines.lock().unwrap().insert(key, (claimed.id, false));
                        let outcome = if claimed.attempts == 0 && claimed.id % 5 == 0 {
                            DeliveryOutcome::Retry(0)
                        } else {
                            done.fetch_add(1, Ordering::SeqCst);
                            DeliveryOutcome::Delivered
                        };
                        finish(&*store, &claimed, outcome).await;
                    }
                }
            });
        }
    }
    tokio::time::timeout(SOON, workers.join_all()).await.expect("all are made");
    let counts = stores[0].counts().await.unwrap();
    let all = (KEYS * EACH) as u64;
    assert!(counts.deliveries.contains(&(DeliveryState::Delivered, all)), "{counts:?}");
}

#[tokio::test]
async fn changes_are_notified_to_other_gateways() {
    let postgres = Postgres::shared();
    let started = Instant::now();
    let (store, other) = (connect(&postgres).await, connect(&postgres).await);
    let mut changes = other.changes();
    let change = PartnerWebhookChange {
        site: "main".to_owned(),
        partner: 1,
        url: Some("https://a.example/".to_owned()),
        sealed_secret: None,
        enabled: None,
        events: None,
    };
    // It may not be listening yet.
    let mut heard = Vec::new();
    while !heard.contains(&GatewayChange::PartnerWebhooks) {
        store.configure_partner_webhook(change.clone()).await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(100), changes.recv()).await;
        heard.extend(next.map(Result::unwrap));
        assert!(started.elapsed() < SOON);
    }
    let state = WebhookState {
        webhook: "erp: the first".to_owned(),
        disabled: None,
        failing_since: None,
        fingerprint: "f".to_owned(),
    };
    store.set_webhook_state(state).await.unwrap();
    hears(&mut changes, &GatewayChange::WebhookState("erp: the first".to_owned())).await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    let claimed = store.claim("erp", 0, 1).await.unwrap();
    finish(&*store, &claimed[0], DeliveryOutcome::Dead).await;
    store.change_deliveries(DeliveryChange::Replay, &Filter::default()).await.unwrap();
    hears(&mut changes, &GatewayChange::Due("erp".to_owned())).await;
    // After a lost connection, changes may have been missed.
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'as2hook (listens)' AND datname = current_database()",
    );
    hears(&mut changes, &GatewayChange::All).await;
    store.change_state("erp", DeliveryState::Pending, DeliveryState::Held).await.unwrap();
    store.change_state("erp", DeliveryState::Held, DeliveryState::Pending).await.unwrap();
    hears(&mut changes, &GatewayChange::Due("erp".to_owned())).await;
}

async fn hears(changes: &mut broadcast::Receiver<GatewayChange>, expected: &GatewayChange) {
    let heard = async { while changes.recv().await.unwrap() != *expected {} };
    let heard = tokio::time::timeout(SOON, heard).await;
    assert!(heard.is_ok(), "{expected:?} is not received");
}

#[tokio::test]
async fn gateway_with_a_wrong_clock_is_listed() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for (name, seen_at) in [("late", now - 7 * 24 * 3_600_000), ("early", now + 7 * 24 * 3_600_000)]
    {
        let report = GatewayReport {
            id: id(name),
            host: name.to_owned(),
            process: 1,
            version: "1".to_owned(),
            started_at: seen_at,
            seen_at,
            rules: "r".to_owned(),
            generation: 0,
        };
        store.report(report).await.unwrap();
    }
    let alive = store.gateways(now - 30_000).await.unwrap();
    let alive: Vec<_> = alive.iter().map(|gateway| &*gateway.host).collect();
    assert_eq!(alive, ["late", "early"]);
    postgres.sql("UPDATE as2hook.gateway SET seen_at = seen_at - 60000 WHERE host = 'early'");
    assert_eq!(store.gateways(now - 30_000).await.unwrap().len(), 1);
}

#[tokio::test]
async fn tally_is_compacted_and_stays_correct() {
    let postgres = Postgres::shared();
    let options =
        PostgresOptions { lease: std::time::Duration::from_secs(2), ..PostgresOptions::default() };
    let store = super::connect_with(&postgres, options).await;
    for n in 0..20 {
        publish(&*store, vec![delivery(&format!("w{n}"), "erp")]).await;
    }
    let rows = || async {
        let rows = postgres.sql("SELECT count(*) FROM as2hook.tally");
        // Of the deliveries, and of the bytes.
        (rows == "2").then_some(())
    };
    until(rows).await;
    let counts = store.counts().await.unwrap();
    assert!(counts.deliveries.contains(&(DeliveryState::Pending, 20)), "{counts:?}");
}

/// Others may change all rows of a step: that does not end the shift.
#[tokio::test]
async fn shift_continues_when_others_change_its_rows() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    publish(&*store, (0..3).map(|n| delivery(&format!("w{n}"), "erp")).collect()).await;
    // The first statement that moves rows finds that they were moved already.
    postgres.sql(
        "CREATE SEQUENCE as2hook.steps;
        GRANT ALL ON SEQUENCE as2hook.steps TO as2hook;
        CREATE FUNCTION as2hook.meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('as2hook.steps') <= 3 THEN RETURN NULL; END IF; RETURN NEW;
        END $$;
        CREATE TRIGGER meanwhile BEFORE UPDATE ON as2hook.delivery
            FOR EACH ROW EXECUTE FUNCTION as2hook.meanwhile()",
    );
    let moved =
        store.change_state("erp", DeliveryState::Pending, DeliveryState::Held).await.unwrap();
    assert_eq!(moved, 3);
}

#[tokio::test]
async fn repeated_delivery_does_not_change_idle_since() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    publish(&*store, vec![delivery("w1", "erp")]).await;
    finish(&*store, &store.claim("erp", 0, 1).await.unwrap()[0], DeliveryOutcome::Delivered).await;
    postgres.sql("UPDATE as2hook.event SET idle_since = 7");
    store.enqueue(id("w1"), vec![delivery("w1", "erp")]).await.unwrap();
    assert_eq!(postgres.sql("SELECT idle_since FROM as2hook.event"), "7");
}
