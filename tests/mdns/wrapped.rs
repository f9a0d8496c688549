//! Reports within other multiparts (chatmail/core#5151) are MDNs like any other, both ways.

use super::*;

const WRAPPERS: [&str; 3] = ["multipart/mixed", "multipart/related", "multipart/alternative"];

#[test]
fn synchronous_mdn_within_another_multipart_decides_about_its_message() {
    let scene = Scene::new();
    for wrapper in WRAPPERS {
        let message = message(signed_sync());
        scene.send(&message, Response::mdn(positive(&message).within(wrapper)));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.received", "message.sent"], "{wrapper}");
        let mdn = json_of(&delivered, "mdn.received");
        assert_eq!((&mdn["micMatches"], &mdn["signatureVerified"]), (&true.into(), &true.into()));
        scene.send(&message, Response::mdn(negative(&message).within(wrapper)));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), BOTH, "{wrapper}");
        assert_eq!(json_of(&delivered, "send.error")["error"]["stage"], "mdn");
    }
}

#[test]
fn unsigned_mdn_within_another_multipart_is_taken_where_an_unsigned_one_was_asked_for() {
    let scene = Scene::new();
    let message = message(Some(Receipt::Sync));
    let mdn = Mdn::processed().mic(&message.mic).within("multipart/mixed");
    scene.send(&message, Response::mdn(mdn));
    assert_eq!(scene.events(2), ["mdn.received", "message.sent"]);
}

#[test]
fn asynchronous_mdn_within_another_multipart_finds_its_message() {
    let scene = Scene::new();
    for wrapper in WRAPPERS {
        let message = message(signed_async());
        scene.send(&message, Response::ok());
        assert_eq!(scene.events(1), ["message.sent"]);
        scene.receive_mdn(negative(&message).within(wrapper), &message);
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), BOTH, "{wrapper}");
        assert_eq!(json_of(&delivered, "mdn.received")["as2MessageId"], message.id.as_str());
    }
}

#[test]
fn our_receivers_mdn_within_another_multipart_is_sent() {
    let scene = Scene::new();
    for wrapper in WRAPPERS {
        let order = order(signed_sync());
        scene.receive(&order.headers, &order.body, Response::mdn(ours(&order).within(wrapper)));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.sent", "message.received"], "{wrapper}");
        assert_eq!(json_of(&delivered, "mdn.sent")["micMatches"], true);
        let order = self::order(signed_async());
        let mdn = ours(&order).within(wrapper).about("MY-OWN-ORG", "ACME", &order.id);
        let (headers, body) = mdn.into_parts();
        let post = Post::new("/out/ACME", &body).headers(&headers);
        assert_eq!(scene.gateway.outbound().send(&post).unwrap().status, 200);
        let delivered = scene.delivered(1);
        assert_eq!(names(&delivered), ["mdn.sent"], "{wrapper}");
        assert_eq!(delivered[0].json()["as2MessageId"], order.id.as_str());
    }
}
