//! Payloads in S3: the adapter over an object store in memory, and over HTTP against an independent
//! server, `moto_server`, where it is installed.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{process::Command, sync::Arc};

use as2hook_store::{BlobStore, Payload, PayloadKey, Payloads, S3Pieces};
use as2hook_testing::S3;
use bytes::Bytes;
use object_store::{memory::InMemory, path::Path};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const MIB: usize = 1 << 20;

fn in_memory() -> S3Pieces {
    S3Pieces::over(Arc::new(InMemory::new()), Path::from("pay/loads"))
}

async fn behaves(pieces: &S3Pieces) {
    let payloads: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for payload in &payloads {
        // Twice, as after a lost response.
        for _ in 0..2 {
            for index in 0..12 {
                let bytes = Bytes::from(format!("{payload} {index}"));
                pieces.put(*payload, index, bytes).await.unwrap();
            }
        }
    }
    let third = pieces.get(payloads[1], 11).await.unwrap().unwrap();
    assert_eq!(third, format!("{} 11", payloads[1]));
    assert_eq!(pieces.get(payloads[1], 12).await.unwrap(), None);
    assert_eq!(pieces.get(Uuid::now_v7(), 0).await.unwrap(), None);

    let all = |after, limit| pieces.older(i64::MAX, after, limit);
    assert_eq!(all(None, 9).await.unwrap(), payloads);
    assert_eq!(all(None, 2).await.unwrap(), payloads[..2]);
    assert_eq!(all(Some(payloads[0]), 9).await.unwrap(), payloads[1..]);
    assert!(all(Some(payloads[2]), 9).await.unwrap().is_empty());
    assert!(pieces.older(1_000, None, 9).await.unwrap().is_empty());

    for _ in 0..2 {
        pieces.remove(payloads[0]).await.unwrap();
        assert_eq!(all(None, 9).await.unwrap(), payloads[1..]);
    }
    assert_eq!(pieces.get(payloads[0], 0).await.unwrap(), None);
    for payload in &payloads[1..] {
        pieces.remove(*payload).await.unwrap();
    }
}

async fn passes_through(pieces: S3Pieces) {
    let key = PayloadKey::derive(b"a secret").unwrap();
    let place = Payloads::in_pieces(Arc::new(pieces), tokio::runtime::Handle::current());
    for payloads in [place.clone(), place.with_key(key).sealing(true)] {
        let bytes: Vec<u8> = (0..=250).cycle().take(5 * MIB + 3).collect();
        let mut writer = payloads.writer(EVENT);
        bytes.chunks(65_536).for_each(|chunk| writer.write(chunk).unwrap());
        let payload = writer.finish().await.unwrap();
        assert!(!matches!(payload, Payload::Inline(_)));
        let mut reader = payloads.reader(EVENT, &payload).await.unwrap();
        let mut read = Vec::new();
        while let Some(bytes) = reader.next().await.unwrap() {
            read.extend_from_slice(&bytes);
        }
        assert!(read == bytes);
    }
}

#[tokio::test]
async fn pieces_are_objects() {
    behaves(&in_memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_pass_through_an_object_store() {
    passes_through(in_memory()).await;
}

#[tokio::test]
async fn objects_of_others_are_left_alone() {
    use object_store::ObjectStoreExt as _;
    let store = Arc::new(InMemory::new());
    for name in ["pay/loads/readme.txt", "pay/loads/2024/0", "pay/other/0", "x"] {
        store.put(&Path::from(name), Bytes::from_static(b"x").into()).await.unwrap();
    }
    let pieces = S3Pieces::over(store, Path::from("pay/loads"));
    assert!(pieces.older(i64::MAX, None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn prefix_belongs_to_the_first_store_that_takes_it() {
    belongs_to_one(&in_memory()).await;
}

async fn belongs_to_one(pieces: &S3Pieces) {
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(pieces.is_outside());
    for store in [first, first, second] {
        assert_eq!(pieces.claim(store).await.unwrap(), first);
    }
    // It is not a payload.
    assert!(pieces.older(i64::MAX, None, 9).await.unwrap().is_empty());
}

#[test]
fn pieces_are_stored_over_http() {
    let Some(server) = S3::start() else {
        // It is optional; the tests above need no server.
        return;
    };
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pieces_are_stored_over_http_alone"])
        .env("AS2HOOK_TEST_URL", server.url("pay/loads"))
        .envs(server.environment())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Run only by [`pieces_are_stored_over_http`], in a process of its own whose environment names the
/// server.
#[test]
fn pieces_are_stored_over_http_alone() {
    let Ok(url) = std::env::var("AS2HOOK_TEST_URL") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pieces = S3Pieces::open(&url, true).unwrap();
        behaves(&pieces).await;
        belongs_to_one(&pieces).await;
        passes_through(pieces).await;
        let gone = S3Pieces::open("s3://no-such-bucket/pay", true).unwrap();
        let error = gone.put(Uuid::now_v7(), 0, Bytes::from_static(b"x")).await.unwrap_err();
        assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    });
}
