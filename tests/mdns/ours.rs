//! Inbound messages, and the MDNs that our receiver sends about them.

use super::*;

#[test]
fn our_receivers_synchronous_mdn() {
    let scene = Scene::new();
    let order = order(signed_sync());
    scene.receive(&order.headers, &order.body, Response::mdn(ours(&order)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.sent", "message.received"]);
    let mdn = json_of(&delivered, "mdn.sent");
    assert_eq!(mdn["as2MessageId"], order.id.as_str());
    assert_eq!(mdn["senderId"], "MY-OWN-ORG");
    assert_eq!(mdn["receiverId"], "ACME");
    assert_eq!(mdn["micMatches"], true);
    assert_eq!(mdn["signatureVerified"], true);
    let received = delivered
        .iter()
        .find(|delivered| delivered.header("X-AS2-Event") == Some("message.received"));
    assert_eq!(received.unwrap().header("X-Processing-Error"), None);
}

#[test]
fn our_receivers_negative_mdn_is_code_1200() {
    let scene = Scene::new();
    let order = order(signed_sync());
    let mdn = Mdn::error("unexpected-processing-error").sign(pki::station(), Digest::Sha256);
    scene.receive(&order.headers, &order.body, Response::mdn(mdn));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.sent", "message.received"]);
    let errors = &json_of(&delivered, "message.received")["errors"];
    assert_eq!(errors[0]["code"], 1200, "{errors}");
    assert_eq!(json_of(&delivered, "mdn.sent")["mdnError"], true);
}

#[test]
fn our_receivers_mdn_of_another_mic_is_code_1200() {
    let scene = Scene::new();
    let order = order(signed_sync());
    scene.receive(&order.headers, &order.body, Response::mdn(other_mic()));
    let delivered = scene.delivered(2);
    let errors = &json_of(&delivered, "message.received")["errors"];
    assert_eq!(errors[0]["code"], 1200, "{errors}");
    assert!(errors[0]["message"].as_str().unwrap().contains("MIC"), "{errors}");
    assert_eq!(json_of(&delivered, "mdn.sent")["micMatches"], false);
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
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["mdn.sent"]);
    let mdn = delivered[0].json();
    assert_eq!(mdn["as2MessageId"], order.id.as_str());
    assert_eq!(mdn["senderId"], "MY-OWN-ORG");
    assert_eq!(mdn["signatureVerified"], true);
}

#[test]
fn asynchronous_mdn_of_our_receiver_with_another_mic_is_reported() {
    let scene = Scene::new();
    let order = order(signed_async());
    scene.receive(&order.headers, &order.body, Response::ok());
    let received = json_of(&scene.delivered(1), "message.received");
    let other_mic = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha-256";
    for (mic, matches) in [(order.mic.as_str(), true), (other_mic, false)] {
        let mdn = Mdn::processed().mic(mic).sign(pki::station(), Digest::Sha256);
        let (headers, body) = mdn.about("MY-OWN-ORG", "ACME", &order.id).into_parts();
        let post = Post::new("/out/ACME", &body).headers(&headers);
        assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
        let delivered = scene.delivered(1);
        assert_eq!(names(&delivered), ["mdn.sent"]);
        let mdn = delivered[0].json();
        assert_eq!(mdn["micMatches"], matches, "{mdn}");
        assert_eq!(mdn["messageEventId"], received["eventId"]);
        assert_eq!(delivered[0].header("X-Processing-Error").is_some(), !matches);
    }
}

#[test]
fn our_receivers_asynchronous_mdn_that_the_partner_refuses() {
    let scene = Scene::new();
    let order = order(signed_async());
    let (headers, body) = ours(&order).about("MY-OWN-ORG", "ACME", &order.id).into_parts();
    scene.partner.next([Response::status(500)]);
    let post = Post::new("/out/ACME", &body).headers(&headers);
    assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 500);
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["send.error"]);
    assert_eq!(delivered[0].json()["error"]["stage"], "http");
}

#[test]
fn a_message_that_our_receiver_rejects() {
    let scene = Scene::new();
    let order = order(None);
    scene.receive(&order.headers, &order.body, Response::status(500));
    let delivered = scene.delivered(1);
    assert_eq!(names(&delivered), ["message.rejected"]);
    assert_eq!(delivered[0].json()["error"]["httpStatus"], 500);
}

#[test]
fn a_message_that_our_receiver_cannot_get() {
    let scene = Scene::new();
    let order = order(None);
    scene.receiver.stop();
    let reply = scene.gateway.inbound().send(&Post::message("/as2", &order)).unwrap();
    assert_eq!(reply.status, 502);
    let delivered = scene.sink.wait_for(1, SOON).unwrap();
    assert_eq!(names(&delivered), ["message.rejected"]);
    assert_eq!(delivered[0].json()["error"]["stage"], "connect");
}
