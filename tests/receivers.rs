//! AS2 servers that close connections whenever they like, are slow, or are not there.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::time::{Duration, Instant};

use as2hook_testing::{
    Answer, Built, Endpoint, Gateway, Idle, Message, Part, Post, Request, Running,
    gateway::wait_until, pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

/// Nobody listens there, and no test ever gets this port.
const NOWHERE: &str = "http://127.0.0.1:9";

fn gateway(urls: &[String], sink: &Endpoint) -> Running {
    let mut gateway = Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook"));
    let quoted: Vec<_> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    gateway = gateway.receiver_set("url", &format!("[{}]", quoted.join(", ")));
    gateway
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(sink, "/hook").payload("json").set("events", "\"*\""))
        .start()
        .unwrap()
}

fn message() -> Built {
    Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build()
}

/// Sends with pauses around the time at which the receiver hangs up.
fn never_a_502(idle: Idle, pauses: &[u64]) {
    let (receiver, sink) = (receiver().start(), sink().start());
    receiver.idle(idle);
    let gateway = gateway(&[receiver.url("")], &sink);
    let mut connection = gateway.inbound().connect().unwrap();
    for pause in pauses {
        // The pause is the scenario: the receiver closes in the middle of it.
        std::thread::sleep(Duration::from_millis(*pause));
        let reply = connection.send(&Post::message("/as2", &message())).unwrap();
        assert_eq!(reply.status, 200, "{idle:?} after {pause} ms");
    }
    sink.wait_for(pauses.len(), SOON).unwrap();
}

#[test]
fn a_receiver_that_closes_behind_each_answer_costs_nobody_a_502() {
    never_a_502(Idle::CloseAfter(Duration::ZERO), &[0; 20]);
}

#[test]
fn a_receiver_that_closes_after_a_second_costs_nobody_a_502() {
    never_a_502(Idle::CloseAfter(Duration::from_secs(1)), &[0, 990, 995, 1000, 1005, 1010]);
}

#[test]
fn a_receiver_that_closes_after_five_seconds_costs_nobody_a_502() {
    never_a_502(Idle::CloseAfter(Duration::from_secs(5)), &[0, 4995, 5005]);
}

#[test]
fn a_receiver_that_closes_when_it_is_called_again_costs_nobody_a_502() {
    never_a_502(Idle::CloseOnReuse, &[0; 20]);
}

/// A receiver that keeps its connections, a gateway that does too, and one exchange done on it.
fn kept(receiver: &Endpoint) -> Running {
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .receiver_set("keepalive", "on")
        .start()
        .unwrap();
    assert_eq!(gateway.inbound().send(&Post::new("/", b"first")).unwrap().status, 200);
    gateway
}

#[test]
fn what_a_kept_connection_did_not_take_is_sent_again() {
    let receiver = receiver().start();
    receiver.idle(Idle::CloseOnReuse);
    let gateway = kept(&receiver);
    for _ in 0..10 {
        assert_eq!(gateway.inbound().send(&Post::new("/", b"again")).unwrap().status, 200);
    }
    assert_eq!(receiver.requests().len(), 11);
}

#[test]
fn what_a_kept_connection_began_to_answer_is_not_sent_again() {
    for (name, answer) in [
        ("refused", Answer::ok().header("Transfer-Encoding", "gzip")),
        ("unreadable", Answer::ok().header("Bro ken", "x")),
        ("interim", Answer::ok().interim(102, &[]).cut(0)),
        ("cut", Answer::ok().cut(5)),
    ] {
        // A connection is kept for seconds only, and in those this process may stand still.
        let was_kept = (0..5).any(|_| {
            let receiver = receiver().start();
            let gateway = kept(&receiver);
            receiver.answer(answer.clone());
            let reply = gateway.inbound().send(&Post::new("/", b"once")).unwrap();
            assert_eq!((reply.status, receiver.requests().len()), (502, 2), "{name}");
            receiver.connections() == 1
        });
        assert!(was_kept, "{name}");
    }
}

#[test]
fn a_receiver_that_is_down_gets_the_partner_a_prompt_502_and_an_event() {
    let sink = sink().start();
    let gateway = gateway(&[NOWHERE.to_owned()], &sink);
    let began = Instant::now();
    let reply = gateway.inbound().send(&Post::message("/as2", &message())).unwrap();
    assert_eq!(reply.status, 502);
    // Less than is waited for one who says nothing at all.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(reply.text().contains("cannot be reached"), "{}", reply.text());
    let told = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(told.header("X-AS2-Event"), Some("message.rejected"));
    assert!(told.header("X-Send-Error").unwrap().starts_with("connect: "));
    assert_eq!(told.json()["error"]["stage"], "connect");
    assert_eq!(told.header("AS2-From"), Some("ACME"));
}

#[test]
fn a_large_upload_can_read_the_502() {
    let sink = sink().start();
    let gateway = gateway(&[NOWHERE.to_owned()], &sink);
    let body = vec![b'x'; 8 << 20];
    let reply = gateway.inbound().send(&Post::new("/as2", &body)).unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.complete);
}

#[test]
fn a_receiver_that_comes_back_is_used_again() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    receiver.stop();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message())).unwrap().status, 502);
    receiver.resume();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message())).unwrap().status, 200);
}

#[test]
fn the_second_receiver_takes_over() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let urls = [NOWHERE.to_owned(), receiver.url("")];
    let gateway = gateway(&urls, &sink);
    let message = message();
    let reply = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(receiver.requests()[0].body.bytes, message.body);
    // The receiver's MDN in its answer is an event of its own.
    let is_received = |told: &Request| told.header("X-AS2-Event") == Some("message.received");
    sink.wait_until(1, SOON, is_received).unwrap();
}

#[test]
fn a_receiver_that_hangs_up_without_an_answer_is_told_as_rejected() {
    let (receiver, sink) = (receiver().answer(Answer::closed()).start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message())).unwrap().status, 502);
    let told = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(told.header("X-AS2-Event"), Some("message.rejected"));
}

#[test]
fn a_receiver_that_refuses_is_told_as_rejected() {
    let (receiver, sink) = (receiver().answer(Answer::status(403)).start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message())).unwrap().status, 403);
    let told = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(told.header("X-AS2-Event"), Some("message.rejected"));
    assert_eq!(told.json()["error"]["httpStatus"], 403);
}

#[test]
fn the_exchange_is_followed_to_its_answer_when_the_partner_hangs_up() {
    let answer = Answer::ok().delay(Duration::from_millis(500)).body(vec![b'x'; 300_000]);
    let (receiver, sink) = (receiver().answer(answer).start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    let connection = gateway.inbound().connect().unwrap();
    connection.send_and_leave(&Post::message("/as2", &message())).unwrap();
    let told = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(told.header("X-AS2-Event"), Some("message.received"));
    assert_eq!(told.header("X-Processing-Error"), None);
}

#[test]
fn a_partner_that_vanishes_in_the_middle_makes_no_received_message() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    let message = message();
    let cut = Post::message("/as2", &message).cut(message.body.len() as u64 / 2);
    // Whether an answer comes is all the same.
    let _ = gateway.inbound().send(&cut);
    assert!(wait_until(SOON, || gateway.log().contains("Inbound exchange.")));
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    // The receiver's MDN in its answer is an event of its own.
    let told = sink.wait_for(2, SOON).unwrap();
    let mut names: Vec<_> = told.iter().map(|told| told.header("X-AS2-Event").unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["mdn.sent", "message.received"]);
}
