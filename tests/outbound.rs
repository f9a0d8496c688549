//! The outbound listener: what our AS2 server sends reaches the partner of the config unchanged, over
//! the TLS that the config asks for, and no one else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{io::Write as _, path::Path, time::Duration};

use as2hook_testing::{
    Built, Endpoint, Gateway, Message, Part, Post, Request, Response, Running, pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

/// No process listens there, and no test ever gets this port.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A gateway whose one partner is reached at this URL.
fn gateway(url: &str, settings: &[(&str, &str)], sink: &Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(NOWHERE)
        .outbound()
        .station("MY-OWN-ORG", pki::station())
        .partner_with("ACME", |partner| {
            let partner = partner.url(url).certificate(Path::new("keys/localhost.crt"));
            settings.iter().fold(partner, |partner, (key, yaml)| partner.set(key, yaml))
        })
        .rule("all", |rule| rule.to(sink, "/hook").payload("json").events(&["*"]))
        .start()
        .unwrap()
}

fn message() -> Built {
    Message::new("MY-OWN-ORG", "ACME")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
        .sign(pki::station())
        .build()
}

/// The stage of the next `send.error`.
fn failed(sink: &Endpoint) -> String {
    let is_error = |request: &Request| request.header("X-AS2-Event") == Some("send.error");
    let delivered = &sink.wait_until(1, SOON, is_error).unwrap()[0];
    delivered.json()["error"]["stage"].as_str().unwrap().to_owned()
}

#[test]
fn the_partner_is_named_by_the_path_or_by_as2_to() {
    let partner = receiver().start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2?in=1"), &[], &sink);
    let message = message();
    for path in ["/out/ACME", "/", "/any/path", "/out/A%43ME?x=1"] {
        let reply = gateway.outbound().send(&Post::message(path, &message)).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    let requests = partner.wait_for(4, SOON).unwrap();
    for request in requests {
        assert_eq!(request.target(), "/as2?in=1");
        let host = partner.address().to_string();
        assert_eq!(request.header("Host"), Some(host.as_str()));
        assert_eq!(request.body.bytes, message.body);
        assert_eq!(request.header("AS2-To"), Some("ACME"));
        assert_eq!(request.header("X-Forwarded-For"), None);
    }
}

#[test]
fn ids_may_be_quoted_and_are_case_sensitive() {
    let partner = receiver().start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2"), &[], &sink);
    let post = |to: &str| Post::new("/", b"x").header("AS2-From", "US").header("AS2-To", to);
    assert_eq!(gateway.outbound().send(&post("\"ACME\"")).unwrap().status, 200);
    let response = gateway.outbound().send(&post("acme")).unwrap();
    assert_eq!(response.status, 404);
    assert!(response.text().contains("acme"), "{}", response.text());
    let unknown = gateway.outbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("/out/"), "{}", unknown.text());
    assert_eq!(partner.requests().len(), 1);
}

#[test]
fn it_is_no_open_proxy() {
    let partner = receiver().start();
    let stranger = receiver().start();
    let sink = sink().start();
    let mdn_urls = format!("[\"{}\"]", partner.url("/mdn"));
    let gateway = gateway(&partner.url("/as2"), &[("mdn_urls", &mdn_urls)], &sink);
    for (target, status) in [
        (partner.url("/as2"), 200),
        (partner.url("/mdn"), 200),
        (partner.url("/other"), 403),
        (partner.url("/as2?x"), 403),
        (stranger.url("/as2"), 403),
        // Pingora's own response: it can be read in two ways.
        (partner.url("/as2").replace("http://", "http://acme@"), 400),
        (partner.url("/as2").replace("http://", "ftp://"), 403),
    ] {
        let authority = target.split('/').nth(2).unwrap().replace("acme@", "");
        let message = message();
        let post = Post::message(&target, &message).header("Host", authority);
        assert_eq!(gateway.outbound().send(&post).unwrap().status, status, "{target}");
    }
    let targets: Vec<_> = partner.requests().iter().map(|r| r.target().to_owned()).collect();
    assert_eq!(targets, ["/as2", "/mdn"]);
    assert!(stranger.requests().is_empty());
}

#[test]
fn connect_is_refused_with_a_hint() {
    let partner = receiver().start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2"), &[], &sink);
    let mut connection = gateway.outbound().connect().unwrap();
    let authority = partner.address();
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    connection.write(head.as_bytes()).unwrap();
    let reply = connection.read_reply("POST").unwrap();
    assert_eq!(reply.status, 405);
    assert!(reply.text().contains("/out/"), "{}", reply.text());
    assert_eq!(partner.connections(), 0);
}

#[test]
fn unreachable_partner_is_reported() {
    let sink = sink().start();
    let gateway = gateway(&format!("{NOWHERE}/as2"), &[], &sink);
    let reply = gateway.outbound().send(&Post::message("/", &message())).unwrap();
    assert_eq!(reply.status, 502);
    assert_eq!(failed(&sink), "connect");
}

#[test]
fn name_without_an_address_is_reported() {
    let sink = sink().start();
    // No name can be as long, so that no name server has to be asked, which may take its time.
    let name = format!("{}.invalid", "absent".repeat(11));
    let gateway = gateway(&format!("http://{name}/as2"), &[], &sink);
    let reply = gateway.outbound().send(&Post::message("/", &message())).unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains(&name), "{}", reply.text());
    assert_eq!(failed(&sink), "connect");
}

