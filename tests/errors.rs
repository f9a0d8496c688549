//! What goes wrong with a message, with the receiver or with the partner: the traffic is not touched
//! by it, and the webhook tells (sections 4 and 5 of the design).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "errors/stage.rs"]
mod stage;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Built, Content, Digest, Mdn, Message, Part, Post, Request, Response, pki, receiver, sink,
};
use serde_json::{Value, json};
use stage::{Delivered, Stage, bare, keyed, rules};

const SOON: Duration = Duration::from_secs(60);

/// What a response of the gateway's own may take at the most, on a machine that does much else: less than
/// the 10 s for which it tries to connect.
const PROMPT: Duration = Duration::from_secs(9);

/// What the AS2 server says to each message of these tests.
const TAKEN: &str = "the receiver's own words";

// === what is wrong with the message ===

#[test]
fn a_message_for_another_key_is_800() {
    let delivered = exchange(&order().sign(pki::partner()).encrypt(pki::stranger()).build());
    delivered.error("800: ");
    let json = delivered.json();
    assert_eq!((&json["encrypted"], &json["signed"]), (&json!(true), &Value::Null));
    assert_eq!(json["attachments"], json!([]));
    assert!(delivered.raw.body.bytes.is_empty());
}

#[test]
fn tampered_envelope_is_reported() {
    let mut message = order().sign(pki::partner()).encrypt(pki::station()).build();
    // In the middle of the ciphertext: two blocks are garbled, and the signature does not hold.
    let middle = message.body.len() / 2;
    message.body[middle] ^= 1;
    let delivered = exchange(&message);
    let error = delivered.json.header("X-Processing-Error").unwrap();
    assert!(error.starts_with("800: ") || error.starts_with("900: "), "{error}");
}

#[test]
fn a_tampered_message_is_900() {
    let mut message = order().sign(pki::partner()).build();
    replace(&mut message, b"UNB+UNOC:3", b"UNB+UNOC:4");
    let delivered = exchange(&message);
    delivered.error("900: ");
    let json = delivered.json();
    assert_eq!(json["signed"], true);
    assert_eq!(
        (&json["signatureVerified"], &json["signatureStatus"]),
        (&json!(false), &json!("invalid"))
    );
    assert_eq!(json["attachments"][0]["name"], "order.edi");
}

#[test]
fn a_message_signed_by_a_stranger_is_900() {
    let delivered = exchange(&order().sign(pki::stranger()).encrypt(pki::station()).build());
    delivered.error("900: ");
    let json = delivered.json();
    assert_eq!(json["signatureStatus"], "other-certificate");
    assert_eq!(json["signatureVerified"], false);
    assert_eq!(json["attachments"][0]["name"], "order.edi");
}

#[test]
fn a_damaged_compression_is_1000() {
    let mut message = order().compress().build();
    // The checksum of the zlib stream stands at the end.
    *message.body.last_mut().unwrap() ^= 1;
    let delivered = exchange(&message);
    delivered.error("1000: ");
    assert_eq!(delivered.json()["compressed"], true);
}

#[test]
fn a_truncated_body_is_1100() {
    let signed = order().sign(pki::partner()).build();
    let enveloped = order().sign(pki::partner()).encrypt(pki::station()).build();
    let multipart = order().attach(Part::text("b", "text/plain", "two")).build();
    let stage = Stage::new(keyed);
    let cut = |whole: &Built, left: usize| {
        let mut message = whole.clone();
        message.body.truncate(left);
        stage.exchange(&message)
    };
    for whole in [&signed, &enveloped, &multipart] {
        let length = whole.body.len();
        for left in [length / 4, length / 2, length * 3 / 4] {
            cut(whole, left).error("1100: ");
        }
    }
    for whole in [&enveloped, &multipart] {
        cut(whole, whole.body.len() - 20).error("1100: ");
    }
    // Behind a valid signature the last delimiter is not needed.
    let whole = cut(&signed, signed.body.len() - 20);
    assert_eq!(whole.json.header("X-Processing-Error"), None);
    assert_eq!(whole.json()["signatureStatus"], "valid");
}

#[test]
fn without_a_station_key_an_encrypted_message_is_1400() {
    let stage = Stage::new(|gateway| gateway);
    let delivered = stage.exchange(&order().sign(pki::partner()).encrypt(pki::station()).build());
    delivered.error("1400: ");
    assert_eq!(delivered.json()["encrypted"], true);
    assert_eq!(delivered.json()["signed"], Value::Null);
    // What is not encrypted needs no key of ours.
    let delivered = stage.exchange(&order().build());
    assert_eq!(delivered.json.header("X-Processing-Error"), None);
    assert_eq!(delivered.json()["attachments"][0]["name"], "order.edi");
}

