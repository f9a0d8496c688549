//! Inbound messages that come again.

use std::fs;

use super::*;

#[test]
fn a_message_that_comes_again_is_a_duplicate() {
    let scene = Scene::new();
    let order = order(None);
    scene.receive(&order.headers, &order.body, Response::ok());
    let first = json_of(&scene.delivered(1), "message.received");
    scene.receive(&order.headers, &order.body, Response::ok());
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["message.duplicate"]);
    assert_eq!(delivered[0].json()["duplicateOf"], first["eventId"]);
}

#[test]
fn other_content_under_the_same_id_is_no_duplicate() {
    let scene = Scene::new();
    for text in ["one", "two"] {
        let part = Part::text("order.edi", "application/edifact", text);
        let order = Message::new("ACME", "MY-OWN-ORG").id("<same@acme>").attach(part).build();
        scene.receive(&order.headers, &order.body, Response::ok());
        assert_eq!(scene.events(1), ["message.received"], "{text}");
    }
}

#[test]
fn after_a_refusal_a_message_that_comes_again_is_received() {
    let scene = Scene::new();
    let order = order(signed_sync());
    scene.receive(&order.headers, &order.body, Response::status(503));
    assert_eq!(scene.events(1), ["message.rejected"]);
    let no = Mdn::error("unexpected-processing-error").sign(pki::station(), Digest::Sha256);
    scene.receive(&order.headers, &order.body, Response::mdn(no));
    assert_eq!(scene.events(2), ["mdn.sent", "message.received"]);
    scene.receive(&order.headers, &order.body, Response::mdn(ours(&order)));
    assert_eq!(scene.events(2), ["mdn.sent", "message.received"]);
    scene.receive(&order.headers, &order.body, Response::mdn(ours(&order)));
    assert_eq!(scene.events(2), ["mdn.sent", "message.duplicate"]);
}

#[test]
fn true_message_is_received_after_an_unsigned_copy_of_it() {
    let scene = Scene::new();
    let unsigned = Message::new("ACME", "MY-OWN-ORG").id("<same@acme>").attach(part()).build();
    let signed = Message::new("ACME", "MY-OWN-ORG").id("<same@acme>").attach(part());
    let signed = signed.sign(pki::partner()).build();
    let receive = |message: &Built| {
        scene.receive(&message.headers, &message.body, Response::ok());
        scene.events(1)
    };
    assert_eq!(receive(&unsigned), ["message.received"]);
    assert_eq!(receive(&unsigned), ["message.duplicate"]);
    assert_eq!(receive(&signed), ["message.received"]);
    assert_eq!(receive(&signed), ["message.duplicate"]);
}

/// Puts a partner in the config, or other certificates for the one that was put there before.
fn put_partner(scene: &Scene, as2_id: &str, certificates: &str) {
    let text = fs::read_to_string(scene.gateway.config_file()).unwrap();
    let added = format!("  - id: 99\n    as2_id: {as2_id}\n    certificates: [");
    let (before, after) = match text.split_once(&added) {
        Some((before, after)) => (before.to_owned(), after.split_once("]\n").unwrap().1),
        None => {
            let (before, after) = text.split_once("partners:\n").unwrap();
            (format!("{before}partners:\n"), after)
        }
    };
    let text = format!("{before}{added}{certificates}]\n{after}");
    scene.gateway.write("as2hook.yaml", &text).unwrap();
    assert_eq!(scene.gateway.reload().unwrap().status, 200);
}

#[test]
fn message_is_a_duplicate_when_its_partner_was_added_to_the_config_since() {
    let scene = Scene::new();
    let order = Message::new("THIRD", "MY-OWN-ORG").attach(part()).build();
    let receive = || {
        scene.receive(&order.headers, &order.body, Response::ok());
        let delivered = scene.delivered(1);
        assert_eq!(delivered.len(), 1);
        delivered[0].json()
    };
    let first = receive();
    assert_eq!(first["event"], "message.received");
    for certificates in ["", "keys/acme.crt", ""] {
        put_partner(&scene, "THIRD", certificates);
        let again = receive();
        assert_eq!(again["event"], "message.duplicate", "{certificates}");
        assert_eq!(again["duplicateOf"], first["eventId"]);
    }
}

