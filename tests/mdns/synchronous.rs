//! Outbound messages that ask for a synchronous MDN: the response decides what is reported of them.

use super::*;

#[test]
fn positive_mdn_in_the_response_confirms_the_message() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(positive(&message)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    let mdn = json_of(&delivered, "mdn.received");
    assert_eq!(mdn["as2MessageId"], message.id.as_str());
    assert_eq!(mdn["mdnError"], false);
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["signatureVerified"], true);
    assert_eq!(mdn["senderId"], "ACME");
    assert_eq!(mdn["receiverId"], "MY-OWN-ORG");
    assert_eq!(mdn["mdnMode"], "sync");
    assert_eq!(mdn["messageEventId"], json_of(&delivered, "message.sent")["eventId"]);
}

#[test]
fn message_of_a_long_id_is_sent_when_its_synchronous_mdn_is_positive() {
    let scene = Scene::new();
    let message = message_of_a_long_id(signed_sync());
    scene.send(&message, Response::mdn(positive(&message)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    let sent = json_of(&delivered, "message.sent")["as2MessageId"].clone();
    assert_eq!(json_of(&delivered, "mdn.received")["as2MessageId"], sent);
}

#[test]
fn synchronous_mdn_may_fold_the_message_id() {
    let scene = Scene::new();
    for (id, folded) in FOLDED {
        let message = message_of(id, signed_sync());
        let mdn = positive(&message).about("ACME", "MY-OWN-ORG", folded);
        scene.send(&message, Response::mdn(mdn));
        assert_eq!(scene.events(2), ["mdn.received", "message.sent"], "{folded:?}");
    }
}

/// phax/as2-server issues 15 and 22.
#[test]
fn synchronous_mdn_without_a_length_reaches_a_sender_of_http_1_0() {
    let scene = Scene::new();
    for framed in [|mdn: Response| mdn.chunked(100), Response::until_close] {
        let message = message(signed_sync());
        scene.partner.next([framed(Response::mdn(positive(&message)))]);
        let post = Post::message("/", &message).http10();
        let reply = scene.gateway.outbound().send(&post).unwrap();
        assert_eq!((reply.status, &reply.framing), (200, &Framing::UntilClose));
        assert!(reply.text().contains("disposition-notification"), "{}", reply.text());
        let events = scene.delivered(2);
        assert_eq!(names(&events), ["mdn.received", "message.sent"]);
        assert_eq!(json_of(&events, "mdn.received")["signatureVerified"], true);
    }
}

/// It ends as if it were whole, which HTTP/1.0 cannot tell; the event says what became of it.
#[test]
fn synchronous_mdn_that_breaks_off_before_a_sender_of_http_1_0_is_an_error() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.partner.next([Response::mdn(positive(&message)).chunked(100).cut(700)]);
    let post = Post::message("/", &message).http10();
    assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
    let events = scene.delivered(1);
    assert_eq!(names(&events), ["send.error"]);
    assert_eq!(json_of(&events, "send.error")["error"]["stage"], "http");
}

#[test]
fn an_unsigned_mdn_where_an_unsigned_one_was_asked_for() {
    let scene = Scene::new();
    let message = message(Some(Receipt::Sync));
    scene.send(&message, Response::mdn(Mdn::processed().mic(&message.mic)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    assert_eq!(json_of(&delivered, "mdn.received")["micMatches"], true);
    let errors =
        delivered.iter().filter(|delivered| delivered.header("X-Processing-Error").is_some());
    assert_eq!(errors.count(), 0);
}

#[test]
fn mdn_that_returns_megabytes_of_content_is_read() {
    let scene = Scene::new();
    for size in [300 << 10, 8 << 20] {
        let message = message(signed_sync());
        scene.send(&message, Response::mdn(positive(&message).returning(size)));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
        let mdn = json_of(&delivered, "mdn.received");
        assert_eq!((&mdn["micMatches"], &mdn["signatureVerified"]), (&true.into(), &true.into()));
    }
}

#[test]
fn response_that_is_too_large_for_an_mdn_is_not_said_to_have_none() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(positive(&message).returning(17 << 20)));
    let error = json_of(&scene.delivered(1), "send.error");
    assert_eq!(error["error"]["stage"], "mdn");
    let text = error["error"]["message"].as_str().unwrap();
    assert!(text.contains("larger than 16 MiB"), "{text}");
}

/// How a synchronous MDN's failure is reported: the stage, and what else is reported.
fn sync_failure(
    receipt: Option<Receipt>,
    response: impl Fn(&Built) -> Response,
    events: usize,
) -> (String, Vec<String>) {
    let scene = Scene::new();
    let message = message(receipt);
    scene.send(&message, response(&message));
    // Two events of one exchange are written down one after the other.
    let delivered = scene.delivered(events);
    let error = json_of(&delivered, "send.error");
    assert_eq!(error["error"]["httpStatus"], 200);
    (error["error"]["stage"].as_str().unwrap().to_owned(), names(&delivered))
}

#[test]
fn negative_mdn_in_the_response_fails_the_message() {
    let (stage, delivered) =
        sync_failure(signed_sync(), |message| Response::mdn(negative(message)), 2);
    assert_eq!(stage, "mdn");
    assert_eq!(delivered, BOTH);
}

#[test]
fn a_missing_mdn() {
    let (stage, delivered) = sync_failure(signed_sync(), |_| Response::ok(), 1);
    assert_eq!(stage, "mdn");
    assert_eq!(delivered, ["send.error"]);
}

#[test]
fn response_without_an_mdn_fails_the_message() {
    let response =
        |_: &Built| Response::ok().header("Content-Type", "text/html").body("<p>Thanks!");
    assert_eq!(sync_failure(signed_sync(), response, 1).0, "mdn");
}

#[test]
fn an_mdn_that_breaks_off() {
    let response = |message: &Built| Response::mdn(positive(message)).cut(700);
    let (stage, delivered) = sync_failure(signed_sync(), response, 1);
    assert_eq!(stage, "http");
    assert_eq!(delivered, ["send.error"]);
}

#[test]
fn an_mdn_about_another_message() {
    let response = |message: &Built| {
        Response::mdn(positive(message).about("ACME", "MY-OWN-ORG", "<another@acme>"))
    };
    assert_eq!(sync_failure(signed_sync(), response, 1).0, "mdn");
}

#[test]
fn an_mdn_of_another_mic() {
    let (stage, delivered) = sync_failure(signed_sync(), |_| Response::mdn(other_mic()), 2);
    assert_eq!(stage, "mic");
    assert_eq!(delivered, BOTH);
}

#[test]
fn an_mdn_signed_by_a_stranger() {
    let response = |message: &Built| {
        Response::mdn(Mdn::processed().mic(&message.mic).sign(pki::stranger(), Digest::Sha256))
    };
    let (stage, delivered) = sync_failure(signed_sync(), response, 2);
    assert_eq!(stage, "signature");
    assert_eq!(delivered, BOTH);
}

#[test]
fn mdn_by_another_key_without_its_certificate_is_an_error_where_the_partner_has_certificates() {
    let scene = Scene::new();
    let message = message(signed_sync());
    let forged = Mdn::processed().mic(&message.mic).sign(pki::stranger(), Digest::Sha256);
    scene.send(&message, Response::mdn(forged.without_certificate()));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    let error = &json_of(&delivered, "send.error")["error"];
    assert_eq!(error["stage"], "signature");
    assert_eq!(error["message"], "The MDN is signed by another certificate than the partner's");
    let mdn = json_of(&delivered, "mdn.received");
    assert_eq!(mdn["signatureStatus"], "other-certificate");
    assert_eq!(mdn["errors"][0]["code"], 900);
}

#[test]
fn mdn_by_a_key_is_accepted_with_900_where_the_partner_has_no_certificate() {
    let scene = Scene::without_certificate();
    let message = message(signed_sync());
    let mdn = Mdn::processed().mic(&message.mic).sign(pki::stranger(), Digest::Sha256);
    scene.send(&message, Response::mdn(mdn.without_certificate()));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    let mdn = json_of(&delivered, "mdn.received");
    assert_eq!(mdn["signatureStatus"], "unknown-certificate");
    assert_eq!(mdn["errors"][0]["code"], 900);
}

#[test]
fn an_unsigned_mdn_where_a_signed_one_was_asked_for() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(Mdn::processed().mic(&message.mic)));
    let delivered = scene.delivered(2);
    assert_eq!(json_of(&delivered, "send.error")["error"]["stage"], "signature");
    let errors = &json_of(&delivered, "mdn.received")["errors"];
    assert_eq!(errors[0]["code"], 900, "{errors}");
}

