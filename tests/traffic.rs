//! Exchanges after public reports, played through a gateway: a folder of `tests/traffic` has the request
//! (`request-line.txt`, where that matters, `headers.txt`, `body.bin`), the response of the other side
//! (`response-headers.txt`, `response-body.bin`), what must come of both in `expected.json`, and why in
//! `why.md`. `recv` is the station RECEIVER, `sender` the partner SENDER.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use as2hook_testing::{
    Gateway, Post, Request, Response, as2hook, corpus::header_fields, pki, receiver, sink,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn phase2_130_disposition_with_a_semicolon_behind_its_error_is_negative() {
    play("disposition-error-semicolon");
}

#[test]
fn curl_6769_absolute_form_beside_a_host_without_its_port_is_passed_on() {
    play("absolute-form-default-port");
}

#[test]
fn as2_server_22_http_1_0_sender_gets_a_response_that_ends_with_its_connection() {
    play("http10");
}

#[test]
fn biztalk_mdn_in_the_response_decides_though_an_asynchronous_one_was_asked_for() {
    play("async-asked-sync-response");
}

#[test]
fn biztalk_empty_receipt_delivery_option_asks_for_a_synchronous_mdn() {
    play("receipt-delivery-option-empty");
}

#[test]
fn pyas2_34_gzipped_mdn_is_read() {
    play("mdn-gzip");
}

#[test]
fn mimekit_218_signed_message_without_its_closing_delimiter_has_a_warning_and_no_error() {
    let (delivery, decoded) = received("no-closing-delimiter");
    assert_eq!(delivery.header("X-Processing-Error"), None);
    for json in [delivery.json(), decoded] {
        assert_eq!((&json["signatureStatus"], &json["errors"]), (&json!("valid"), &json!([])));
        assert_eq!(json["warnings"][0]["code"], "no-closing-delimiter");
        assert!(json["warnings"][0]["message"].is_string());
    }
}

#[test]
fn dada_mail_322_subject_is_text_in_the_json_and_verbatim_in_its_header() {
    let (delivery, decoded) = received("subject-latin1");
    for json in [delivery.json(), decoded] {
        assert_eq!(json["subject"], "Rechnung f\u{fc}r M\u{e4}rz");
        assert_eq!(json["warnings"], json!([]));
    }
    let field =
        delivery.head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("subject"));
    assert_eq!(field.unwrap().value, b"Rechnung f\xfcr M\xe4rz");
}

/// What is reported of a case of the decoder's tests that a partner sends, and what `decode` prints.
fn received(name: &str) -> (Arc<Request>, Value) {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/as2/tests/cases");
    let case = Folder(cases.join(name));
    let (server, sink) = (receiver().start(), sink().start());
    let certificate = case.0.join("sender.crt");
    let gateway = case
        .gateway()
        .receiver(&server)
        .partner_with("SENDER", |partner| match certificate.exists() {
            true => partner.certificate(&certificate),
            false => partner,
        })
        .rule("clean", |rule| rule.to(&sink, "/").payload("json").set("errors", "none"))
        .start()
        .unwrap();
    let (headers, body) = (case.read("headers.txt"), case.read("body.bin"));
    let own = format!("POST /as2 HTTP/1.1\r\nHost: gateway\r\nContent-Length: {}\r\n", body.len());
    let mut connection = gateway.inbound().connect().unwrap();
    let head = [own.as_bytes(), headers.trim_ascii_end(), b"\r\n\r\n"].concat();
    connection.write(&[head, body].concat()).unwrap();
    assert_eq!(connection.read_reply("POST").unwrap().status, 200);
    let delivery = sink.wait_for(1, SOON).unwrap()[0].clone();
    let ran = as2hook(&[
        "decode".as_ref(),
        "-c".as_ref(),
        gateway.config_file().as_os_str(),
        "--headers".as_ref(),
        case.0.join("headers.txt").as_os_str(),
        case.0.join("body.bin").as_os_str(),
    ]);
    (delivery, ran.json())
}

