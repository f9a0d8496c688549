//! `mdn: any`: a partner that does not sign its MDNs though it is asked to, as OpenAS2 and mendelson put up with.

use super::*;

fn scene() -> Scene {
    Scene::of_partner(&[SHORT_DEADLINE], &[("mdn", "any")])
}

fn unsigned(message: &Built) -> Mdn {
    Mdn::processed().mic(&message.mic)
}

/// The stage of `send.error`, and the code in `mdn.received`.
fn failure(scene: &Scene, mdn: impl Fn(&Built) -> Mdn) -> (String, Value) {
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(mdn(&message)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    let stage = json_of(&delivered, "send.error")["error"]["stage"].as_str().unwrap().to_owned();
    (stage, json_of(&delivered, "mdn.received")["errors"][0]["code"].clone())
}

#[test]
fn openas2_unsigned_synchronous_mdn_is_accepted_with_900_where_the_partner_may() {
    let scene = scene();
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(unsigned(&message)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    let mdn = json_of(&delivered, "mdn.received");
    assert_eq!(mdn["errors"][0]["code"], 900);
    assert_eq!((&mdn["signatureVerified"], &mdn["micMatches"]), (&Value::Null, &true.into()));
    let sent =
        delivered.iter().find(|delivered| delivered.header("X-AS2-Event") == Some("message.sent"));
    assert_eq!(sent.unwrap().header("X-Processing-Error"), None);
}

#[test]
fn unsigned_synchronous_mdn_that_is_wrong_otherwise_fails_the_message_also_where_the_partner_may() {
    let scene = scene();
    let mic = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha-256";
    let expected = |stage: &str| (stage.to_owned(), Value::from(900));
    assert_eq!(failure(&scene, |_| Mdn::error("decryption-failed")), expected("mdn"));
    assert_eq!(failure(&scene, |_| Mdn::processed().mic(mic)), expected("mic"));
    let about = |message: &Built| unsigned(message).about("ACME", "MY-OWN-ORG", "<another@us>");
    assert_eq!(failure(&scene, about), expected("mdn"));
    let forged = |message: &Built| unsigned(message).sign(pki::stranger(), Digest::Sha256);
    assert_eq!(failure(&scene, forged), expected("signature"));
}

#[test]
fn unsigned_asynchronous_mdn_changes_nothing_also_where_the_partner_may() {
    let scene = scene();
    let message = message(signed_async());
    scene.send(&message, Response::ok());
    scene.wait_for("message.sent", &message);
    for mdn in [Mdn::error("decryption-failed"), unsigned(&message)] {
        scene.receive_mdn(mdn, &message);
    }
    scene.wait_for("mdn.overdue", &message);
    let delivered = scene.delivered(4);
    let mdn = "mdn.received";
    assert_eq!(names(&delivered), ["mdn.overdue", mdn, mdn, "message.sent"]);
    assert_eq!(json_of(&delivered, mdn)["errors"][0]["code"], 900);
}

#[test]
fn unsigned_mdn_in_the_response_to_an_asynchronous_request_is_a_synchronous_one() {
    let scene = scene();
    let message = scene.in_time(|message| {
        scene.send(message, Response::mdn(unsigned(message)));
        scene.wait_for("message.sent", message);
        scene.wait_for("mdn.received", message);
    });
    scene.wait_for_an_overdue_one();
    assert!(!scene.is_overdue(&message));
}
