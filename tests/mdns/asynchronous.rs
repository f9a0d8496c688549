//! Outbound messages that ask for an asynchronous MDN: it finds its message, may take it back, and is
//! overdue when it does not come.

use std::time::Instant;

use super::*;

#[test]
fn an_asynchronous_mdn_finds_its_message_after_a_restart() {
    let mut scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Answer::ok());
    let sent = scene.told(1);
    assert_eq!(names(&sent), ["message.sent"]);
    scene.gateway.kill9();
    scene.gateway.restart().unwrap();
    scene.receive_mdn(positive(&message), &message);
    let told = scene.told(1);
    assert_eq!(names(&told), ["mdn.received"]);
    let mdn = told[0].json();
    assert_eq!(mdn["messageKnown"], true);
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["signatureVerified"], true);
    assert_eq!(mdn["mdnMode"], "async");
    assert_eq!(mdn["messageEventId"], sent[0].json()["eventId"]);
}

#[test]
fn an_asynchronous_mdn_may_be_faster_than_the_answer() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.partner.next([Answer::ok().delay(Duration::from_millis(1500))]);
    std::thread::scope(|scope| {
        let sent = scope
            .spawn(|| scene.gateway.outbound().send(&Post::message("/", &message)).unwrap().status);
        scene.partner.wait_for(1, SOON).unwrap();
        scene.receive_mdn(positive(&message), &message);
        assert_eq!(sent.join().unwrap(), 200);
    });
    let told = scene.told(2);
    assert_eq!(names(&told), ["mdn.received", "message.sent"]);
    assert_eq!(json_of(&told, "mdn.received")["messageKnown"], true);
}

#[test]
fn a_late_negative_mdn_takes_the_message_back_once() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Answer::ok());
    let sent = json_of(&scene.told(1), "message.sent");
    scene.receive_mdn(negative(&message), &message);
    let told = scene.told(2);
    assert_eq!(names(&told), BOTH);
    let error = json_of(&told, "send.error");
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
    scene.send(&message, Answer::ok());
    let sent = json_of(&scene.told(1), "message.sent");
    scene.receive_mdn(other_mic(), &message);
    let told = scene.told(2);
    let error = json_of(&told, "send.error");
    assert_eq!(error["supersedes"], sent["eventId"]);
    assert_eq!(error["error"]["stage"], "mic");
    assert_eq!(json_of(&told, "mdn.received")["micMatches"], false);
}

#[test]
fn an_mdn_that_anyone_could_have_posted_changes_nothing() {
    let scene = Scene::with(&[("mdn_deadline", "4s")], "json");
    let message = message(signed_async());
    scene.send(&message, Answer::ok());
    scene.sink.wait_for(1, SOON).unwrap();
    let unsigned = Mdn::error("authentication-failed").mic(&message.mic);
    let by_a_stranger = unsigned.clone().sign(pki::stranger(), Digest::Sha256);
    for mdn in [unsigned, by_a_stranger] {
        scene.receive_mdn(mdn, &message);
    }
    let told = scene.told(4);
    // Nor did they stop that it is overdue.
    assert_eq!(names(&told), ["mdn.overdue", "mdn.received", "mdn.received", "message.sent"]);
    let is_mdn = |told: &&Arc<Request>| told.header("X-AS2-Event") == Some("mdn.received");
    for mdn in told.iter().filter(is_mdn) {
        let header = mdn.header("X-Processing-Error").unwrap();
        assert!(header.starts_with("900: "), "{header}");
    }
}

#[test]
fn an_mdn_of_another_partner_is_about_no_known_message() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Answer::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let mdn = negative(&message).about("THIRD", "MY-OWN-ORG", &message.id);
    let (headers, body) = mdn.into_parts();
    scene.receive(&headers, &body, Answer::ok());
    let told = scene.told(1);
    assert_eq!(names(&told), ["mdn.received"]);
    assert_eq!(told[0].json()["messageKnown"], false);
}

#[test]
fn an_mdn_about_an_unknown_message_is_marked() {
    let scene = Scene::new();
    let never = message(signed_async());
    scene.receive_mdn(negative(&never), &never);
    let told = scene.told(1);
    assert_eq!(names(&told), ["mdn.received"]);
    let mdn = told[0].json();
    assert_eq!(mdn["messageKnown"], false);
    assert_eq!(mdn["micMatches"], Value::Null);
    assert_eq!(mdn["mdnError"], true);
}

#[test]
fn an_mdn_that_our_receiver_refuses_is_no_event() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Answer::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let (headers, body) = negative(&message).about("ACME", "MY-OWN-ORG", &message.id).into_parts();
    assert_eq!(scene.receive(&headers, &body, Answer::status(500)).status, 500);
    assert!(scene.events(0).is_empty());
}

#[test]
fn an_mdn_that_does_not_come_is_overdue_once_also_after_a_restart() {
    let mut scene = Scene::with(&[("mdn_deadline", "1s")], "json");
    let message = message(signed_async());
    scene.send(&message, Answer::ok());
    let told = {
        scene.sink.wait_for(1, SOON).unwrap();
        scene.gateway.kill9();
        scene.gateway.restart().unwrap();
        scene.told(2)
    };
    assert_eq!(names(&told), ["mdn.overdue", "message.sent"]);
    let overdue = json_of(&told, "mdn.overdue");
    assert_eq!(overdue["as2MessageId"], message.id.as_str());
    assert_eq!(overdue["messageEventId"], json_of(&told, "message.sent")["eventId"]);
    // Late is better than never.
    scene.gateway.kill9();
    scene.gateway.restart().unwrap();
    scene.receive_mdn(positive(&message), &message);
    let told = scene.told(1);
    assert_eq!(names(&told), ["mdn.received"]);
    assert_eq!(told[0].json()["messageKnown"], true);
}

#[test]
fn nothing_is_overdue_that_came_or_was_never_sent() {
    let scene = Scene::with(&[("mdn_deadline", "4s")], "json");
    let is_about = |told: &Request, event: &str, message: &Built| {
        told.header("X-AS2-Event") == Some(event) && told.json()["as2MessageId"] == *message.id
    };
    let wait_for = |event: &str, message: &Built| {
        scene.sink.wait_until(1, SOON, |told| is_about(told, event, message)).unwrap();
    };
    // It is overdue, and rightly, where this takes longer than an MDN may.
    let in_time = |exchange: &dyn Fn(&Built)| {
        let once = || {
            let (began, message) = (Instant::now(), message(signed_async()));
            exchange(&message);
            (began.elapsed() < Duration::from_secs(4)).then_some(message)
        };
        (0..10).find_map(|_| once()).expect("one was in time")
    };
    let answered = in_time(&|message| {
        scene.send(message, Answer::ok());
        wait_for("message.sent", message);
        scene.receive_mdn(positive(message), message);
        wait_for("mdn.received", message);
    });
    let failed = in_time(&|message| {
        scene.send(message, Answer::status(500));
        wait_for("send.error", message);
    });
    // One that is overdue behind them.
    let overdue = message(signed_async());
    scene.send(&overdue, Answer::ok());
    wait_for("mdn.overdue", &overdue);
    for told in scene.told(0) {
        assert!(![&answered, &failed].iter().any(|one| is_about(&told, "mdn.overdue", one)));
    }
}
