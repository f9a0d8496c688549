//! Every message and MDN of the corpus, through `as2hook decode` and through a gateway: those of
//! `tests/corpus`, and those captured by others, where `../shared/corpus` is at hand. A printed line
//! says how many were tried.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]
#![allow(clippy::print_stdout, reason = "a test says how much of the corpus it tried")]
#![allow(clippy::needless_pass_by_value, reason = "comparisons are written with json!() in place")]

#[path = "corpus/delivered.rs"]
mod delivered;

use std::{fs, path::Path, sync::Arc, time::Duration};

use as2hook_testing::{
    Gateway, Message, Part, Post, Ran, Request, Response, Running, as2hook,
    corpus::{self, Case},
    pki, receiver, sink,
};
use delivered::{Delivered, Differences};
use openssl::{base64, x509::X509};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

/// Whose station keys they are, and which certificates they sign with.
const STATIONS: [(&str, &[&str]); 3] = [
    ("RECEIVER", &["recv-new", "recv-old", "recv-4096", "recv-ec"]),
    ("SERVER", &["ruby-server"]),
    ("libas2community", &["libas2community"]),
];
const PARTNERS: [(&str, &[&str]); 5] = [
    ("SENDER", &["sender", "sender-old", "sender-ec"]),
    ("CLIENT", &["ruby-client"]),
    ("OPENAS2", &["ruby-client"]),
    ("as2testing", &["as2testing"]),
    ("libas2", &["libas2community"]),
];

/// Names each case to its deliveries.
const MARK: &str = "X-Corpus-Case";

#[test]
fn decode_tells_every_case_as_it_is() {
    let cases = cases();
    let gateway = gateway().receiver_url("http://127.0.0.1:1").prepare().unwrap();
    let mut wrong = Differences::default();
    for case in &cases {
        let folder = gateway.folder().join("out").join(&case.id);
        let ran = decode(&gateway, case, &folder);
        assert_eq!(ran.status, Some(0), "{}: {}", case.id, ran.stderr);
        let mut delivered = wrong.of(&case.id, ran.json());
        let kind = if is_mdn(case) { "mdn" } else { "message" };
        delivered.has("kind", json!(kind));
        check_security(case, &mut delivered);
        if is_mdn(case) {
            delivered.has("as2MessageId", case.expected["message_id"].clone());
            check_mdn(case, "/mdn", &mut delivered);
        } else {
            check_attachments(case, &mut delivered);
            check_files(case, &folder, &mut delivered);
        }
    }
    wrong.none();
    println!("{} cases went through `as2hook decode`.", cases.len());
}

#[test]
fn a_gateway_passes_every_case_and_tells_of_it() {
    let cases = cases();
    let receiver = receiver().respond(Response::ok().body("taken")).start();
    let sink = sink().start();
    let events = ["message.received", "mdn.received"];
    let rule = |payload: &'static str| {
        let path = format!("/{payload}");
        let sink = &sink;
        move |rule: as2hook_testing::Rule| {
            rule.to(sink, &path).payload(payload).events(&events).always()
        }
    };
    let gateway = gateway()
        .receiver(&receiver)
        .rule("json", rule("json"))
        .rule("raw", rule("raw"))
        .start()
        .unwrap();
    let mut connection = gateway.inbound().connect().unwrap();
    for (nth, case) in cases.iter().enumerate() {
        let post = Post::new("/as2", &case.body).headers(&posted(case));
        let reply = connection.send(&post).unwrap();
        assert_eq!((reply.status, &*reply.text()), (200, "taken"), "{}", case.id);
        let got = receiver.requests()[nth].clone();
        assert!(got.complete && got.body.bytes == case.body, "{}: the body", case.id);
        assert_eq!(passed(&got), sorted(posted(case)), "{}: the headers", case.id);
    }
    sink.wait_for(2 * cases.len(), SOON).unwrap();
    let mut wrong = Differences::default();
    for case in &cases {
        check_json(case, &delivery(&sink.requests(), "/json", case), &mut wrong);
        check_raw(case, &delivery(&sink.requests(), "/raw", case), &mut wrong);
    }
    wrong.none();
    println!("{} cases went through the gateway.", cases.len());
}

// === what is tried ===

/// All cases, with the two AS2 names for those that were kept without.
fn cases() -> Vec<Case> {
    let mut cases = corpus::cases();
    for case in &mut cases {
        for (name, id) in [("AS2-From", "libas2"), ("AS2-To", "libas2community")] {
            if case.header(name).is_none() {
                case.headers.push((name.to_owned(), id.to_owned()));
            }
        }
    }
    cases
}