#[test]
fn more_than_the_limits_allow_is_1300() {
    let large = || Part::new("large", "text/plain", Content::large(300 << 10));
    for (limits, message) in [
        ("{ decoded: 256KiB }", order().attach(large())),
        ("{ attachments: 2 }", order().attach(large()).attach(large())),
    ] {
        let limited = Stage::new(|gateway| keyed(gateway).set("limits", limits));
        let message = message.sign(pki::partner()).encrypt(pki::station()).build();
        limited.exchange(&message).error("1300: ");
    }
}

#[test]
fn several_errors_stand_in_one_header() {
    let stage = Stage::new(keyed);
    let mdn = Mdn::error("authentication-failed");
    stage.receiver.respond(Response::mdn(mdn));
    let reply = stage.post(&order().sign(pki::stranger()).build());
    assert_eq!(reply.status, 200);
    let delivered = stage.delivered(1);
    let header = delivered.json.header("X-Processing-Error").unwrap();
    let codes: Vec<_> = header.split("; ").map(|one| one.split(':').next().unwrap()).collect();
    assert_eq!(codes, ["900", "1200"], "{header}");
    let errors = delivered.json()["errors"].clone();
    assert_eq!((&errors[0]["code"], &errors[1]["code"]), (&json!(900), &json!(1200)));
}

// === what the receiver says ===

#[test]
fn the_receivers_negative_mdn_is_1200() {
    let stage = Stage::new(keyed);
    let negative = Mdn::error("decryption-failed");
    let signed = negative.clone().sign(pki::station(), Digest::Sha256);
    let responses = [
        Response::mdn(negative.clone()),
        Response::mdn(signed),
        Response::mdn(negative).chunked(50),
    ];
    for (nth, response) in responses.into_iter().enumerate() {
        stage.receiver.next([response]);
        let message = order().sign(pki::partner()).encrypt(pki::station()).build();
        let reply = stage.post(&message);
        assert_eq!(reply.status, 200);
        assert!(reply.text().contains("processed/error: decryption-failed"), "the partner gets it");
        let delivered = stage.delivered(nth + 1);
        delivered.error("1200: automatic-action/MDN-sent-automatically");
        let header = delivered.json.header("X-Processing-Error").unwrap();
        assert!(header.contains("processed/error: decryption-failed"), "{header}");
        let message = delivered.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert_eq!(header, format!("1200: {message}"));
        assert_eq!(delivered.json()["signatureStatus"], "valid");
    }
}

#[test]
fn the_receivers_positive_mdn_and_its_warning_are_no_error() {
    let stage = Stage::new(keyed);
    let warning = "automatic-action/MDN-sent-automatically; processed/warning: duplicate-document";
    for (nth, mdn) in [Mdn::processed(), Mdn::new(warning, "Had that.")].into_iter().enumerate() {
        stage.receiver.next([Response::mdn(mdn)]);
        stage.post(&order().build());
        assert_eq!(stage.delivered(nth + 1).json.header("X-Processing-Error"), None);
    }
}

#[test]
fn a_message_that_the_receiver_refuses_is_rejected() {
    let stage = Stage::new(keyed);
    for (nth, status) in [500, 503, 404, 302].into_iter().enumerate() {
        stage.receiver.next([Response::status(status).header("X-Own", "kept").body(TAKEN)]);
        let message = order().sign(pki::partner()).encrypt(pki::station()).build();
        let reply = stage.post(&message);
        assert_eq!((reply.status, &*reply.text()), (status, TAKEN));
        assert_eq!(reply.header("X-Own"), Some("kept"));
        let delivered = stage.delivered(nth + 1);
        delivered.rejected("http: ");
        let error = delivered.json()["error"].clone();
        assert_eq!(error["stage"], "http");
        assert_eq!(error["httpStatus"], status);
        assert!(error["message"].as_str().unwrap().contains(&status.to_string()));
        assert_eq!(delivered.json()["attachments"][0]["name"], "order.edi");
    }
}

#[test]
fn a_refusal_before_the_end_of_the_upload_reaches_the_partner() {
    let stage = Stage::new(keyed);
    let part = Part::new("large", "application/octet-stream", Content::large(8 << 20));
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    for (nth, post) in
        [Post::message("/as2", &message), Post::message("/as2", &message).chunked(&[9999])]
            .iter()
            .enumerate()
    {
        stage.receiver.next([Response::status(503).body(TAKEN).early()]);
        let reply = stage.gateway.inbound().send(post).unwrap();
        assert_eq!((reply.status, &*reply.text()), (503, TAKEN));
        stage.delivered(nth + 1).rejected("http: ");
    }
}

