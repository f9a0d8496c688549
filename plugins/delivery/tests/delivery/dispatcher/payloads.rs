//! Raw payloads that are sealed or missing.

use std::time::Duration;

use as2hook_delivery::{DispatcherOptions, HealthState};
use as2hook_event::{PayloadMode, Secret};
use as2hook_format::sign::verify_webhook;
use as2hook_store::{DeliveryOutcome, DeliveryState, Payload, PayloadDir, PayloadKey, Payloads};

use crate::support::{
    delivered, event, gateway::Gateway, rule, sink::Sink, store::MemoryStore, until,
};

fn key(secret: u8) -> PayloadKey {
    PayloadKey::derive(&[secret; 32]).unwrap()
}

/// Stores sealed files in `folder`.
fn sealing(folder: &tempfile::TempDir, secret: u8) -> Payloads {
    let folder = PayloadDir::open(folder.path()).unwrap();
    Payloads::in_folder(folder).with_key(key(secret)).sealing(true)
}

async fn sealed(payloads: &Payloads, event: uuid::Uuid, bytes: &[u8]) -> Payload {
    let mut writer = payloads.writer(event);
    writer.write(bytes).unwrap();
    writer.finish().await.unwrap()
}

fn raw_rule(sink: &Sink) -> as2hook_event::Rule {
    let mut raw = rule("a", &sink.url());
    raw.endpoint.payload = PayloadMode::RAW;
    raw
}

#[tokio::test]
async fn sealed_payloads_are_opened_signed_and_sent() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let payloads = sealing(&folder, 7);
    let mut raw = raw_rule(&sink);
    let secret = Secret::parse("a shared secret").unwrap();
    raw.endpoint.secrets = vec![secret.clone()];
    let options = DispatcherOptions { payloads: payloads.sealing(false), ..Default::default() };
    let gateway = Gateway::over(MemoryStore::new(), [raw], options).await;
    for (n, size) in [10, 300_000].into_iter().enumerate() {
        let event = event();
        let payload = sealed(&payloads, event.id, &vec![b'E'; size]).await;
        gateway.exchange_with(&event, payload, &["a"]).await;
        delivered(&gateway, n + 1).await;
        let received = sink.requests().remove(n);
        assert!(received.body == vec![b'E'; size]);
        let signature = received.header("webhook-signature").unwrap();
        let time = received.header("webhook-timestamp").unwrap();
        let id = event.webhook_id("a");
        assert!(verify_webhook(signature, &secret, &id, time, &received.body));
    }
}

#[tokio::test]
async fn payload_sealed_with_another_key_is_retried_and_does_not_count_as_endpoint_failure() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let options = DispatcherOptions { payloads: sealing(&folder, 8), ..Default::default() };
    let mut raw = raw_rule(&sink);
    raw.endpoint.retry = vec![Duration::from_secs(1000)];
    let gateway = Gateway::over(MemoryStore::new(), [raw], options).await;
    let event = event();
    let payload = sealed(&sealing(&folder, 7), event.id, b"UNB+").await;
    gateway.exchange_with(&event, payload, &["a"]).await;
    until("an attempt", || gateway.store.attempts().len() == 1).await;
    let attempt = gateway.store.attempts().remove(0);
    assert!(matches!(attempt.outcome, DeliveryOutcome::Retry(_)));
    let error = attempt.attempt.unwrap().error.unwrap();
    assert!(error.contains("another key than the one in secret_key_file"), "{error}");
    let health = || gateway.dispatcher.health("a").unwrap();
    until("the health", || health().failed == 1).await;
    assert_eq!((health().health_state, health().consecutive_failures), (HealthState::Healthy, 0));
    assert!(sink.requests().is_empty());
}

#[tokio::test]
async fn delivery_of_a_spent_payload_is_dead_with_the_reason() {
    let sink = Sink::answering(200).await;
    let json = rule("b", &sink.url());
    let gateway = Gateway::start([raw_rule(&sink), json]).await;
    gateway.exchange_with(&event(), Payload::Purged { at: 0 }, &["a", "b"]).await;
    // A delivery that does not need it is made.
    delivered(&gateway, 1).await;
    until("the other", || gateway.store.count(DeliveryState::Dead) == 1).await;
    let attempts = gateway.store.attempts();
    let error = attempts.iter().find_map(|one| one.attempt.as_ref()?.error.clone());
    assert_eq!(error.unwrap(), "the payload is no longer kept (retention.payloads)");
    assert_eq!(sink.requests().len(), 1);
    assert_eq!(gateway.dispatcher.health("a").unwrap().health_state, HealthState::Healthy);
}
