//! MDNs in both directions: what a synchronous one makes of the message in whose answer it stands, and
//! how an asynchronous one finds its message (section 4 of the design).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use as2hook_testing::{
    Answer, Built, Digest, Endpoint, Gateway, Mdn, Message, Part, Post, Receipt, Reply, Request,
    Running, pki, receiver, sink, wait_until,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// Everything around one gateway, all of whose events are told to one sink.
struct Scene {
    partner: Endpoint,
    receiver: Endpoint,
    sink: Endpoint,
    gateway: Running,
    /// The `webhook-id`s so far: a kill has some deliveries made twice.
    seen: Mutex<HashSet<String>>,
}

// === impl Scene ===

impl Scene {
    fn new() -> Self {
        Self::with(&[], "json")
    }

    fn with(settings: &[(&str, &str)], payload: &str) -> Self {
        let (partner, receiver, sink) = (receiver().start(), receiver().start(), sink().start());
        let mdn_urls = format!("[\"{}\"]", partner.url("/mdn"));
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner("OTHER", pki::partner())
            .partner_with("ACME", |acme| {
                let acme = acme.url(&partner.url("/as2")).set("mdn_urls", &mdn_urls);
                acme.certificate(Path::new("keys/acme.crt"))
            })
            .rule("all", |rule| rule.to(&sink, "/hook").payload(payload).events(&["*"]));
        let gateway = settings.iter().fold(gateway, |gateway, (key, yaml)| gateway.set(key, yaml));
        let gateway = gateway.start().unwrap();
        Self { partner, receiver, sink, gateway, seen: Mutex::default() }
    }

    /// Our server sends a message, and the partner answers so.
    fn send(&self, message: &Built, answer: Answer) -> Reply {
        self.partner.next([answer]);
        self.gateway.outbound().send(&Post::message("/", message)).unwrap()
    }

    /// The partner posts a message or an MDN, and our server answers so.
    fn receive(&self, headers: &[(String, String)], body: &[u8], answer: Answer) -> Reply {
        self.receiver.next([answer]);
        self.gateway.inbound().send(&Post::new("/as2", body).headers(headers)).unwrap()
    }

    /// The partner's asynchronous MDN about a message, taken by our server.
    fn receive_mdn(&self, mdn: Mdn, message: &Built) {
        let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &message.id).into_parts();
        assert_eq!(self.receive(&headers, &body, Answer::ok()).status, 200);
    }

    /// The new events, once there are so many, and all that come before one that is made then.
    fn told(&self, count: usize) -> Vec<Arc<Request>> {
        let mut seen = self.seen.lock().unwrap();
        let id = |request: &Request| request.header("webhook-id").unwrap().to_owned();
        let is_marker = |request: &Request| request.header("AS2-From") == Some("OTHER");
        let is_new = |request: &Request| !is_marker(request) && !seen.contains(&id(request));
        let new = || {
            let requests = self.sink.requests();
            let new: HashSet<_> = requests.iter().filter(|r| is_new(r)).map(|r| id(r)).collect();
            new.len()
        };
        assert!(wait_until(SOON, || new() >= count), "{} of {count} events were told", new());
        let marker = Message::new("OTHER", "MY-OWN-ORG").attach(part()).build();
        self.receive(&marker.headers, &marker.body, Answer::status(500));
        let is_this = |request: &Request| request.header("Message-ID") == Some(marker.id.as_str());
        self.sink.wait_until(1, SOON, is_this).unwrap();
        let mut told = self.sink.requests();
        told.retain(|request| !is_marker(request) && seen.insert(id(request)));
        told
    }

    /// The names of the next events, sorted.
    fn events(&self, count: usize) -> Vec<String> {
        names(&self.told(count))
    }
}

fn names(told: &[Arc<Request>]) -> Vec<String> {
    let mut names: Vec<_> =
        told.iter().map(|request| request.header("X-AS2-Event").unwrap().to_owned()).collect();
    names.sort();
    names
}

fn json_of(told: &[Arc<Request>], event: &str) -> Value {
    let is_it = |request: &&Arc<Request>| request.header("X-AS2-Event") == Some(event);
    let found = told.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {event} among {:?}", names(told))).json()
}

fn part() -> Part {
    Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'")
}

/// From us to the partner, signed.
fn message(receipt: Option<Receipt>) -> Built {
    let message = Message::new("MY-OWN-ORG", "ACME").attach(part()).sign(pki::station());
    let message = match receipt {
        Some(receipt) => message.receipt(receipt),
        None => message,
    };
    message.build()
}

fn signed_sync() -> Option<Receipt> {
    Some(Receipt::SignedSync(Digest::Sha256))
}

fn signed_async() -> Option<Receipt> {
    Some(Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned()))
}

/// The partner's signed MDN that says all is well.
fn positive(message: &Built) -> Mdn {
    Mdn::processed().mic(&message.mic).sign(pki::partner(), Digest::Sha256)
}

fn negative(message: &Built) -> Mdn {
    let mdn = Mdn::error("authentication-failed").mic(&message.mic);
    mdn.sign(pki::partner(), Digest::Sha256)
}

