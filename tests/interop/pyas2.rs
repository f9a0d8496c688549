//! django-pyas2 on both ends.

use as2hook_testing::{Request, pki};
use serde_json::{Value, json};

use super::{
    peer::{SendOptions, Software},
    scene::{Scene, bare, report},
};

/// Names beside the partner's settings of django-pyas2: signature, encryption, compression.
const LAYERS: [(&str, &str, &str, bool); 6] = [
    ("plain", "", "", false),
    ("signed", "sha256", "", false),
    ("encrypted", "", "aes_256_cbc", false),
    ("signed and encrypted", "sha256", "aes_256_cbc", false),
    ("compressed, signed and encrypted", "sha256", "aes_128_cbc", true),
    ("signed by SHA-1, with 3DES", "sha1", "tripledes_192_cbc", false),
];

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn messages_and_mdns_pass_and_are_reported_in_both_directions() {
    let scene = Scene::new(Software::Pyas2, Software::Pyas2, pki::partner());
    for (name, signature, encryption, compress) in LAYERS {
        let options =
            |mdn| SendOptions { signature, encryption, compress, mdn, mdn_sign: "sha256" };
        let seen = |event: &Request| {
            let event = event.json();
            assert_eq!(event["errors"], json!([]), "{name}");
            assert_eq!(event["encrypted"], !encryption.is_empty(), "{name}");
            if encryption.is_empty() {
                assert_eq!(event["signed"], !signature.is_empty(), "{name}");
            }
        };
        let mdn = |event: &Request, matches: Value| {
            let event = event.json();
            assert_eq!(event["micMatches"], matches, "{name}: {event}");
            assert_eq!(event["signatureVerified"], true, "{name}: {event}");
            assert_eq!(event["mdnError"], false, "{name}: {event}");
        };
        // django-pyas2 reports the MIC of what was signed alone, by the signature's algorithm whatever it
        // is asked for (SHA-256 here).
        let inbound = if signature.is_empty() { Value::Null } else { json!(true) };
        // What is encrypted for the partner only the partner can see.
        let outbound = if encryption.is_empty() { inbound.clone() } else { Value::Null };

        let sent = scene.ours.send(options(Some("SYNC")));
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let events = scene.events(&["mdn.received", "message.sent"]);
        mdn(&events[0], outbound.clone());
        seen(&events[1]);

        let sent = scene.ours.send(options(Some("ASYNC")));
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        seen(&scene.events(&["message.sent"])[0]);
        scene.theirs.send_mdn();
        let events = scene.events(&["mdn.received"]);
        mdn(&events[0], outbound);
        assert_eq!(events[0].json()["messageKnown"], true, "{name}");
        assert_eq!(scene.ours.status(&sent["id"]), "S", "{name}");

        let sent = scene.theirs.send(options(Some("SYNC")));
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let events = scene.events(&["mdn.sent", "message.received"]);
        mdn(&events[0], inbound);
        seen(&events[1]);
        assert_eq!(events[1].json()["signed"], !signature.is_empty(), "{name}");

        let sent = scene.theirs.send(options(Some("ASYNC")));
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        seen(&scene.events(&["message.received"])[0]);
        // Through the outbound listener, as an HTTP proxy setting sends it.
        scene.ours.send_mdn();
        let events = scene.events(&["mdn.sent"]);
        assert_eq!(events[0].json()["as2MessageId"].as_str().map(bare), sent["id"].as_str());
        assert_eq!(scene.theirs.status(&sent["id"]), "S", "{name}");
        report(&format!("django-pyas2 <-> django-pyas2: {name}, signed MDNs, both modes"));
    }
    let sent = scene.ours.send(SendOptions { signature: "sha256", ..SendOptions::default() });
    assert_eq!(sent["status"], "S", "{sent}");
    scene.events(&["message.sent"]);
    let sent = scene.theirs.send(SendOptions { signature: "sha256", ..SendOptions::default() });
    assert_eq!(sent["status"], "S", "{sent}");
    scene.events(&["message.received"]);
    report("django-pyas2 <-> django-pyas2: signed, no MDN asked for");
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn wrong_certificate_on_their_side_is_reported() {
    let scene = Scene::new(Software::Pyas2, Software::Pyas2, pki::stranger());
    let (signature, mdn_sign) = ("sha256", "sha256");
    let encrypted = SendOptions {
        signature,
        encryption: "aes_256_cbc",
        mdn: Some("SYNC"),
        mdn_sign,
        ..SendOptions::default()
    };
    // They cannot open it, and say so under a signature that is not theirs.
    let sent = scene.ours.send(encrypted);
    assert_eq!(sent["status"], "E", "{sent}");
    let events = scene.events(&["mdn.received", "send.error"]);
    assert_eq!(events[0].json()["signatureVerified"], false);
    assert_eq!(events[1].json()["error"]["stage"], "signature");
    // They take it, and their MDN counts for nothing.
    scene.ours.send(SendOptions {
        signature,
        mdn: Some("ASYNC"),
        mdn_sign,
        ..SendOptions::default()
    });
    scene.events(&["message.sent"]);
    scene.theirs.send_mdn();
    let events = scene.events(&["mdn.received"]);
    assert!(events[0].header("X-Processing-Error").unwrap().starts_with("900: "));
    // We cannot verify what they sign, nor can our server.
    scene.theirs.send(encrypted);
    let events = scene.events(&["mdn.sent", "message.received"]);
    assert_eq!(events[0].json()["mdnError"], true);
    let errors = events[1].json()["errors"].clone();
    let codes: Vec<_> = errors.as_array().unwrap().iter().map(|e| e["code"].clone()).collect();
    assert_eq!(codes, [json!(900), json!(1200)], "{errors}");
    report("django-pyas2 <-> django-pyas2: another certificate than the configured one");
}
