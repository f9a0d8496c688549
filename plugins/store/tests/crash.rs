//! `kill -9` in the middle of the work: everything that the process reported as stored is there.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use as2hook_store::{
    Attempt, AttemptRecord, DeliveryOutcome, DeliveryQueue, DeliveryState, EventStore, EventTerms,
    Filter, NewDelivery, NewEvent, Payload, Settlement, SqliteOptions, SqliteStore, Store, Write,
};
use uuid::Uuid;

/// The store's path for the child process that will be killed. Unset: this is the parent process.
const STORE: &str = "AS2HOOK_CRASH_STORE";

/// What a child process printed before it was killed.
#[derive(Default)]
struct Ledger {
    opened: BTreeSet<Uuid>,
    settled: BTreeSet<Uuid>,
    discarded: BTreeSet<Uuid>,
    delivered: BTreeSet<Uuid>,
}

#[tokio::test]
async fn committed_work_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("as2hook.db");
    let mut ledger = Ledger::default();
    for lines in [1, 40, 400, 900, 150] {
        run_and_kill(&path, lines, &mut ledger);
        let store = SqliteStore::open(&path, &SqliteOptions::default()).unwrap();
        compare(&store, &ledger).await;
        store.close().await;
    }
    assert!(!ledger.delivered.is_empty() && !ledger.discarded.is_empty());
}

/// Lets a child process work until it has printed this many lines, and kills it.
fn run_and_kill(path: &Path, lines: usize, ledger: &mut Ledger) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process_works_until_it_is_killed", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = 0;
    // Read to the end: lines from before the kill may still be in the pipe.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let set = match words.next() {
            Some("opened") => &mut ledger.opened,
            Some("settled") => &mut ledger.settled,
            Some("discarded") => &mut ledger.discarded,
            Some("delivered") => &mut ledger.delivered,
            _ => continue,
        };
        // The last line may be truncated.
        if let Some(id) = words.next().and_then(|id| id.parse().ok()) {
            set.insert(id);
        }
        said += 1;
        if said == lines {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(said >= lines, "it ended by itself after {said} lines");
}

async fn compare(store: &SqliteStore, ledger: &Ledger) {
    let open: BTreeSet<_> =
        store.adopt().await.unwrap().into_iter().map(|(event, _)| event.id).collect();
    assert_eq!(store.counts().await.unwrap().open, open.len() as u64);
    for id in &ledger.discarded {
        assert_eq!(store.event(*id).await.unwrap(), None);
    }
    for id in &ledger.opened {
        let deliveries = deliveries_of(store, *id).await;
        if ledger.settled.contains(id) {
            assert!(!open.contains(id));
            let [(webhook_id, state)] = &deliveries[..] else { panic!("{id} has {deliveries:?}") };
            assert_eq!(*webhook_id, id.to_string());
            // Claims of the killed process are released.
            assert_ne!(*state, DeliveryState::Claimed);
            if ledger.delivered.contains(id) {
                assert_eq!(*state, DeliveryState::Delivered);
            }
        } else {
            // It may have been settled without a chance to print that.
            assert!(open.contains(id) || deliveries.len() == 1, "{id} is lost");
        }
    }
}

async fn deliveries_of(store: &SqliteStore, event: Uuid) -> Vec<(String, DeliveryState)> {
    let filter = Filter { event: Some(event), ..Filter::default() };
    let page = store.deliveries(&filter, None, 10).await.unwrap();
    page.rows.into_iter().map(|row| (row.webhook_id, row.state)).collect()
}

/// The child process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process_works_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Arc::new(SqliteStore::open(Path::new(&path), &SqliteOptions::default()).unwrap());
    let mut work = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&store);
        work.spawn(async move {
            if number == 0 {
                deliver(&store).await;
            } else {
                exchange(&store).await;
            }
        });
    }
    work.join_all().await;
}

async fn exchange(store: &SqliteStore) {
    for number in 0_usize.. {
        let id = Uuid::now_v7();
        let event = NewEvent {
            id,
            kind: "message.received".to_owned(),
            site: "main".to_owned(),
            partner: None,
            station: None,
            about: None,
            terms: EventTerms::default(),
            message_id: None,
            occurred_at: 0,
            body: vec![b'x'; 2_000],
            payload: Payload::Inline(vec![b'y'; number % 7 * 5_000].into()),
        };
        let deliveries = NewDelivery {
            webhook_id: id.to_string(),
            webhook: "erp".to_owned(),
            mode: "raw".to_owned(),
            order_key: (number % 2 == 0).then(|| "ACME".to_owned()),
            due: 0,
        };
        store.commit(vec![Write::Open(event, vec![deliveries.clone()])]).await.unwrap();
        if number % 5 != 4 {
            say("opened", &id.to_string());
        } else {
            store.commit(vec![Write::Discard(id)]).await.unwrap();
            say("discarded", &id.to_string());
        }
        if number % 5 < 3 {
            let kind = "message.received".to_owned();
            let settlement = Settlement {
                event: id,
                kind,
                errors: Vec::new(),
                verdict: b"ok".to_vec(),
                deliveries: vec![deliveries],
            };
            store.commit(vec![Write::Settle(settlement)]).await.unwrap();
            say("settled", &id.to_string());
        }
    }
}

async fn deliver(store: &SqliteStore) {
    loop {
        for claimed in store.claim("erp", i64::MAX, 3).await.unwrap() {
            let attempt = Attempt {
                number: claimed.attempts + 1,
                at: 0,
                url: "https://erp.example/".to_owned(),
                http_code: Some(200),
                error: None,
                duration_ms: 1,
            };
            let outcome = DeliveryOutcome::Delivered;
            let record = AttemptRecord { delivery: claimed.id, attempt: Some(attempt), outcome };
            store.finish(vec![record]).await.unwrap();
            say("delivered", &claimed.webhook_id);
        }
    }
}

/// Prints past the test harness, which would buffer it until the end.
fn say(word: &str, id: &str) {
    let line = format!("{word} {id}\n");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes()).unwrap();
    stdout.flush().unwrap();
}
