//! What the payload modes make of an MDN.

use super::*;

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
    let response = headers.iter().fold(Response::ok(), |response, (n, v)| response.header(n, v));
    scene.send(&sent, response.body(body.clone()));
    let delivered = scene.delivered(2);
    let raw = delivered.iter().find(|t| t.header("X-AS2-Event") == Some("mdn.received")).unwrap();
    assert_eq!(raw.body.bytes, body);
    assert_eq!(raw.header("Content-Type"), Some(content_type(&headers).as_str()));
    assert_eq!(raw.header("Message-ID"), Some("<mdn-1@acme>"));
    // Asynchronous, from the partner.
    let mdn = positive(&sent).about("ACME", "MY-OWN-ORG", &sent.id);
    let (headers, body) = mdn.into_parts();
    scene.receive(&headers, &body, Response::ok());
    let delivered = scene.delivered(1);
    assert_eq!(delivered[0].body.bytes, body);
    assert_eq!(delivered[0].header("Content-Type"), Some(content_type(&headers).as_str()));
    // Ours, asynchronous.
    let (headers, body) = positive(&sent).about("MY-OWN-ORG", "ACME", "<order@acme>").into_parts();
    let post = Post::new("/out/ACME", &body).headers(&headers);
    scene.gateway.outbound().send(&post).unwrap();
    let delivered = scene.delivered(1);
    assert_eq!(delivered[0].header("X-AS2-Event"), Some("mdn.sent"));
    assert_eq!(delivered[0].body.bytes, body);
}

#[test]
fn a_headers_delivery_has_the_mdns_headers_and_no_body() {
    let scene = Scene::with(&[], "headers");
    let sent = message(signed_sync());
    scene.send(&sent, Response::mdn(positive(&sent).id("<mdn-1@acme>")));
    let delivered = scene.delivered(2);
    let mdn = delivered.iter().find(|t| t.header("X-AS2-Event") == Some("mdn.received")).unwrap();
    assert_eq!(mdn.header("Message-ID"), Some("<mdn-1@acme>"));
    assert_eq!(mdn.header("AS2-From"), Some("ACME"));
    assert!(mdn.header("Content-Type").unwrap().starts_with("multipart/signed"));
    assert_eq!(mdn.body.length, 0);
}
