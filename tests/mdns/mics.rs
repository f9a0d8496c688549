//! What an MDN's MIC may be over, and how it may be spelled.

use base64::{Engine, engine::general_purpose::STANDARD};
use openssl::hash::{MessageDigest, hash};

use super::*;

fn sha256(content: &[u8]) -> String {
    format!("{}, sha-256", STANDARD.encode(hash(MessageDigest::sha256(), content).unwrap()))
}

/// The text of an unsigned, unencrypted message in base64.
const TEXT: &str = "UNA:+.? 'UNB+UNOC:3'";

fn plain(from: &str, to: &str, receipt: Option<Receipt>) -> Built {
    let part = Part::text("order.edi", "application/edifact", TEXT);
    asking(receipt, Message::new(from, to).attach(part).base64())
}

/// The MIC of every form of a plain message.
fn forms(message: &Built) -> [(&'static str, String); 3] {
    let is_content = |name: &str| name.to_ascii_lowercase().starts_with("content-");
    let fields = message.headers.iter().filter(|(name, _)| is_content(name));
    let fields: String = fields.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let entity = [fields.as_bytes(), b"\r\n", &message.body].concat();
    [
        ("entity", sha256(&entity)),
        ("content", sha256(&message.body)),
        ("content-decoded", sha256(TEXT.as_bytes())),
    ]
}

fn by_partner(mic: &str) -> Mdn {
    Mdn::processed().mic(mic).sign(pki::partner(), Digest::Sha256)
}

/// Both values have to be named.
fn assert_names(error: &Value, theirs: &str, ours: &str) {
    let text = error["error"]["message"].as_str().unwrap();
    assert_eq!(error["error"]["stage"], "mic", "{text}");
    assert!(text.contains(theirs) && text.contains(ours), "{text}");
}

#[test]
fn synchronous_mdn_of_a_plain_message_matches_in_each_form() {
    let scene = Scene::new();
    for n in 0..3 {
        let message = plain("MY-OWN-ORG", "ACME", signed_sync());
        let (form, mic) = forms(&message)[n].clone();
        scene.send(&message, Response::mdn(by_partner(&mic)));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.received", "message.sent"], "{form}");
        let mdn = json_of(&delivered, "mdn.received");
        assert_eq!((&mdn["micMatches"], &mdn["micForm"]), (&true.into(), &form.into()));
    }
    let message = plain("MY-OWN-ORG", "ACME", signed_sync());
    let other = sha256(b"other");
    scene.send(&message, Response::mdn(by_partner(&other)));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_names(&json_of(&delivered, "send.error"), &other, &forms(&message)[1].1);
    let mdn = json_of(&delivered, "mdn.received");
    assert_eq!((&mdn["micMatches"], &mdn["micForm"]), (&false.into(), &Value::Null));
}

#[test]
fn asynchronous_mdn_of_a_plain_message_matches_in_each_form() {
    let scene = Scene::new();
    for n in 0..3 {
        let message = plain("MY-OWN-ORG", "ACME", signed_async());
        let (form, mic) = forms(&message)[n].clone();
        scene.send(&message, Response::ok());
        assert_eq!(scene.events(1), ["message.sent"]);
        scene.receive_mdn(by_partner(&mic), &message);
        let mdn = json_of(&scene.delivered(1), "mdn.received");
        assert_eq!((&mdn["micMatches"], &mdn["micForm"]), (&true.into(), &form.into()));
    }
    let message = plain("MY-OWN-ORG", "ACME", signed_async());
    let other = sha256(b"other");
    scene.send(&message, Response::ok());
    assert_eq!(scene.events(1), ["message.sent"]);
    scene.receive_mdn(by_partner(&other), &message);
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    assert_names(&json_of(&delivered, "send.error"), &other, &forms(&message)[1].1);
    assert_eq!(json_of(&delivered, "mdn.received")["micMatches"], false);
}

#[test]
fn our_receivers_asynchronous_mdn_of_a_plain_message_matches_in_each_form() {
    let scene = Scene::new();
    let send = |mic: &str, message: &Built| {
        let mdn = Mdn::processed().mic(mic).sign(pki::station(), Digest::Sha256);
        let (headers, body) = mdn.about("MY-OWN-ORG", "ACME", &message.id).into_parts();
        let post = Post::new("/out/ACME", &body).headers(&headers);
        scene.gateway.outbound().send(&post).unwrap();
        json_of(&scene.delivered(1), "mdn.sent")
    };
    for n in 0..3 {
        let message = plain("ACME", "MY-OWN-ORG", signed_async());
        let (form, mic) = forms(&message)[n].clone();
        scene.receive(&message.headers, &message.body, Response::ok());
        assert_eq!(scene.events(1), ["message.received"]);
        let mdn = send(&mic, &message);
        assert_eq!((&mdn["micMatches"], &mdn["micForm"]), (&true.into(), &form.into()));
    }
}

#[test]
fn mic_is_compared_in_every_spelling_of_its_algorithm() {
    let scene = Scene::new();
    let receipt = || Some(Receipt::SignedSync(Digest::Sha1));
    type Spell = fn(&str) -> String;
    let spellings: [Spell; 5] = [
        |sum| format!("{sum}, rsa-sha1"),
        |sum| format!("{}, sha1", sum.trim_end_matches('=')),
        |sum| format!("{sum}, sha"),
        |sum| format!("\"{sum}\", \"SHA-1\" (160 bits)"),
        |sum| format!("sha1, {sum}"),
    ];
    for spell in spellings {
        let message = message(receipt());
        let (sum, _) = message.mic.split_once(',').unwrap();
        scene.send(&message, Response::mdn(by_partner(&spell(sum))));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), ["mdn.received", "message.sent"], "{}", spell(sum));
        let mdn = json_of(&delivered, "mdn.received");
        assert_eq!((&mdn["micMatches"], &mdn["micForm"]), (&true.into(), &"entity".into()));
    }
    for spell in spellings {
        let message = message(receipt());
        let other = spell(&STANDARD.encode(hash(MessageDigest::sha1(), b"other").unwrap()));
        scene.send(&message, Response::mdn(by_partner(&other)));
        let delivered = scene.delivered(2);
        assert_eq!(names(&delivered), BOTH, "{other}");
        assert_names(&json_of(&delivered, "send.error"), &other, &message.mic);
    }
}

