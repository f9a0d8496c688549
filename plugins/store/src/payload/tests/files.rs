use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::*;
use crate::{EventStore, SqliteOptions, SqliteStore, Write, model::NewDelivery};

fn open(path: &Path) -> (PayloadDir, Payloads) {
    let folder = PayloadDir::open(path).unwrap();
    (folder.clone(), Payloads::in_folder(folder))
}

fn files(folder: &PayloadDir) -> usize {
    fs::read_dir(folder.path()).unwrap().count()
}

fn file(folder: &PayloadDir, payload: &Payload) -> (PathBuf, u64) {
    match payload {
        Payload::File { path, size } => {
            assert!(path.is_relative());
            (folder.root().join(path), *size)
        }
        Payload::Sealed { kept, .. } => file(folder, kept),
        other => panic!("{other:?} is no file"),
    }
}

#[tokio::test]
async fn small_payloads_stay_in_memory_and_large_ones_go_to_files() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(&root.path().join("new/payloads"));
    let inline = written(&payloads, Payload::INLINE_MAX).await;
    assert!(matches!(&inline, Payload::Inline(bytes) if bytes.len() == Payload::INLINE_MAX));
    assert_eq!(files(&folder), 0);
    let spilt = written(&payloads, LARGE).await;
    let (path, size) = file(&folder, &spilt);
    assert_eq!(size, LARGE as u64);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(read(&payloads, &spilt).await.unwrap(), bytes(LARGE));
    assert_eq!(read(&payloads, &inline).await.unwrap(), bytes(Payload::INLINE_MAX));
    payloads.remove(&spilt);
    within(|| files(&folder) == 0).await;
}

#[tokio::test]
async fn sealed_files_are_private_and_readable_with_sealing_switched_off() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    let payloads = payloads.with_key(key(7));
    // A payload that looks like a sealed one is not treated as sealed.
    let mut writer = payloads.writer(EVENT);
    let trap = [&b"AS2SEAL\x01"[..], &bytes(LARGE)].concat();
    writer.write(&trap).unwrap();
    let plain = writer.finish().await.unwrap();
    let sealed = written(&payloads.sealing(true), LARGE).await;
    let (path, size) = file(&folder, &sealed);
    let kept = fs::read(&path).unwrap();
    assert!(kept.starts_with(b"AS2SEAL\x01") && size == kept.len() as u64);
    let beginning = &bytes(20)[..];
    assert!(!kept.windows(20).any(|window| window == beginning));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read(&payloads, &sealed).await.unwrap(), bytes(LARGE));
    assert_eq!(read(&payloads.sealing(true), &plain).await.unwrap(), trap);
}

#[tokio::test]
async fn exchanged_sealed_files_are_detected() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    let payloads = payloads.with_key(key(7)).sealing(true);
    let ours = written(&payloads, LARGE).await;
    let mut writer = payloads.writer(Uuid::from_u128(2));
    writer.write(&bytes(LARGE)).unwrap();
    let theirs = writer.finish().await.unwrap();
    fs::copy(file(&folder, &theirs).0, file(&folder, &ours).0).unwrap();
    let error = read(&payloads, &ours).await.unwrap_err();
    assert!(matches!(error, StoreError::Seal { source: SealError::Damaged, .. }), "{error}");
}

#[tokio::test]
async fn writer_dropped_unfinished_leaves_no_file() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    for payloads in [payloads.clone(), payloads.with_key(key(7)).sealing(true)] {
        let mut writer = payloads.writer(EVENT);
        writer.write(&vec![0; LARGE]).unwrap();
        within(|| files(&folder) == 1).await;
        drop(writer);
        within(|| files(&folder) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_write_is_reported_until_one_succeeds() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    let mut writer = payloads.writer(EVENT);
    // A missing folder alone would be created again.
    fs::remove_dir(folder.path()).unwrap();
    fs::write(folder.path(), "in the way").unwrap();
    // The first write does not wait for it.
    let _ = writer.write(&vec![0; LARGE]);
    writer.ready().await;
    assert!(writer.write(b"more").is_err());
    assert!(writer.finish().await.is_err());
    let health = payloads.health();
    assert!(health.failing_since.is_some() && health.last_error.is_some());
    // Small ones do not need the folder, so they do not change its health.
    written(&payloads, 10).await;
    payloads.probe().await;
    assert!(payloads.health().failing_since.is_some());
    fs::remove_file(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    payloads.probe().await;
    assert_eq!(payloads.health().failing_since, None);
    within(|| files(&folder) == 0).await;
}

#[tokio::test]
async fn truncated_or_missing_file_is_not_delivered() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    let payload = written(&payloads, LARGE).await;
    let (path, _) = file(&folder, &payload);
    fs::write(&path, b"short").unwrap();
    assert!(matches!(read(&payloads, &payload).await, Err(StoreError::Payload { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(&payloads, &payload).await, Err(StoreError::Payload { .. })));
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let (folder, payloads) = open(root.path());
    let payload = written(&payloads, LARGE).await;
    let mut reader = payloads.reader(EVENT, &payload).await.unwrap();
    let opened = fs::OpenOptions::new().write(true).open(file(&folder, &payload).0);
    opened.unwrap().set_len(100_000).unwrap();
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
async fn sweep_removes_unnamed_files_of_terminated_processes() {
    let root = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&root.path().join("as2hook.db"), &SqliteOptions::default()).unwrap();
    let path = root.path().join("payloads");
    let ((dead, of_dead), (living, of_living)) = (open(&path), open(&path));
    of_dead.claim(&store).await.unwrap();
    let named = written(&of_dead.clone().with_key(key(7)).sealing(true), LARGE).await;
    written(&of_dead, LARGE).await;
    written(&of_living, LARGE).await;
    let delivery = NewDelivery {
        webhook_id: "w1".to_owned(),
        webhook: "erp".to_owned(),
        mode: "raw".to_owned(),
        order_key: None,
        due: 0,
    };
    store.commit(vec![Write::Publish(event(named.clone()), vec![delivery])]).await.unwrap();

    let (sweeper, payloads) = open(&path);
    let payloads = payloads.with_key(key(7));
    written(&payloads, LARGE).await;
    assert_eq!(payloads.sweep(&store).await.unwrap(), 0);
    let left = dead.path().to_owned();
    drop((dead, of_dead));
    assert_eq!(payloads.sweep(&store).await.unwrap(), 1);
    assert_eq!(payloads.sweep(&store).await.unwrap(), 0);
    assert_eq!(read(&payloads, &named).await.unwrap().len(), LARGE);
    assert_eq!((files(&sweeper), files(&living)), (1, 1));

    // The folder is removed with its last file.
    payloads.remove(&named);
    within(|| !file(&sweeper, &named).0.exists()).await;
    payloads.sweep(&store).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn deleted_folder_is_created_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("payloads");
    let (folder, payloads) = open(&path);
    for deleted in [path.clone(), folder.path().to_owned()] {
        fs::remove_dir_all(deleted).unwrap();
        let payload = written(&payloads, LARGE).await;
        assert_eq!(read(&payloads, &payload).await.unwrap(), bytes(LARGE));
        // A sweep does not treat it as the folder of a terminated process: it is locked.
        let folders = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        let folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
        assert_eq!(folders, [folder.path()]);
        assert!(fs::File::open(&folders[0]).unwrap().try_lock().is_err());
    }
}