#[test]
fn unknown_partner_is_reported() {
    let sink = sink().start();
    let gateway = gateway(&format!("{NOWHERE}/as2"), &[], &sink);
    let reply = gateway.outbound().send(&Post::message("/out/OTHER", &message())).unwrap();
    assert_eq!(reply.status, 404);
    assert_eq!(failed(&sink), "connect");
}

#[test]
fn silent_partner_is_reported() {
    let partner = receiver().respond(Response::silence()).start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2"), &[("timeout", "300ms")], &sink);
    let reply = gateway.outbound().send(&Post::message("/", &message())).unwrap();
    assert_eq!(reply.status, 504);
    assert_eq!(failed(&sink), "timeout");
}

#[test]
fn partner_that_closes_without_a_response_is_reported() {
    let partner = receiver().respond(Response::closed()).start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2"), &[], &sink);
    let reply = gateway.outbound().send(&Post::message("/", &message())).unwrap();
    assert_eq!(reply.status, 502);
    assert_eq!(failed(&sink), "http");
}

#[test]
fn server_that_breaks_off_is_reported() {
    let partner = receiver().start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2"), &[], &sink);
    let mut connection = gateway.outbound().connect().unwrap();
    connection
        .write(
            b"POST / HTTP/1.1\r\nHost: a\r\nAS2-From: MY-OWN-ORG\r\nAS2-To: ACME\r\n\
              Message-ID: <1@a>\r\nContent-Length: 1000\r\n\r\nhalf",
        )
        .unwrap();
    drop(connection);
    assert_eq!(failed(&sink), "http");
}

#[test]
fn https_partners_are_verified_by_the_ca_of_the_config() {
    let partner = receiver().tls(pki::server()).start();
    let sink = sink().start();
    let url = partner.url("/as2");
    let ca = [("tls", "{ ca: keys/authority.crt }")];
    let trusting = gateway(&url, &ca, &sink);
    assert_eq!(trusting.outbound().send(&Post::message("/", &message())).unwrap().status, 200);
    // The certificate has the address too.
    let by_address = gateway(&url.replace("localhost", "127.0.0.1"), &ca, &sink);
    assert_eq!(by_address.outbound().send(&Post::message("/", &message())).unwrap().status, 200);
    sink.wait_for(2, SOON).unwrap();
    sink.forget();
    let distrusting = gateway(&url, &[], &sink);
    assert_eq!(distrusting.outbound().send(&Post::message("/", &message())).unwrap().status, 502);
    assert_eq!(failed(&sink), "tls");
    assert_eq!(partner.requests().len(), 2);
}

#[test]
fn a_certificate_of_another_host_is_refused_by_name_and_by_address() {
    // Of no host at all, and issued by the authority that is trusted.
    let partner = receiver().tls(pki::client()).start();
    for host in ["localhost", "127.0.0.1"] {
        let sink = sink().start();
        let url = partner.url("/as2").replace("localhost", host);
        let gateway = gateway(&url, &[("tls", "{ ca: keys/authority.crt }")], &sink);
        let reply = gateway.outbound().send(&Post::message("/", &message())).unwrap();
        assert_eq!(reply.status, 502, "{host}");
        assert_eq!(failed(&sink), "tls", "{host}");
    }
    assert!(partner.requests().is_empty());
}

