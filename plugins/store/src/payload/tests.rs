mod files;
mod in_pieces;
mod memory;
mod ownership;

use std::fs;

use super::*;
use crate::model::NewEvent;

const EVENT: Uuid = Uuid::from_u128(1);
const LARGE: usize = Payload::INLINE_MAX + 1;

fn key(secret: u8) -> PayloadKey {
    PayloadKey::derive(&[secret; 32]).unwrap()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..=250).cycle().step_by(7).take(size).collect()
}

async fn write(payloads: &Payloads, size: usize) -> Result<Payload, StoreError> {
    let mut writer = payloads.writer(EVENT);
    for chunk in bytes(size).chunks(40_000) {
        writer.write(chunk)?;
    }
    assert_eq!(writer.size(), size as u64);
    writer.finish().await
}

async fn written(payloads: &Payloads, size: usize) -> Payload {
    let payload = write(payloads, size).await.unwrap();
    assert_eq!(payload.size(), size as u64);
    payload
}

async fn read(payloads: &Payloads, payload: &Payload) -> Result<Vec<u8>, StoreError> {
    let mut reader = payloads.reader(EVENT, payload).await?;
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await? {
        assert!(!bytes.is_empty());
        all.extend_from_slice(&bytes);
    }
    assert_eq!(reader.size(), all.len() as u64);
    Ok(all)
}

/// Waits, within a bound, until the condition holds.
async fn within(mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited)
        .await
        .expect("the condition holds in time");
}

fn event(payload: Payload) -> NewEvent {
    NewEvent {
        id: EVENT,
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: None,
        station: None,
        about: None,
        terms: crate::model::EventTerms::default(),
        message_id: None,
        occurred_at: 0,
        body: Vec::new(),
        payload,
    }
}

#[tokio::test]
async fn spent_payload_is_a_readable_error() {
    let error = read(&Payloads::default(), &Payload::Purged { at: 0 }).await.unwrap_err();
    assert_eq!(error.to_string(), "the payload is no longer kept (retention.payloads)");
}

#[tokio::test]
async fn without_a_place_only_small_payloads_are_stored() {
    let payloads = Payloads::default();
    let small = written(&payloads, Payload::INLINE_MAX).await;
    assert_eq!(read(&payloads, &small).await.unwrap(), bytes(Payload::INLINE_MAX));
    assert!(matches!(write(&payloads, LARGE).await, Err(StoreError::NoPlace)));
}

#[tokio::test]
async fn small_payloads_are_sealed_too() {
    let payloads = Payloads::default().with_key(key(7)).sealing(true);
    let Payload::Sealed { size: 300, kept } = written(&payloads, 300).await else {
        panic!("not sealed")
    };
    let Payload::Inline(sealed) = &*kept else { panic!("{kept:?}") };
    let beginning = &bytes(20)[..];
    assert!(!sealed.windows(20).any(|window| window == beginning));
    let sealed = Payload::Sealed { size: 300, kept };
    // The setting does not affect stored payloads.
    assert_eq!(read(&payloads.sealing(false), &sealed).await.unwrap(), bytes(300));
    let other = Payloads::default().with_key(key(8));
    let error = read(&other, &sealed).await.unwrap_err();
    assert!(matches!(error, StoreError::Seal { source: SealError::OtherKey, .. }), "{error}");
    let keyless = Payloads::default();
    let error = read(&keyless, &sealed).await.unwrap_err();
    assert!(matches!(error, StoreError::Seal { source: SealError::NoKey, .. }), "{error}");
    let another = payloads.reader(Uuid::from_u128(2), &sealed).await.unwrap_err();
    assert!(matches!(another, StoreError::Seal { source: SealError::Damaged, .. }), "{another}");
    assert!(matches!(
        keyless.sealing(true).writer(EVENT).finish().await,
        Err(StoreError::Seal { .. })
    ));
}

#[tokio::test]
async fn empty_payloads_are_read_as_empty() {
    for payloads in [Payloads::default(), Payloads::default().with_key(key(7)).sealing(true)] {
        let empty = written(&payloads, 0).await;
        assert_eq!(read(&payloads, &empty).await.unwrap(), b"");
    }
    assert_eq!(read(&Payloads::default(), &Payload::None).await.unwrap(), b"");
}
