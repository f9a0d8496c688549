//! An asynchronous MDN was asked for, and one comes in the response: some servers hold nothing of
//! `Receipt-Delivery-Option` (OpenAS2/OpenAs2App#91, and BizTalk as its documentation of known issues says).

use super::*;

#[test]
fn openas2_91_verified_mdn_in_the_response_counts_and_none_is_overdue() {
    let scene = Scene::with(&[SHORT_DEADLINE], "json");
    let message = scene.in_time(|message| {
        scene.send(message, Response::mdn(positive(message)));
        scene.wait_for("message.sent", message);
        scene.wait_for("mdn.received", message);
    });
    scene.wait_for_an_overdue_one();
    assert!(!scene.is_overdue(&message));
    let is_mdn = |delivered: &&Arc<Request>| is_about(delivered, "mdn.received", &message);
    let mdn = scene.sink.requests().iter().find(is_mdn).unwrap().json();
    assert_eq!((&mdn["mdnMode"], &mdn["micMatches"]), (&"sync".into(), &true.into()));
}

#[test]
fn biztalk_negative_mdn_in_the_response_fails_the_message_and_none_is_overdue() {
    let scene = Scene::with(&[SHORT_DEADLINE], "json");
    let exchange = |mdn: fn(&Built) -> Mdn, stage: &'static str| {
        scene.in_time(|message| {
            scene.send(message, Response::mdn(mdn(message)));
            scene.wait_for("send.error", message);
            scene.wait_for("mdn.received", message);
            let is_error = |delivered: &&Arc<Request>| is_about(delivered, "send.error", message);
            let error = scene.sink.requests().iter().find(is_error).unwrap().json();
            assert_eq!(error["error"]["stage"], stage);
            assert_eq!(error["error"]["httpStatus"], 200);
        })
    };
    let refused = exchange(negative, "mdn");
    let of_another_mic = exchange(|_| other_mic(), "mic");
    scene.wait_for_an_overdue_one();
    for message in [refused, of_another_mic] {
        assert!(!scene.is_overdue(&message));
        let is_sent = |delivered: &Arc<Request>| is_about(delivered, "message.sent", &message);
        assert!(!scene.sink.requests().iter().any(is_sent));
    }
}

#[test]
fn mdn_in_the_response_that_is_not_verified_or_about_another_message_changes_nothing() {
    let scene = Scene::with(&[SHORT_DEADLINE], "json");
    let unsigned = |message: &Built| Mdn::error("decryption-failed").mic(&message.mic);
    let forged = |message: &Built| unsigned(message).sign(pki::stranger(), Digest::Sha256);
    let about_another =
        |message: &Built| negative(message).about("ACME", "MY-OWN-ORG", "<another@us>");
    let mdns: [&dyn Fn(&Built) -> Mdn; 3] = [&unsigned, &forged, &about_another];
    for (mdn, is_trusted) in mdns.into_iter().zip([false, false, true]) {
        let message = message(signed_async());
        scene.send(&message, Response::mdn(mdn(&message)));
        scene.wait_for("mdn.overdue", &message);
        let delivered = scene.delivered(3);
        assert_eq!(names(&delivered), ["mdn.overdue", "mdn.received", "message.sent"]);
        let errors = json_of(&delivered, "mdn.received")["errors"].to_string();
        assert_eq!(errors.contains("900"), !is_trusted, "{errors}");
    }
}

#[test]
fn unsigned_mdn_in_the_response_counts_where_an_unsigned_asynchronous_one_was_asked_for() {
    let scene = Scene::new();
    let message = delivered_to("http://127.0.0.1:9/mdn", message(Some(Receipt::Sync)));
    scene.send(&message, Response::mdn(Mdn::error("decryption-failed").mic(&message.mic)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "send.error")["error"]["stage"], "mdn");
}

#[test]
fn late_negative_mdn_behind_a_positive_one_in_the_response_supersedes_the_message() {
    let scene = Scene::new();
    let message = message(signed_async());
    scene.send(&message, Response::mdn(positive(&message)));
    let sent = json_of(&scene.delivered(2), "message.sent");
    scene.receive_mdn(positive(&message), &message);
    assert_eq!(scene.events(1), ["mdn.received"]);
    scene.receive_mdn(negative(&message), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "send.error")["supersedes"], sent["eventId"]);
}

#[test]
fn verified_mdn_in_the_response_to_a_resend_ends_the_wait_of_the_first_attempt() {
    let scene = Scene::with(&[SHORT_DEADLINE], "json");
    let message = scene.in_time(|message| {
        scene.send(message, Response::ok());
        scene.wait_for("message.sent", message);
        scene.send(message, Response::mdn(positive(message)));
        scene.wait_for("mdn.received", message);
    });
    scene.wait_for_an_overdue_one();
    assert!(!scene.is_overdue(&message));
}

/// The same message with this `Receipt-Delivery-Option`.
fn delivered_to(url: &str, mut message: Built) -> Built {
    message.headers.push(("Receipt-Delivery-Option".to_owned(), url.to_owned()));
    message
}

#[test]
fn empty_receipt_delivery_option_asks_for_a_synchronous_mdn() {
    let scene = Scene::with(&[SHORT_DEADLINE], "json");
    for value in ["", " ", "\t "] {
        let ask = || delivered_to(value, message(signed_sync()));
        let missing = ask();
        scene.send(&missing, Response::ok());
        let delivered = scene.delivered(1);
        assert_eq!(names(&delivered), ["send.error"]);
        assert_eq!(json_of(&delivered, "send.error")["error"]["stage"], "mdn");
        let refused = ask();
        scene.send(&refused, Response::mdn(negative(&refused)));
        assert_eq!(scene.events(2), BOTH);
        let taken = ask();
        scene.send(&taken, Response::mdn(positive(&taken)));
        assert_eq!(scene.events(2), ["mdn.received", "message.sent"]);
        scene.wait_for_an_overdue_one();
        for message in [missing, refused, taken] {
            assert!(!scene.is_overdue(&message));
        }
    }
}

#[test]
fn our_receivers_mdn_in_the_response_to_an_asynchronous_request_is_sent_and_judged() {
    let scene = Scene::new();
    let taken = order(signed_async());
    scene.receive(&taken.headers, &taken.body, Response::mdn(ours(&taken)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.sent", "message.received"]);
    let mdn = json_of(&delivered, "mdn.sent");
    assert_eq!((&mdn["mdnMode"], &mdn["micMatches"]), (&"sync".into(), &true.into()));
    // It is remembered as taken.
    scene.receive(&taken.headers, &taken.body, Response::mdn(ours(&taken)));
    assert_eq!(scene.events(2), ["mdn.sent", "message.duplicate"]);

    let refused = delivered_to("", order(signed_sync()));
    let mdn = Mdn::error("decryption-failed").sign(pki::station(), Digest::Sha256);
    for _ in 0..2 {
        scene.receive(&refused.headers, &refused.body, Response::mdn(mdn.clone()));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.sent", "message.received"]);
        let errors = &json_of(&delivered, "message.received")["errors"];
        assert_eq!(errors[0]["code"], 1200, "{errors}");
    }
}