#[test]
fn receiver_that_responds_before_the_message_ends_has_taken_it() {
    let stage = Stage::new(keyed);
    let content = Content::large(8 << 20);
    let part = Part::new("large", "application/octet-stream", content.clone());
    // The same one twice would be a duplicate.
    let messages: [Built; 2] =
        std::array::from_fn(|_| Message::new("ACME", "MY-OWN-ORG").attach(part.clone()).build());
    let [first, second] = &messages;
    for (nth, post) in
        [Post::message("/as2", first), Post::message("/as2", second).chunked(&[9999])]
            .iter()
            .enumerate()
    {
        stage.receiver.next([Response::ok().body(TAKEN).early()]);
        let reply = stage.gateway.inbound().send(post).unwrap();
        assert_eq!((reply.status, &*reply.text()), (200, TAKEN));
        let delivered = stage.delivered(nth + 1);
        assert_eq!(delivered.json.header("X-AS2-Event"), Some("message.received"));
        assert_eq!(delivered.json.header("X-Processing-Error"), None);
        assert_eq!(delivered.json()["attachments"][0]["sha256"], content.sha256());
        let got = stage.receiver.wait_for(nth + 1, SOON).unwrap()[nth].clone();
        assert!(got.complete && got.body.bytes == messages[nth].body);
    }
}

#[test]
fn an_mdn_counts_when_the_receiver_has_taken_it() {
    let stage = Stage::new(keyed);
    stage.receiver.next([Response::status(500)]);
    for (id, status) in [("<refused@acme>", 500), ("<taken@acme>", 200)] {
        let mdn = Mdn::processed().id(id).about("ACME", "MY-OWN-ORG", "<ours@my-own-org>");
        let (headers, body) = mdn.into_parts();
        let post = Post::new("/as2", &body).headers(&headers);
        assert_eq!(stage.gateway.inbound().send(&post).unwrap().status, status);
    }
    let delivered = stage.delivered(1);
    for request in [&delivered.json, &delivered.raw] {
        assert_eq!(request.header("X-AS2-Event"), Some("mdn.received"));
        assert_eq!(request.header("Message-ID"), Some("<taken@acme>"));
    }
    assert_eq!(delivered.json()["as2MessageId"], "<ours@my-own-org>");
}

#[test]
fn a_receiver_that_is_down_makes_a_prompt_502() {
    let stage = Stage::new(keyed);
    stage.receiver.stop();
    let message = order().sign(pki::partner()).encrypt(pki::station()).build();
    let began = Instant::now();
    let reply = stage.post(&message);
    assert!(began.elapsed() < PROMPT, "it took {:?}", began.elapsed());
    assert_eq!(reply.status, 502);
    assert!(reply.complete && reply.text().contains("cannot be reached"), "{}", reply.text());
    let delivered = stage.delivered(1);
    delivered.rejected("connect: ");
    assert_eq!(delivered.json()["error"]["httpStatus"], Value::Null);
    // Up again, the next one passes.
    stage.receiver.resume();
    assert_eq!(stage.post(&message).status, 200);
    assert_eq!(stage.delivered(2).json.header("X-AS2-Event"), Some("message.received"));
}

#[test]
fn the_502_can_be_read_after_a_large_upload() {
    let stage = Stage::new(keyed);
    stage.receiver.stop();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::new("large", "application/octet-stream", Content::large(20 << 20)))
        .build();
    for (nth, post) in
        [Post::message("/as2", &message), Post::message("/as2", &message).chunked(&[32 << 10])]
            .iter()
            .enumerate()
    {
        let began = Instant::now();
        let reply = stage.gateway.inbound().send(post).unwrap();
        assert!(began.elapsed() < PROMPT * 4, "it took {:?}", began.elapsed());
        assert_eq!(reply.status, 502);
        assert!(reply.text().contains("cannot be reached"));
        stage.delivered(nth + 1).rejected("connect: ");
    }
}

#[test]
fn a_sender_that_waits_for_100_continue_gets_the_502_instead() {
    let stage = Stage::new(keyed);
    stage.receiver.stop();
    let message = order().build();
    let post = Post::message("/as2", &message).expect_continue();
    assert_eq!(stage.gateway.inbound().send(&post).unwrap().status, 502);
    stage.delivered(1).rejected("connect: ");
}

#[test]
fn a_receiver_that_hangs_up_makes_a_502() {
    let stage = Stage::new(keyed);
    for (nth, response) in [Response::closed(), Response::closed_early()].into_iter().enumerate() {
        stage.receiver.next([response]);
        let reply = stage.post(&order().build());
        assert_eq!(reply.status, 502);
        assert!(reply.text().contains("closed the connection without a response"), "{reply:?}");
        stage.delivered(nth + 1).rejected("http: ");
    }
}

