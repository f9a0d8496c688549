//! Inbound messages that come again.

use super::*;

#[test]
fn a_message_that_comes_again_is_a_duplicate() {
    let scene = Scene::new();
    let order = order(None);
    scene.receive(&order.headers, &order.body, Answer::ok());
    let first = json_of(&scene.told(1), "message.received");
    scene.receive(&order.headers, &order.body, Answer::ok());
    let told = scene.told(1);
    assert_eq!(names(&told), ["message.duplicate"]);
    assert_eq!(told[0].json()["duplicateOf"], first["eventId"]);
}

#[test]
fn other_content_under_the_same_id_is_no_duplicate() {
    let scene = Scene::new();
    for text in ["one", "two"] {
        let part = Part::text("order.edi", "application/edifact", text);
        let order = Message::new("ACME", "MY-OWN-ORG").id("<same@acme>").attach(part).build();
        scene.receive(&order.headers, &order.body, Answer::ok());
        assert_eq!(scene.events(1), ["message.received"], "{text}");
    }
}

#[test]
fn after_a_refusal_a_message_that_comes_again_is_received() {
    let scene = Scene::new();
    let order = order(signed_sync());
    scene.receive(&order.headers, &order.body, Answer::status(503));
    assert_eq!(scene.events(1), ["message.rejected"]);
    let no = Mdn::error("unexpected-processing-error").sign(pki::station(), Digest::Sha256);
    scene.receive(&order.headers, &order.body, Answer::mdn(no));
    assert_eq!(scene.events(2), ["mdn.sent", "message.received"]);
    scene.receive(&order.headers, &order.body, Answer::mdn(ours(&order)));
    assert_eq!(scene.events(2), ["mdn.sent", "message.received"]);
    scene.receive(&order.headers, &order.body, Answer::mdn(ours(&order)));
    assert_eq!(scene.events(2), ["mdn.sent", "message.duplicate"]);
}

#[test]
fn what_cannot_be_read_is_never_a_duplicate() {
    let scene = Scene::new();
    let order = Message::new("ACME", "MY-OWN-ORG").attach(part()).encrypt(pki::stranger()).build();
    for _ in 0..2 {
        scene.receive(&order.headers, &order.body, Answer::ok());
        assert_eq!(scene.events(1), ["message.received"]);
    }
}

#[test]
fn behind_the_window_a_message_that_comes_again_is_received() {
    let scene = Scene::with(&[("duplicate_window", "1ms")], "json");
    let order = order(None);
    for _ in 0..2 {
        scene.receive(&order.headers, &order.body, Answer::ok());
        assert_eq!(scene.events(1), ["message.received"]);
    }
}
