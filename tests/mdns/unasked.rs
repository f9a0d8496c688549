//! Outbound messages that ask for no MDN.

use serde_json::json;

use super::*;

#[test]
fn a_message_without_a_wish_is_sent_when_it_is_answered() {
    let scene = Scene::new();
    scene.send(&message(None), Answer::status(204));
    let told = scene.told(1);
    assert_eq!(names(&told), ["message.sent"]);
    let sent = told[0].json();
    assert_eq!(sent["senderId"], "MY-OWN-ORG");
    assert_eq!(sent["receiverId"], "ACME");
    assert_eq!(sent["direction"], "outbound");
    assert_eq!(told[0].header("X-Forwarded-For"), Some("127.0.0.1"));
}

#[test]
fn a_message_that_the_partner_refuses_is_an_error() {
    let scene = Scene::new();
    let reply = scene.send(&message(None), Answer::status(503).body("busy"));
    assert_eq!((reply.status, reply.text().as_ref()), (503, "busy"));
    let told = scene.told(1);
    assert_eq!(names(&told), ["send.error"]);
    let error = &told[0].json()["error"];
    assert_eq!((&error["stage"], &error["httpStatus"]), (&json!("http"), &json!(503)));
    let header = told[0].header("X-Send-Error").unwrap();
    assert!(header.starts_with("http: "), "{header}");
}

#[test]
fn an_mdn_that_nobody_asked_for_is_told_and_changes_nothing() {
    let scene = Scene::new();
    let message = message(None);
    scene.send(&message, Answer::mdn(negative(&message)));
    assert_eq!(scene.events(2), ["mdn.received", "message.sent"]);
}
