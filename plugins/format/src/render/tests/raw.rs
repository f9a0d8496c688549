//! `raw` bodies and the headers that speak of them.

use super::*;

#[test]
fn any_file_name() {
    let names = [
        ("981712.xml", "attachment; filename=981712.xml"),
        ("my file.xml", "attachment; filename=\"my file.xml\"; filename*=UTF-8''my%20file.xml"),
        (
            "Rechnung-\u{e9}.xml",
            "attachment; filename=\"Rechnung-_.xml\"; filename*=UTF-8''Rechnung-%C3%A9.xml",
        ),
        (
            "a\"b\\c;d.xml",
            "attachment; filename=\"a_b_c;d.xml\"; filename*=UTF-8''a%22b%5Cc%3Bd.xml",
        ),
        ("a\r\nb", "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
        ("100% sure", "attachment; filename=\"100_ sure\"; filename*=UTF-8''100%25%20sure"),
        ("", "attachment"),
    ];
    for (name, expected) in names {
        let mut event = seed_event();
        event.decoded.as_mut().unwrap().attachments = vec![file(name, 1)];
        let request = with_payload(&event, "x");
        assert_eq!(header(&request, "Content-Disposition"), Some(expected), "{name:?}");
    }
}

#[test]
fn a_name_too_long_for_a_header_is_cut() {
    let mut event = seed_event();
    event.decoded.as_mut().unwrap().attachments = vec![file(&"\u{1f4a9}".repeat(20_000), 1)];
    let request = with_payload(&event, "x");
    assert!(header(&request, "Content-Disposition").unwrap().len() < 4096);
}

#[test]
fn an_attachment_without_name_and_type() {
    let mut event = seed_event();
    let attachment = &mut event.decoded.as_mut().unwrap().attachments[0];
    (attachment.name, attachment.content_type) = (None, None);
    let request = with_payload(&event, "x");
    assert_eq!(header(&request, "Content-Disposition"), Some("attachment"));
    assert_eq!(header(&request, "Content-Type"), Some("application/octet-stream"));
}

#[test]
fn an_illegal_content_type_is_not_sent() {
    let mut event = seed_event();
    let attachment = &mut event.decoded.as_mut().unwrap().attachments[0];
    attachment.content_type = Some("text/xml\r\nX-AS2-Event: forged".into());
    let request = with_payload(&event, "x");
    assert_eq!(header(&request, "Content-Type"), Some("application/octet-stream"));
    assert_eq!(request.dropped, ["Content-Type"]);
}

#[test]
fn the_first_of_several() {
    let mut event = seed_event();
    event.decoded.as_mut().unwrap().attachments =
        vec![file("a.xml", 1), file("b.xml", 1), file("c.xml", 1)];
    let request = with_payload(&event, "x");
    assert_eq!(header(&request, "X-Truncated"), Some("Attachments: 1/3"));
    assert_eq!(header(&request, "Content-Disposition"), Some("attachment; filename=a.xml"));
}

#[test]
fn nothing_describes_a_payload_that_was_not_kept() {
    let mut event = seed_event();
    event.decoded.as_mut().unwrap().attachments = vec![file("a.xml", 1), file("b.xml", 1)];
    let request = request(&event, PayloadMode::RAW);
    assert_eq!((body(&request), header(&request, "Content-Length")), ([].as_slice(), Some("0")));
    for name in ["Content-Type", "Content-Disposition", "X-Truncated"] {
        assert_eq!(header(&request, name), None, "{name}");
    }
}

#[test]
fn an_empty_attachment_is_one() {
    let request = with_payload(&seed_event(), "");
    assert_eq!(header(&request, "Content-Length"), Some("0"));
    assert_eq!(header(&request, "Content-Type"), Some("text/xml"));
}

#[test]
fn an_mdn_as_it_came() {
    let mut event = Event { kind: EventKind::MdnReceived, ..seed_event() };
    event.headers = Headers::new();
    event.headers.push("Content-Type", "multipart/signed; boundary=\"b\"");
    let request = with_payload(&event, "--b\r\n");
    assert_eq!(header(&request, "Content-Type"), Some("multipart/signed; boundary=\"b\""));
    assert_eq!(header(&request, "Content-Disposition"), None);
    assert_eq!(body(&request), b"--b\r\n");
}

#[test]
fn of_every_other_event_its_json() {
    for kind in EventKind::ALL.into_iter().filter(|kind| !kind.sends_payload()) {
        let event = Event { kind, ..seed_event() };
        let raw = with_payload(&event, "not this");
        let json = request(&event, PayloadMode::JSON);
        assert_eq!(body(&raw), body(&json), "{kind}");
        assert_eq!(header(&raw, "Content-Type"), Some("application/json"), "{kind}");
    }
}
