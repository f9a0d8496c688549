//! Payloads that are read while they are sent.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use as2hook_delivery::KeptPayload;
use as2hook_event::{Endpoint, Secret};
use as2hook_format::Fields;
use as2hook_sink::{
    BodyError, BodySource, BodyStream, Client, DeliveryError, Notification, RequestBody,
};
use as2hook_store::{BlobStore, Payload, PayloadDir, Payloads, StoreError};
use bytes::Bytes;
use futures_util::stream;
use tokio::time::Instant;
use uuid::Uuid;

use super::{SECOND, post, request};
use crate::support::{AMPLE, sink::Sink};

#[tokio::test]
async fn a_payload_file_is_streamed_with_its_length() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let file = process_file(folder.path(), "whole");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    std::fs::write(&file, &bytes).unwrap();
    let body = file_body(&file, bytes.len() as u64);
    post(&sink.url(), request(body), AMPLE).await.unwrap();
    let received = sink.requests().remove(0);
    assert_eq!(received.header("content-length"), Some("3000000"));
    assert!(received.body == bytes);
}

#[tokio::test]
async fn missing_or_short_payload_file_is_a_local_error() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let gone = file_body(&process_file(folder.path(), "gone"), 10);
    let error = post(&sink.url(), request(gone), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Payload(_)), "{error}");

    let short = process_file(folder.path(), "short");
    std::fs::write(&short, [0; 100]).unwrap();
    let error = post(&sink.url(), request(file_body(&short, 200_000)), AMPLE).await;
    let error = error.unwrap_err();
    assert!(matches!(error, DeliveryError::Payload(_)), "{error:?}");
    let text = "short: it is 100 bytes long and was written with 200000";
    assert!(error.to_string().ends_with(text), "{error}");
    // Nothing of it was sent.
    assert!(sink.requests().is_empty());
}

#[tokio::test]
async fn payload_that_fails_while_sent_does_not_end_as_a_complete_request() {
    let sink = Sink::answering(200).await;
    let pieces = Arc::new(Cut);
    let payloads = Payloads::in_pieces(pieces, tokio::runtime::Handle::current());
    let payload = Payload::Stored { id: Uuid::nil(), size: 300_000 };
    let body = RequestBody::Streamed(Arc::new(KeptPayload {
        payloads,
        event: Uuid::nil(),
        size: payload.size(),
        payload,
    }));
    let error = post(&sink.url(), request(body), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Payload(_)), "{error:?}");
    assert!(error.to_string().ends_with("piece 2 is missing"), "{error}");
    assert!(sink.requests().is_empty(), "half a request is none");
}

#[tokio::test]
async fn reading_a_payload_for_its_signature_takes_no_time_from_its_endpoint() {
    let sink = Sink::answering(200).await;
    let mut endpoint = Endpoint::new(sink.url().parse().unwrap());
    endpoint.timeout = SECOND * 5;
    endpoint.secrets = vec![Secret::parse("secret").unwrap()];
    let body = RequestBody::Streamed(Arc::new(Slow(SECOND * 3)));
    let notification = Notification { headers: Fields::default(), body };
    let client = Client::new().await.unwrap();
    as2hook_sink::Sink::send(&client, &endpoint, notification, Instant::now() + AMPLE)
        .await
        .unwrap();
    assert_eq!(sink.requests().remove(0).body, b"EDI");
}

#[test]
fn large_bodies_have_more_time() {
    let endpoint = Endpoint::new("http://erp.example/".parse().unwrap());
    assert_eq!(endpoint.time_allowed(0), SECOND * 15);
    assert_eq!(endpoint.time_allowed(10 << 20), SECOND * 25);
    assert_eq!(endpoint.time_allowed(1 << 19), SECOND * 31 / 2);
}

/// A body that takes this long to open.
struct Slow(std::time::Duration);

#[async_trait::async_trait]
impl BodySource for Slow {
    fn size(&self) -> u64 {
        3
    }

    async fn open(&self) -> Result<BodyStream, BodyError> {
        tokio::time::sleep(self.0).await;
        Ok(Box::pin(stream::iter([Ok(Bytes::from_static(b"EDI"))])))
    }
}

/// Blobs of which the third is missing.
struct Cut;

#[async_trait::async_trait]
impl BlobStore for Cut {
    fn size(&self) -> usize {
        100_000
    }

    async fn put(&self, _: Uuid, _: u32, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    async fn get(&self, _: Uuid, index: u32) -> Result<Option<Bytes>, StoreError> {
        Ok((index < 2).then(|| vec![b'E'; 100_000].into()))
    }

    async fn remove(&self, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn older(&self, _: i64, _: Option<Uuid>, _: usize) -> Result<Vec<Uuid>, StoreError> {
        Ok(Vec::new())
    }
}

/// The path of a payload in a payload root: in the folder of its process.
fn process_file(root: &Path, name: &str) -> PathBuf {
    std::fs::create_dir_all(root.join("process")).unwrap();
    root.join("process").join(name)
}

fn file_body(path: &Path, size: u64) -> RequestBody {
    let root = path.parent().and_then(Path::parent);
    let in_root = |root| Payloads::in_folder(PayloadDir::open(root).unwrap());
    let payloads = root.map_or_else(Payloads::default, in_root);
    let payload = Payload::File { path: path.into(), size };
    RequestBody::Streamed(Arc::new(KeptPayload {
        payloads,
        event: Uuid::nil(),
        size: payload.size(),
        payload,
    }))
}
