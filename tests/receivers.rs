//! AS2 servers that close connections whenever they like, are slow, or are not there.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::time::{Duration, Instant};

use as2hook_testing::{
    Built, Digest, Endpoint, Gateway, Idle, Mdn, Message, Part, Post, Request, Response, Running,
    gateway::wait_until, pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

/// No process listens there, and no test ever gets this port.
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

/// A gateway before three AS2 servers, as OpenAS2 has one port for messages and another for MDNs.
fn routed(urls: [&str; 3], sink: &Endpoint) -> Running {
    let [url, mdn, acme] = urls;
    let routes = format!(
        "[{{ path: /mdn, url: [\"{NOWHERE}\", \"{mdn}\"] }}, {{ path: /mdn/acme/, url: \"{acme}\" }}]"
    );
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(url)
        .receiver_set("routes", &routes)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(sink, "/hook").payload("json").set("events", "\"*\""))
        .start()
        .unwrap()
}

#[test]
fn request_goes_where_the_longest_path_says_by_whole_segments() {
    let servers = [receiver().start(), receiver().start(), receiver().start()];
    let sink = sink().start();
    let urls = [0, 1, 2].map(|nth| servers[nth].url(""));
    let gateway = routed([&urls[0], &urls[1], &urls[2]], &sink);
    for (target, expected) in [
        ("/", 0),
        ("/as2", 0),
        ("/mdnx", 0),
        ("/MDN", 0),
        ("/as2/mdn", 0),
        ("/as2?to=/mdn", 0),
        ("/%6Ddn", 0),
        ("/mdn/../as2", 0),
        ("/mdn/%2E./as2", 0),
        ("/mdn", 1),
        ("/mdn/", 1),
        ("/mdn?id=1", 1),
        ("/mdn/other", 1),
        ("/mdn/acmex", 1),
        ("http://as2.example/mdn", 1),
        ("/mdn/acme", 2),
        ("/mdn/acme/", 2),
        ("/mdn/acme/1?x", 2),
    ] {
        let before = [0, 1, 2].map(|nth: usize| servers[nth].requests().len());
        let reply = gateway.inbound().send(&Post::new(target, b"x")).unwrap();
        assert_eq!(reply.status, 200, "{target}");
        for (nth, before) in before.into_iter().enumerate() {
            let requests = servers[nth].requests().len() - before;
            assert_eq!(requests, usize::from(nth == expected), "{target} at {nth}");
        }
    }
    assert!(servers[1].requests().iter().any(|request| request.target() == "/mdn?id=1"));
    // An HTTP/1.0 request without a Host gets that of its server.
    let post = Post::new("/mdn/acme", b"x").header("Content-Length", "1").http10().bare();
    gateway.inbound().send(&post).unwrap();
    let last = servers[2].requests().into_iter().next_back().unwrap();
    assert_eq!(last.header("Host"), Some(&*servers[2].address().to_string()));
}

#[test]
fn openas2_asynchronous_mdn_on_its_own_path_reaches_the_port_for_mdns_and_is_reported() {
    let (messages, mdns, sink) = (receiver().start(), receiver().start(), sink().start());
    let gateway = routed([&messages.url(""), &mdns.url(""), &messages.url("")], &sink);
    let mdn = Mdn::processed().sign(pki::partner(), Digest::Sha256);
    let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", "<1@us>").into_parts();
    gateway.inbound().send(&Post::new("/mdn", &body).headers(&headers)).unwrap();
    assert_eq!(mdns.requests()[0].body.bytes, body);
    assert!(messages.requests().is_empty());
    let delivered = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.header("X-AS2-Event"), Some("mdn.received"));
}