#[test]
fn a_pinned_certificate_is_trusted_alone() {
    let partner = receiver().tls(pki::server()).start();
    let sink = sink().start();
    let url = partner.url("/as2");
    let pinned = gateway(&url, &[("tls", "{ certificate: keys/localhost.crt }")], &sink);
    assert_eq!(pinned.outbound().send(&Post::message("/", &message())).unwrap().status, 200);
    sink.wait_for(1, SOON).unwrap();
    sink.forget();
    // Issued by the same authority, and not the one.
    let tls = "{ ca: keys/authority.crt, certificate: keys/tls-client.crt }";
    let other = gateway(&url, &[("tls", tls)], &sink);
    assert_eq!(other.outbound().send(&Post::message("/", &message())).unwrap().status, 502);
    assert_eq!(failed(&sink), "tls");
    assert_eq!(partner.requests().len(), 1, "not a byte went to the wrong one");
}

#[test]
fn a_client_certificate_is_shown() {
    let partner = receiver().mutual_tls(pki::server(), pki::authority()).start();
    let sink = sink().start();
    let url = partner.url("/as2");
    let tls = "{ ca: keys/authority.crt, client_certificate: keys/tls-client.crt, \
               client_key: keys/tls-client.key }";
    let known = gateway(&url, &[("tls", tls)], &sink);
    assert_eq!(known.outbound().send(&Post::message("/", &message())).unwrap().status, 200);
    let unknown = gateway(&url, &[("tls", "{ ca: keys/authority.crt }")], &sink);
    assert_eq!(unknown.outbound().send(&Post::message("/", &message())).unwrap().status, 502);
    assert_eq!(partner.requests().len(), 1);
}

/// A partner that streams 103 held its exchange for ever.
#[test]
fn interim_responses_give_a_partner_no_more_time_and_are_few() {
    for (pause, settings, status) in
        [("100ms", [("timeout", "1s")], 504), ("0ms", [("timeout", "60s")], 502)]
    {
        let partner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = sink().start();
        let url = format!("http://{}/", partner.local_addr().unwrap());
        let gateway = gateway(&url, &settings, &sink);
        let pause: u64 = pause.trim_end_matches("ms").parse().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = partner.accept().unwrap();
            // The pauses are the scenario.
            while socket.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").is_ok() {
                std::thread::sleep(Duration::from_millis(pause));
            }
        });
        let reply = gateway.outbound().send(&Post::message("/out/ACME", &message())).unwrap();
        assert_eq!(reply.status, status, "{}", reply.text());
        assert_eq!(failed(&sink), if status == 504 { "timeout" } else { "http" });
    }
}

#[test]
fn browser_is_refused_and_so_is_another_host_where_hosts_are_given() {
    let partner = receiver().start();
    let sink = sink().start();
    let gateway = gateway(&partner.url("/as2"), &[], &sink);
    let (message, url) = (message(), partner.url("/as2"));
    let send = |path: &str, headers: &[(&str, &str)]| {
        let post = Post::message(path, &message);
        let post = headers.iter().fold(post, |post, (name, value)| post.header(name, *value));
        let reply = gateway.outbound().send(&post).unwrap();
        (reply.status, reply.text().into_owned())
    };
    for (name, value) in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        let (status, text) = send("/out/ACME", &[(name, value)]);
        assert!(status == 403 && text.contains("Browsers"), "{status}: {text}");
    }
    assert_eq!(send("/out/ACME", &[]).0, 200, "any host");
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let outbound = format!("outbound: {{ address: \"{}\"", gateway.outbound().address());
    assert!(config.contains(&outbound), "{config}");
    let with = |hosts: &str| config.replace(&outbound, &format!("{outbound}, hosts: {hosts}"));
    gateway.write("as2hook.yaml", &with("[as2hook.internal]")).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    let (status, text) = send("/out/ACME", &[]);
    assert!(status == 403 && text.contains("listen.outbound.hosts"), "{status}: {text}");
    let host = partner.address().to_string();
    assert_eq!(send(&url, &[("Host", &host)]).0, 200, "the absolute form names the partner");
    gateway.write("as2hook.yaml", &with("[as2hook.internal, AS2.example]")).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    assert_eq!(send("/out/ACME", &[]).0, 200);
}
