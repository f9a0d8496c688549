//! However long the store runs, its files stay bounded by what is kept.

use super::*;
use crate::{clock::now, model::DeliveryOutcome};

/// Returns the sizes of the file and of its log, in bytes.
fn sizes(folder: &TempDir) -> (u64, u64) {
    let length = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    let database = database(folder);
    (length(&database), length(Path::new(&format!("{}-wal", database.display()))))
}

/// A day's work: events that are delivered, and the oldest of them removed.
async fn day(store: &Arc<SqliteStore>, events: usize, keep: u64) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..events {
        let store = Arc::clone(store);
        calls.spawn(async move {
            let payload = Payload::Inline(vec![7; 3_000].into());
            let new = NewEvent { payload, ..event() };
            let delivery = NewDelivery {
                webhook_id: new.id.to_string(),
                webhook: "erp".to_owned(),
                mode: "raw".to_owned(),
                order_key: None,
                due: 0,
            };
            store.commit(vec![Write::Publish(new, vec![delivery])]).await.unwrap();
        });
    }
    calls.join_all().await;
    loop {
        let claimed = store.claim("erp", i64::MAX, 100).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        let delivered = |claimed: &Claimed| AttemptRecord {
            delivery: claimed.id,
            attempt: Some(crate::model::Attempt {
                number: claimed.attempts + 1,
                at: now(),
                url: "https://erp.example/".to_owned(),
                http_code: Some(204),
                error: None,
                duration_ms: 5,
            }),
            outcome: DeliveryOutcome::Delivered,
        };
        store.finish(claimed.iter().map(delivered).collect()).await.unwrap();
    }
    store.prune(Prune::EventsBeyond(keep), 100_000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_stream_with_pruning_reaches_a_plateau() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder));
    for _ in 0..3 {
        day(&store, 500, 1_000).await;
    }
    for _ in 0..8 {
        day(&store, 500, 1_000).await;
        let (file, log) = sizes(&folder);
        // A thousand events take 7 MiB; all events of the test would take 38.
        assert!(file <= 16 << 20, "the file has {file} bytes");
        assert!(log <= 64 << 20, "the log has {log} bytes");
    }
    // When less is kept, all but a reserve is returned to the system.
    store.prune(Prune::EventsBeyond(0), 100_000).await.unwrap();
    within(|| sizes(&folder).0 <= 6 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_log_is_truncated_when_reads_end() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SqliteOptions { checkpoint: Duration::from_millis(20), ..SqliteOptions::default() };
    let store = Arc::new(open_with(&folder, &options));
    let large = || NewEvent { payload: Payload::Inline(vec![7; 200_000].into()), ..event() };
    let reader = rusqlite::Connection::open(database(&folder)).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM event").unwrap();
    while sizes(&folder).1 < 80 << 20 {
        store.commit(vec![Write::Publish(large(), vec![])]).await.unwrap();
    }
    reader.execute_batch("COMMIT").unwrap();
    let deadline = std::time::Instant::now() + AMPLE;
    while sizes(&folder).1 > 64 << 20 {
        assert!(std::time::Instant::now() < deadline, "the log stays at {}", sizes(&folder).1);
        store.commit(vec![Write::Publish(event(), vec![])]).await.unwrap();
    }
}

#[tokio::test]
async fn read_that_takes_too_long_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SqliteOptions { wait: Duration::from_millis(50), readers: 1, ..SqliteOptions::default() };
    let store = open_with(&folder, &options);
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let read = |connection: &Connection| {
        Ok(connection.query_row(endless, [], |row| row.get::<_, i64>(0))?)
    };
    assert!(matches!(store.readers.run(read).await, Err(StoreError::Slow(_))));
    // Its place is free again.
    let again = async { while store.counts().await.is_err() {} };
    tokio::time::timeout(AMPLE, again).await.expect("there is a reader again");
}
