//! Which store a place belongs to, and that payloads of other stores are not removed.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use super::{memory::MemoryPieces, *};
use crate::{
    DeliveryQueue, EventStore, Prune, SqliteOptions, SqliteStore, Write, model::NewDelivery,
};

/// A store with its payload root, as a process has both.
struct Process {
    store: SqliteStore,
    folder: PayloadDir,
    payloads: Payloads,
}

// === impl Process ===

impl Process {
    fn start(database: &Path, root: &Path) -> Self {
        let folder = PayloadDir::open(root).unwrap();
        let payload_root = Some(folder.root().to_owned());
        let options = SqliteOptions { payload_root, ..SqliteOptions::default() };
        let store = SqliteStore::open(database, &options).unwrap();
        Self { store, payloads: Payloads::in_folder(folder.clone()), folder }
    }

    async fn claim(&self) -> Result<(), StoreError> {
        self.payloads.claim(&self.store).await
    }

    async fn sweep(&self) -> u64 {
        self.payloads.sweep(&self.store).await.unwrap()
    }

    /// Records an event with a large payload.
    async fn record(&self, id: u128) -> Payload {
        let payload = written(&self.payloads, LARGE).await;
        let event = NewEvent { id: Uuid::from_u128(id), ..event(payload.clone()) };
        let delivery = NewDelivery {
            webhook_id: id.to_string(),
            webhook: "erp".to_owned(),
            mode: "raw".to_owned(),
            order_key: None,
            due: 0,
        };
        self.store.commit(vec![Write::Publish(event, vec![delivery])]).await.unwrap();
        payload
    }

    async fn reads(&self, payload: &Payload) -> bool {
        read(&self.payloads, payload).await.is_ok()
    }

    async fn end(self) {
        self.store.close().await;
    }
}

/// Payload files below a root.
fn files(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir());
    folders
        .flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()))
        .collect()
}

#[tokio::test]
async fn moved_root_keeps_its_payloads() {
    let parent = tempfile::tempdir().unwrap();
    let (before, after) = (parent.path().join("before"), parent.path().join("after"));
    let process = Process::start(&before.join("as2hook.db"), &before.join("payloads"));
    process.claim().await.unwrap();
    let payload = process.record(1).await;
    process.end().await;
    fs::rename(&before, &after).unwrap();

    let process = Process::start(&after.join("as2hook.db"), &after.join("payloads"));
    process.claim().await.unwrap();
    assert_eq!(process.sweep().await, 0);
    assert!(process.reads(&payload).await);
    // Retention finds it there, too.
    assert_eq!(files(&after.join("payloads")).len(), 1);
    for claimed in process.store.claim("erp", 0, 10).await.unwrap() {
        let outcome = crate::DeliveryOutcome::Delivered;
        let attempt = crate::AttemptRecord { delivery: claimed.id, attempt: None, outcome };
        process.store.finish(vec![attempt]).await.unwrap();
    }
    process.store.prune(Prune::Events(i64::MAX), 10).await.unwrap();
    assert!(files(&after.join("payloads")).is_empty());
}

#[tokio::test]
async fn root_of_another_store_is_refused_with_a_reason() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("payloads");
    let ours = Process::start(&parent.path().join("ours.db"), &root);
    ours.claim().await.unwrap();
    ours.record(1).await;
    written(&ours.payloads, LARGE).await;
    let theirs = Process::start(&parent.path().join("theirs.db"), &root);
    let said = theirs.claim().await.unwrap_err().to_string();
    assert!(said.contains("belongs to another store") && said.contains("`payloads:`"), "{said}");
    ours.end().await;
    assert!(theirs.payloads.sweep(&theirs.store).await.is_err());
    assert_eq!(files(&root).len(), 2);
}

#[tokio::test]
async fn copied_database_on_the_same_root_removes_nothing_of_the_original() {
    let parent = tempfile::tempdir().unwrap();
    let (root, database) = (parent.path().join("payloads"), parent.path().join("as2hook.db"));
    let process = Process::start(&database, &root);
    process.claim().await.unwrap();
    process.end().await;
    let copy = parent.path().join("copy.db");
    crate::sqlite::backup::backup(&database, &copy, None, &mut |_, _| {}).unwrap();

    let process = Process::start(&database, &root);
    process.claim().await.unwrap();
    let payload = process.record(1).await;
    process.end().await;
    let copied = Process::start(&copy, &root);
    copied.claim().await.unwrap();
    written(&copied.payloads, LARGE).await;
    assert_eq!(copied.sweep().await, 0);
    copied.end().await;
    // The original removes nothing of the copy, and finds its own.
    let process = Process::start(&database, &root);
    assert_eq!(process.sweep().await, 0);
    assert!(process.reads(&payload).await);
    assert_eq!(files(&root).len(), 2);
}

#[tokio::test]
async fn payload_in_a_former_root_is_still_read() {
    let parent = tempfile::tempdir().unwrap();
    let database = parent.path().join("as2hook.db");
    let process = Process::start(&database, &parent.path().join("one"));
    process.claim().await.unwrap();
    let payload = process.record(1).await;
    process.end().await;
    let process = Process::start(&database, &parent.path().join("two"));
    process.claim().await.unwrap();
    assert!(process.reads(&payload).await);
}

#[tokio::test]
async fn process_that_starts_without_its_store_marks_nothing_and_loses_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("payloads");
    let process = Process::start(&parent.path().join("as2hook.db"), &root);
    assert!(process.payloads.is_unclaimed());
    written(&process.payloads, LARGE).await;
    process.claim().await.unwrap();
    assert!(!process.payloads.is_unclaimed());
    written(&process.payloads, LARGE).await;
    let folder = process.folder.path().to_owned();
    process.end().await;
    // Only for the second one it is known that this store wrote it.
    let next = Process::start(&parent.path().join("as2hook.db"), &root);
    assert_eq!(next.sweep().await, 1);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_another_store_are_never_removed() {
    let parent = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        SqliteStore::open(&parent.path().join(name), &SqliteOptions::default()).unwrap()
    };
    let (ours, theirs) = (open("ours.db"), open("theirs.db"));
    let pieces = Arc::new(MemoryPieces::default());
    pieces.outside.store(true, Ordering::SeqCst);
    let place = || Payloads::in_pieces(pieces.clone(), Handle::current());
    let payloads = place();
    payloads.claim(&ours).await.unwrap();
    let refused = place().claim(&theirs).await.unwrap_err();
    assert!(matches!(refused, StoreError::OtherStore { .. }), "{refused}");
    // No event names any of these. The first has no mark.
    let unmarked = written(&place(), LARGE).await;
    written(&payloads, LARGE).await;
    let mark = payloads.mark().unwrap();
    assert_eq!(sweep_pieces(&*pieces, &ours, mark, i64::MAX).await.unwrap().len(), 1);
    assert!(read(&payloads, &unmarked).await.is_ok());
}
