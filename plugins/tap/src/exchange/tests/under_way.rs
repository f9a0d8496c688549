//! MDNs that take a message back whose own exchange is not over.

use as2hook_delivery::Adoption;
use as2hook_event::Verdict;
use as2hook_store::Write;
use serde_json::Value;

use super::*;
use crate::AdoptedExchanges;

const ASKS: [(&str, &str); 2] = [
    ("Disposition-Notification-To", "us@example"),
    ("Receipt-Delivery-Option", "http://us.example/mdn"),
];

/// A negative MDN about the message `<1@us>`, to which our receiver responded.
async fn refuse(scene: &Scene) -> Uuid {
    let refusal = Mdn::error("authentication-failed").about("ACME", "US", "<1@us>");
    let (headers, mdn) = refusal.into_parts();
    let mut refused = scene.begin_built(Direction::Inbound, &headers);
    refused.request(Bytes::from(mdn), true).await.unwrap();
    refused.response_head(ok_head()).await.unwrap();
    let id = refused.id().unwrap();
    refused.end();
    id
}

async fn until_it_waits(scene: &Scene) {
    let waits = async {
        while !scene.tap.only_mdns_wait() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waits).await.unwrap();
}

async fn concluding(scene: &Scene, number: usize) {
    let concluding = async {
        while scene.tap.concluding() != number {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, concluding).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mdn_that_waits_for_its_message_stays_open_when_the_process_terminates() {
    let scene = Scene::new().await;
    let mut message = scene.begin(Direction::Outbound, "<1@us>", &ASKS);
    message.request(Bytes::from_static(b"an order"), true).await.unwrap();
    let waiting = refuse(&scene).await;
    until_it_waits(&scene).await;
    assert_eq!(scene.tap.concluding(), 1);

    // The same MDN again changes nothing, and is about a known message.
    let again = refuse(&scene).await;
    concluding(&scene, 1).await;
    let stored = scene.store.event(again).await.unwrap().unwrap();
    let verdict: Verdict = serde_json::from_slice(&stored.verdict.unwrap()).unwrap();
    assert_eq!(verdict.extra["messageKnown"], Value::Bool(true));

    scene.tap.end_message_waits();
    scene.concluded().await;
    let stored = scene.store.event(waiting).await.unwrap().unwrap();
    assert!(stored.verdict.is_none());

    // The process that adopts it waits for the message as well, and then takes it back.
    let adopted: Event = serde_json::from_slice(&stored.body).unwrap();
    let adoption = AdoptedExchanges::new(scene.tap.shared.host.clone());
    let outbox = &scene.tap.shared.outbox;
    assert!(adoption.judge(&adopted, outbox).await.unwrap().is_none());
    message.response_head(ok_head()).await.unwrap();
    message.end();
    scene.concluded().await;
    let (verdict, further) = adoption.judge(&adopted, outbox).await.unwrap().unwrap();
    assert_eq!(verdict.extra["messageKnown"], Value::Bool(true));
    assert!(
        matches!(&further[..], [Write::Once(_, error, _)] if error.kind == EventKind::SendError.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mdn_whose_message_has_ended_is_settled_when_the_process_terminates() {
    let scene = Scene::new().await;
    let mut message = scene.begin(Direction::Outbound, "<1@us>", &ASKS);
    let id = message.id().unwrap();
    message.request(Bytes::from_static(b"an order"), true).await.unwrap();
    let waiting = refuse(&scene).await;
    until_it_waits(&scene).await;
    message.response_head(ok_head()).await.unwrap();
    message.end();
    let has_verdict =
        async |event| scene.store.event(event).await.unwrap().unwrap().verdict.is_some();
    while !has_verdict(id).await {
        sleep(Duration::from_millis(1)).await;
    }
    scene.tap.end_message_waits();
    scene.concluded().await;
    assert!(has_verdict(waiting).await);
    // The message, the MDN, and the error that takes the message back.
    assert_eq!(scene.deliver().await.len(), 3);
}
