//! What a webhook receives, and what is logged about it.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::{DispatcherOptions, HealthState};
use as2hook_event::{Order, PayloadMode, Secret};
use as2hook_format::sign::verify_webhook;
use as2hook_store::{DeliveryState, Payload, PayloadDir, Payloads};
use bytes::Bytes;

use crate::support::{
    delivered, event,
    gateway::Gateway,
    rule,
    sink::{Reply, Sink},
    store::{Delivery, MemoryStore},
    until,
};

#[tokio::test]
async fn settled_exchange_is_delivered() {
    let sink = Sink::answering(204).await;
    let mut secured = rule("a", &sink.url());
    secured.endpoint.payload = PayloadMode::JSON;
    let secret = Secret::parse("a shared secret").unwrap();
    secured.endpoint.secrets = vec![secret.clone()];
    let gateway = Gateway::start([secured]).await;
    let event = event();
    gateway.exchange(&event, &["a"]).await;
    delivered(&gateway, 1).await;

    let received = sink.requests().remove(0);
    let id = event.webhook_id("a");
    assert_eq!(received.header("webhook-id"), Some(id.as_str()));
    assert_eq!(received.header("X-AS2-Event"), Some("message.received"));
    assert_eq!(received.header("X-AS2-Attempt"), Some("1"));
    assert_eq!(received.header("AS2-From"), Some("ACME"));
    let signature = received.header("webhook-signature").unwrap();
    let time = received.header("webhook-timestamp").unwrap();
    assert!(verify_webhook(signature, &secret, &id, time, &received.body));
    let json: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(json["eventId"], event.id.to_string());

    let attempt = gateway.store.attempts().remove(0).attempt.unwrap();
    assert_eq!((attempt.number, attempt.http_code, attempt.error), (1, Some(204), None));
    assert_eq!(attempt.url, sink.url());
    let health = || gateway.dispatcher.health("a").unwrap();
    until("its end to be noted", || health().in_flight == 0).await;
    assert_eq!((health().health_state, health().delivered), (HealthState::Healthy, 1));
}

#[tokio::test]
async fn a_raw_payload_file_is_sent_and_signed() {
    let sink = Sink::answering(200).await;
    let mut raw = rule("a", &sink.url());
    raw.endpoint.payload = PayloadMode::RAW;
    let secret = Secret::parse("a shared secret").unwrap();
    raw.endpoint.secrets = vec![secret.clone()];
    let root = tempfile::tempdir().unwrap();
    let payloads = Payloads::in_folder(PayloadDir::open(root.path()).unwrap());
    let options = DispatcherOptions { payloads, ..DispatcherOptions::default() };
    let gateway = Gateway::over(MemoryStore::new(), [raw], options).await;
    std::fs::create_dir(root.path().join("process")).unwrap();
    std::fs::write(root.path().join("process/file"), vec![b'E'; 300_000]).unwrap();
    let payload = Payload::File { path: "process/file".into(), size: 300_000 };
    let event = event();
    gateway.exchange_with(&event, payload, &["a"]).await;
    delivered(&gateway, 1).await;
    let received = sink.requests().remove(0);
    assert_eq!(received.body.len(), 300_000);
    let signature = received.header("webhook-signature").unwrap();
    let time = received.header("webhook-timestamp").unwrap();
    let id = event.webhook_id("a");
    assert!(verify_webhook(signature, &secret, &id, time, &received.body));
}

#[tokio::test]
async fn a_raw_payload_in_the_row_is_sent() {
    let sink = Sink::answering(200).await;
    let mut raw = rule("a", &sink.url());
    raw.endpoint.payload = PayloadMode::RAW;
    let gateway = Gateway::start([raw]).await;
    let payload = Payload::Inline(Bytes::from_static(b"UNA:+.? 'UNB+"));
    gateway.exchange_with(&event(), payload, &["a"]).await;
    delivered(&gateway, 1).await;
    assert_eq!(sink.requests()[0].body, b"UNA:+.? 'UNB+");
}

