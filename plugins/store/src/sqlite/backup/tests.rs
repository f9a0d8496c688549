use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use uuid::Uuid;

use super::*;
use crate::{
    model::{EventTerms, NewDelivery, NewEvent, Payload},
    query::Filter,
    sqlite::{SqliteOptions, SqliteStore},
    store::{DeliveryQueue, EventStore, Store},
    write::Write,
};

fn event(id: Uuid, payload: Payload) -> NewEvent {
    NewEvent {
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
        payload,
    }
}

fn delivery(id: Uuid) -> NewDelivery {
    NewDelivery {
        webhook_id: id.to_string(),
        webhook: "erp".to_owned(),
        mode: "raw".to_owned(),
        order_key: None,
        due: 0,
    }
}

async fn publish(store: &SqliteStore, payload: Payload) -> Uuid {
    let id = Uuid::now_v7();
    store.commit(vec![Write::Publish(event(id, payload), vec![delivery(id)])]).await.unwrap();
    id
}

async fn back_up(database: &Path, to: &Path) -> Result<BackedUp, BackupError> {
    let (database, to) = (database.to_owned(), to.to_owned());
    let work = move || backup(&database, &to, None, &mut |_, _| {});
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn checked(file: &Path) -> String {
    let connection = Connection::open(file).unwrap();
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_under_load_contains_everything_written_before() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("data/as2hook.db");
    let store = Arc::new(SqliteStore::open(&database, &SqliteOptions::default()).unwrap());
    let (running, written) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, running, written) = (store.clone(), running.clone(), written.clone());
        writers.spawn(async move {
            let mut ids = Vec::new();
            while running.load(Ordering::SeqCst) {
                ids.push((
                    publish(&store, Payload::None).await,
                    written.fetch_add(1, Ordering::SeqCst),
                ));
            }
            ids
        });
    }
    let more_than = |count: u64| {
        let written = written.clone();
        async move {
            while written.load(Ordering::SeqCst) <= count {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    };
    more_than(1_500).await;
    let before = written.load(Ordering::SeqCst);
    let to = folder.path().join("copy.db");
    let done = back_up(&database, &to).await.unwrap();
    assert!(done.bytes > 2_000 * before);
    // The load never stopped.
    more_than(written.load(Ordering::SeqCst)).await;
    running.store(false, Ordering::SeqCst);
    let all: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(checked(&to), "ok");
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = SqliteStore::open(&to, &SqliteOptions::default()).unwrap();
    for (id, _) in all.iter().filter(|(_, nth)| *nth < before) {
        assert_eq!(copy.event(*id).await.unwrap().unwrap().body.len(), 2_000);
        let filter = Filter { event: Some(*id), ..Filter::default() };
        assert_eq!(copy.deliveries(&filter, None, 2).await.unwrap().rows.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_store_finds_its_payloads_in_another_place() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("data/as2hook.db");
    let root = folder.path().join("payloads");
    let path = root.join("process/payload");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, vec![b'E'; 300_000]).unwrap();
    let store = SqliteStore::open(&database, &SqliteOptions::default()).unwrap();
    store.identity(Some(root.display().to_string())).await.unwrap();
    publish(&store, Payload::File { path: "process/payload".into(), size: 300_000 }).await;
    // It does not exist any more, as if pruned at that moment.
    publish(&store, Payload::File { path: "gone/file".into(), size: 1 }).await;
    let to = folder.path().join("copy.db");
    let done = back_up(&database, &to).await.unwrap();
    assert_eq!((done.payloads, done.missing), (1, 1));
    store.close().await;
    fs::remove_file(&path).unwrap();

    let other = folder.path().join("elsewhere/as2hook.db");
    let restored = restore(&to, &other, &folder.path().join("elsewhere/payloads")).unwrap();
    assert_eq!(restored, Restored { payloads: 1, missing: 1 });
    assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
    let store = SqliteStore::open(&other, &SqliteOptions::default()).unwrap();
    let claimed = store.claim("erp", 0, 10).await.unwrap();
    let Payload::File { path, size } = &claimed[0].event.payload else { panic!("a file") };
    assert!(path.is_relative());
    let path = folder.path().join("elsewhere/payloads").join(path);
    assert_eq!(fs::metadata(path).unwrap().len(), *size);
    let again = restore(&to, &other, &folder.path().join("elsewhere/payloads"));
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_backup_overwrites_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("as2hook.db");
    let to = folder.path().join("copy.db");
    let missing = back_up(&database, &to).await;
    assert!(matches!(missing, Err(BackupError::Missing(_))), "{missing:?}");
    assert!(!database.exists());
    SqliteStore::open(&database, &SqliteOptions::default()).unwrap().close().await;
    fs::write(&to, "precious").unwrap();
    let taken = back_up(&database, &to).await;
    assert!(matches!(taken, Err(BackupError::Exists(_))), "{taken:?}");
    assert_eq!(fs::read(&to).unwrap(), b"precious");

    let damaged = folder.path().join("damaged.db");
    fs::write(&damaged, vec![7; 10_000]).unwrap();
    let other = folder.path().join("other.db");
    let error = back_up(&damaged, &other).await.unwrap_err();
    assert!(
        matches!(error, BackupError::Database { source: StoreError::Corrupt(_), .. }),
        "{error}"
    );
    let nowhere = back_up(&database, &folder.path().join("no/such/copy.db")).await;
    let Err(BackupError::NoFolder(named)) = &nowhere else { panic!("{nowhere:?}") };
    assert_eq!(*named, folder.path().join("no/such"));
    assert_eq!(unfinished(folder.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_neither_backed_up_nor_restored() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("as2hook.db");
    let store = SqliteStore::open(&database, &SqliteOptions::default()).unwrap();
    for _ in 0..100 {
        publish(&store, Payload::None).await;
    }
    store.close().await;
    let whole = folder.path().join("whole.db");
    back_up(&database, &whole).await.unwrap();

    damage(&database);
    let to = folder.path().join("copy.db");
    let error = back_up(&database, &to).await.unwrap_err();
    let BackupError::Database { path, source: StoreError::Corrupt(_) } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*path, database);
    let text = error.to_string();
    assert!(text.contains("damaged") && text.contains("docs/operating.md"), "{text}");
    assert!(!text.contains('\n'), "{text}");

    damage(&whole);
    let other = folder.path().join("elsewhere/as2hook.db");
    let error = restore(&whole, &other, &folder.path().join("payloads")).unwrap_err();
    let BackupError::Damaged { path, reason } = &error else { panic!("{error:?}") };
    assert_eq!(*path, whole);
    assert!(!reason.contains('\n'), "{reason}");
    assert!(!to.exists() && !other.exists());
    assert_eq!(unfinished(folder.path()), [""; 0]);
    assert_eq!(unfinished(other.parent().unwrap()), [""; 0]);
}

#[test]
fn file_that_is_not_a_backup_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("token");
    fs::write(&text, "0123456789abcdef0123456789abcdef").unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    let others = folder.path().join("others.db");
    Connection::open(&others).unwrap().execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
    let database = folder.path().join("elsewhere/as2hook.db");
    for from in [&text, &empty, &others, folder.path()] as [&Path; 4] {
        let error = restore(from, &database, &folder.path().join("payloads")).unwrap_err();
        let BackupError::NotABackup(named) = &error else { panic!("{error:?}") };
        assert_eq!(named, from);
        assert!(!database.exists());
    }
    assert_eq!(unfinished(database.parent().unwrap()), [""; 0]);
}

/// Overwrites three pages in the middle.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 4096 / 2 * 4096;
    for byte in &mut bytes[middle..middle + 3 * 4096] {
        *byte ^= 0xa5;
    }
    fs::write(file, bytes).unwrap();
}

fn unfinished(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains("unfinished")).collect()
}
