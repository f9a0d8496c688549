use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncReadExt;

use super::*;
use crate::{
    SqliteOptions, SqliteStore, Store,
    model::{NewDelivery, NewEvent},
};

fn written(folder: &PayloadDir, size: usize) -> Payload {
    let mut writer = folder.writer();
    for chunk in vec![0xA5; size].chunks(40_000) {
        writer.write(chunk).unwrap();
    }
    assert_eq!(writer.size(), size as u64);
    writer.finish().unwrap()
}

fn files(folder: &PayloadDir) -> usize {
    fs::read_dir(folder.folder()).unwrap().count()
}

async fn read(payload: &Payload) -> Vec<u8> {
    let mut reader = open_payload(payload).await.unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(reader.size(), bytes.len() as u64);
    bytes
}

#[tokio::test]
async fn small_ones_stay_in_memory_and_large_ones_spill() {
    let root = tempfile::tempdir().unwrap();
    let folder = PayloadDir::open(&root.path().join("new/payloads")).unwrap();
    let inline = written(&folder, Payload::INLINE_MAX);
    assert!(matches!(&inline, Payload::Inline(bytes) if bytes.len() == Payload::INLINE_MAX));
    assert_eq!(files(&folder), 0);
    let spilt = written(&folder, Payload::INLINE_MAX + 1);
    let Payload::File { path, size } = &spilt else { panic!("{spilt:?}") };
    assert_eq!(*size, Payload::INLINE_MAX as u64 + 1);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(folder.folder()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(read(&spilt).await, vec![0xA5; Payload::INLINE_MAX + 1]);
    assert_eq!(read(&inline).await.len(), Payload::INLINE_MAX);
    assert_eq!(read(&Payload::None).await, b"");
    PayloadDir::remove(&spilt);
    assert_eq!(files(&folder), 0);
}

#[test]
fn dropped_unfinished_it_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = PayloadDir::open(root.path()).unwrap();
    let mut writer = folder.writer();
    writer.write(&vec![0; Payload::INLINE_MAX + 1]).unwrap();
    assert_eq!(files(&folder), 1);
    drop(writer);
    assert_eq!(files(&folder), 0);
}

#[test]
fn a_write_that_failed_is_not_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let folder = PayloadDir::open(root.path()).unwrap();
    let mut writer = folder.writer();
    fs::remove_dir(folder.folder()).unwrap();
    assert!(writer.write(&vec![0; Payload::INLINE_MAX + 1]).is_err());
    assert!(writer.write(b"more").is_err());
    assert!(writer.finish().is_err());
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_not_delivered() {
    let root = tempfile::tempdir().unwrap();
    let folder = PayloadDir::open(root.path()).unwrap();
    let payload = written(&folder, Payload::INLINE_MAX + 1);
    let Payload::File { path, .. } = &payload else { panic!("{payload:?}") };
    fs::write(path, b"short").unwrap();
    assert!(matches!(open_payload(&payload).await, Err(StoreError::Payload { .. })));
}

#[tokio::test]
async fn a_sweep_removes_what_the_dead_left_and_nobody_names() {
    let root = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&root.path().join("as2hook.db"), &SqliteOptions::default()).unwrap();
    let payloads = root.path().join("payloads");
    let (dead, living) =
        (PayloadDir::open(&payloads).unwrap(), PayloadDir::open(&payloads).unwrap());
    let named = written(&dead, Payload::INLINE_MAX + 1);
    let size = Payload::INLINE_MAX + 1;
    written(&dead, size);
    written(&living, size);
    let event = NewEvent {
        id: Uuid::now_v7(),
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: None,
        station: None,
        message_id: None,
        occurred_at: 0,
        body: Vec::new(),
        payload: named.clone(),
    };
    let delivery = NewDelivery {
        webhook_id: "w1".to_owned(),
        webhook: "erp".to_owned(),
        mode: "raw".to_owned(),
        order_key: None,
        due: 0,
    };
    store.publish(event, vec![delivery]).await.unwrap();

    let sweeper = PayloadDir::open(&payloads).unwrap();
    written(&sweeper, size);
    assert_eq!(sweeper.sweep(&store).await.unwrap(), 0);
    let left = dead.folder().to_owned();
    drop(dead);
    assert_eq!(sweeper.sweep(&store).await.unwrap(), 1);
    assert_eq!(sweeper.sweep(&store).await.unwrap(), 0);
    assert_eq!(read(&named).await.len(), size);
    assert_eq!((files(&sweeper), files(&living)), (1, 1));

    // With the last file goes the folder.
    PayloadDir::remove(&named);
    sweeper.sweep(&store).await.unwrap();
    assert!(!left.exists());
}