/// A capture has its headers inside, or none at all: then nothing says whose signature it is.
#[test]
fn decode_without_headers_takes_those_of_the_file_and_calls_no_good_signature_anothers() {
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url("http://127.0.0.1:1")
        .station("US", pki::station())
        .partner("ACME", pki::partner())
        .prepare()
        .unwrap();
    let order = Message::new("ACME", "US").attach(Part::text("o.xml", "text/xml", "<o/>"));
    let message = order.sign(pki::partner()).encrypt(pki::station()).build();
    let lines: String =
        message.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{lines}\r\n");
    let capture = format!("POST /as2 HTTP/1.1\r\n{head}");
    for (head, sender, noted) in
        [("", None, false), (&head, Some("ACME"), true), (&capture, Some("ACME"), true)]
    {
        let file = gateway.folder().join("message");
        fs::write(&file, [head.as_bytes(), &message.body].concat()).unwrap();
        let config = gateway.config_file();
        let arguments = ["decode".as_ref(), "-c".as_ref(), config.as_os_str(), file.as_os_str()];
        let ran = as2hook(&arguments);
        let decoded = ran.json();
        assert_eq!(decoded["signatureStatus"], "valid", "{decoded}");
        assert_eq!((&decoded["errors"], &decoded["senderId"]), (&json!([]), &json!(sender)));
        assert_eq!(decoded["attachments"][0]["name"], "o.xml");
        assert_eq!(ran.stderr.contains("begins with header lines"), noted, "{}", ran.stderr);
    }
}

/// Nothing else says why a signed message seems not to be one.
#[test]
fn decode_without_headers_hints_at_them_where_the_file_begins_like_a_multipart() {
    let folder = tempfile::tempdir().unwrap();
    let order = Message::new("ACME", "US").attach(Part::text("o.xml", "text/xml", "<o/>"));
    let message = order.sign(pki::partner()).build();
    let headers = folder.path().join("headers");
    let lines = message.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    fs::write(&headers, lines.collect::<String>()).unwrap();
    let hint = "begins like a multipart: give its head with --headers";
    for (body, with_headers, is_hinted) in [
        (message.body.as_slice(), false, true),
        (&message.body, true, false),
        (b"UNA:+.? 'UNB+", false, false),
        (b"-- a comment\nSELECT 1;\n", false, false),
    ] {
        let file = folder.path().join("body");
        fs::write(&file, body).unwrap();
        let mut arguments = vec!["decode".as_ref(), file.as_os_str()];
        if with_headers {
            arguments.extend(["--headers".as_ref(), headers.as_os_str()]);
        }
        let ran = as2hook(&arguments);
        assert_eq!(ran.stderr.contains(hint), is_hinted, "{}", ran.stderr);
    }
}

fn gateway() -> Gateway {
    let keys = corpus::keys();
    let key = |name: &str| keys.iter().find(|key| key.name == name);
    let mut gateway = Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook"));
    for (as2_id, names) in STATIONS {
        for key in names.iter().filter_map(|name| key(name)) {
            let private_key = key.private_key.as_ref().unwrap();
            gateway = gateway.station_files(as2_id, &key.certificate, private_key);
        }
    }
    for (as2_id, names) in PARTNERS {
        gateway = gateway.partner_with(as2_id, |partner| {
            let known = names.iter().filter_map(|name| key(name));
            known.fold(partner, |partner, key| partner.certificate(&key.certificate))
        });
    }
    gateway
}

fn decode(gateway: &Running, case: &Case, folder: &Path) -> Ran {
    fs::create_dir_all(folder).unwrap();
    let headers = folder.with_extension("headers");
    let lines: Vec<_> =
        case.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fs::write(&headers, lines.join("\r\n") + "\r\n").unwrap();
    as2hook(&[
        "decode".as_ref(),
        "-c".as_ref(),
        gateway.config_file().as_os_str(),
        "--headers".as_ref(),
        headers.as_os_str(),
        "--payload-dir".as_ref(),
        folder.as_os_str(),
        case.body_file.as_os_str(),
    ])
}

/// The header fields to post: without those of the connection that the case was captured from.
fn posted(case: &Case) -> Vec<(String, String)> {
    let of_the_hop =
        |name: &str| ["content-length", "connection"].contains(&&*name.to_ascii_lowercase());
    let mut headers = case.headers.clone();
    headers.retain(|(name, _)| !of_the_hop(name));
    headers.push((MARK.to_owned(), case.id.clone()));
    headers
}

/// The header fields that the receiver got, without those that belong to its own hop.
fn passed(got: &Request) -> Vec<(String, String)> {
    let own = ["host", "content-length", "connection", "x-forwarded-for"];
    let fields = got.head.headers.iter();
    let fields = fields.filter(|field| !own.contains(&&*field.name.to_ascii_lowercase()));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    sorted(fields.map(|field| (field.name.clone(), text(&field.value))).collect())
}

fn sorted(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.sort();
    headers
}

