//! Absolute-form targets: every JDK client that uses a proxy names the default port there and leaves it
//! out of `Host` (curl issue 6769). RFC 9112 section 3.2.2 has a proxy ignore `Host`.

use super::*;

#[test]
fn default_port_in_the_target_alone_passes_with_its_host_replaced() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    for (target, host) in [
        ("http://partner.invalid:80/as2", "partner.invalid"),
        ("https://partner.invalid:443/as2", "partner.invalid"),
        ("http://partner.invalid/as2", "partner.invalid:80"),
        ("http://partner.invalid:8080/as2", "partner.invalid"),
        ("http://Partner.Invalid/as2", "partner.iNVALID"),
        ("http://[2001:DB8::1]:80/as2", "[2001:db8::1]"),
        ("http://partner.invalid:/as2", "partner.invalid:80"),
    ] {
        receiver.forget();
        let post = Post::new(target, b"x").header("Host", host);
        let reply = gateway.inbound().send(&post).unwrap();
        assert_eq!(reply.status, 200, "{target} {host}: {}", reply.text());
        let request = &receiver.wait_for(1, SOON).unwrap()[0];
        let authority = target.split('/').nth(2);
        assert_eq!((request.target(), request.header("Host")), (target, authority), "{host}");
    }
}

#[test]
fn target_without_a_host_beside_it_reaches_the_receiver_as_it_is() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let mut connection = gateway.inbound().connect().unwrap();
    connection.write(b"GET http://partner.invalid/as2 HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(connection.read_reply("GET").unwrap().status, 200);
    let request = &receiver.wait_for(1, SOON).unwrap()[0];
    let (target, host) = ("http://partner.invalid/as2", Some("partner.invalid"));
    assert_eq!((request.target(), request.header("Host")), (target, host));
}

#[test]
fn target_of_a_partner_reaches_it_beside_a_host_without_the_port() {
    let (partner, sink) = (receiver().start(), sink().start());
    let gateway = both_ways(&partner, &sink);
    let target = partner.url("/as2");
    let post = Post::new(&target, b"x").header("Host", "127.0.0.1");
    assert_eq!(gateway.outbound().send(&post).unwrap().status, 200);
    let request = &partner.wait_for(1, SOON).unwrap()[0];
    assert_eq!(request.target(), "/as2");
    assert_eq!(request.header("Host"), Some(partner.address().to_string().as_str()));
}

/// No test can listen on port 80, so this partner has no address.
#[test]
fn target_of_a_partner_is_known_by_its_default_port() {
    let receiver = receiver().start();
    // No name can be as long, so that no name server has to be asked.
    let name = format!("{}.invalid", "partner".repeat(10));
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .outbound()
        .partner_with("ACME", |acme| acme.url(&format!("http://{name}/as2")))
        .start()
        .unwrap();
    let target = format!("http://{name}:80/as2");
    let reply = gateway.outbound().send(&Post::new(&target, b"x").header("Host", &*name)).unwrap();
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(reply.text().contains(&name), "{}", reply.text());
}

#[test]
fn target_of_another_host_than_in_host_is_refused() {
    let (server, sink) = (receiver().start(), sink().start());
    let gateway = both_ways(&server, &sink);
    for (target, host) in [
        ("http://partner.invalid:80/as2", "other.invalid"),
        ("http://partner.invalid:80/as2", "partner.invalid:8080"),
        ("http://partner.invalid/as2", "partner.invalid.other.invalid"),
        ("http://partner.invalid/as2", "partner.invalid, other.invalid"),
        ("http://partner.invalid/as2", ""),
        ("http://partner.invalid/as2", "partner.invalid:http"),
        ("http://partner.invalid/as2", "a@partner.invalid"),
    ] {
        for client in [gateway.inbound(), gateway.outbound()] {
            let reply = client.send(&Post::new(target, b"x").header("Host", host)).unwrap();
            assert_eq!(reply.status, 400, "{target} {host}");
        }
    }
    assert!(server.requests().is_empty());
}