#[tokio::test]
async fn delivery_that_cannot_be_rendered_is_dead_with_the_reason() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let mut row = as2hook_store::NewEvent {
        id: event().id,
        kind: "message.received".into(),
        site: "main".into(),
        partner: None,
        station: None,
        about: None,
        terms: as2hook_store::EventTerms::default(),
        message_id: None,
        occurred_at: 0,
        body: b"{ half".to_vec(),
        payload: Payload::None,
    };
    gateway.store.backlog(&row, "a", "json", 1);
    row.body = serde_json::to_vec(&event()).unwrap();
    row.id = event().id;
    gateway.store.backlog(&row, "a", "xml", 1);
    until("both to be dead", || gateway.store.count(DeliveryState::Dead) == 2).await;
    let errors: Vec<_> =
        gateway.store.attempts().into_iter().map(|r| r.attempt.unwrap().error.unwrap()).collect();
    assert!(errors.iter().any(|e| e.starts_with("the recorded event cannot be read: ")));
    assert!(errors.iter().any(|e| e.starts_with("the format \"xml\" is not in this program; ")));
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn guard_of_a_rule_is_checked() {
    let sink = Sink::answering(200).await;
    let mut guarded = rule("a", &sink.url());
    guarded.endpoint.networks = Some(Arc::new([]));
    let gateway = Gateway::start([guarded]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    let error = gateway.store.attempts()[0].attempt.clone().unwrap().error.unwrap();
    assert!(error.starts_with("127.0.0.1 is not on the public internet"), "{error}");
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn user_name_and_password_of_a_url_are_not_stored() {
    let sink = Sink::answering(200).await;
    let url = format!("http://erp:hunter2@{}/hook?x=1", sink.address);
    let gateway = Gateway::start([rule("a", &url)]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let attempt = gateway.store.attempts()[0].attempt.clone().unwrap();
    assert_eq!(attempt.url, format!("http://{}/hook?x=1", sink.address));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_written_now_is_written_later() {
    let store = MemoryStore::new();
    let failed = store.clone();
    let sink = Sink::start(move |_| {
        failed.fail(true);
        Reply::Status(200)
    })
    .await;
    let gateway = Gateway::over(store, [rule("a", &sink.url())], Default::default()).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the attempt", || sink.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(gateway.store.count(DeliveryState::Claimed), 1);
    gateway.store.fail(false);
    delivered(&gateway, 1).await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn an_attempt_that_cannot_be_logged_ends_all_the_same() {
    let sink = Sink::answering(200).await;
    let mut ordered = rule("a", &sink.url());
    ordered.endpoint.order = Order::Partner;
    let gateway = Gateway::start([ordered, rule("b", &sink.url())]).await;
    gateway.store.unlogged.lock().unwrap().push(0);
    for _ in 0..2 {
        gateway.exchange(&event(), &["a"]).await;
    }
    let second = || gateway.store.deliveries()[1].state;
    // Other commits meanwhile show that the store works.
    let mut others = 0;
    while second() != DeliveryState::Delivered {
        gateway.exchange(&event(), &["b"]).await;
        others += 1;
        delivered_to(&gateway, "b", others).await;
    }
    assert_eq!(gateway.store.deliveries()[0].state, DeliveryState::Delivered);
    assert_eq!(sink.count(), 2 + others, "no delivery is sent twice");
    assert!(gateway.store.attempts().iter().all(|record| record.delivery != 0));
}

async fn delivered_to(gateway: &Gateway, webhook: &str, count: usize) {
    let done = |delivery: &Delivery| {
        delivery.new.webhook == webhook && delivery.state == DeliveryState::Delivered
    };
    until("deliveries", || {
        gateway.store.deliveries().iter().filter(|delivery| done(delivery)).count() == count
    })
    .await;
}