#[test]
fn mdn_in_a_refusal_is_reported_too() {
    let scene = Scene::new();
    let message = message(signed_sync());
    let (headers, body) = negative(&message).about("ACME", "MY-OWN-ORG", &message.id).into_parts();
    let response =
        headers.iter().fold(Response::status(500), |response, (n, v)| response.header(n, v));
    scene.send(&message, response.body(body));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_eq!(json_of(&delivered, "send.error")["error"]["stage"], "http");
}

#[test]
fn the_mic_of_what_is_encrypted_for_the_partner_is_not_known() {
    let scene = Scene::new();
    let unreadable = Mdn::processed().mic("AAAA, sha1").sign(pki::partner(), Digest::Sha256);
    for mdn in [other_mic(), unreadable] {
        let message = Message::new("MY-OWN-ORG", "ACME")
            .attach(part())
            .sign(pki::station())
            .encrypt(pki::partner())
            .receipt(Receipt::SignedSync(Digest::Sha256))
            .build();
        scene.send(&message, Response::mdn(mdn));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
        assert_eq!(json_of(&delivered, "mdn.received")["micMatches"], Value::Null);
        let sent = delivered.iter().find(|one| one.header("X-AS2-Event") == Some("message.sent"));
        assert_eq!(sent.unwrap().header("X-Processing-Error"), None);
    }
}
