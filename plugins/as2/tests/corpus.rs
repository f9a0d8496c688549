//! Decodes every case of the corpus: those of `tests/corpus`, and those captured by others, where
//! `../shared/corpus` stands beside the repository.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells how much it checked"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use as2hook_as2::{
    ContentKind, ContentReceiver, Decoded, Decoder, ErrorCode, Headers, Keyring, Options,
    SignatureStatus, StationKey,
};
use openssl::{pkey::PKey, x509::X509};
use serde_json::Value;

/// Keeps what came out.
#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

impl ContentReceiver for Kept {
    fn begin(&mut self, index: usize, _: Option<&str>, _: &Headers) {
        assert_eq!(index, self.0.len(), "attachments come in order");
        self.0.push(Vec::new());
    }

    fn data(&mut self, index: usize, bytes: &[u8]) {
        self.0[index].extend_from_slice(bytes);
    }
}

fn corpus(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn certificate(bytes: &[u8]) -> X509 {
    X509::from_pem(bytes).or_else(|_| X509::from_der(bytes)).expect("a certificate")
}

/// Every station key, and the partners' certificates by the AS2 names that the cases use.
fn keyring(corpus: &Path) -> Keyring {
    let mut keyring = Keyring::new();
    let keys: Value = serde_json::from_slice(&fs::read(corpus.join("keys.json")).unwrap()).unwrap();
    for key in keys.as_array().unwrap() {
        let file = |field: &str| fs::read(corpus.join(key[field].as_str().unwrap())).unwrap();
        let certificate = certificate(&file("certificate"));
        let ids: &[&str] = match key["name"].as_str().unwrap() {
            "sender" | "sender-old" | "sender-ec" => &["SENDER"],
            "ruby-client" => &["CLIENT", "OPENAS2"],
            "as2testing" => &["as2testing"],
            // Its message has no AS2-From.
            "libas2community" => &["libas2community", ""],
            _ => &[],
        };
        for id in ids {
            keyring.add_certificate(*id, certificate.clone());
        }
        if !key["private_key"].is_null() {
            let private_key = PKey::private_key_from_pem(&file("private_key")).unwrap();
            keyring.add_key(StationKey { certificate, private_key });
        }
    }
    keyring
}

fn serial(corpus: &Path, name: &str) -> String {
    let keys: Value = serde_json::from_slice(&fs::read(corpus.join("keys.json")).unwrap()).unwrap();
    let key = keys.as_array().unwrap().iter().find(|k| k["name"] == name).unwrap();
    let bytes = fs::read(corpus.join(key["certificate"].as_str().unwrap())).unwrap();
    let number = certificate(&bytes).serial_number().to_bn().unwrap();
    number.to_hex_str().unwrap().to_ascii_lowercase()
}

fn decode(keyring: &Arc<Keyring>, headers: &Headers, body: &[u8], cut: usize) -> (Decoded, Kept) {
    let mut kept = Kept::default();
    let mut decoder = Decoder::new(headers, keyring.clone(), Options::default());
    for piece in body.chunks(cut) {
        decoder.push(piece, &mut kept);
    }
    (decoder.finish(true, &mut kept), kept)
}

#[test]
fn every_case_of_the_repository_comes_out_as_expected() {
    assert!(check_all(&corpus("../../tests/corpus")) >= 31);
}

#[test]
fn every_captured_case_comes_out_as_expected() {
    let corpus = corpus("../../../shared/corpus");
    if corpus.is_dir() {
        check_all(&corpus);
    } else {
        println!("Captured cases are not tried: {} is not there.", corpus.display());
    }
}

/// Returns how many there are.
fn check_all(corpus: &Path) -> usize {
    let keyring = Arc::new(keyring(corpus));
    let mut cases: Vec<_> =
        fs::read_dir(corpus.join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "the corpus folder is there but has no cases");
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let headers = Headers::parse(&fs::read(case.join("headers.txt")).unwrap());
        let body = fs::read(case.join("body.bin")).unwrap();
        let expected: Value =
            serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        let (decoded, kept) = decode(&keyring, &headers, &body, body.len().max(1));
        for cut in [1, 2, 3, 7, 61, 1000] {
            let (again, _) = decode(&keyring, &headers, &body, cut);
            assert_eq!(again, decoded, "{name} cut into pieces of {cut}");
        }
        let mut check = |what: &str, is: Value, should: Value| {
            if is != should {
                wrong.push(format!("{name}: {what} is {is}, should be {should}"));
            }
        };
        if name.starts_with("neg-") {
            check_negative(&name, &decoded, &mut check);
            continue;
        }
        check_positive(corpus, &decoded, &kept, &expected, &headers, &mut check);
        for (index, attachment) in kept.0.iter().enumerate() {
            if expected.get("mdn").is_none() {
                let sum = openssl::sha::sha256(attachment);
                let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
                let should = &expected["payloads"][index]["sha256"];
                assert_eq!(sum.as_str(), should, "{name}: bytes of attachment {index}");
            }
        }
    }
    println!("{} cases of {} were decoded.", cases.len(), corpus.display());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    cases.len()
}

