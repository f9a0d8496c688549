//! Both signatures of a delivery, worked out anew.

use as2hook_testing::{Request, Rule, pki, receiver, sink};
use openssl::{base64, hash::MessageDigest, pkey::PKey, sign::Signer};

use super::{deliver, order, plain_order, values};

pub(crate) const PLAIN: &str = "a secret of any form: \u{fc}";
pub(crate) const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn both_signatures_verify_in_every_mode() {
    for secret in [WHSEC, PLAIN] {
        let receiver = receiver().start();
        let sink = sink().start();
        let with = |rule: Rule| rule.set("secret", &format!("{secret:?}"));
        let mut ids = Vec::new();
        for request in deliver(&receiver, &sink, with, &order().build()) {
            assert_eq!(
                values(&request, "webhook-signature"),
                [webhook_signature(&request, secret)]
            );
            assert_eq!(values(&request, "X-AS2-Signature"), [as2_signature(&request, secret)]);
            assert_eq!(values(&request, "X-AS2-Signature-Status"), ["valid"]);
            assert_eq!(request.header("X-AS2-Event-Id").map(str::len), Some(36));
            ids.push(request.header("webhook-id").unwrap().to_owned());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3, "one id for each webhook");
    }
}

#[test]
fn errors_are_signed_too() {
    let receiver = receiver().start();
    let sink = sink().start();
    let with = |rule: Rule| rule.set("secret", &format!("{WHSEC:?}"));
    let message = plain_order().sign(pki::stranger()).build();
    for request in deliver(&receiver, &sink, with, &message) {
        assert!(request.header("X-Processing-Error").unwrap().starts_with("900: "));
        assert_eq!(values(&request, "X-AS2-Signature-Status"), ["other-certificate"]);
        assert_eq!(values(&request, "X-AS2-Signature"), [as2_signature(&request, WHSEC)]);
    }
}

#[test]
fn while_a_secret_is_rotated_there_is_a_signature_by_each() {
    let receiver = receiver().start();
    let sink = sink().start();
    let with = |rule: Rule| rule.set("secret", &format!("[{WHSEC:?}, {PLAIN:?}]"));
    for request in deliver(&receiver, &sink, with, &order().build()) {
        let webhook = [WHSEC, PLAIN].map(|secret| webhook_signature(&request, secret)).join(" ");
        assert_eq!(values(&request, "webhook-signature"), [webhook]);
        let [first, second] = [WHSEC, PLAIN].map(|secret| as2_signature(&request, secret));
        let by_version = |version: usize| {
            [&first, &second].map(|both| both.split(' ').nth(version).unwrap().to_owned()).join(" ")
        };
        let as2 = format!("{} {}", by_version(0), by_version(1));
        assert_eq!(values(&request, "X-AS2-Signature"), [as2]);
    }
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let receiver = receiver().start();
    let sink = sink().start();
    for request in deliver(&receiver, &sink, |rule| rule, &order().build()) {
        assert_eq!(request.header("webhook-signature"), None);
        assert_eq!(request.header("X-AS2-Signature"), None);
        let timestamp: i64 = request.header("webhook-timestamp").unwrap().parse().unwrap();
        assert!(timestamp > 1_700_000_000, "seconds since 1970");
    }
}

/// Standard Webhooks, worked out anew.
pub(crate) fn webhook_signature(request: &Request, secret: &str) -> String {
    let field = |name| request.header(name).unwrap_or_default().as_bytes();
    let signed =
        [field("webhook-id"), b".", field("webhook-timestamp"), b".", &request.body.bytes].concat();
    hmac(secret, &signed)
}

/// Both values of the contract, worked out anew.
pub(crate) fn as2_signature(request: &Request, secret: &str) -> String {
    let names = [
        "webhook-id",
        "webhook-timestamp",
        "X-AS2-Event",
        "X-Partner-Type",
        "AS2-From",
        "AS2-To",
        "Message-ID",
        "X-Processing-Error",
        "X-Send-Error",
    ];
    let field = |name| request.header(name).unwrap_or_default().as_bytes();
    let framed = |bytes: &[u8]| [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
    let mut signed: Vec<_> = names.iter().flat_map(|name| framed(field(name))).collect();
    signed.extend(framed(&request.body.bytes));
    let first = hmac(secret, &signed);
    let behind = ["X-AS2-Event-Id", "X-AS2-Signature-Status", "X-AS2-Document"];
    signed.extend(behind.iter().flat_map(|name| framed(field(name))));
    format!("{first} {}", hmac(secret, &signed).replace("v1,", "v2,"))
}

fn hmac(secret: &str, bytes: &[u8]) -> String {
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => base64::decode_block(encoded).unwrap(),
        None => secret.as_bytes().to_vec(),
    };
    let key = PKey::hmac(&key).unwrap();
    let code = Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(bytes);
    format!("v1,{}", base64::encode_block(&code.unwrap()))
}