fn delivery(all: &[Arc<Request>], path: &str, case: &Case) -> Arc<Request> {
    let of_case: Vec<_> = all
        .iter()
        .filter(|one| one.target() == path && one.header(MARK) == Some(&case.id))
        .collect();
    assert_eq!(of_case.len(), 1, "{}: deliveries to {path}", case.id);
    of_case[0].clone()
}

// === what must come of it ===

fn check_json(case: &Case, delivery: &Request, wrong: &mut Differences) {
    let mut delivered = wrong.of(&case.id, delivery.json());
    delivered.same(
        "Content-Type",
        json!(delivery.header("Content-Type")),
        json!("application/json"),
    );
    let event = if is_mdn(case) { "mdn.received" } else { "message.received" };
    delivered.same("X-AS2-Event", json!(delivery.header("X-AS2-Event")), json!(event));
    delivered.has("event", json!(event));
    delivered.has("direction", json!("inbound"));
    delivered.has("partnerType", json!("Production"));
    delivered.has("senderId", json!(case.header("AS2-From")));
    delivered.has("receiverId", json!(case.header("AS2-To")));
    delivered.has("subject", json!(case.header("Subject")));
    check_security(case, &mut delivered);
    if is_mdn(case) {
        delivered.has("mdnId", case.expected["message_id"].clone());
        delivered.has("as2MessageId", case.expected["mdn"]["original-message-id"].clone());
        delivered.has("micMatches", Value::Null);
        check_mdn(case, "", &mut delivered);
    } else {
        check_attachments(case, &mut delivered);
    }
    let codes = codes(case);
    let header = delivery.header("X-Processing-Error").map(|text| text.split(':').next().unwrap());
    let code = codes.first().map(ToString::to_string);
    delivered.same("X-Processing-Error", json!(header), json!(code));
}

fn check_raw(case: &Case, delivery: &Request, wrong: &mut Differences) {
    let mut delivered = wrong.of(&case.id, Value::Null);
    let header = |name| json!(delivery.header(name));
    if is_mdn(case) {
        assert!(delivery.body.bytes == case.body, "{}: the MDN as it came", case.id);
        delivered.same("Content-Type", header("Content-Type"), json!(case.header("Content-Type")));
        return;
    }
    if case.id.starts_with("neg-") {
        delivered.same(
            "an error is reported",
            json!(header("X-Processing-Error").is_string()),
            json!(true),
        );
        return;
    }
    let first = &case.expected["payloads"][0];
    delivered.same(
        "first attachment",
        json!(sha256(&delivery.body.bytes)),
        first["sha256"].clone(),
    );
    delivered.same("raw Content-Type", header("Content-Type"), first["content_type"].clone());
    let disposition = delivery.header("Content-Disposition").unwrap_or_default();
    let should = match name(first) {
        None => "attachment".to_owned(),
        // Only this one of the corpus is no token.
        Some("my orders 2026.edi") => "attachment; filename=\"my orders 2026.edi\"; \
                                       filename*=UTF-8''my%20orders%202026.edi"
            .to_owned(),
        Some(name) => format!("attachment; filename={name}"),
    };
    delivered.same("Content-Disposition", json!(disposition), json!(should));
    let count = case.expected["payloads"].as_array().unwrap().len();
    let truncated = (count > 1).then(|| format!("Attachments: 1/{count}"));
    delivered.same("X-Truncated", header("X-Truncated"), json!(truncated));
}

/// Flags, algorithms' outcome, MIC and errors.
fn check_security(case: &Case, delivered: &mut Delivered<'_>) {
    let expected = &case.expected;
    let found: Vec<_> = delivered.json["errors"].as_array().cloned().unwrap_or_default();
    let found = found.iter().map(|error| error["code"].clone()).collect();
    delivered.same("errors", found, json!(codes(case)));
    delivered.has("warnings", json!([]));
    if ["decompression-failed", "decryption-failed"].contains(&case.expect()) {
        return;
    }
    for flag in ["encrypted", "signed", "compressed"] {
        delivered.has(flag, expected[flag].clone());
    }
    if let Some(key) = layer(case, "decrypted_with") {
        delivered.has("decryptedWith", json!(serial(key)));
    }
    let (verified, status) = match layer(case, "signer") {
        None => (Value::Null, "unsigned"),
        Some(_) if case.expect() == "integrity-check-failed" => (json!(false), "invalid"),
        Some("embedded") => (json!(false), "other-certificate"),
        Some(signer) => {
            delivered.has("signer", json!(serial(signer)));
            (json!(true), "valid")
        }
    };
    delivered.has("signatureVerified", verified);
    delivered.has("signatureStatus", json!(status));
    if let Some(mic) = mic(case) {
        delivered.has_mic("mic", &mic);
    }
}

