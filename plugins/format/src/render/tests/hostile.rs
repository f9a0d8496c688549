//! Whatever a partner sends, a delivery says what we say.

use as2hook_as2::{ErrorCode, ProcessingError};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use as2hook_event::{SendError, Stage};

const OURS: [&str; 14] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "X-AS2-Event",
    "X-AS2-Attempt",
    "X-AS2-Replay",
    "X-AS2-Signature",
    "X-Partner-Type",
    "X-Forwarded-For",
    "User-Agent",
    "X-Processing-Error",
    "X-Send-Error",
    "Content-Length",
    "X-Truncated",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn ours_hold_against_any_original(
        headers in vec((any_name(), any_value()), 0..12),
        names in vec(".{0,20}", 0..3),
        texts in vec(any::<String>(), 0..3),
        mode in select(&[PayloadMode::HEADERS, PayloadMode::JSON, PayloadMode::RAW]),
        kind in select(&EventKind::ALL),
    ) {
        let plain = hostile(kind, &[], &names, &texts);
        let attacked = hostile(kind, &headers, &names, &texts);
        let payload = RawPayload::Bytes(Bytes::from_static(b"<invoice/>"));
        let rendering = Rendering { payload, replay: true, ..rendering(mode) };
        let expected = rendered(&plain, &rendering, &signed());
        let request = rendered(&attacked, &rendering, &signed());

        for field in &request.headers {
            let value = field.value.as_bytes();
            prop_assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "{}", field.name);
        }
        for name in OURS.into_iter().filter(|name| !name.ends_with("ignature")) {
            let ours: Vec<_> = expected.headers.all(name).collect();
            let found: Vec<_> = read_carelessly(&request, name);
            prop_assert!(ours.len() <= 1);
            prop_assert_eq!(&found, &ours, "{}", name);
        }
        for name in ["webhook-signature", "X-AS2-Signature"] {
            prop_assert_eq!(read_carelessly(&request, name).len(), 1);
        }
        prop_assert_eq!(request.headers.to_map().len(), request.headers.iter().count());
    }
}

/// Every header that a receiver could take for this one.
fn read_carelessly<'a>(request: &'a Rendered, name: &str) -> Vec<&'a http::HeaderValue> {
    let fold = |name: &str| {
        let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        letters.collect::<String>().to_ascii_uppercase()
    };
    let same = request.headers.iter().filter(|field| fold(&field.name) == fold(name));
    same.map(|field| &field.value).collect()
}

/// A message of which everything that can be hostile is.
fn hostile(
    kind: EventKind,
    headers: &[(String, Vec<u8>)],
    names: &[String],
    texts: &[String],
) -> Event {
    let mut event = Event { kind, ..seed_event() };
    for (name, value) in headers {
        event.headers.push(name.as_str(), value.as_slice());
    }
    let decoded = event.decoded.as_mut().unwrap();
    decoded.attachments = names.iter().map(|name| file(name, 1)).collect();
    for attachment in &mut decoded.attachments {
        attachment.content_type.clone_from(&attachment.name);
    }
    decoded.errors = texts
        .iter()
        .map(|text| ProcessingError { code: ErrorCode::Parse, message: text.clone() })
        .collect();
    event.send_error = texts.first().map(|text| SendError {
        stage: Stage::Http,
        http_status: None,
        message: text.clone(),
    });
    event
}

fn any_name() -> impl Strategy<Value = String> {
    let ours = (select(&OURS), any::<u64>(), select(&['-', '_', '.', '~'])).prop_map(
        |(name, cases, dash)| {
            let flip = |(place, c): (usize, char)| match c {
                '-' => dash,
                c if cases >> (place % 64) & 1 == 1 => c.to_ascii_uppercase(),
                c => c.to_ascii_lowercase(),
            };
            name.chars().enumerate().map(flip).collect::<String>()
        },
    );
    prop_oneof![3 => ours, 1 => "[A-Za-z0-9_-]{1,12}", 1 => any::<String>()]
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), Just(b"a\r\nX-AS2-Event: forged".to_vec())]
}