#[test]
fn route_that_is_added_by_a_reload_is_in_force() {
    let (messages, mdns, sink) = (receiver().start(), receiver().start(), sink().start());
    let gateway = gateway(&[messages.url("")], &sink);
    let post = || gateway.inbound().send(&Post::new("/mdn", b"x")).unwrap().status;
    assert_eq!((post(), messages.requests().len()), (200, 1));
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let route = format!("receiver:\n  routes: [{{ path: /mdn, url: \"{}\" }}]\n", mdns.url(""));
    gateway.write("as2hook.yaml", &config.replace("receiver:\n", &route)).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    assert_eq!((post(), messages.requests().len(), mdns.requests().len()), (200, 1, 1));
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
fn receiver_that_closes_behind_each_response_causes_no_502() {
    never_a_502(Idle::CloseAfter(Duration::ZERO), &[0; 20]);
}

#[test]
fn receiver_that_closes_after_a_second_causes_no_502() {
    never_a_502(Idle::CloseAfter(Duration::from_secs(1)), &[0, 990, 995, 1000, 1005, 1010]);
}

#[test]
fn receiver_that_closes_after_five_seconds_causes_no_502() {
    never_a_502(Idle::CloseAfter(Duration::from_secs(5)), &[0, 4995, 5005]);
}

#[test]
fn receiver_that_closes_when_it_is_called_again_causes_no_502() {
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

/// RFC 9110 section 9.2.2: a POST is not sent again unless the receiver provably did not get it.
#[test]
fn post_that_a_kept_connection_had_read_is_not_sent_again() {
    for body in [&b"once"[..], b""] {
        // A connection is kept for seconds only, and in those this process may stand still.
        let was_kept = (0..5).any(|_| {
            let receiver = receiver().start();
            let gateway = kept(&receiver);
            receiver.respond(Response::closed());
            let reply = gateway.inbound().send(&Post::new("/", body)).unwrap();
            assert_eq!((reply.status, receiver.requests().len()), (502, 2), "{body:?}");
            receiver.connections() == 1
        });
        assert!(was_kept, "{body:?}");
    }
}

/// The receiver has read a part of the request by then, and nothing shows how much.
#[test]
fn post_whose_kept_connection_ends_while_it_is_sent_is_not_sent_again() {
    let was_kept = (0..5).any(|_| {
        let receiver = receiver().start();
        receiver.idle(Idle::CloseOnReuse);
        let gateway = kept(&receiver);
        let status = gateway.inbound().send(&Post::new("/", b"again")).unwrap().status;
        // 200: the connection had been given up meanwhile, and this one was fresh.
        let was_kept = status == 502;
        assert_eq!(receiver.connections(), if was_kept { 1 } else { 2 });
        was_kept
    });
    assert!(was_kept);
}

#[test]
fn post_after_the_receiver_closed_the_idle_connection_is_sent_on_another() {
    let receiver = receiver().start();
    receiver.idle(Idle::CloseAfter(Duration::ZERO));
    let gateway = kept(&receiver);
    for nth in 2..6 {
        assert!(wait_until(SOON, || receiver.closed_connections() == nth - 1));
        assert_eq!(gateway.inbound().send(&Post::new("/", b"again")).unwrap().status, 200);
        assert_eq!((receiver.requests().len(), receiver.connections()), (nth, nth));
    }
}

#[test]
fn request_is_not_sent_again_after_the_response_began_on_a_kept_connection() {
    for (name, response) in [
        ("refused", Response::ok().header("Transfer-Encoding", "gzip")),
        ("unreadable", Response::ok().header("Bro ken", "x")),
        ("interim", Response::ok().interim(102, &[]).cut(0)),
        ("cut", Response::ok().cut(5)),
    ] {
        // A connection is kept for seconds only, and in those this process may stand still.
        let was_kept = (0..5).any(|_| {
            let receiver = receiver().start();
            let gateway = kept(&receiver);
            receiver.respond(response.clone());
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
    // Less than is waited for one that sends nothing at all.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(reply.text().contains("cannot be reached"), "{}", reply.text());
    let delivered = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.header("X-AS2-Event"), Some("message.rejected"));
    assert!(delivered.header("X-Send-Error").unwrap().starts_with("connect: "));
    assert_eq!(delivered.json()["error"]["stage"], "connect");
    assert_eq!(delivered.header("AS2-From"), Some("ACME"));
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
    // The receiver's MDN in its response is an event of its own.
    let is_received =
        |delivered: &Request| delivered.header("X-AS2-Event") == Some("message.received");
    sink.wait_until(1, SOON, is_received).unwrap();
}

#[test]
fn receiver_that_hangs_up_without_a_response_is_reported_as_rejected() {
    let (receiver, sink) = (receiver().respond(Response::closed()).start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message())).unwrap().status, 502);
    let delivered = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.header("X-AS2-Event"), Some("message.rejected"));
}

#[test]
fn receiver_that_refuses_is_reported_as_rejected() {
    let (receiver, sink) = (receiver().respond(Response::status(403)).start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message())).unwrap().status, 403);
    let delivered = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.header("X-AS2-Event"), Some("message.rejected"));
    assert_eq!(delivered.json()["error"]["httpStatus"], 403);
}

#[test]
fn exchange_is_followed_to_its_response_when_the_partner_hangs_up() {
    let response = Response::ok().delay(Duration::from_millis(500)).body(vec![b'x'; 300_000]);
    let (receiver, sink) = (receiver().respond(response).start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    let connection = gateway.inbound().connect().unwrap();
    connection.send_and_leave(&Post::message("/as2", &message())).unwrap();
    let delivered = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.header("X-AS2-Event"), Some("message.received"));
    assert_eq!(delivered.header("X-Processing-Error"), None);
}

#[test]
fn a_partner_that_vanishes_in_the_middle_makes_no_received_message() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&[receiver.url("")], &sink);
    let message = message();
    let cut = Post::message("/as2", &message).cut(message.body.len() as u64 / 2);
    // Whether a response comes is all the same.
    let _ = gateway.inbound().send(&cut);
    assert!(wait_until(SOON, || gateway.log().contains("Inbound exchange.")));
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    // The receiver's MDN in its response is an event of its own.
    let delivered = sink.wait_for(2, SOON).unwrap();
    let mut names: Vec<_> =
        delivered.iter().map(|delivered| delivered.header("X-AS2-Event").unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["mdn.sent", "message.received"]);
}