fn other_mic() -> Mdn {
    let mic = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha-256";
    Mdn::processed().mic(mic).sign(pki::partner(), Digest::Sha256)
}

// Outbound, no MDN asked for.

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

// Outbound, synchronous MDN.

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

const BOTH: [&str; 2] = ["mdn.received", "send.error"];

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

// Outbound, asynchronous MDN.

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
    assert_eq!(scene.events(1), ["message.sent"]);
    let unsigned = Mdn::error("authentication-failed").mic(&message.mic);
    let by_a_stranger = unsigned.clone().sign(pki::stranger(), Digest::Sha256);
    for mdn in [unsigned, by_a_stranger] {
        scene.receive_mdn(mdn, &message);
        let told = scene.told(1);
        assert_eq!(names(&told), ["mdn.received"]);
        let header = told[0].header("X-Processing-Error").unwrap();
        assert!(header.starts_with("900: "), "{header}");
    }
    // Nor did they stop this.
    assert_eq!(scene.events(1), ["mdn.overdue"]);
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
    let scene = Scene::with(&[("mdn_deadline", "2s")], "json");
    let answered = message(signed_async());
    scene.send(&answered, Answer::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    scene.receive_mdn(positive(&answered), &answered);
    assert_eq!(scene.events(1), ["mdn.received"]);
    scene.send(&message(signed_async()), Answer::status(500));
    assert_eq!(scene.events(1), ["send.error"]);
    // One that is overdue behind them.
    scene.send(&message(signed_async()), Answer::ok());
    assert_eq!(scene.events(2), ["mdn.overdue", "message.sent"]);
}

// Inbound, our receiver's MDNs.

/// From the partner to us, signed.
fn order(receipt: Option<Receipt>) -> Built {
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part()).sign(pki::partner());
    let message = match receipt {
        Some(receipt) => message.receipt(receipt),
        None => message,
    };
    message.build()
}

fn ours(message: &Built) -> Mdn {
    Mdn::processed().mic(&message.mic).sign(pki::station(), Digest::Sha256)
}

#[test]
fn our_receivers_synchronous_mdn() {
    let scene = Scene::new();
    let order = order(signed_sync());
    scene.receive(&order.headers, &order.body, Answer::mdn(ours(&order)));
    let told = scene.told(2);
    assert_eq!(names(&told), ["mdn.sent", "message.received"]);
    let mdn = json_of(&told, "mdn.sent");
    assert_eq!(mdn["as2MessageId"], order.id.as_str());
    assert_eq!(mdn["senderId"], "MY-OWN-ORG");
    assert_eq!(mdn["receiverId"], "ACME");
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["signatureVerified"], true);
    let received = told.iter().find(|told| told.header("X-AS2-Event") == Some("message.received"));
    assert_eq!(received.unwrap().header("X-Processing-Error"), None);
}

#[test]
fn our_receivers_negative_mdn_is_code_1200() {
    let scene = Scene::new();
    let order = order(signed_sync());
    let mdn = Mdn::error("unexpected-processing-error").sign(pki::station(), Digest::Sha256);
    scene.receive(&order.headers, &order.body, Answer::mdn(mdn));
    let told = scene.told(2);
    assert_eq!(names(&told), ["mdn.sent", "message.received"]);
    let errors = &json_of(&told, "message.received")["errors"];
    assert_eq!(errors[0]["code"], 1200, "{errors}");
    assert_eq!(json_of(&told, "mdn.sent")["mdnError"], true);
}

#[test]
fn our_receivers_mdn_of_another_mic_is_code_1200() {
    let scene = Scene::new();
    let order = order(signed_sync());
    scene.receive(&order.headers, &order.body, Answer::mdn(other_mic()));
    let told = scene.told(2);
    let errors = &json_of(&told, "message.received")["errors"];
    assert_eq!(errors[0]["code"], 1200, "{errors}");
    assert!(errors[0]["message"].as_str().unwrap().contains("MIC"), "{errors}");
    assert_eq!(json_of(&told, "mdn.sent")["micMatches"], false);
}

#[test]
fn our_receivers_asynchronous_mdn() {
    let scene = Scene::new();
    let order = order(signed_async());
    let (headers, body) = ours(&order).about("MY-OWN-ORG", "ACME", &order.id).into_parts();
    let target = scene.partner.url("/mdn");
    let authority = scene.partner.address().to_string();
    let post = Post::new(&target, &body).headers(&headers).header("Host", authority);
    assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
    assert_eq!(scene.partner.requests()[0].target(), "/mdn");
    let told = scene.told(1);
    assert_eq!(names(&told), ["mdn.sent"]);
    let mdn = told[0].json();
    assert_eq!(mdn["as2MessageId"], order.id.as_str());
    assert_eq!(mdn["senderId"], "MY-OWN-ORG");
    assert_eq!(mdn["signatureVerified"], true);
}

