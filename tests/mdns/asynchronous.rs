//! Outbound messages that ask for an asynchronous MDN: it finds its message, may take it back, and is
//! overdue when it does not come.

use as2hook_testing::faults;

use super::*;

#[test]
fn an_asynchronous_mdn_finds_its_message_after_a_restart() {
    let mut scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let sent = scene.delivered(1);
    assert_eq!(names(&sent), ["message.sent"]);
    scene.gateway.kill9();
    scene.gateway.restart().unwrap();
    scene.receive_mdn(positive(&message), &message);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.received"]);
    let mdn = delivered[0].json();
    assert_eq!(mdn["messageKnown"], true);
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["signatureVerified"], true);
    assert_eq!(mdn["mdnMode"], "async");
    assert_eq!(mdn["messageEventId"], sent[0].json()["eventId"]);
}

#[test]
fn asynchronous_mdn_finds_a_message_of_a_long_id() {
    let scene = Scene::new();
    let message = message_of_a_long_id(signed_async());
    scene.send(&message, Response::ok());
    let sent = json_of(&scene.delivered(1), "message.sent");
    scene.receive_mdn(positive(&message), &message);
    let mdn = json_of(&scene.delivered(1), "mdn.received");
    assert_eq!(mdn["messageKnown"], true);
    assert_eq!(mdn["messageEventId"], sent["eventId"]);
}

#[test]
fn asynchronous_mdn_finds_its_message_though_it_folds_the_message_id() {
    let scene = Scene::new();
    for (id, folded) in FOLDED {
        let message = message_of(id, signed_async());
        scene.send(&message, Response::ok());
        let sent = json_of(&scene.delivered(1), "message.sent");
        let mdn = positive(&message).about("ACME", "MY-OWN-ORG", folded);
        let (headers, body) = mdn.into_parts();
        scene.receive(&headers, &body, Response::ok());
        let mdn = json_of(&scene.delivered(1), "mdn.received");
        assert_eq!(mdn["messageEventId"], sent["eventId"], "{folded:?}");
    }
}

#[test]
fn asynchronous_mdn_may_be_faster_than_the_response() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.partner.next([Response::ok().delay(Duration::from_millis(1500))]);
    std::thread::scope(|scope| {
        let sent = scope
            .spawn(|| scene.gateway.outbound().send(&Post::message("/", &message)).unwrap().status);
        scene.partner.wait_for(1, SOON).unwrap();
        scene.receive_mdn(positive(&message), &message);
        assert_eq!(sent.join().unwrap(), 200);
    });
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.received")["messageKnown"], true);
}

#[test]
fn negative_mdn_that_is_faster_than_the_response_supersedes_the_message_behind_it() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.partner.next([Response::ok().delay(Duration::from_secs(4))]);
    std::thread::scope(|scope| {
        let sent = scope
            .spawn(|| scene.gateway.outbound().send(&Post::message("/", &message)).unwrap().status);
        scene.partner.wait_for(1, SOON).unwrap();
        scene.receive_mdn(negative(&message), &message);
        assert_eq!(sent.join().unwrap(), 200);
    });
    let delivered = scene.delivered(3);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent", "send.error"]);
    let place = |event| {
        delivered.iter().position(|delivered| delivered.header("X-AS2-Event") == Some(event))
    };
    assert!(place("message.sent") < place("send.error"));
    let sent = json_of(&delivered, "message.sent");
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], sent["eventId"]);
}

#[test]
fn a_late_negative_mdn_takes_the_message_back_once() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let sent = json_of(&scene.delivered(1), "message.sent");
    scene.receive_mdn(negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    let error = json_of(&delivered, "send.error");
    assert_eq!(error["supersedes"], sent["eventId"]);
    assert_eq!(error["error"]["stage"], "mdn");
    assert_eq!(error["as2MessageId"], message.id.as_str());
    // The partner did not hear our 200, and posts it again.
    scene.receive_mdn(negative(&message), &message);
    assert_eq!(scene.events(1), ["mdn.received"]);
}

#[test]
fn a_late_mdn_of_another_mic_takes_the_message_back() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let sent = json_of(&scene.delivered(1), "message.sent");
    scene.receive_mdn(other_mic(), &message);
    let delivered = scene.delivered(2);
    let error = json_of(&delivered, "send.error");
    assert_eq!(error["supersedes"], sent["eventId"]);
    assert_eq!(error["error"]["stage"], "mic");
    assert_eq!(json_of(&delivered, "mdn.received")["micMatches"], false);
}

#[test]
fn an_mdn_that_anyone_could_have_posted_changes_nothing() {
    let scene = Scene::with(&[("mdn_deadline", "4s")], "json");
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    scene.sink.wait_for(1, SOON).unwrap();
    let unsigned = Mdn::error("authentication-failed").mic(&message.mic);
    let by_a_stranger = unsigned.clone().sign(pki::stranger(), Digest::Sha256);
    let without_certificate = by_a_stranger.clone().without_certificate();
    for mdn in [unsigned, by_a_stranger, without_certificate] {
        scene.receive_mdn(mdn, &message);
    }
    let delivered = scene.delivered(5);
    // Nor did they stop that it is overdue.
    let mdn = "mdn.received";
    assert_eq!(names(&delivered), ["mdn.overdue", mdn, mdn, mdn, "message.sent"]);
    let is_mdn =
        |delivered: &&Arc<Request>| delivered.header("X-AS2-Event") == Some("mdn.received");
    for mdn in delivered.iter().filter(is_mdn) {
        let header = mdn.header("X-Processing-Error").unwrap();
        assert!(header.starts_with("900: "), "{header}");
    }
}

