//! What a result keeps of a partner's bytes.

use as2hook_as2::Headers;

use super::{
    result,
    support::{Message, cms::compressed_entity, codes, der::Encoding, entity, mime::multipart},
};

#[test]
fn result_of_a_thousand_attachments_with_long_names_stays_below_256_kib() {
    let long = "\\\"".repeat(2000);
    for (disposition, kind) in [
        (format!("attachment; filename=\"{}\"", "n".repeat(6000)), "a/b".to_owned()),
        (format!("attachment; filename*=utf-8''{}", "%22".repeat(2000)), format!("a/{long}")),
        ("inline".to_owned(), format!("a/b; x=\"{}\"", "ü".repeat(3000))),
    ] {
        let fields =
            [format!("Content-Disposition: {disposition}"), format!("Content-Type: {kind}")];
        // Each in its own block, since both do not fit into one.
        let first = entity(&[&fields[0]], b"x");
        let second = entity(&[&fields[1]], b"x");
        let parts: Vec<&[u8]> =
            (0..1000).map(|n| if n % 2 == 0 { &*first } else { &*second }).collect();
        let all = multipart("multipart/mixed", "b", &parts);
        let mut message = Message::of(&compressed_entity(&all, Encoding::Der));
        message.headers.push("Subject", "\"".repeat(60_000));
        let decoded = result(&message);
        assert_eq!((codes(&decoded), decoded.attachments.len()), (vec![], 1000));
        let json = serde_json::to_vec(&decoded).unwrap().len();
        assert!(json < 256 * 1024, "{json}");
        let texts = decoded.attachments.iter().flat_map(|a| [&a.name, &a.content_type]);
        assert!(texts.flatten().all(|text| text.len() <= 255));
        assert!(
            decoded.attachments[0].name.is_some() || decoded.attachments[1].content_type.is_some()
        );
    }
}

#[test]
fn texts_of_a_message_are_cut_to_their_lengths() {
    let mut headers = Headers::new();
    for (name, length) in [("AS2-From", 60_000), ("AS2-To", 129), ("Message-ID", 60_000)] {
        headers.push(name, "x".repeat(length));
    }
    headers.push("Subject", "ü".repeat(1000));
    let decoded = result(&Message { headers, body: b"x".to_vec() });
    let length = |text: Option<String>| text.map(|text| text.len());
    assert_eq!(length(decoded.sender_id), Some(128));
    assert_eq!(length(decoded.receiver_id), Some(128));
    assert_eq!(length(decoded.as2_message_id), Some(998));
    assert_eq!(length(decoded.subject), Some(997), "cut between characters");
}

#[test]
fn texts_of_an_mdn_are_cut_to_their_lengths() {
    let long = "x".repeat(10_000);
    let fields = format!(
        "Original-Message-ID: {long}\r\nDisposition: {long}; {long}/error: {long}\r\n\
         Received-Content-MIC: {long}\r\nReporting-UA: {long}\r\nFinal-Recipient: {long}\r\n"
    );
    let text = entity(&["Content-Type: text/plain"], &long.repeat(6).into_bytes());
    let notification =
        entity(&["Content-Type: message/disposition-notification"], fields.as_bytes());
    let report = multipart("multipart/report", "b", &[&text, &notification]);
    let decoded = result(&Message::of(&report));
    let mdn = decoded.mdn.unwrap();
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    assert_eq!(length(&mdn.human_message), 8192);
    for text in [&mdn.original_message_id, &mdn.disposition] {
        assert_eq!(length(text), 998);
    }
    for text in [&mdn.mic, &mdn.reporting_ua, &mdn.final_recipient] {
        assert_eq!(length(text), 255);
    }
    assert!(serde_json::to_vec(&mdn).unwrap().len() < 16 * 1024);
}

#[test]
fn header_block_of_too_many_fields_is_code_1300() {
    let part = entity(&["x-a: b"; 1001], b"x");
    let decoded = result(&Message::of(&multipart("multipart/mixed", "b", &[&part])));
    assert_eq!(codes(&decoded), [1300]);
    let part = entity(&["x-a: b"; 1000], b"x");
    let decoded = result(&Message::of(&multipart("multipart/mixed", "b", &[&part])));
    assert_eq!(codes(&decoded), [0u16; 0]);
}
