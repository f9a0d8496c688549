//! Inputs made after public bug reports, one folder each in `cases`: `headers.txt`, `body.bin`, what is
//! right in `expected.json`, and why in `why.md`. `recv*` are the station's keys, `sender.crt` the partner's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path};

use as2hook_as2::{ContentKind, Decoded, Headers, Keyring, Options, SignatureStatus, StationKey};
use openssl::{pkey::PKey, x509::X509};
use serde_json::{Value, json};
use support::{Kept, Message, codes, decode_cut};

fn keyring(case: &Path) -> Keyring {
    let mut keyring = Keyring::new();
    let mut files: Vec<_> = fs::read_dir(case).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "crt")) {
        let certificate = X509::from_pem(&fs::read(file).unwrap()).unwrap();
        if file.ends_with("sender.crt") {
            keyring.add_certificate("SENDER", certificate);
        } else {
            let key = fs::read(file.with_extension("key")).unwrap();
            let private_key = PKey::private_key_from_pem(&key).unwrap();
            keyring.add_key(StationKey { certificate, private_key });
        }
    }
    keyring
}

/// What `expected.json` says, and what is; only where they differ.
fn differences(case: &Path, decoded: &Decoded, kept: &Kept, expected: &Value) -> Vec<String> {
    let mut all = Vec::new();
    let mut check = |what: &str, is: Value, should: Value| {
        if is != should {
            all.push(format!("{what} is {is}, should be {should}"));
        }
    };
    check("errors", json!(codes(decoded)), json!([]));
    let kind = expected["kind"].as_str().unwrap_or("message");
    check("kind", json!(decoded.kind), json!(kind));
    let status = match case.join("sender.crt").exists() {
        true => SignatureStatus::Valid,
        false => SignatureStatus::Unsigned,
    };
    check("signature", json!(decoded.signature_status), json!(status));
    for (field, is) in [
        ("signed", json!(decoded.signed)),
        ("encrypted", json!(decoded.encrypted)),
        ("compressed", json!(decoded.compressed)),
        ("mic", json!(decoded.mic)),
        ("subject", json!(decoded.subject)),
    ] {
        if let Some(should) = expected.get(field) {
            check(field, is, should.clone());
        }
    }
    if decoded.kind == ContentKind::Mdn {
        let mdn = decoded.mdn.clone().unwrap();
        let should = expected["mdn"]["original-message-id"].clone();
        check("original id", json!(mdn.original_message_id), should);
        return all;
    }
    let payloads = expected["payloads"].as_array().unwrap();
    check("attachments", json!(decoded.attachments.len()), json!(payloads.len()));
    for (index, should) in payloads.iter().enumerate().take(decoded.attachments.len()) {
        let is = &decoded.attachments[index];
        if let Some(name) = should["filename"].as_str() {
            check("name", json!(is.name), json!(name));
        }
        check("size", json!(is.size), should["size"].clone());
        check("sha256", json!(is.sha256), should["sha256"].clone());
        check("bytes", json!(kept.bytes[index].len()), should["size"].clone());
    }
    all
}

#[test]
fn cases_after_public_reports_are_decoded_as_they_should_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<_> =
        fs::read_dir(folder).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let read = |file: &str| fs::read(case.join(file)).unwrap();
        let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
        let headers = Headers::parse(&read("headers.txt"));
        let message = Message { headers, body: read("body.bin") };
        let keyring = keyring(case);
        let whole = message.body.len();
        for sizes in [&[whole][..], &[1021, 1, 65_536]] {
            let (decoded, kept) = decode_cut(&message, &keyring, Options::default(), sizes);
            let name = case.file_name().unwrap().to_string_lossy();
            let errors = &decoded.errors;
            let found = differences(case, &decoded, &kept, &expected);
            wrong.extend(found.iter().map(|d| format!("{name}: {d} ({errors:?})")));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
