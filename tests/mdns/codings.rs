//! Content codings (RFC 9110 section 8.4): BizTalk and others send `Accept-Encoding: gzip`, and servers or the
//! proxies before them use it. The traffic keeps its coding.

use as2hook_testing::coding::{deflated, gzip, zlib};
use openssl::sha::sha256;

use super::*;

type Code = fn(&[u8]) -> Vec<u8>;

/// What `Content-Encoding` says, and what that is.
const CODINGS: [(&str, Code); 7] = [
    ("gzip", gzip),
    ("X-GZip", gzip),
    ("deflate", zlib),
    ("deflate", deflated),
    ("identity", <[u8]>::to_vec),
    ("deflate, gzip", |body| gzip(&zlib(body))),
    ("gzip , identity,gzip", |body| gzip(&gzip(body))),
];

/// A response with this MDN under a content coding, and the bytes on the wire.
fn coded_response(mdn: Mdn, message: &Built, (name, code): (&str, Code)) -> (Response, Vec<u8>) {
    let (headers, body) = mdn.about("ANY", "ANY", &message.id).into_parts();
    let response = headers.iter().fold(Response::ok(), |response, (n, v)| response.header(n, v));
    let coded = code(&body);
    (response.header("Content-Encoding", name).body(coded.clone()), coded)
}

/// The same message with its body under a content coding.
fn coded(mut message: Built, (name, code): (&str, Code)) -> Built {
    message.headers.push(("Content-Encoding".to_owned(), name.to_owned()));
    message.body = code(&message.body);
    message
}

#[test]
fn pyas2_34_synchronous_mdn_is_read_under_each_content_coding_and_passes_with_it() {
    let scene = Scene::new();
    for coding in CODINGS {
        let message = message(signed_sync());
        let (response, wire) = coded_response(positive(&message), &message, coding);
        let reply = scene.send(&message, response);
        assert_eq!(reply.body.bytes, wire);
        assert_eq!(reply.header("Content-Encoding"), Some(coding.0));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.received", "message.sent"], "{}", coding.0);
        let mdn = json_of(&delivered, "mdn.received");
        assert_eq!((&mdn["micMatches"], &mdn["signatureVerified"]), (&true.into(), &true.into()));
    }
}