#[test]
fn an_mdn_of_another_partner_is_about_no_known_message() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let mdn = negative(&message).about("THIRD", "MY-OWN-ORG", &message.id);
    let (headers, body) = mdn.into_parts();
    scene.receive(&headers, &body, Response::ok());
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.received"]);
    assert_eq!(delivered[0].json()["messageKnown"], false);
}

#[test]
fn an_mdn_about_an_unknown_message_is_marked() {
    let scene = Scene::new();
    let never = message(signed_async());
    scene.receive_mdn(negative(&never), &never);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.received"]);
    let mdn = delivered[0].json();
    assert_eq!(mdn["messageKnown"], false);
    assert_eq!(mdn["micMatches"], Value::Null);
    assert_eq!(mdn["mdnError"], true);
}

#[test]
fn an_mdn_that_our_receiver_refuses_is_no_event() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let (headers, body) = negative(&message).about("ACME", "MY-OWN-ORG", &message.id).into_parts();
    assert_eq!(scene.receive(&headers, &body, Response::status(500)).status, 500);
    assert!(scene.events(0).is_empty());
}

#[test]
fn overdue_mdn_has_the_subject_of_its_message_though_no_rule_wants_that() {
    let scene = Scene::with(&[("mdn_deadline", "1s")], "json");
    let rule = Rule::new("overdue").to(&scene.sink, "/hook").payload("json");
    let other = Rule::new("marker").to(&scene.sink, "/hook").set("partner", "OTHER");
    let other = other.events(&["*"]);
    scene.gateway.write_rules(&[rule.events(&["mdn.overdue"]), other]).unwrap();
    assert_eq!(scene.gateway.reload().unwrap().status, 200);
    let message = Message::new("MY-OWN-ORG", "ACME").subject("Invoice 7").attach(part());
    let message = message.receipt(signed_async().unwrap()).sign(pki::station()).build();
    scene.send(&message, Response::ok());
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.overdue"]);
    assert_eq!(delivered[0].json()["subject"], "Invoice 7");
    assert_eq!(delivered[0].json()["as2MessageId"], message.id.as_str());
}

#[test]
fn an_mdn_that_does_not_come_is_overdue_once_also_after_a_restart() {
    let mut scene = Scene::with(&[("mdn_deadline", "1s")], "json");
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    let delivered = {
        scene.sink.wait_for(1, SOON).unwrap();
        scene.gateway.kill9();
        scene.gateway.restart().unwrap();
        scene.delivered(2)
    };
    assert_eq!(names(&delivered), ["mdn.overdue", "message.sent"]);
    let overdue = json_of(&delivered, "mdn.overdue");
    assert_eq!(overdue["as2MessageId"], message.id.as_str());
    assert_eq!(overdue["messageEventId"], json_of(&delivered, "message.sent")["eventId"]);
    // Late is better than never.
    scene.gateway.kill9();
    scene.gateway.restart().unwrap();
    scene.receive_mdn(positive(&message), &message);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.received"]);
    assert_eq!(delivered[0].json()["messageKnown"], true);
}

#[test]
fn nothing_is_overdue_that_came_or_was_never_sent() {
    let scene = Scene::with(&[SHORT_DEADLINE], "json");
    let responded = scene.in_time(|message| {
        scene.send(message, Response::ok());
        scene.wait_for("message.sent", message);
        scene.receive_mdn(positive(message), message);
        scene.wait_for("mdn.received", message);
    });
    let failed = scene.in_time(|message| {
        scene.send(message, Response::status(500));
        scene.wait_for("send.error", message);
    });
    scene.wait_for_an_overdue_one();
    assert!(!scene.is_overdue(&responded) && !scene.is_overdue(&failed));
}

#[test]
fn one_negative_mdn_waits_for_a_held_response_and_later_ones_are_reported_at_once() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.partner.next([Response::ok().delay(Duration::from_secs(30))]);
    std::thread::scope(|scope| {
        let sent = scope
            .spawn(|| scene.gateway.outbound().send(&Post::message("/", &message)).unwrap().status);
        scene.partner.wait_for(1, SOON).unwrap();
        for _ in 0..4 {
            scene.receive_mdn(negative(&message), &message);
        }
        let reported = scene.delivered(3);
        assert_eq!(names(&reported), ["mdn.received"; 3]);
        assert!(reported.iter().all(|mdn| mdn.json()["messageKnown"] == true));
        assert!(!sent.is_finished(), "the response came before them");
        assert_eq!(sent.join().unwrap(), 200);
    });
    let delivered = scene.delivered(3);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent", "send.error"]);
    assert_eq!(json_of(&delivered, "mdn.received")["messageKnown"], true);
}

#[test]
fn mdn_whose_message_cannot_be_read_is_reported_and_others_are_overdue() {
    let scene = Scene::with(&[("mdn_deadline", "5s")], "json");
    let unreadable = message(signed_async());
    scene.send(&unreadable, Response::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let database = scene.gateway.folder().join("data/as2hook.db");
    // The table is strict: it takes nothing but a blob.
    let any_type = "PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = replace(sql, 'body BLOB', 'body ANY') WHERE name = 'note';
        PRAGMA writable_schema = RESET;";
    let damage = "UPDATE note SET body = 'no blob', due = NULL WHERE due IS NOT NULL;";
    faults::execute(&database, &format!("{any_type} {damage}"));
    scene.receive_mdn(positive(&unreadable), &unreadable);
    assert_eq!(scene.events(1), ["mdn.received"]);
    let log = scene.gateway.log();
    let is_said = |line: &str| line.contains("ERROR") && line.contains(&unreadable.id);
    assert!(log.lines().any(is_said), "{log}");
    let overdue = message(signed_async());
    scene.send(&overdue, Response::ok());
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.overdue", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.overdue")["as2MessageId"], overdue.id.as_str());
}
