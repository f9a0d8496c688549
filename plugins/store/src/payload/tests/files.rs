use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::*;
use crate::{SqliteOptions, SqliteStore, model::NewDelivery};

fn open(path: &Path) -> (PayloadDir, Payloads) {
    let folder = PayloadDir::open(path).unwrap();
    (folder.clone(), Payloads::in_folder(folder))
}

fn files(folder: &PayloadDir) -> usize {
    fs::read_dir(folder.path()).unwrap().count()
}

fn file(payload: &Payload) -> (PathBuf, u64) {
    match payload {
        Payload::File { path, size } => (path.clone(), *size),
        Payload::Sealed { kept, .. } => file(kept),
        other => panic!("{other:?} is no file"),
    }
}

#[tokio::test]
async fn small_ones_stay_in_memory_and_large_ones_spill() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(&root.path().join("new/payloads"));
    let inline = written(&payloads, Payload::INLINE_MAX);
    assert!(matches!(&inline, Payload::Inline(bytes) if bytes.len() == Payload::INLINE_MAX));
    assert_eq!(files(&folder), 0);
    let spilt = written(&payloads, LARGE);
    let (path, size) = file(&spilt);
    assert_eq!(size, LARGE as u64);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(read(&payloads, &spilt).await.unwrap(), bytes(LARGE));
    assert_eq!(read(&payloads, &inline).await.unwrap(), bytes(Payload::INLINE_MAX));
    payloads.remove(&spilt);
    assert_eq!(files(&folder), 0);
}

#[tokio::test]
async fn sealed_files_are_ours_alone_and_can_be_told_with_the_switch_off() {
    let root = tempfile::tempdir().unwrap();
    let (_, payloads) = open(root.path());
    let payloads = payloads.with_key(key(7));
    // What looks like a sealed one is not taken for it.
    let mut writer = payloads.writer(EVENT);
    let trap = [&b"AS2SEAL\x01"[..], &bytes(LARGE)].concat();
    writer.write(&trap).unwrap();
    let plain = writer.finish().unwrap();
    let sealed = written(&payloads.sealing(true), LARGE);
    let (path, size) = file(&sealed);
    let kept = fs::read(&path).unwrap();
    assert!(kept.starts_with(b"AS2SEAL\x01") && size == kept.len() as u64);
    let beginning = &bytes(20)[..];
    assert!(!kept.windows(20).any(|window| window == beginning));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read(&payloads, &sealed).await.unwrap(), bytes(LARGE));
    assert_eq!(read(&payloads.sealing(true), &plain).await.unwrap(), trap);
}

#[tokio::test]
async fn two_sealed_files_that_changed_places_are_noticed() {
    let root = tempfile::tempdir().unwrap();
    let (_, payloads) = open(root.path());
    let payloads = payloads.with_key(key(7)).sealing(true);
    let ours = written(&payloads, LARGE);
    let mut writer = payloads.writer(Uuid::from_u128(2));
    writer.write(&bytes(LARGE)).unwrap();
    let theirs = writer.finish().unwrap();
    fs::copy(file(&theirs).0, file(&ours).0).unwrap();
    let error = read(&payloads, &ours).await.unwrap_err();
    assert!(matches!(error, StoreError::Seal { source: SealError::Damaged, .. }), "{error}");
}

#[test]
fn dropped_unfinished_it_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    for payloads in [payloads.clone(), payloads.with_key(key(7)).sealing(true)] {
        let mut writer = payloads.writer(EVENT);
        writer.write(&vec![0; LARGE]).unwrap();
        assert_eq!(files(&folder), 1);
        drop(writer);
        assert_eq!(files(&folder), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_failed_is_not_forgotten_until_one_succeeds() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    let mut writer = payloads.writer(EVENT);
    // A folder alone would be made again.
    fs::remove_dir(folder.path()).unwrap();
    fs::write(folder.path(), "in the way").unwrap();
    assert!(writer.write(&vec![0; LARGE]).is_err());
    assert!(writer.write(b"more").is_err());
    assert!(writer.finish().is_err());
    let health = payloads.health();
    assert!(health.failing_since.is_some() && health.last_error.is_some());
    // Small ones do not need the folder, and say nothing of it.
    written(&payloads, 10);
    payloads.probe().await;
    assert!(payloads.health().failing_since.is_some());
    fs::remove_file(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    payloads.probe().await;
    assert_eq!(payloads.health().failing_since, None);
    assert_eq!(files(&folder), 0);
}

#[tokio::test]
async fn a_file_that_was_cut_short_or_is_gone_is_not_delivered() {
    let root = tempfile::tempdir().unwrap();
    let (_, payloads) = open(root.path());
    let payload = written(&payloads, LARGE);
    let (path, _) = file(&payload);
    fs::write(&path, b"short").unwrap();
    assert!(matches!(read(&payloads, &payload).await, Err(StoreError::Payload { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(&payloads, &payload).await, Err(StoreError::Payload { .. })));
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let (_, payloads) = open(root.path());
    let payload = written(&payloads, LARGE);
    let mut reader = payloads.reader(EVENT, &payload).await.unwrap();
    fs::OpenOptions::new().write(true).open(file(&payload).0).unwrap().set_len(100_000).unwrap();
    let error = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a short payload was sent as if whole"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().ends_with("it is shorter than it was"), "{error}");
}

#[tokio::test]
async fn a_sweep_removes_what_the_dead_left_and_nobody_names() {
    let root = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&root.path().join("as2hook.db"), &SqliteOptions::default()).unwrap();
    let path = root.path().join("payloads");
    let ((dead, of_dead), (living, of_living)) = (open(&path), open(&path));
    let named = written(&of_dead.clone().with_key(key(7)).sealing(true), LARGE);
    written(&of_dead, LARGE);
    written(&of_living, LARGE);
    let delivery = NewDelivery {
        webhook_id: "w1".to_owned(),
        webhook: "erp".to_owned(),
        mode: "raw".to_owned(),
        order_key: None,
        due: 0,
    };
    store.publish(event(named.clone()), vec![delivery]).await.unwrap();

    let (sweeper, payloads) = open(&path);
    let payloads = payloads.with_key(key(7));
    written(&payloads, LARGE);
    assert_eq!(payloads.sweep(&store).await.unwrap(), 0);
    let left = dead.path().to_owned();
    drop((dead, of_dead));
    assert_eq!(payloads.sweep(&store).await.unwrap(), 1);
    assert_eq!(payloads.sweep(&store).await.unwrap(), 0);
    assert_eq!(read(&payloads, &named).await.unwrap().len(), LARGE);
    assert_eq!((files(&sweeper), files(&living)), (1, 1));

    // With the last file goes the folder.
    payloads.remove(&named);
    payloads.sweep(&store).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn a_folder_that_is_deleted_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("payloads");
    let (folder, payloads) = open(&path);
    for deleted in [path.clone(), folder.path().to_owned()] {
        fs::remove_dir_all(deleted).unwrap();
        let payload = written(&payloads, LARGE);
        assert_eq!(read(&payloads, &payload).await.unwrap(), bytes(LARGE));
        // Nobody takes it for a dead process's: one lock, and it is held.
        let locks = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        let locks: Vec<_> = locks.filter(|path| path.is_file()).collect();
        assert_eq!(locks.len(), 1);
        let lock = fs::OpenOptions::new().write(true).open(&locks[0]).unwrap();
        assert!(lock.try_lock().is_err());
    }
}
