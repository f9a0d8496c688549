//! libas2 as the partner, of a server of libas2 as well and of django-pyas2. What libas2 gets wrong itself is
//! asserted and printed, so that a newer version that mends it is noticed.

use as2hook_testing::{Request, pki};
use serde_json::{Value, json};

use super::{
    peer::{SendOptions, Software},
    scene::{Scene, report},
};

/// Names beside signature and encryption as libas2 spells them, and the cipher as events do.
const LAYERS: [(&str, &str, &str, Option<&str>); 8] = [
    ("plain", "", "", None),
    ("signed", "sha-256", "", None),
    ("encrypted by AES-128-CBC", "", "aes128-CBC", Some("aes-128-cbc")),
    ("signed, encrypted by AES-256-CBC", "sha-256", "aes256-CBC", Some("aes-256-cbc")),
    ("encrypted by AES-128-GCM", "", "aes128-GCM", Some("aes-128-gcm")),
    ("signed by SHA-384, encrypted by AES-192-GCM", "sha-384", "aes192-GCM", Some("aes-192-gcm")),
    ("signed by SHA-512, encrypted by AES-256-GCM", "sha-512", "aes256-GCM", Some("aes-256-gcm")),
    ("signed by SHA-1, encrypted by 3DES", "sha-1", "des-EDE3-CBC", Some("des-ede3-cbc")),
];

