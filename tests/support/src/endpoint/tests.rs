use std::io::ErrorKind;

use super::*;
use crate::client::{Client, Post};
use crate::http::Framing;
use crate::pki;

const SOON: Duration = Duration::from_secs(60);

fn to(endpoint: &Endpoint) -> Client {
    Client::new(endpoint.address())
}

#[test]
fn records_what_came_byte_for_byte() {
    let sink = sink().start();
    let post = Post::new("/a?b=c", b"hello").header("x-OdD", "1").header("X-Odd", "2");
    assert_eq!(to(&sink).send(&post).unwrap().status, 200);
    let got = &sink.wait_for(1, SOON).unwrap()[0];
    let head = "POST /a?b=c HTTP/1.1\r\nx-OdD: 1\r\nX-Odd: 2\r\nHost: as2.example\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&got.head.raw), head);
    assert_eq!((got.text().as_ref(), &got.framing), ("hello", &Framing::Length(5)));
    assert!(got.complete);
}

#[test]
fn responses_come_in_the_order_they_were_scripted_in() {
    let sink = sink().start();
    sink.next([Response::status(500), Response::status(429).header("Retry-After", "1")]);
    let statuses: Vec<_> =
        (0..3).map(|_| to(&sink).send(&Post::new("/", b"")).unwrap().status).collect();
    assert_eq!(statuses, [500, 429, 200]);
}

#[test]
fn interim_responses_and_every_framing_arrive() {
    let endpoint = sink().start();
    let responses = [
        Response::ok().interim(103, &[("Link", "</a>")]).body("abcde"),
        Response::ok().body("abcde").chunked(2),
        Response::ok().body("abcde").until_close(),
    ];
    endpoint.next(responses);
    let replies: Vec<_> = (0..3).map(|_| to(&endpoint).get("/").unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.text() == "abcde" && reply.complete));
    assert_eq!(replies[0].interim[0].header("Link"), Some("</a>"));
    assert_eq!(replies[1].framing, Framing::Chunked(vec![2, 2, 1]));
    assert_eq!(replies[2].framing, Framing::UntilClose);
}

#[test]
fn bad_manners_are_what_they_say() {
    let endpoint = sink().start();
    endpoint.next([
        Response::closed(),
        Response::closed_early(),
        Response::ok().body("abcde").cut(40),
    ]);
    for _ in 0..2 {
        let error = to(&endpoint).send(&Post::new("/", b"hello")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
    }
    let half = to(&endpoint).send(&Post::new("/", b"hello")).unwrap();
    assert_eq!((half.text().as_ref(), half.complete), ("ab", false));
}

#[test]
fn idle_connections_are_closed_as_configured() {
    let endpoint = sink().start();
    for idle in [Idle::CloseAfter(Duration::ZERO), Idle::CloseOnReuse] {
        endpoint.idle(idle);
        let mut connection = to(&endpoint).connect().unwrap();
        assert_eq!(connection.send(&Post::new("/", b"1")).unwrap().status, 200);
        assert!(connection.send(&Post::new("/", b"2")).is_err(), "{idle:?}");
    }
    endpoint.idle(Idle::Keep);
    let mut connection = to(&endpoint).connect().unwrap();
    for nth in 0..3 {
        connection.send(&Post::new("/", b"3")).unwrap();
        assert_eq!(endpoint.requests().last().unwrap().nth, nth);
    }
}

#[test]
fn stopped_endpoint_refuses_and_responds_again_when_resumed() {
    let endpoint = sink().start();
    endpoint.stop();
    assert!(to(&endpoint).get("/").is_err());
    endpoint.resume();
    assert_eq!(to(&endpoint).get("/").unwrap().status, 200);
}

#[test]
fn tls_demands_the_clients_certificate() {
    let endpoint = sink().mutual_tls(pki::server(), pki::authority()).start();
    let known = Client::tls(endpoint.address(), pki::authority(), Some(pki::client()));
    assert_eq!(known.send(&Post::new("/", b"")).unwrap().status, 200);
    assert_eq!(endpoint.requests()[0].client.as_deref(), Some("tls-client"));
    let unknown = Client::tls(endpoint.address(), pki::authority(), None);
    assert!(unknown.send(&Post::new("/", b"")).is_err());
    let distrustful = Client::tls(endpoint.address(), pki::stranger(), None);
    assert!(distrustful.connect().is_err());
}

#[test]
fn waiting_for_too_many_ends_and_tells_what_came() {
    let endpoint = sink().start();
    to(&endpoint).get("/only").unwrap();
    let error = endpoint.wait_for(2, Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.seen, ["GET /only HTTP/1.1"]);
}

#[test]
fn receiver_responds_with_an_mdn_about_the_message() {
    let endpoint = receiver().start();
    let post = Post::new("/", b"").header("AS2-From", "A").header("AS2-To", "B");
    let reply = to(&endpoint).send(&post.header("Message-ID", "<1@a>")).unwrap();
    assert_eq!((reply.header("AS2-From"), reply.header("AS2-To")), (Some("B"), Some("A")));
    assert!(reply.text().contains("Original-Message-ID: <1@a>"));
}
