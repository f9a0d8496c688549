//! Headers and names that a partner chooses, on their way into deliveries: none becomes a second
//! header, none takes the place of one of ours.

use std::net::TcpStream;

use as2hook_testing::{Endpoint, Message, Part, Post, sink};

use super::*;

fn gateway_for(sink: &Endpoint, receiver: &Recorder, payload: &str) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(&receiver.url())
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(sink, "/hook").payload(payload).set("secret", "hush"))
        .start()
        .unwrap()
}

/// What must not be in any delivery as a header.
const FORGED: [&str; 4] = ["x-forged", "x-as2-replay", "authorization", "cookie"];

#[test]
fn as2_header_values_stay_values() {
    let receiver = Recorder::start();
    let sink = sink().start();
    let gateway = gateway_for(&sink, &receiver, "json");
    let values = [
        "a%0d%0aX-Forged: 1",
        "a\\r\\nX-Forged: 1",
        "=?utf-8?Q?a=0D=0AX-Forged:_1?=",
        "=?utf-8?B?YQ0KWC1Gb3JnZWQ6IDE=?=",
        "\"a\\\"\\\r X-Forged: 1\"",
        "\u{10d}\u{10a}X-Forged: 1",
        "a\u{85}X-Forged: 1\u{2028}X-Forged: 2",
        "a; X-Forged: 1, b",
        "caf\u{e9} \u{ff}\u{fe}",
    ];
    let mut sent = 0;
    for value in values {
        let message = Message::new("ACME", "MY-OWN-ORG")
            .attach(Part::text("a.edi", "text/plain", "x"))
            .build();
        let subject = value.replace('\r', "");
        let post = Post::new("/as2", &message.body)
            .headers(&without(&message.headers, "subject"))
            .header("Subject", subject)
            .header("X-AS2-Replay", "1")
            .header("X_AS2_Event", "message.rejected")
            .header("webhook-id", "forged")
            .header("Authorization", "Bearer forged")
            .header("Cookie", "forged=1");
        let reply = gateway.inbound().send(&post).unwrap();
        assert_eq!(reply.status, 200, "{value:?}: {}", reply.text());
        sent += 1;
        let delivered = sink.wait_for(sent, SOON).unwrap();
        let delivered = delivered.last().unwrap();
        for name in delivered.head.names() {
            let plain = name.to_ascii_lowercase().replace('_', "-");
            assert!(!FORGED.contains(&&*plain), "{value:?}: {name}");
        }
        assert_eq!(
            delivered.head.names().iter().filter(|n| n.eq_ignore_ascii_case("webhook-id")).count(),
            1
        );
        assert_ne!(delivered.header("webhook-id"), Some("forged"));
        assert_eq!(delivered.header("X-AS2-Event"), Some("message.received"));
        assert!(
            delivered.text().contains("\"event\":\"message.received\""),
            "{}",
            delivered.text()
        );
    }
}

#[test]
fn file_names_stay_names() {
    let receiver = Recorder::start();
    let sink = sink().start();
    let gateway = gateway_for(&sink, &receiver, "raw");
    let names = [
        "attachment; filename=\"a\\\"; x=\\\"b.edi\"",
        "attachment; filename=\"../../etc/passwd\"",
        "attachment; filename*=utf-8''a%0D%0AX-Forged%3A%201.edi",
        "attachment; filename=\"=?utf-8?B?YQ0KWC1Gb3JnZWQ6IDE=?=\"",
        "attachment; filename*0=\"a\"; filename*1*=%0D%0AX-Forged%3A%201",
        "attachment; filename=\"C:\\\\temp\\\\a.edi\"",
        "attachment; filename=\"\u{202e}ide.a\"",
        "attachment; filename=\"\"",
    ];
    for (sent, disposition) in names.iter().enumerate() {
        let body =
            format!("Content-Type: text/plain\r\nContent-Disposition: {disposition}\r\n\r\nx");
        let mixed = format!("--b\r\n{body}\r\n--b--\r\n");
        let post = Post::new("/as2", mixed.as_bytes())
            .header("AS2-Version", "1.2")
            .header("AS2-From", "ACME")
            .header("AS2-To", "MY-OWN-ORG")
            .header("Message-ID", format!("<{sent}@hostile>"))
            .header("Content-Type", "multipart/mixed; boundary=b");
        let reply = gateway.inbound().send(&post).unwrap();
        assert_eq!(reply.status, 200, "{disposition}");
        let delivered = sink.wait_for(sent + 1, SOON).unwrap();
        let delivered = delivered.last().unwrap();
        for name in delivered.head.names() {
            assert!(!FORGED.contains(&&*name.to_ascii_lowercase()), "{disposition}: {name}");
        }
        let delivered = delivered.header("Content-Disposition").unwrap_or_default().to_owned();
        assert!(!delivered.contains(['\r', '\n', '/']), "{disposition}: {delivered}");
        assert!(
            !delivered.contains("..\\") && !delivered.contains("%0D") && !delivered.contains("%2F"),
            "{delivered}"
        );
    }
}

/// What cannot be a value in HTTP does not come in at all.
#[test]
fn a_line_break_in_an_as2_header_is_refused() {
    let receiver = Recorder::start();
    let gateway = inbound(&receiver);
    let to = gateway.inbound().address();
    assert!(TcpStream::connect(to).is_ok());
    for value in ["a\rX-Forged: 1", "a\nX-Forged: 1", "a\n X-Forged: 1", "a\0", "a\x08", "a\x1b[2J"]
    {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nAS2-From: {value}\r\nAS2-To: b\r\nContent-Length: 0\r\n\r\n"
        );
        let came = exchange(to, request.as_bytes(), |_| false);
        assert_eq!(responses(&came), (1, 400), "{value:?}");
    }
    assert!(receiver.bytes().is_empty());
    assert!(!gateway.log().contains("X-Forged") && !gateway.log().contains('\x1b'));
}

fn without(headers: &[(String, String)], name: &str) -> Vec<(String, String)> {
    headers.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(name)).cloned().collect()
}
