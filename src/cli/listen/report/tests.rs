use as2hook_format::sign::sign;
use http::Request;

use super::*;

const SECRET: &str = "my_secret";

/// What is printed of a request with these headers, and signatures by this secret.
fn printed(headers: &[(&str, &str)], body: &[u8], signed_with: Option<&str>, age: i64) -> String {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let time = (now.as_second() - age).to_string();
    let mut builder = Request::post("/hook").header("webhook-id", "msg_1");
    builder = builder.header("webhook-timestamp", &time);
    for (name, value) in headers {
        builder = builder.header(*name, value.as_bytes());
    }
    if let Some(secret) = signed_with {
        let covered = Covered {
            webhook_id: b"msg_1",
            webhook_timestamp: time.as_bytes(),
            event: b"message.received",
            ..Covered::default()
        };
        let signatures = sign(&[Secret::parse(secret).unwrap()], &covered, body);
        builder = builder.header("X-AS2-Event", "message.received");
        builder = builder.header("webhook-signature", signatures.webhook);
        builder = builder.header("X-AS2-Signature", signatures.as2);
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    request(&head, body, &Secret::parse(SECRET).unwrap(), now)
}

#[test]
fn signed_json_is_valid_and_has_a_line_for_each_member() {
    let body =
        br#"{"as2MessageId":"<1, \"2\">","errors":[],"attachments":[{"size":1}],"eventId":"e"}"#;
    assert_eq!(
        printed(&[("X-AS2-Attempt", "1")], body, Some(SECRET), 0),
        r#"
08:00:00Z POST /hook
  message.received, payload json, attempt 1
  Signature: valid
  Timestamp: valid
  X-AS2-Signature: valid
  webhook-id: msg_1
  Body: 82 bytes

{
  "as2MessageId": "<1, \"2\">",
  "errors": [],
  "attachments": [
    {
      "size": 1
    }
  ],
  "eventId": "e"
}
"#
    );
}

#[test]
fn reason_is_printed_where_a_signature_or_a_timestamp_is_not_valid() {
    for (headers, secret, age, expected) in [
        (&[][..], None, 0, "\n  Signature: NOT VALID: there is none; the rule has no secret\n"),
        (&[], None, 0, "\n  no X-AS2-Event header, so not from as2hook\n"),
        (&[], Some("other"), 0, "\n  Signature: NOT VALID: made with another secret, or of"),
        (&[], Some("other"), 0, "\n  X-AS2-Signature: NOT VALID: made with another secret, or"),
        (
            &[],
            Some(SECRET),
            301,
            "\n  Timestamp: NOT VALID: 301 s old; at most 300 s are allowed\n",
        ),
        (&[], Some(SECRET), -301, "\n  Timestamp: NOT VALID: 301 s ahead; at most"),
        (&[], Some(SECRET), 300, "\n  Timestamp: valid\n"),
        (&[("AS2-From", "ACME")], Some(SECRET), 0, "\n  X-AS2-Signature: NOT VALID: made"),
        (&[("AS2-From", "ACME")], Some(SECRET), 0, "\n  Signature: valid\n"),
        (&[("webhook-signature", "v1,\u{e4}")], None, 0, "\n  Signature: NOT VALID: made"),
    ] {
        let printed = printed(headers, b"", secret, age);
        assert!(printed.contains(expected), "{expected} in {printed}");
        assert!(printed.ends_with("\n  Body: empty\n"), "{printed}");
    }
}

#[test]
fn timestamp_that_is_missing_or_no_number_is_not_valid() {
    let now = Timestamp::now();
    let mut headers = HeaderMap::new();
    assert_eq!(timestamp_fault(&headers, now).unwrap(), "there is none");
    for value in ["soon", "", "1e9", "99999999999999999999"] {
        headers.insert("webhook-timestamp", value.parse().unwrap());
        assert_eq!(timestamp_fault(&headers, now).unwrap(), "it is no number of seconds");
    }
    let signed =
        HeaderMap::from_iter([("webhook-signature".parse().unwrap(), "v1,".parse().unwrap())]);
    let fault = signature_fault(&signed, b"", &Secret::parse(SECRET).unwrap()).unwrap();
    assert_eq!(fault, "webhook-id or webhook-timestamp is missing");
}

#[test]
fn nothing_that_comes_steers_the_terminal_or_fills_it() {
    let hostile = [("Subject", "a\u{9b}2J\u{202e}b"), ("AS2-To", "a\tb")];
    let text = printed(&hostile, "\u{1b}[2J\r\nUNB+\u{7}\u{2028}'".as_bytes(), Some(SECRET), 0);
    assert!(text.contains("payload raw"), "{text}");
    assert!(text.contains(r"  Subject: a\u{9b}2J\u{202e}b"), "{text}");
    assert!(text.contains(r"  AS2-To: a\tb"), "{text}");
    assert!(text.ends_with("\n\n\\u{1b}[2J\nUNB+\\u{7}\\u{2028}'\n"), "{text}");

    let binary = printed(&[], b"\xff\x00\x1b[2J", None, 0);
    assert!(binary.ends_with("\n  Body: 6 bytes, not UTF-8\n"), "{binary}");

    let long = printed(&[("Subject", &"s".repeat(8000))], "ü".repeat(5000).as_bytes(), None, 0);
    assert!(long.ends_with("ü\n... and 2000 more bytes\n"), "{}", long.len());
    assert!(long.len() < 10_000, "{}", long.len());
}
