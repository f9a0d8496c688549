use std::sync::atomic::Ordering;

use super::{
    memory::{MemoryPieces, SIZE},
    *,
};
use crate::{EventStore, SqliteOptions, SqliteStore, Write};

fn open() -> (Arc<MemoryPieces>, Payloads) {
    let pieces = Arc::new(MemoryPieces::default());
    let payloads = Payloads::in_pieces(pieces.clone(), Handle::current());
    (pieces, payloads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_read_completely_sealed_or_not() {
    let (pieces, payloads) = open();
    let sealing = payloads.clone().with_key(key(7)).sealing(true);
    for payloads in [payloads, sealing] {
        for size in [LARGE, 3 * SIZE, 10 * SIZE, 10 * SIZE + 1] {
            let payload = written(&payloads, size).await;
            assert_eq!(read(&payloads, &payload).await.unwrap(), bytes(size));
            payloads.remove(&payload);
            within(|| pieces.count() == 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_payloads_are_not_stored_in_pieces() {
    let (pieces, payloads) = open();
    assert!(matches!(written(&payloads, Payload::INLINE_MAX).await, Payload::Inline(_)));
    assert_eq!(pieces.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_two_pieces_are_in_progress_however_slow_the_place() {
    let (pieces, payloads) = open();
    pieces.dawdling.store(true, Ordering::SeqCst);
    let payload = written(&payloads, 30 * SIZE).await;
    // When it is finished, everything is stored.
    assert_eq!(pieces.count(), 30);
    assert_eq!(pieces.most_at_once.load(Ordering::SeqCst), 2);
    assert_eq!(read(&payloads, &payload).await.unwrap().len(), 30 * SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thread_outside_any_runtime_can_write() {
    let (_, payloads) = open();
    let writing = payloads.clone();
    let handle = Handle::current();
    let write = move || handle.block_on(written(&writing, LARGE));
    let written = tokio::task::spawn_blocking(write).await.unwrap();
    assert!(read(&payloads, &written).await.is_ok());
    let writing = payloads.clone();
    let handle = Handle::current();
    let write = move || handle.block_on(super::written(&writing, 5 * SIZE));
    let thread = std::thread::spawn(write);
    let written = tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    assert!(read(&payloads, &written).await.is_ok());
}

#[tokio::test]
async fn single_threaded_runtime_gets_an_error_and_does_not_hang() {
    let (_, payloads) = open();
    assert!(matches!(write(&payloads, 5 * SIZE).await, Err(StoreError::Blobs { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_dropped_unfinished_or_failed_leaves_no_pieces() {
    let (pieces, payloads) = open();
    let mut writer = payloads.writer(EVENT);
    writer.write(&bytes(5 * SIZE)).unwrap();
    drop(writer);
    within(|| pieces.count() == 0).await;

    let mut writer = payloads.writer(EVENT);
    writer.write(&bytes(4 * SIZE)).unwrap();
    within(|| pieces.count() == 4).await;
    pieces.failing.store(true, Ordering::SeqCst);
    let failed = (0..9).find_map(|_| writer.write(&bytes(SIZE)).err()).expect("it fails in time");
    assert!(matches!(failed, StoreError::Blobs { .. }), "{failed}");
    assert!(matches!(writer.write(b"more"), Err(StoreError::GivenUp)));
    assert!(writer.finish().await.is_err());
    within(|| pieces.count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_of_the_last_piece_fails_the_payload() {
    let (pieces, payloads) = open();
    let mut writer = payloads.writer(EVENT);
    writer.write(&bytes(3 * SIZE + 1)).unwrap();
    within(|| pieces.count() == 3).await;
    pieces.failing.store(true, Ordering::SeqCst);
    assert!(matches!(writer.finish().await, Err(StoreError::Blobs { .. })));
    assert!(payloads.health().last_error.unwrap().contains("the disk is full"));
    within(|| pieces.count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_or_truncated_piece_is_an_error() {
    let (pieces, plain) = open();
    let sealing = plain.clone().with_key(key(7)).sealing(true);
    for payloads in [plain, sealing] {
        for damage in [None, Some(SIZE - 1), Some(0)] {
            for index in 0..4 {
                let payload = written(&payloads, 3 * SIZE + 10).await;
                {
                    let mut kept = pieces.kept.lock().unwrap();
                    let id = *kept.keys().map(|(id, _)| id).next_back().unwrap();
                    match damage {
                        None => kept.remove(&(id, index)),
                        Some(cut) => {
                            let piece = kept[&(id, index)].clone();
                            let cut = if piece.len() > cut { cut } else { piece.len() - 1 };
                            kept.insert((id, index), piece.slice(..cut))
                        }
                    };
                }
                let error = read(&payloads, &payload).await.unwrap_err();
                assert!(
                    matches!(error, StoreError::Blobs { .. } | StoreError::Seal { .. }),
                    "{error}"
                );
                pieces.kept.lock().unwrap().clear();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweep_removes_old_unnamed_pieces() {
    let root = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&root.path().join("as2hook.db"), &SqliteOptions::default()).unwrap();
    let (pieces, payloads) = open();
    let named = written(&payloads, LARGE).await;
    written(&payloads, LARGE).await;
    store.commit(vec![Write::Publish(event(named.clone()), vec![])]).await.unwrap();
    // They are young: their events may not be stored yet.
    assert_eq!(payloads.sweep(&store).await.unwrap(), 0);
    let mark = payloads.mark().unwrap();
    assert_eq!(sweep_pieces(&*pieces, &store, mark, i64::MAX).await.unwrap().len(), 1);
    assert_eq!(read(&payloads, &named).await.unwrap().len(), LARGE);
    // A spent payload is removed at once.
    assert_eq!(payloads.purge_payloads(&store, i64::MAX, 10).await.unwrap(), 1);
    assert_eq!(pieces.count(), 0);
    let kept = store.event(EVENT).await.unwrap().unwrap().payload;
    assert!(matches!(kept, Payload::Purged { .. }));
}
