//! Outbound messages that ask for no MDN.

use serde_json::json;

use super::*;

#[test]
fn message_without_an_mdn_request_is_sent_when_its_response_comes() {
    let scene = Scene::new();
    scene.send(&message(None), Response::status(204));
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["message.sent"]);
    let sent = delivered[0].json();
    assert_eq!(sent["senderId"], "MY-OWN-ORG");
    assert_eq!(sent["receiverId"], "ACME");
    assert_eq!(sent["direction"], "outbound");
    assert_eq!(delivered[0].header("X-Forwarded-For"), Some("127.0.0.1"));
}

#[test]
fn a_message_that_the_partner_refuses_is_an_error() {
    let scene = Scene::new();
    let reply = scene.send(&message(None), Response::status(503).body("busy"));
    assert_eq!((reply.status, reply.text().as_ref()), (503, "busy"));
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["send.error"]);
    let error = &delivered[0].json()["error"];
    assert_eq!((&error["stage"], &error["httpStatus"]), (&json!("http"), &json!(503)));
    let header = delivered[0].header("X-Send-Error").unwrap();
    assert!(header.starts_with("http: "), "{header}");
}

#[test]
fn unrequested_mdn_is_reported_and_changes_nothing() {
    let scene = Scene::new();
    let message = message(None);
    scene.send(&message, Response::mdn(negative(&message)));
    assert_eq!(scene.events(2), ["mdn.received", "message.sent"]);
}