#[test]
fn mdn_of_either_side_is_read_under_a_content_coding_on_each_way() {
    let scene = Scene::new();
    let sent = message(signed_async());
    scene.send(&sent, Response::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    let (mut headers, body) = negative(&sent).about("ACME", "MY-OWN-ORG", &sent.id).into_parts();
    headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    scene.receive(&headers, &gzip(&body), Response::ok());
    let passed = gzip(&body);
    assert!(scene.receiver.requests().iter().any(|request| request.body.bytes == passed));
    assert_eq!(scene.events(2), BOTH);

    let order = order(signed_sync());
    let (response, _) = coded_response(ours(&order), &order, ("gzip", gzip));
    scene.receive(&order.headers, &order.body, response);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.sent", "message.received"]);
    assert_eq!(json_of(&delivered, "mdn.sent")["micMatches"], true);
}

#[test]
fn raw_delivery_of_an_mdn_has_its_entity_without_the_content_coding() {
    let scene = Scene::with(&[], "raw");
    let sent = message(signed_sync());
    let mdn = positive(&sent).about("ACME", "MY-OWN-ORG", &sent.id);
    let (mut headers, body) = mdn.into_parts();
    headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    let response = headers.iter().fold(Response::ok(), |response, (n, v)| response.header(n, v));
    scene.send(&sent, response.body(gzip(&body)));
    let delivered = scene.delivered(2);
    let raw = delivered.iter().find(|t| t.header("X-AS2-Event") == Some("mdn.received")).unwrap();
    assert_eq!(raw.body.bytes, body);
    assert_eq!(raw.header("Content-Encoding"), None);
    scene.receive(&headers, &gzip(&body), Response::ok());
    assert_eq!(scene.delivered(1)[0].body.bytes, body);
}

#[test]
fn oxalis_174_message_is_decoded_under_each_content_coding_and_passes_with_it() {
    let scene = Scene::new();
    for (nth, coding) in CODINGS.into_iter().enumerate() {
        let order = coded(order(None), coding);
        scene.receive(&order.headers, &order.body, Response::ok());
        let delivered = scene.delivered(1);
        assert_eq!(names(&delivered), ["message.received"], "{}", coding.0);
        let json = delivered[0].json();
        assert_eq!(json["errors"], Value::Array(Vec::new()));
        assert_eq!(json["signatureStatus"], "valid");
        let document = b"UNA:+.? 'UNB+UNOC:3'";
        let digest: String = sha256(document).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(json["attachments"][0]["size"], document.len());
        assert_eq!(json["attachments"][0]["sha256"], digest);
        let got = scene
            .receiver
            .requests()
            .into_iter()
            .rfind(|r| r.header("Message-ID") == Some(&order.id));
        let got = got.unwrap_or_else(|| panic!("the receiver has no request {nth}"));
        assert_eq!(got.body.bytes, order.body);
        assert_eq!(got.header("Content-Encoding"), Some(coding.0));
    }
}

#[test]
fn unknown_content_coding_is_1100_with_its_name_and_passes() {
    let scene = Scene::new();
    for (codings, unknown) in [("br", "br"), ("gzip, zstd", "zstd"), ("x-gzip;q=1", "x-gzip")] {
        let order = coded(order(None), (codings, <[u8]>::to_vec));
        scene.receive(&order.headers, &order.body, Response::ok());
        let json = json_of(&scene.delivered(1), "message.received");
        assert_eq!(json["errors"][0]["code"], 1100);
        let text = json["errors"][0]["message"].as_str().unwrap();
        assert!(text.starts_with(&format!("the content coding {unknown}")), "{text}");
        assert_eq!((&json["signed"], &json["encrypted"]), (&Value::Null, &Value::Null));
    }
    // It is not known whether a response has the MDN.
    let message = message(signed_sync());
    let (response, wire) = coded_response(positive(&message), &message, ("br", <[u8]>::to_vec));
    assert_eq!(scene.send(&message, response).body.bytes, wire);
    let error = json_of(&scene.delivered(1), "send.error");
    assert_eq!(
        (&error["error"]["stage"], &error["errors"][0]["code"]),
        (&"mdn".into(), &1100.into())
    );
    let text = error["error"]["message"].as_str().unwrap();
    assert!(text.contains("the content coding br is not known"), "{text}");
}

#[test]
fn damaged_content_coding_is_1000_and_passes() {
    let scene = Scene::new();
    let mut order = coded(order(None), ("gzip", gzip));
    let last = order.body.len() - 6;
    order.body[last] ^= 1;
    scene.receive(&order.headers, &order.body, Response::ok());
    let json = json_of(&scene.delivered(1), "message.received");
    assert_eq!(json["errors"][0]["code"], 1000, "{json}");
    assert_eq!(json["attachments"], Value::Array(Vec::new()));
    assert_eq!(scene.receiver.requests()[0].body.bytes, order.body);
}

#[test]
fn bomb_in_a_content_coding_passes_with_1300_in_both_directions() {
    let scene = Scene::new();
    let zeros = vec![0; 48 << 20];
    let kind = "multipart/report; report-type=disposition-notification; boundary=b";
    for (name, bomb) in [("gzip", gzip(&zeros)), ("gzip, gzip", gzip(&gzip(&zeros)))] {
        let order = order(None);
        let mut headers: Vec<_> =
            order.headers.iter().filter(|(name, _)| name != "Content-Type").cloned().collect();
        headers.push(("Content-Type".to_owned(), "application/octet-stream".to_owned()));
        headers.push(("Content-Encoding".to_owned(), name.to_owned()));
        scene.receive(&headers, &bomb, Response::ok());
        let json = json_of(&scene.delivered(1), "message.received");
        assert_eq!(json["errors"][0]["code"], 1300, "{}", json["errors"]);

        let message = message(signed_sync());
        let response = Response::ok().header("Content-Type", kind).header("Content-Encoding", name);
        assert_eq!(scene.send(&message, response.body(bomb.clone())).body.bytes, bomb);
        let error = json_of(&scene.delivered(1), "send.error");
        assert_eq!(error["error"]["stage"], "mdn");
        assert_eq!(error["errors"][0]["code"], 1300, "{}", error["errors"]);
    }
}