#[test]
fn true_message_is_received_when_a_copy_came_before_it_could_be_verified() {
    let scene = Scene::new();
    let third = || Message::new("THIRD", "MY-OWN-ORG").id("<same@third>").attach(part());
    let receive = |message: &Built| {
        scene.receive(&message.headers, &message.body, Response::ok());
        scene.events(1)
    };
    let (forged, signed) =
        (third().sign(pki::stranger()).build(), third().sign(pki::partner()).build());
    for copy in [&third().build(), &forged] {
        assert_eq!(receive(copy), ["message.received"]);
    }
    put_partner(&scene, "THIRD", "keys/acme.crt");
    assert_eq!(receive(&signed), ["message.received"]);
    assert_eq!(receive(&signed), ["message.duplicate"]);
}

/// Our receiver's negative MDN about a message, on a connection of its own.
fn refuse(scene: &Scene, message: &Built) {
    let mdn = Mdn::error("authentication-failed").sign(pki::station(), Digest::Sha256);
    let (headers, body) = mdn.about("MY-OWN-ORG", "ACME", &message.id).into_parts();
    let post = Post::new("/out/ACME", &body).headers(&headers);
    assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
}

#[test]
fn message_is_received_again_after_an_asynchronous_refusal() {
    let scene = Scene::new();
    let order = order(signed_async());
    let receive = || scene.receive(&order.headers, &order.body, Response::ok());
    receive();
    assert_eq!(scene.events(1), ["message.received"]);
    refuse(&scene, &order);
    assert_eq!(scene.events(1), ["mdn.sent"]);
    receive();
    assert_eq!(scene.events(1), ["message.received"]);
    receive();
    assert_eq!(scene.events(1), ["message.duplicate"]);
    // This one is about the duplicate: the message was taken.
    refuse(&scene, &order);
    assert_eq!(scene.events(1), ["mdn.sent"]);
    receive();
    assert_eq!(scene.events(1), ["message.duplicate"]);
}

#[test]
fn message_is_received_again_after_a_refusal_that_was_faster_than_its_response() {
    let scene = Scene::new();
    let order = order(signed_async());
    scene.receiver.next([Response::ok().delay(Duration::from_secs(3))]);
    std::thread::scope(|scope| {
        let post = Post::message("/as2", &order);
        let inbound = scene.gateway.inbound();
        let sent = scope.spawn(move || inbound.send(&post).unwrap().status);
        scene.receiver.wait_for(1, SOON).unwrap();
        refuse(&scene, &order);
        assert_eq!(sent.join().unwrap(), 200);
    });
    assert_eq!(scene.events(2), ["mdn.sent", "message.received"]);
    scene.receive(&order.headers, &order.body, Response::ok());
    assert_eq!(scene.events(1), ["message.received"]);
}

#[test]
fn long_message_ids_that_differ_at_their_end_are_two() {
    let scene = Scene::new();
    for (end, delivered) in [
        ("1", "message.received"),
        ("2", "message.received"),
        ("1", "message.duplicate"),
        ("2", "message.duplicate"),
    ] {
        let id = format!("<{}{end}@acme>", "x".repeat(5_000));
        let order = Message::new("ACME", "MY-OWN-ORG").id(&id).attach(part());
        let order = order.receipt(Receipt::SignedSync(Digest::Sha256)).build();
        let mdn = ours(&order);
        scene.receive(&order.headers, &order.body, Response::mdn(mdn));
        let all = scene.delivered(2);
        assert_eq!(names(&all), ["mdn.sent", delivered]);
        let json = json_of(&all, delivered);
        assert_eq!(json["as2MessageId"].as_str().unwrap().len(), 998);
        assert_eq!(json["errors"].as_array().map_or(0, Vec::len), 0, "{}", json["errors"]);
    }
}

#[test]
fn unreadable_message_is_never_a_duplicate() {
    let scene = Scene::new();
    let order = Message::new("ACME", "MY-OWN-ORG").attach(part()).encrypt(pki::stranger()).build();
    for _ in 0..2 {
        scene.receive(&order.headers, &order.body, Response::ok());
        assert_eq!(scene.events(1), ["message.received"]);
    }
}

#[test]
fn behind_the_window_a_message_that_comes_again_is_received() {
    let scene = Scene::with(&[("duplicate_window", "1ms")], "json");
    let order = order(None);
    for _ in 0..2 {
        scene.receive(&order.headers, &order.body, Response::ok());
        assert_eq!(scene.events(1), ["message.received"]);
    }
}
