//! Behaviour of the embedded store only: files, locks, groups, faults. The behaviour of every store
//! is in `tests/behaviour`.

mod cost;
mod faults;
mod plateau;
mod tally_agrees;

use std::{
    os::unix::fs::PermissionsExt,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    model::{
        AttemptRecord, Claimed, DeliveryState, EventTerms, NewDelivery, NewEvent, Payload,
        Settlement,
    },
    query::Filter,
    record::{Before, Record, RecordChange},
    store::{DeliveryQueue, EventStore, Prune, Store},
    write::Write,
};

/// The upper bound of a wait, on the slowest of machines too.
const AMPLE: Duration = Duration::from_secs(60);

fn open(folder: &TempDir) -> SqliteStore {
    open_with(folder, &SqliteOptions::default())
}

fn open_with(folder: &TempDir, options: &SqliteOptions) -> SqliteStore {
    SqliteStore::open(&database(folder), options).unwrap()
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("data/as2hook.db")
}

/// Counts the owners that other processes find.
fn owners(folder: &TempDir) -> i64 {
    let connection = Connection::open(database(folder)).unwrap();
    connection.query_row("SELECT count(*) FROM owner", [], |row| row.get(0)).unwrap()
}

fn event() -> NewEvent {
    NewEvent {
        id: Uuid::now_v7(),
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: None,
        about: None,
        terms: EventTerms::default(),
        message_id: None,
        occurred_at: 0,
        body: b"body".to_vec(),
        payload: Payload::None,
    }
}

fn delivery(webhook: &str) -> NewDelivery {
    NewDelivery {
        webhook_id: Uuid::now_v7().to_string(),
        webhook: webhook.to_owned(),
        mode: "headers".to_owned(),
        order_key: None,
        due: 0,
    }
}

#[tokio::test]
async fn store_files_are_private_to_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.commit(vec![Write::Publish(event(), vec![])]).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("data")), 0o700);
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder));
    // Nothing is written before all of them are queued.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let first = store.writer.run(move |_| {
        gone.recv().unwrap();
        Ok(Vec::new())
    });
    let mut calls: Vec<_> =
        (0..1_000).map(|_| store.commit(vec![Write::Open(event(), vec![])])).collect();
    calls.insert(0, Box::pin(first));
    let mut calls: Vec<_> = calls.into_iter().map(tokio::task::unconstrained).collect();
    std::future::poll_fn(|cx| {
        assert!(calls.iter_mut().all(|call| Pin::new(call).poll(cx).is_pending()));
        Poll::Ready(())
    })
    .await;
    go.send(()).unwrap();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(store.counts().await.unwrap().open, 1_000);
    assert!(store.commits() <= 10, "{} commits for 1000 calls", store.commits());
}

#[tokio::test]
async fn record_that_is_written_by_the_same_group_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    // The next group has all that is queued until it goes.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
    let mut begun = Some(begun);
    let mut first = pin!(store.writer.run(move |_| {
        begun.take().map(|begun| begun.send(()));
        gone.recv().unwrap();
        Ok(())
    }));
    assert!(futures_util::poll!(&mut first).is_pending());
    has_begun.await.unwrap();
    let key = "key".to_owned();
    let record = Record { key: key.clone(), body: vec![1], due: None, expires: i64::MAX };
    let change = RecordChange { record: record.clone(), before: Before::Any };
    let mut written = pin!(store.commit(vec![Write::Record(change)]));
    assert!(futures_util::poll!(&mut written).is_pending());
    let keys = [key];
    let mut found = pin!(store.records(&keys));
    assert!(futures_util::poll!(&mut found).is_pending());
    go.send(()).unwrap();
    first.await.unwrap();
    assert_eq!(found.await.unwrap(), [None]);
    written.await.unwrap();
    assert_eq!(store.records(&keys).await.unwrap(), [Some(record)]);
}

#[tokio::test]
async fn waiting_claim_shares_the_commit_that_makes_the_delivery_due() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut waiting = pin!(store.claim_next("erp", 4));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let before = store.commits();
    let due = vec![Write::Publish(event(), vec![delivery("erp")])];
    store.commit(due).await.unwrap();
    assert_eq!(waiting.await.unwrap().len(), 1);
    assert_eq!(store.commits(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || SqliteStore::open(&path, &SqliteOptions::default()))
        })
        .collect();
    let stores: Vec<_> = opening.into_iter().map(|one| one.join().unwrap().unwrap()).collect();
    assert_eq!(owners(&folder), 8);
    let mut calls = tokio::task::JoinSet::new();
    let stores: Vec<_> = stores.into_iter().map(Arc::new).collect();
    for n in 0..160 {
        let store = Arc::clone(&stores[n % 8]);
        calls.spawn(async move { store.commit(vec![Write::Publish(event(), vec![])]).await });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    for store in &stores {
        assert!(store.adopt().await.unwrap().is_empty());
        let all = store.events(&Filter::default(), None, 1_000).await.unwrap();
        assert_eq!(all.rows.len(), 160);
    }
}

#[tokio::test]
async fn terminated_processes_are_removed_from_the_owners() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).close().await;
    assert_eq!(owners(&folder), 0);

    let connection = Connection::open(database(&folder)).unwrap();
    let sql = "INSERT INTO owner (started_at) VALUES (0)";
    connection.execute(sql, []).unwrap();
    let store = open(&folder);
    assert_eq!(owners(&folder), 2);
    store.adopt().await.unwrap();
    assert_eq!(owners(&folder), 1);
    // Without a close, dropping it ends it in order too, and with a claim that waited.
    {
        let mut waiting = pin!(store.claim_next("erp", 4));
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    drop(store);
    let gone = || connection.query_row("SELECT id FROM owner", [], |_| Ok(())).optional();
    within(|| gone().unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_process_keeps_what_it_holds_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let living = open(&folder);
    living.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
    let next = open(&folder);
    for _ in 0..3 {
        assert!(next.adopt().await.unwrap().is_empty());
        assert!(next.in_use().unwrap(), "a move has to wait, too");
    }
    living.close().await;
    drop(living);
    let adopted = async {
        while next.adopt().await.unwrap().len() != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(AMPLE, adopted).await.expect("its exchange is taken over");
    assert!(!next.in_use().unwrap());
}

/// Waits, within a bound, until the condition holds.
async fn within(mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(AMPLE, waited).await.expect("the condition holds in time");
}

#[tokio::test]
async fn newer_schema_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).close().await;
    let connection = rusqlite::Connection::open(database(&folder)).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    let error = SqliteStore::open(&database(&folder), &SqliteOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::TooNew { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn pruning_returns_space_to_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for _ in 0..300 {
        let payload = Payload::Inline(vec![0; 40_000].into());
        store.commit(vec![Write::Publish(NewEvent { payload, ..event() }, vec![])]).await.unwrap();
    }
    let pages = |connection: &rusqlite::Connection| {
        Ok(connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?)
    };
    let full = store.readers.run(pages).await.unwrap();
    assert_eq!(store.prune(Prune::Events(i64::MAX), 1_000).await.unwrap(), 300);
    let left = store.readers.run(pages).await.unwrap();
    assert!(left * 2 < full, "{left} pages are left of {full}");
}
