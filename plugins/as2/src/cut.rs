//! How long each text of a result may be. What a partner writes is cut to these lengths in what is
//! kept of it, never in the traffic; so a result of 1000 attachments stays below 256 KiB as JSON.
//!
//! A text that is cut ends in `...` and 32 hexadecimal digits of the SHA-256 of the whole: two that
//! differ stay different, and a Message-ID equals the one that its MDN repeats.

use std::borrow::Cow;

use openssl::sha::sha256;

use crate::hex;

/// Characters of an AS2 name (RFC 4130 section 6.2). Names in the config count characters too.
pub const AS2_NAME: usize = 128;
/// Bytes of a `Message-ID`, a `Subject` and an MDN's `Disposition`: the longest line of a mail
/// (RFC 5322 section 2.1.1).
pub const LINE: usize = 998;
/// `...` and half a digest.
const TAIL: usize = 3 + 32;
/// Bytes of a file name, a content type, a MIC, a `Reporting-UA` and a `Final-Recipient`.
pub(crate) const FIELD: usize = 255;
/// Bytes of the names and content types of all attachments together, as JSON has them.
pub(crate) const ATTACHMENT_TEXT: usize = 120 * 1024;
/// Bytes of the envelopes of all attachments together, as JSON has them: 1,000 documents, and the groups of
/// usual ones.
pub(crate) const EDI: usize = 128 * 1024;
/// Bytes of what they acknowledge, as JSON has it.
pub(crate) const ACKS: usize = 64 * 1024;
/// Hexadecimal digits of a certificate's serial number; RFC 5280 section 4.1.2.2 allows 40.
pub(crate) const SERIAL: usize = 64;
/// Bytes of an MDN's text for a person.
pub(crate) const HUMAN_MESSAGE: usize = 8 * 1024;

/// Cuts bytes to `most`, never within a character of UTF-8. `None`: there are no more.
pub fn cut_bytes(whole: &[u8], most: usize) -> Option<Vec<u8>> {
    if whole.len() <= most {
        return None;
    }
    let mut end = most.saturating_sub(TAIL);
    while end > 0 && whole[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    Some([&whole[..end], b"...", hex::encode(&sha256(whole)[..16]).as_bytes()].concat())
}

/// Cuts a text to `most` bytes.
pub fn cut_text(text: &str, most: usize) -> Cow<'_, str> {
    match cut_bytes(text.as_bytes(), most) {
        Some(cut) => Cow::Owned(String::from_utf8_lossy(&cut).into_owned()),
        None => Cow::Borrowed(text),
    }
}

/// Cuts an AS2 name to 128 bytes if it has more than 128 characters: it is then no partner's of the config.
pub fn cut_as2_name(name: &str) -> Cow<'_, str> {
    match name.chars().nth(AS2_NAME) {
        Some(_) => cut_text(name, AS2_NAME),
        None => Cow::Borrowed(name),
    }
}

/// As [`cut_text`].
pub(crate) fn cut(text: String, most: usize) -> String {
    match cut_text(&text, most) {
        Cow::Owned(cut) => cut,
        Cow::Borrowed(_) => text,
    }
}

/// Cuts a text to the room that is left for it as JSON, and takes that room.
pub(crate) fn cut_to_room(mut text: String, room: &mut usize) -> Option<String> {
    let mut end = 0;
    for c in text.chars() {
        let cost = match c {
            '"' | '\\' => 2,
            c => c.len_utf8(),
        };
        if cost > *room {
            break;
        }
        *room -= cost;
        end += c.len_utf8();
    }
    text.truncate(end);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(cut("ü".repeat(32), 64), "ü".repeat(32));
        let text = cut("ü".repeat(33), 64);
        assert!(text.len() == 63 && text.starts_with(&("ü".repeat(14) + "...")), "{text}");
    }

    #[test]
    fn long_texts_that_differ_at_their_end_stay_different_when_cut() {
        let long = |end: &str| "x".repeat(5_000) + end;
        assert_eq!(cut(long("1"), LINE).len(), LINE);
        assert_ne!(cut(long("1"), LINE), cut(long("2"), LINE));
        assert_eq!(cut(cut(long("1"), LINE), LINE), cut(long("1"), LINE));
    }

    #[test]
    fn as2_name_of_128_characters_stays_whole() {
        let name = "ü".repeat(AS2_NAME);
        assert_eq!(cut_as2_name(&name), name);
        assert!(cut_as2_name(&(name + "x")).len() <= AS2_NAME);
    }

    #[test]
    fn text_is_cut_to_its_room_as_json() {
        let mut room = 8;
        assert_eq!(cut_to_room("a\"b".into(), &mut room).as_deref(), Some("a\"b"));
        assert_eq!((cut_to_room("ü\\\\x".into(), &mut room).as_deref(), room), (Some("ü\\"), 0));
        assert_eq!(cut_to_room("x".into(), &mut room), None);
    }
}
