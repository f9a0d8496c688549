//! Every error leaves the store usable, and names the problem.

use std::time::Instant;

use super::*;
use crate::group::{CallGroup, StoreCall};

#[tokio::test]
async fn full_disk_is_reported_and_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let limit = |pages: i64| {
        move |connection: &rusqlite::Connection| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            Ok(connection.query_row(&sql, [], |_| Ok(()))?)
        }
    };
    store.writer.run(limit(1)).await.unwrap();
    let large = || NewEvent { payload: Payload::Inline(vec![0; 200_000].into()), ..event() };
    let error = store.commit(vec![Write::Open(large(), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(store.counts().await.unwrap().open, 0);
    store.writer.run(limit(1_000_000)).await.unwrap();
    store.commit(vec![Write::Open(large(), vec![])]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 1);
}

#[tokio::test]
async fn read_only_store_is_reported_and_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let opening = opening(&store);
    let write_nothing = move |connection: &rusqlite::Connection| {
        connection.pragma_update(None, "query_only", true)?;
        let outcome = transaction::make(connection, &opening).map(drop);
        connection.pragma_update(None, "query_only", false)?;
        outcome
    };
    let error = store.writer.run(write_nothing).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
}

#[tokio::test]
async fn locked_store_is_reported_and_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let busy = Duration::from_millis(50);
    let store = open_with(&folder, &SqliteOptions { busy, ..SqliteOptions::default() });
    let other = rusqlite::Connection::open(database(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(vec![Write::Open(event(), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    // Reads continue.
    assert_eq!(store.counts().await.unwrap().open, 0);
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
}

#[tokio::test]
async fn call_to_a_slow_store_times_out_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (wait, busy) = (Duration::from_millis(100), 2 * AMPLE);
    let store = open_with(&folder, &SqliteOptions { wait, busy, ..SqliteOptions::default() });
    let other = rusqlite::Connection::open(database(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let event = event();
    let started = Instant::now();
    let error = store.commit(vec![Write::Open(event.clone(), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow(_)), "{error}");
    assert!(started.elapsed() < AMPLE);
    other.execute_batch("ROLLBACK").unwrap();
    let repeated =
        async { while store.commit(vec![Write::Open(event.clone(), vec![])]).await.is_err() {} };
    tokio::time::timeout(AMPLE, repeated).await.expect("the store recovers in time");
    // A machine that stalls exceeds the time limit of this test's calls.
    let counted = async {
        loop {
            if let Ok(counts) = store.counts().await {
                break counts;
            }
        }
    };
    let counts = tokio::time::timeout(AMPLE, counted).await.expect("the store recovers in time");
    assert_eq!(counts.open, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_call_does_not_fail_others_of_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = Arc::clone(&store);
        calls.spawn(async move {
            let fails = match n % 4 {
                0 => store.commit(vec![Write::Open(event(), vec![])]).await.map(drop).map_err(Some),
                // Writes, and then fails.
                1 => writes_and(&store, |_| Err(StoreError::Closed)).await,
                // Makes the database roll the whole transaction back.
                2 => {
                    writes_and(&store, |connection| {
                        connection.execute_batch("ROLLBACK")?;
                        Err(StoreError::Closed)
                    })
                    .await
                }
                _ => writes_and(&store, |_| panic!("a bug in the store")).await,
            };
            (n % 4 == 0) == fails.is_ok()
        });
    }
    while let Some(as_expected) = calls.join_next().await {
        assert!(as_expected.unwrap());
    }
    assert_eq!(store.counts().await.unwrap().open, 50);
}

/// Opens an event.
fn opening(store: &SqliteStore) -> CallGroup {
    CallGroup::of(store.owner, StoreCall::Writes(vec![Write::Open(event(), vec![])]))
}

async fn writes_and(
    store: &SqliteStore,
    then: fn(&rusqlite::Connection) -> Result<(), StoreError>,
) -> Result<(), Option<StoreError>> {
    let opening = opening(store);
    let work = move |connection: &rusqlite::Connection| {
        transaction::make(connection, &opening)?;
        then(connection)
    };
    let waited = tokio::time::timeout(2 * AMPLE, store.writer.run(work)).await;
    // No caller is left waiting.
    waited.map_err(|_| None)?.map_err(Some)
}

#[test]
fn file_that_is_not_a_store_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(database(&folder), vec![b'x'; 8_192]).unwrap();
    let error = SqliteStore::open(&database(&folder), &SqliteOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let below = database(&folder).join("as2hook.db");
    let error = SqliteStore::open(&below, &SqliteOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

#[tokio::test]
async fn deleted_store_files_are_written_again() {
    for names in [&["as2hook.db", "as2hook.db-wal", "as2hook.db-shm"][..], &["as2hook.db-wal"]] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
        for name in names {
            fs::remove_file(folder.path().join("data").join(name)).unwrap();
        }
        store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
        assert_eq!(store.counts().await.unwrap().open, 2);
        // Another process finds all of it.
        let other = rusqlite::Connection::open(database(&folder)).unwrap();
        let count = "SELECT count(*) FROM event WHERE owner IS NOT NULL";
        let found: i64 = other.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(found, 2, "{names:?}");
        assert_eq!(owners(&folder), 1);
    }
}

#[tokio::test]
async fn deleted_store_folder_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let event = event();
    store.commit(vec![Write::Open(event.clone(), vec![])]).await.unwrap();
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    let settlement = Settlement {
        event: event.id,
        kind: event.kind.clone(),
        errors: Vec::new(),
        verdict: b"{}".to_vec(),
        deliveries: vec![],
    };
    store.commit(vec![Write::Settle(settlement)]).await.unwrap();
    assert!(store.event(event.id).await.unwrap().unwrap().verdict.is_some());
    // It is alive, so its exchanges are not adopted.
    assert_eq!(owners(&folder), 1);
    let other = open(&folder);
    assert!(other.adopt().await.unwrap().is_empty());
}

#[tokio::test]
async fn replaced_store_file_is_used_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (kept, lost) = (event(), event());
    store.commit(vec![Write::Open(kept.clone(), vec![])]).await.unwrap();
    let backup = folder.path().join("backup.db");
    let source = rusqlite::Connection::open(database(&folder)).unwrap();
    source.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    drop(source);
    store.commit(vec![Write::Open(lost.clone(), vec![])]).await.unwrap();
    fs::rename(&backup, database(&folder)).unwrap();
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
    assert!(store.event(kept.id).await.unwrap().is_some());
    assert!(store.event(lost.id).await.unwrap().is_none());
}

#[tokio::test]
async fn damaged_file_is_not_written_and_an_intact_one_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
    let found = |_: &rusqlite::Connection| -> Result<(), StoreError> {
        Err(StoreError::Corrupt("found by a reader".to_owned()))
    };
    // A false alarm: the file is intact.
    store.readers.run(found).await.unwrap_err();
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 2);

    let backup = folder.path().join("backup.db");
    let source = rusqlite::Connection::open(database(&folder)).unwrap();
    source.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(source);
    let mut bytes = fs::read(database(&folder)).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(database(&folder), &bytes).unwrap();
    store.readers.run(found).await.unwrap_err();
    let error = store.commit(vec![Write::Open(event(), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let error = store.counts().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");

    fs::rename(&backup, database(&folder)).unwrap();
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 3);
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_now_is_opened_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let busy = Duration::from_millis(50);
    let options = SqliteOptions { busy, ..SqliteOptions::default() };
    let other = rusqlite::Connection::open(database(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = SqliteStore::open(&database(&folder), &options).err().unwrap();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    let (store, away) = SqliteStore::open_or_wait(&database(&folder), &options).unwrap();
    assert!(matches!(away, Some(StoreError::Busy(_))));
    let error = store.commit(vec![Write::Open(event(), vec![])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(vec![Write::Open(event(), vec![])]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 1);
}
