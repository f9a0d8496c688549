//! Outbound messages that ask for a synchronous MDN: the answer decides what is told of them.

use super::*;

#[test]
fn a_positive_mdn_in_the_answer() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Answer::mdn(positive(&message)));
    let told = scene.told(2);
    assert_eq!(names(&told), ["mdn.received", "message.sent"]);
    let mdn = json_of(&told, "mdn.received");
    assert_eq!(mdn["as2MessageId"], message.id.as_str());
    assert_eq!(mdn["mdnError"], false);
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["signatureVerified"], true);
    assert_eq!(mdn["senderId"], "ACME");
    assert_eq!(mdn["receiverId"], "MY-OWN-ORG");
    assert_eq!(mdn["mdnMode"], "sync");
    assert_eq!(mdn["messageEventId"], json_of(&told, "message.sent")["eventId"]);
}

#[test]
fn an_unsigned_mdn_where_an_unsigned_one_was_asked_for() {
    let scene = Scene::new();
    let message = message(Some(Receipt::Sync));
    scene.send(&message, Answer::mdn(Mdn::processed().mic(&message.mic)));
    let told = scene.told(2);
    assert_eq!(names(&told), ["mdn.received", "message.sent"]);
    assert_eq!(json_of(&told, "mdn.received")["micMatches"], true);
    let errors = told.iter().filter(|told| told.header("X-Processing-Error").is_some());
    assert_eq!(errors.count(), 0);
}

/// What a synchronous MDN's failure is told as: the stage, and what else is told.
fn sync_failure(
    receipt: Option<Receipt>,
    answer: impl Fn(&Built) -> Answer,
    events: usize,
) -> (String, Vec<String>) {
    let scene = Scene::new();
    let message = message(receipt);
    scene.send(&message, answer(&message));
    // Two events of one exchange are written down one after the other.
    let told = scene.told(events);
    let error = json_of(&told, "send.error");
    assert_eq!(error["error"]["httpStatus"], 200);
    (error["error"]["stage"].as_str().unwrap().to_owned(), names(&told))
}

#[test]
fn a_negative_mdn_in_the_answer() {
    let (stage, told) = sync_failure(signed_sync(), |message| Answer::mdn(negative(message)), 2);
    assert_eq!(stage, "mdn");
    assert_eq!(told, BOTH);
}

#[test]
fn a_missing_mdn() {
    let (stage, told) = sync_failure(signed_sync(), |_| Answer::ok(), 1);
    assert_eq!(stage, "mdn");
    assert_eq!(told, ["send.error"]);
}

#[test]
fn an_answer_that_is_no_mdn() {
    let answer = |_: &Built| Answer::ok().header("Content-Type", "text/html").body("<p>Thanks!");
    assert_eq!(sync_failure(signed_sync(), answer, 1).0, "mdn");
}

#[test]
fn an_mdn_that_breaks_off() {
    let answer = |message: &Built| Answer::mdn(positive(message)).cut(700);
    let (stage, told) = sync_failure(signed_sync(), answer, 1);
    assert_eq!(stage, "http");
    assert_eq!(told, ["send.error"]);
}

#[test]
fn an_mdn_about_another_message() {
    let answer = |message: &Built| {
        Answer::mdn(positive(message).about("ACME", "MY-OWN-ORG", "<another@acme>"))
    };
    assert_eq!(sync_failure(signed_sync(), answer, 1).0, "mdn");
}

#[test]
fn an_mdn_of_another_mic() {
    let (stage, told) = sync_failure(signed_sync(), |_| Answer::mdn(other_mic()), 2);
    assert_eq!(stage, "mic");
    assert_eq!(told, BOTH);
}

#[test]
fn an_mdn_signed_by_a_stranger() {
    let answer = |message: &Built| {
        Answer::mdn(Mdn::processed().mic(&message.mic).sign(pki::stranger(), Digest::Sha256))
    };
    let (stage, told) = sync_failure(signed_sync(), answer, 2);
    assert_eq!(stage, "signature");
    assert_eq!(told, BOTH);
}

#[test]
fn an_unsigned_mdn_where_a_signed_one_was_asked_for() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Answer::mdn(Mdn::processed().mic(&message.mic)));
    let told = scene.told(2);
    assert_eq!(json_of(&told, "send.error")["error"]["stage"], "signature");
    let errors = &json_of(&told, "mdn.received")["errors"];
    assert_eq!(errors[0]["code"], 900, "{errors}");
}

#[test]
fn an_mdn_in_a_refusal_is_told_too() {
    let scene = Scene::new();
    let message = message(signed_sync());
    let (headers, body) = negative(&message).about("ACME", "MY-OWN-ORG", &message.id).into_parts();
    let answer = headers.iter().fold(Answer::status(500), |answer, (n, v)| answer.header(n, v));
    scene.send(&message, answer.body(body));
    let told = scene.told(2);
    assert_eq!(names(&told), BOTH);
    assert_eq!(json_of(&told, "send.error")["error"]["stage"], "http");
}

#[test]
fn the_mic_of_what_is_encrypted_for_the_partner_is_not_known() {
    let scene = Scene::new();
    let message = Message::new("MY-OWN-ORG", "ACME")
        .attach(part())
        .sign(pki::station())
        .encrypt(pki::partner())
        .receipt(Receipt::SignedSync(Digest::Sha256))
        .build();
    scene.send(&message, Answer::mdn(other_mic()));
    let told = scene.told(2);
    assert_eq!(names(&told), ["mdn.received", "message.sent"]);
    assert_eq!(json_of(&told, "mdn.received")["micMatches"], Value::Null);
    let sent = told.iter().find(|told| told.header("X-AS2-Event") == Some("message.sent"));
    assert_eq!(sent.unwrap().header("X-Processing-Error"), None);
}