fn check_negative(name: &str, decoded: &Decoded, check: &mut dyn FnMut(&str, Value, Value)) {
    let code = match name {
        "neg-tampered" => ErrorCode::Signature,
        "neg-wrong-key" => ErrorCode::Decryption,
        "neg-bad-zlib" => ErrorCode::Decompression,
        other => panic!("an unknown negative case: {other}"),
    };
    let codes: Vec<u16> = decoded.errors.iter().map(|e| e.code.number()).collect();
    check("errors", codes.into(), vec![code.number()].into());
    let status = (code == ErrorCode::Signature).then_some("invalid");
    let verified = status.map(|_| false);
    check("signatureVerified", decoded.signature_verified.into(), verified.into());
    let is = serde_json::to_value(decoded.signature_status).unwrap();
    check("signatureStatus", is, status.into());
    if code == ErrorCode::Decompression {
        check("compressed", decoded.compressed.into(), true.into());
        check("encrypted", decoded.encrypted.into(), false.into());
    }
    if code == ErrorCode::Decryption {
        let hidden = decoded.signed.is_none() && decoded.compressed.is_none();
        check("hidden flags", hidden.into(), true.into());
    }
}

fn check_positive(
    corpus: &Path,
    decoded: &Decoded,
    kept: &Kept,
    expected: &Value,
    headers: &Headers,
    check: &mut dyn FnMut(&str, Value, Value),
) {
    let is_mdn = expected.get("mdn").is_some();
    check("kind", (decoded.kind == ContentKind::Mdn).into(), is_mdn.into());
    check(
        "errors",
        decoded.errors.len().min(1).into(),
        usize::from(signer(expected) == Some("embedded")).into(),
    );
    check("encrypted", decoded.encrypted.into(), expected["encrypted"].clone());
    check("signed", decoded.signed.into(), expected["signed"].clone());
    check("compressed", decoded.compressed.into(), expected["compressed"].clone());
    check("message id", decoded.as2_message_id.clone().into(), expected["message_id"].clone());
    for layer in expected["layers"].as_array().unwrap() {
        if let Some(key) = layer["decrypted_with"].as_str() {
            check(
                "decryptedWith",
                decoded.decrypted_with.clone().into(),
                serial(corpus, key).into(),
            );
        }
    }
    if expected["signed"] == true {
        let (status, by) = match signer(expected) {
            Some("embedded") => (SignatureStatus::OtherCertificate, None),
            Some(name) => (SignatureStatus::Valid, Some(serial(corpus, name))),
            None => panic!("a signed case without a signer"),
        };
        check(
            "signature",
            format!("{:?}", decoded.signature_status).into(),
            format!("{:?}", Some(status)).into(),
        );
        if by.is_some() {
            check("signer", decoded.signer.clone().into(), by.into());
        }
        check_mic(decoded, expected, headers, check);
    }
    if is_mdn {
        check("attachments", decoded.attachments.len().into(), 0.into());
        check_mdn(decoded, expected, check);
        return;
    }
    let payloads = expected["payloads"].as_array().unwrap();
    check("attachments", decoded.attachments.len().into(), payloads.len().into());
    check("attachments kept", kept.0.len().into(), payloads.len().into());
    for (is, should) in decoded.attachments.iter().zip(payloads) {
        let name = should["filename"].as_str().map(|n| n.rsplit('/').next().unwrap());
        check("name", is.name.clone().into(), name.into());
        check("size", is.size.into(), should["size"].clone());
        check("sha256", is.sha256.clone().into(), should["sha256"].clone());
        check("type", is.content_type.clone().into(), should["content_type"].clone());
    }
}

fn signer(expected: &Value) -> Option<&str> {
    expected["layers"].as_array()?.iter().find_map(|layer| layer["signer"].as_str())
}

/// By the digest that the receipt asks for, else by the signature's.
fn check_mic(
    decoded: &Decoded,
    expected: &Value,
    headers: &Headers,
    check: &mut dyn FnMut(&str, Value, Value),
) {
    let Some(layer) = expected["layers"].as_array().unwrap().iter().find(|l| l["mic"].is_string())
    else {
        return;
    };
    let wants_sha256 = headers.get("disposition-notification-options").is_some();
    let mic = decoded.mic.clone().unwrap_or_default();
    let (value, algorithm) = mic.split_once(", ").unwrap_or_default();
    if wants_sha256 {
        let sum = openssl::base64::decode_block(value).unwrap();
        let hex: String = sum.iter().map(|b| format!("{b:02x}")).collect();
        check("sha-256 MIC", hex.into(), layer["signed_sha256"].clone());
        check("MIC algorithm", algorithm.into(), "sha-256".into());
    } else {
        check("MIC", value.into(), layer["mic"].clone());
        let plain = algorithm.replace('-', "");
        let should = layer["signers"][0]["digest"].as_str().unwrap();
        check("MIC algorithm", plain.into(), should.into());
    }
}

fn check_mdn(decoded: &Decoded, expected: &Value, check: &mut dyn FnMut(&str, Value, Value)) {
    let mdn = decoded.mdn.clone().unwrap_or_default();
    let should = |field: &str| expected["mdn"].get(field).cloned().unwrap_or(Value::Null);
    check("original id", mdn.original_message_id.into(), should("original-message-id"));
    check("disposition", mdn.disposition.into(), should("disposition"));
    check("MDN's MIC", mdn.mic.into(), should("received-content-mic"));
    check("reporting UA", mdn.reporting_ua.into(), should("reporting-ua"));
    check("final recipient", mdn.final_recipient.into(), should("final-recipient"));
    let failed = should("disposition").as_str().unwrap().contains("error");
    check("MDN's error", mdn.error.into(), failed.into());
    let text = expected["mdn_text"].as_str().unwrap().trim_end();
    let is = mdn.human_message.unwrap_or_default();
    check("human message", is.trim_end().starts_with(text).into(), true.into());
}
