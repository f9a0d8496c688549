//! Text in header values: raw UTF-8, raw Latin-1, and RFC 2047 encoded words.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use crate::hex;

/// One or several encoded words, their text not yet decoded by the character set.
struct EncodedWord<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

// === impl EncodedWord ===

impl EncodedWord<'_> {
    fn text(&self) -> String {
        decode_charset(self.charset, &self.bytes)
    }
}

/// A value's text: encoded words decoded, raw bytes as UTF-8 or else Windows-1252.
pub(crate) fn text(bytes: &[u8]) -> String {
    let plain = raw(bytes);
    if plain.contains("=?") { decode_words(&plain) } else { plain }
}

/// A value with its folds made blanks, as RFC 822 reads it.
pub(crate) fn unfold(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for line in value.split(|&b| b == b'\n') {
        let line = line.trim_ascii();
        if !out.is_empty() && !line.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(line);
    }
    out
}

/// Whether a character makes a text read other than it is.
pub(crate) fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Bytes in a named character set; an unknown one is guessed.
pub(crate) fn decode_charset(charset: &str, bytes: &[u8]) -> String {
    // A language may follow: RFC 2231 section 5.
    let label = charset.split('*').next().unwrap_or(charset);
    match encoding_rs::Encoding::for_label(label.as_bytes()) {
        Some(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        None => raw(bytes),
    }
}

fn raw(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

fn decode_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Words in one character set are decoded together: some senders cut a character in two.
    let mut words: Option<EncodedWord<'_>> = None;
    while let Some(at) = rest.find("=?") {
        let (before, from) = rest.split_at(at);
        match (word(&from[2..]), &mut words) {
            (Some((word, after)), Some(last)) if before.trim().is_empty() => {
                // Blanks between encoded words are not part of the text (RFC 2047 section 6.2).
                if last.charset.eq_ignore_ascii_case(word.charset) {
                    last.bytes.extend_from_slice(&word.bytes);
                } else {
                    out.push_str(&last.text());
                    words = Some(word);
                }
                rest = after;
            }
            (found, _) => {
                out.extend(words.take().map(|words| words.text()));
                out.push_str(before);
                match found {
                    Some((word, after)) => {
                        words = Some(word);
                        rest = after;
                    }
                    None => {
                        out.push_str("=?");
                        rest = &from[2..];
                    }
                }
            }
        }
    }
    out.extend(words.map(|words| words.text()));
    out.push_str(rest);
    out
}

/// `charset?B?text?=` from behind `=?`, and what follows it. No search goes beyond the next `=?`, where
/// another word would begin: so no byte is looked at by more than two of them.
fn word(from: &str) -> Option<(EncodedWord<'_>, &str)> {
    let (charset, rest) = from.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let end = memchr::memchr_iter(b'?', rest.as_bytes())
        .find(|&at| rest.as_bytes().get(at + 1) == Some(&b'=') || rest[..at].ends_with('='))?;
    let after = rest[end..].strip_prefix("?=")?;
    let encoded = &rest[..end];
    let bytes = match encoding {
        "B" | "b" => {
            let mut plain = encoded.to_owned();
            plain.retain(|c| c != '=' && !c.is_ascii_whitespace());
            STANDARD_NO_PAD.decode(plain).ok()?
        }
        "Q" | "q" => q_decode(encoded.as_bytes()),
        _ => return None,
    };
    Some((EncodedWord { charset, bytes }, after))
}

fn q_decode(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(&byte) = encoded.get(at) {
        match (byte, encoded.get(at + 1..at + 3).and_then(hex::decode_pair)) {
            (b'=', Some(value)) => {
                out.push(value);
                at += 3;
                continue;
            }
            (b'_', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    out
}
