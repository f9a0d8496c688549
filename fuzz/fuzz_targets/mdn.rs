//! The MDN parser: any fields, alone and as the body of a notification.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

use std::sync::Arc;

use as2hook_as2::{Decoder, Headers, Keyring, ContentKind, Mdn, Options, mdn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|fields: &[u8]| weigh::weigh(fields.len(), || run(fields)));

fn run(fields: &[u8]) {
    let mut read = Mdn::default();
    mdn::read(fields, &mut read);
    if read.modifier_text.is_some() {
        assert!(read.modifier.is_some());
    }
    for text in [&read.disposition, &read.mic, &read.original_message_id, &read.final_recipient] {
        assert!(text.as_ref().is_none_or(|t| !t.is_empty() && !t.contains('\n')));
    }
    let mut headers = Headers::new();
    headers.push("Content-Type", "message/disposition-notification");
    let mut decoder = Decoder::new(&headers, Arc::new(Keyring::new()), Options::default());
    decoder.push(fields, &mut ());
    let decoded = decoder.finish(true, &mut ());
    assert_eq!(decoded.kind, ContentKind::Mdn);
    let told = decoded.mdn.expect("an MDN");
    assert_eq!(told.disposition.is_none(), !decoded.errors.is_empty());
    assert!(told.error || told.disposition_type.is_some());
}