/// Names beside the partner's settings of django-pyas2.
const PYAS2_LAYERS: [(&str, &str, &str); 5] = [
    ("plain", "", ""),
    ("signed", "sha256", ""),
    ("encrypted by AES-256-CBC", "", "aes_256_cbc"),
    ("signed, encrypted by AES-128-CBC", "sha256", "aes_128_cbc"),
    ("signed by SHA-1, encrypted by 3DES", "sha1", "tripledes_192_cbc"),
];

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn libas2_messages_and_mdns_pass_and_are_reported_in_both_directions() {
    let scene = Scene::new(Software::Libas2, Software::Libas2, pki::partner());
    for (name, signature, encryption, cipher) in LAYERS {
        let options = |mdn| SendOptions {
            signature,
            encryption,
            mdn: Some(mdn),
            mdn_sign: "sha-256",
            compress: false,
        };
        let (sync, later) = (options("SYNC"), options("ASYNC"));
        // libas2 reports the MIC of signed messages alone, by the signature's digest.
        let inbound = if signature.is_empty() { Value::Null } else { json!(true) };
        let outbound = if encryption.is_empty() { inbound.clone() } else { Value::Null };

        let sent = scene.theirs.send(sync);
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let events = scene.events(&["mdn.sent", "message.received"]);
        check_mdn(name, &events[0], &inbound);
        assert_eq!(events[0].json()["mic"].is_null(), signature.is_empty(), "{name}");
        check_message(name, &events[1], signature, cipher, true);

        let sent = scene.theirs.send(later);
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        check_message(name, &scene.events(&["message.received"])[0], signature, cipher, true);
        scene.ours.send_mdn();
        check_mdn(name, &scene.events(&["mdn.sent"])[0], &inbound);
        assert_eq!(scene.theirs.status(&sent["id"]), "S", "{name}");

        let sent = scene.ours.send(sync);
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let events = scene.events(&["mdn.received", "message.sent"]);
        check_mdn(name, &events[0], &outbound);
        check_message(name, &events[1], signature, cipher, false);

        let sent = scene.ours.send(later);
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        check_message(name, &scene.events(&["message.sent"])[0], signature, cipher, false);
        scene.theirs.send_mdn();
        let events = scene.events(&["mdn.received"]);
        check_mdn(name, &events[0], &outbound);
        assert_eq!(events[0].json()["messageKnown"], true, "{name}");
        assert_eq!(scene.ours.status(&sent["id"]), "S", "{name}");
        report(&format!("libas2 <-> libas2: {name}, signed MDNs, both modes"));
    }
    report("libas2 itself: its AES-GCM stands in EnvelopedData, not in AuthEnvelopedData");
    report("libas2 itself: it reports no MIC of unsigned messages, and compares none");
    report("libas2 itself: it encrypts keys by RSA-OAEP with SHA-512 alone");
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn libas2_as_partner_of_django_pyas2_is_reported_as_both_see_it() {
    let scene = Scene::new(Software::Pyas2, Software::Libas2, pki::partner());
    for (name, signature, encryption) in PYAS2_LAYERS {
        let options = |mdn| SendOptions {
            signature,
            encryption,
            mdn: Some(mdn),
            mdn_sign: "sha256",
            compress: false,
        };
        let outbound =
            if signature.is_empty() || !encryption.is_empty() { Value::Null } else { json!(true) };
        let sent = scene.ours.send(options("SYNC"));
        assert_eq!(sent["status"], "S", "{name}: {sent}");
        let events = scene.events(&["mdn.received", "message.sent"]);
        check_mdn(name, &events[0], &outbound);

        let sent = scene.ours.send(options("ASYNC"));
        assert_eq!(sent["status"], "P", "{name}: {sent}");
        scene.events(&["message.sent"]);
        scene.theirs.send_mdn();
        check_mdn(name, &scene.events(&["mdn.received"])[0], &outbound);
        assert_eq!(scene.ours.status(&sent["id"]), "S", "{name}");
        report(&format!("django-pyas2 -> libas2: {name}, signed MDNs, both modes"));
    }
    let sent = scene.ours.send(SendOptions {
        signature: "sha256",
        compress: true,
        mdn: Some("SYNC"),
        mdn_sign: "sha256",
        ..SendOptions::default()
    });
    assert_eq!(sent["status"], "E", "{sent}");
    let events = scene.events(&["mdn.received", "send.error"]);
    assert_eq!(events[1].json()["error"]["stage"], "mdn", "{}", events[1].json());
    assert_eq!(events[1].json()["compressed"], true, "{}", events[1].json());
    report("libas2 itself: it has no compression, and refuses what is compressed and signed");
    for (name, signature, encryption, cipher) in LAYERS {
        let options = SendOptions {
            signature,
            encryption,
            mdn: Some("SYNC"),
            mdn_sign: "sha-256",
            compress: false,
        };
        let sent = scene.theirs.send(options);
        let events = scene.events(&["mdn.sent", "message.received"]);
        if cipher.is_none() {
            assert_eq!(sent["status"], "S", "{name}: {sent}");
            let matches = if signature.is_empty() { Value::Null } else { json!(true) };
            check_mdn(name, &events[0], &matches);
            check_message(name, &events[1], signature, cipher, true);
            report(&format!("libas2 -> django-pyas2: {name}, signed MDN, synchronous"));
            continue;
        }
        // The partner has a negative MDN. What the message is, is reported all the same.
        assert_eq!(sent["status"], "E", "{name}: {sent}");
        let (mdn, message) = (events[0].json(), events[1].json());
        assert_eq!(mdn["mdnError"], true, "{name}: {mdn}");
        assert_eq!(message["errors"][0]["code"], 1200, "{name}: {message}");
        assert_eq!(message["encryptionAlgorithm"], json!(cipher), "{name}: {message}");
        assert_eq!(message["attachments"][0]["name"], "order.edi", "{name}: {message}");
        report(&format!("libas2 -> django-pyas2: {name}: django-pyas2 refuses it (code 1200)"));
    }
    report("django-pyas2 itself: it opens no RSA-OAEP, which libas2 always uses");
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn signed_mdn_as_libas2_writes_it_is_reported_as_not_valid() {
    let scene = Scene::new(Software::Libas2, Software::Libas2, pki::partner());
    scene.theirs.post("/control/mending", &json!(false));
    let options = SendOptions {
        signature: "sha-256",
        mdn: Some("SYNC"),
        mdn_sign: "sha-256",
        ..SendOptions::default()
    };
    let sent = scene.ours.send(options);
    assert_eq!(sent["status"], "E", "{sent}");
    let events = scene.events(&["mdn.received", "send.error"]);
    assert_eq!(events[0].json()["signatureStatus"], "invalid", "{}", events[0].json());
    assert_eq!(events[1].json()["error"]["stage"], "signature");
    // An asynchronous one changes nothing.
    scene.ours.send(SendOptions { mdn: Some("ASYNC"), ..options });
    scene.events(&["message.sent"]);
    scene.theirs.send_mdn();
    let events = scene.events(&["mdn.received"]);
    assert!(events[0].header("X-Processing-Error").unwrap().starts_with("900: "));
    report("libas2 itself: it signs MDNs without their last line break, which it sends (code 900)");
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn negative_mdn_of_libas2_is_reported() {
    // They cannot open what is encrypted for another key.
    let (libas2, certificate) = (Software::Libas2, pki::stranger());
    let scene = Scene::with_certificate(libas2, libas2, pki::partner(), certificate);
    let sent = scene.ours.send(SendOptions {
        encryption: "aes256-CBC",
        mdn: Some("SYNC"),
        ..SendOptions::default()
    });
    assert_eq!(sent["status"], "E", "{sent}");
    let events = scene.events(&["mdn.received", "send.error"]);
    let mdn = events[0].json();
    assert_eq!(mdn["mdnError"], true, "{mdn}");
    let disposition = mdn["disposition"].as_str().unwrap();
    assert!(disposition.contains("failed/failure="), "{disposition}");
    assert_eq!(events[1].json()["error"]["stage"], "mdn", "{}", events[1].json());
    report(
        "libas2 itself: the reason of its negative MDNs stands behind `=`, not `:`; negative all the same",
    );
}

fn check_message(name: &str, event: &Request, signature: &str, cipher: Option<&str>, ours: bool) {
    let event = event.json();
    assert_eq!(event["errors"], json!([]), "{name}: {event}");
    assert_eq!(event["encryptionAlgorithm"], json!(cipher), "{name}: {event}");
    // What is encrypted for the partner only the partner can open.
    if ours || cipher.is_none() {
        let status = if signature.is_empty() { "unsigned" } else { "valid" };
        assert_eq!(event["signatureStatus"], status, "{name}: {event}");
        assert_eq!(event["attachments"][0]["name"], "order.edi", "{name}: {event}");
    }
}

fn check_mdn(name: &str, event: &Request, matches: &Value) {
    let event = event.json();
    assert_eq!(event["signatureStatus"], "valid", "{name}: {event}");
    assert_eq!(event["mdnError"], false, "{name}: {event}");
    if !matches.is_null() {
        assert_eq!(event["micMatches"], *matches, "{name}: {event}");
    }
}