fn check_attachments(case: &Case, delivered: &mut Delivered<'_>) {
    if ["decompression-failed", "decryption-failed"].contains(&case.expect()) {
        return;
    }
    let should: Vec<_> = case.expected["payloads"].as_array().unwrap().clone();
    let is = delivered.json["attachments"].as_array().cloned().unwrap_or_default();
    delivered.same("attachments", json!(is.len()), json!(should.len()));
    for (is, should) in is.iter().zip(&should) {
        delivered.same("name", is["name"].clone(), json!(name(should)));
        delivered.same("size", is["size"].clone(), should["size"].clone());
        delivered.same("sha256", is["sha256"].clone(), should["sha256"].clone());
        delivered.same("contentType", is["contentType"].clone(), should["content_type"].clone());
    }
}

/// What `--payload-dir` wrote: the attachments, and nothing else.
fn check_files(case: &Case, folder: &Path, delivered: &mut Delivered<'_>) {
    if case.id.starts_with("neg-") {
        return;
    }
    let payloads = case.expected["payloads"].as_array().unwrap();
    for (nth, payload) in payloads.iter().enumerate() {
        let unnamed = format!("attachment-{}", nth + 1);
        let file = name(payload).unwrap_or(&unnamed);
        let is = fs::read(folder.join(file)).map(|bytes| sha256(&bytes));
        delivered.same(file, json!(is.unwrap_or_default()), payload["sha256"].clone());
    }
    let files = fs::read_dir(folder).unwrap().count();
    delivered.same("files", json!(files), json!(payloads.len()));
}

fn check_mdn(case: &Case, at: &str, delivered: &mut Delivered<'_>) {
    let mdn = &case.expected["mdn"];
    let disposition = mdn["disposition"].as_str().unwrap();
    let error = disposition.contains("error");
    delivered.at(&format!("{at}/disposition"), json!(disposition));
    if at.is_empty() {
        delivered.has("mdnError", json!(error));
        // Of the MDN's own signature there is no MIC to tell: this is the one that it reports.
        delivered.has("mic", mdn["received-content-mic"].clone());
    } else {
        delivered.at("/mdn/error", json!(error));
        delivered.at("/mdn/originalMessageId", mdn["original-message-id"].clone());
        delivered.at("/mdn/mic", mdn["received-content-mic"].clone());
        delivered.at("/mdn/reportingUa", mdn["reporting-ua"].clone());
        delivered.at("/mdn/finalRecipient", mdn["final-recipient"].clone());
    }
    let text = delivered.json.pointer(&format!("{at}/humanMessage")).and_then(Value::as_str);
    let should = case.expected["mdn_text"].as_str().unwrap().trim_end();
    let begins = text.is_some_and(|text| text.starts_with(should));
    delivered.same("humanMessage", json!(begins), json!(true));
}

fn is_mdn(case: &Case) -> bool {
    case.expected["kind"] == "mdn"
}

/// The codes that must be reported.
fn codes(case: &Case) -> Vec<u16> {
    match (case.expect(), layer(case, "signer")) {
        ("decryption-failed", _) => vec![800],
        ("integrity-check-failed", _) | (_, Some("embedded")) => vec![900],
        ("decompression-failed", _) => vec![1000],
        _ => vec![],
    }
}

/// The first layer's field of this name.
fn layer<'a>(case: &'a Case, field: &str) -> Option<&'a str> {
    case.expected["layers"].as_array()?.iter().find_map(|layer| layer[field].as_str())
}

/// The MIC to report of a message: by SHA-256 where the sender asks for that, which all do that ask.
fn mic(case: &Case) -> Option<String> {
    let asks = case.header("Disposition-Notification-Options").is_some();
    if is_mdn(case) || !asks {
        return case.expected["mic"].as_str().filter(|_| !is_mdn(case)).map(str::to_owned);
    }
    let sum = layer(case, "signed_sha256")?;
    let bytes: Vec<u8> = (0..sum.len() / 2)
        .map(|nth| u8::from_str_radix(&sum[2 * nth..2 * nth + 2], 16).unwrap())
        .collect();
    Some(format!("{}, sha-256", base64::encode_block(&bytes)))
}

/// A payload's file name without any path.
fn name(payload: &Value) -> Option<&str> {
    payload["filename"].as_str().map(|name| name.rsplit('/').next().unwrap())
}

fn sha256(bytes: &[u8]) -> String {
    openssl::sha::sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The serial number of a certificate of the corpus.
fn serial(name: &str) -> String {
    let key = corpus::keys().into_iter().find(|key| key.name == name).unwrap();
    let bytes = fs::read(key.certificate).unwrap();
    let certificate = X509::from_pem(&bytes).or_else(|_| X509::from_der(&bytes)).unwrap();
    let number = certificate.serial_number().to_bn().unwrap();
    number.to_hex_str().unwrap().to_ascii_lowercase()
}