#[test]
fn mic_of_an_algorithm_that_is_not_known_is_not_compared() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(by_partner("AAECAwQFBgcICQoLDA0ODw==, whirlpool")));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), ["mdn.received", "message.sent"]);
    let mdn = json_of(&delivered, "mdn.received");
    assert_eq!((&mdn["micMatches"], &mdn["micForm"]), (&Value::Null, &Value::Null));
}

#[test]
fn mic_by_an_algorithm_that_was_not_offered_is_compared_or_wrong() {
    let scene = Scene::new();
    let sum = |digest, content: &[u8]| STANDARD.encode(hash(digest, content).unwrap());
    let text = TEXT.as_bytes();
    for (theirs, is_right) in [
        (format!("{}, sha1", sum(MessageDigest::sha1(), text)), true),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha1".to_owned(), false),
        (format!("{}, sha-384", sum(MessageDigest::sha384(), text)), false),
    ] {
        let part = Part::text("order.edi", "application/edifact", TEXT);
        let order = Message::new("MY-OWN-ORG", "ACME").attach(part);
        scene.send(&asking(signed_sync(), order), Response::mdn(by_partner(&theirs)));
        let delivered = scene.delivered(2);
        let should = if is_right { ["mdn.received", "message.sent"] } else { BOTH };
        assert_eq!(names(&delivered), should, "{theirs}");
        assert_eq!(json_of(&delivered, "mdn.received")["micMatches"], is_right);
        if !is_right {
            assert_names(&json_of(&delivered, "send.error"), &theirs, &sha256(text));
        }
    }
}

#[test]
fn mic_that_cannot_be_read_fails_the_message_and_the_error_says_so() {
    let scene = Scene::new();
    let message = message(signed_sync());
    scene.send(&message, Response::mdn(by_partner("AAAA, sha1")));
    let delivered = scene.delivered(2);
    assert_eq!(names(&delivered), BOTH);
    let text = "The MDN's MIC AAAA, sha1 cannot be read";
    assert_names(&json_of(&delivered, "send.error"), text, &message.mic);
}