#[test]
fn our_receivers_asynchronous_mdn_of_another_mic_is_told() {
    let scene = Scene::new();
    let order = order(signed_async());
    scene.receive(&order.headers, &order.body, Answer::ok());
    let received = json_of(&scene.told(1), "message.received");
    let other_mic = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha-256";
    for (mic, matches) in [(order.mic.as_str(), true), (other_mic, false)] {
        let mdn = Mdn::processed().mic(mic).sign(pki::station(), Digest::Sha256);
        let (headers, body) = mdn.about("MY-OWN-ORG", "ACME", &order.id).into_parts();
        let post = Post::new("/out/ACME", &body).headers(&headers);
        assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
        let told = scene.told(1);
        assert_eq!(names(&told), ["mdn.sent"]);
        let mdn = told[0].json();
        assert_eq!(mdn["micMatches"], matches, "{mdn}");
        assert_eq!(mdn["messageEventId"], received["eventId"]);
        assert_eq!(told[0].header("X-Processing-Error").is_some(), !matches);
    }
}

#[test]
fn our_receivers_asynchronous_mdn_that_the_partner_refuses() {
    let scene = Scene::new();
    let order = order(signed_async());
    let (headers, body) = ours(&order).about("MY-OWN-ORG", "ACME", &order.id).into_parts();
    scene.partner.next([Answer::status(500)]);
    let post = Post::new("/out/ACME", &body).headers(&headers);
    assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 500);
    let told = scene.told(1);
    assert_eq!(names(&told), ["send.error"]);
    assert_eq!(told[0].json()["error"]["stage"], "http");
}

#[test]
fn a_message_that_our_receiver_rejects() {
    let scene = Scene::new();
    let order = order(None);
    scene.receive(&order.headers, &order.body, Answer::status(500));
    let told = scene.told(1);
    assert_eq!(names(&told), ["message.rejected"]);
    assert_eq!(told[0].json()["error"]["httpStatus"], 500);
}

#[test]
fn a_message_that_our_receiver_cannot_get() {
    let scene = Scene::new();
    let order = order(None);
    scene.receiver.stop();
    let reply = scene.gateway.inbound().send(&Post::message("/as2", &order)).unwrap();
    assert_eq!(reply.status, 502);
    let told = scene.sink.wait_for(1, SOON).unwrap();
    assert_eq!(names(&told), ["message.rejected"]);
    assert_eq!(told[0].json()["error"]["stage"], "connect");
}

// Inbound, again.

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

// Payload modes.

#[test]
fn a_raw_delivery_has_the_mdns_entity_as_it_came() {
    let scene = Scene::with(&[], "raw");
    // Synchronous, from the partner.
    let sent = message(signed_sync());
    let mdn = positive(&sent).id("<mdn-1@acme>").about("ACME", "MY-OWN-ORG", &sent.id);
    let (headers, body) = mdn.into_parts();
    let content_type = |headers: &[(String, String)]| {
        headers.iter().find(|(name, _)| name == "Content-Type").unwrap().1.clone()
    };
    let answer = headers.iter().fold(Answer::ok(), |answer, (n, v)| answer.header(n, v));
    scene.send(&sent, answer.body(body.clone()));
    let told = scene.told(2);
    let raw = told.iter().find(|t| t.header("X-AS2-Event") == Some("mdn.received")).unwrap();
    assert_eq!(raw.body.bytes, body);
    assert_eq!(raw.header("Content-Type"), Some(content_type(&headers).as_str()));
    assert_eq!(raw.header("Message-ID"), Some("<mdn-1@acme>"));
    // Asynchronous, from the partner.
    let mdn = positive(&sent).about("ACME", "MY-OWN-ORG", &sent.id);
    let (headers, body) = mdn.into_parts();
    scene.receive(&headers, &body, Answer::ok());
    let told = scene.told(1);
    assert_eq!(told[0].body.bytes, body);
    assert_eq!(told[0].header("Content-Type"), Some(content_type(&headers).as_str()));
    // Ours, asynchronous.
    let (headers, body) = positive(&sent).about("MY-OWN-ORG", "ACME", "<order@acme>").into_parts();
    let post = Post::new("/out/ACME", &body).headers(&headers);
    scene.gateway.outbound().send(&post).unwrap();
    let told = scene.told(1);
    assert_eq!(told[0].header("X-AS2-Event"), Some("mdn.sent"));
    assert_eq!(told[0].body.bytes, body);
}

#[test]
fn a_headers_delivery_has_the_mdns_headers_and_no_body() {
    let scene = Scene::with(&[], "headers");
    let sent = message(signed_sync());
    scene.send(&sent, Answer::mdn(positive(&sent).id("<mdn-1@acme>")));
    let told = scene.told(2);
    let mdn = told.iter().find(|t| t.header("X-AS2-Event") == Some("mdn.received")).unwrap();
    assert_eq!(mdn.header("Message-ID"), Some("<mdn-1@acme>"));
    assert_eq!(mdn.header("AS2-From"), Some("ACME"));
    assert!(mdn.header("Content-Type").unwrap().starts_with("multipart/signed"));
    assert_eq!(mdn.body.length, 0);
}