#[test]
fn untrusted_receiver_certificate_is_reported_as_tls() {
    let receiver = receiver().tls(pki::server()).start();
    let sink = sink().start();
    let gateway = rules(bare(), &sink).receiver_url(&receiver.url("")).start().unwrap();
    let stage = Stage { receiver, sink, gateway };
    assert_eq!(stage.post(&order().build()).status, 502);
    stage.delivered(1).rejected("tls: ");
}

// === what the partner does ===

#[test]
fn message_of_a_partner_that_hangs_up_before_the_response_is_delivered() {
    let stage = Stage::new(keyed);
    // The same one twice would be a duplicate.
    let messages: [Built; 3] =
        std::array::from_fn(|_| order().sign(pki::partner()).encrypt(pki::station()).build());
    let [first, second, third] = &messages;
    let late = Response::ok().delay(Duration::from_millis(700)).body(TAKEN);
    stage.receiver.respond(late.clone());
    stage.receiver.next([late.clone(), late.clone(), late.interim(102, &[])]);
    for (nth, post) in [
        Post::message("/as2", first),
        Post::message("/as2", second).chunked(&[100]),
        Post::message("/as2", third).half_close(),
    ]
    .iter()
    .enumerate()
    {
        // The last one's connection is reset by the interim response that is not read.
        stage.gateway.inbound().connect().unwrap().send_and_leave(post).unwrap();
        let delivered = stage.delivered(nth + 1);
        assert_eq!(delivered.json.header("X-AS2-Event"), Some("message.received"));
        assert_eq!(delivered.json.header("X-Processing-Error"), None);
        assert_eq!(delivered.json()["attachments"][0]["name"], "order.edi");
        let request = stage.receiver.wait_for(nth + 1, SOON).unwrap()[nth].clone();
        assert!(request.complete);
        assert_eq!(request.body.bytes, messages[nth].body);
    }
}

#[test]
fn refusal_is_reported_when_the_partner_has_hung_up() {
    let stage = Stage::new(keyed);
    stage.receiver.respond(Response::status(500).delay(Duration::from_millis(300)));
    let message = order().build();
    let connection = stage.gateway.inbound().connect().unwrap();
    connection.send_and_leave(&Post::message("/as2", &message)).unwrap();
    stage.delivered(1).rejected("http: ");
}

#[test]
fn a_partner_that_vanishes_while_it_sends_makes_no_event() {
    let stage = Stage::new(keyed);
    let part = Part::new("large", "application/octet-stream", Content::large(1 << 20));
    let cut = Message::new("ACME", "MY-OWN-ORG").attach(part).sign(pki::partner());
    let cut = cut.encrypt(pki::station());
    for (nth, chunked) in [false, true].into_iter().enumerate() {
        for bytes in [0, 1, 500_000] {
            let message = cut.clone().id(&format!("<cut-{nth}-{bytes}@acme>")).build();
            let post = Post::message("/as2", &message).cut(bytes);
            let post = if chunked { post.chunked(&[1000]) } else { post };
            stage.gateway.inbound().connect().unwrap().send_and_leave(&post).unwrap();
            assert!(stage.gateway.wait_for_log(&message.id, SOON), "the exchange has ended");
        }
    }
    // Whatever came of those comes before this.
    stage.post(&order().id("<whole@acme>").build());
    let after = |request: &Request| request.header("Message-ID") == Some("<whole@acme>");
    stage.sink.wait_until(2, SOON, after).unwrap();
    let delivered = stage.sink.requests();
    let ids: Vec<_> = delivered.iter().map(|request| request.header("Message-ID")).collect();
    assert_eq!(ids, [Some("<whole@acme>"); 2], "a message that was not sent is not delivered");
    let complete = |request: &Arc<Request>| request.complete;
    assert_eq!(stage.receiver.requests().into_iter().filter(complete).count(), 1);
}

#[test]
fn partner_that_resets_its_connection_harms_no_other() {
    let stage = Stage::new(keyed);
    let message = order().build();
    for _ in 0..20 {
        let mut connection = stage.gateway.inbound().connect().unwrap();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nAS2-From: ACME\r\nAS2-To: MY-OWN-ORG\r\n";
        connection.write(format!("{head}Content-Length: 9\r\n\r\nabc").as_bytes()).unwrap();
    }
    assert_eq!(stage.post(&message).status, 200);
    let delivered = stage.delivered(1);
    assert_eq!(delivered.json.header("Message-ID"), Some(message.id.as_str()));
}

// === helpers ===

fn exchange(message: &Built) -> Delivered {
    Stage::new(keyed).exchange(message)
}

fn order() -> Message {
    let part = Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'");
    Message::new("ACME", "MY-OWN-ORG").attach(part)
}

fn replace(message: &mut Built, what: &[u8], by: &[u8]) {
    let at = message.body.windows(what.len()).position(|window| window == what).unwrap();
    message.body[at..at + by.len()].copy_from_slice(by);
}