/// Plays one exchange and compares what passed, and what was reported of it.
#[track_caller]
fn play(name: &str) {
    let case = Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traffic").join(name));
    let expected: Value = serde_json::from_slice(&case.read("expected.json")).unwrap();
    let exchange = &expected["exchange"];
    // Without the file the response is empty.
    let response_body = fs::read(case.0.join("response-body.bin")).unwrap_or_default();
    let headers = case.fields("response-headers.txt");
    let response =
        headers.iter().fold(Response::ok(), |response, (name, value)| response.header(name, value));
    let response = response.body(response_body.clone());
    let response = if exchange["framing"] == "close" { response.until_close() } else { response };
    let (server, sink) = (receiver().respond(response).start(), sink().start());
    let gateway = case.gateway().receiver(&server).partner_with("SENDER", |partner| {
        let partner = partner.url(&server.url("/as2"));
        let certificate = case.0.join("sender.crt");
        if certificate.exists() { partner.certificate(&certificate) } else { partner }
    });
    let all = |rule: as2hook_testing::Rule| rule.to(&sink, "/").payload("json").events(&["*"]);
    let gateway = gateway.rule("all", all).start().unwrap();

    // The partner's name stands for the address of the test's server.
    let here = |text: &str| {
        let (address, host) = (server.address().to_string(), server.address().ip().to_string());
        text.replace("partner.invalid:80", &address).replace("partner.invalid", &host)
    };
    let (body, line) = (case.read("body.bin"), here(&case.text("request-line.txt")));
    let mut words = line.split_whitespace().skip(1);
    let target = words.next().unwrap_or("/as2").to_owned();
    let fields = case.fields("headers.txt");
    let post = fields
        .iter()
        .fold(Post::new(&target, &body), |post, (name, value)| post.header(name, here(value)));
    let post = if words.next() == Some("HTTP/1.0") { post.http10() } else { post };
    let is_outbound = exchange["direction"] == "outbound";
    let client = if is_outbound { gateway.outbound() } else { gateway.inbound() };
    let reply = client.send(&post).unwrap();

    assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text());
    assert!(reply.body.bytes == response_body, "the response's body");
    for (name, value) in &headers {
        assert_eq!(reply.header(name), Some(value.as_str()));
    }
    let passed = server.requests();
    assert_eq!(passed.len(), 1);
    assert!(passed[0].complete && passed[0].body.bytes == body, "the request's body");
    for (name, value) in fields.iter().filter(|(name, _)| name != "Host") {
        assert_eq!(passed[0].header(name), Some(value.as_str()));
    }

    let events = exchange["events"].as_array().unwrap();
    let mut reported = sink.wait_for(events.len(), SOON).unwrap();
    let event = |request: &Request| request.header("X-AS2-Event").map(str::to_owned);
    reported.sort_by_key(|request| event(request));
    let names: Vec<_> = reported.iter().map(|request| event(request)).collect();
    assert_eq!(json!(names), json!(events));
    for request in &reported {
        assert_eq!(request.header("X-Processing-Error"), None);
        let document = request.json();
        assert_eq!(
            document.pointer("/error/stage"),
            exchange.get("stage").filter(|_| document["event"] == "send.error")
        );
        if document["kind"] == "message" {
            let attachments = document["attachments"].as_array().unwrap();
            let payloads = expected["payloads"].as_array().unwrap();
            assert_eq!(attachments.len(), payloads.len());
            for (is, should) in attachments.iter().zip(payloads) {
                assert_eq!((&is["size"], &is["sha256"]), (&should["size"], &should["sha256"]));
            }
        }
    }
}

/// Where a case lies.
struct Folder(PathBuf);

// === impl Folder ===

impl Folder {
    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Empty where the file is not there.
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    fn fields(&self, file: &str) -> Vec<(String, String)> {
        header_fields(&self.text(file))
    }

    /// With the station's key, where there is one.
    fn gateway(&self) -> Gateway {
        let gateway = Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook")).outbound();
        let (certificate, key) = (self.0.join("recv.crt"), self.0.join("recv.key"));
        match key.exists() {
            true => gateway.station_files("RECEIVER", &certificate, &key),
            false => gateway.station("RECEIVER", pki::station()),
        }
    }
}
