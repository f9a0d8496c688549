//! File names and media types: any value of a field. The first byte chooses the field.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

use std::sync::Arc;

use as2hook_as2::{Decoder, Headers, Keyring, Options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| weigh::weigh(input.len(), || run(input)));

fn run(input: &[u8]) {
    let [choice, value @ ..] = input else { return };
    let mut headers = Headers::new();
    let fields = ["Content-Disposition", "Content-Type", "Content-Transfer-Encoding"];
    headers.push(fields[usize::from(*choice) % fields.len()], value);
    let mut decoder = Decoder::new(&headers, Arc::new(Keyring::new()), Options::default());
    decoder.push(b"--a\r\n\r\nx", &mut ());
    for attachment in decoder.finish(true, &mut ()).attachments {
        let name = attachment.name.unwrap_or_else(|| "x".to_owned());
        assert!(!name.is_empty() && name.len() <= 255 && name != "..");
        assert!(!name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\')));
        let kind = attachment.content_type.unwrap_or_default();
        assert!(kind.len() <= 255 && !kind.contains(char::is_control));
    }
}
