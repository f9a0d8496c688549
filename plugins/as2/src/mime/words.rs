//! Text in header values: raw UTF-8, raw Latin-1, and RFC 2047 encoded words.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::transfer::hex_pair;

/// A value's text: encoded words decoded, raw bytes as UTF-8 or else Windows-1252.
pub(crate) fn text(bytes: &[u8]) -> String {
    let plain = raw(bytes);
    if plain.contains("=?") { decode_words(&plain) } else { plain }
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
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, from) = rest.split_at(at);
        match word(&from[2..]) {
            Some((decoded, after)) => {
                // Blanks between encoded words are not part of the text (RFC 2047 section 6.2).
                if !(after_word && before.trim().is_empty()) {
                    out.push_str(before);
                }
                out.push_str(&decoded);
                rest = after;
                after_word = true;
            }
            None => {
                out.push_str(before);
                out.push_str("=?");
                rest = &from[2..];
                after_word = false;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Characters of an encoded word; RFC 2047 allows 75, and a search without end costs too much.
const MAX_WORD: usize = 1000;

/// `charset?B?text?=` from behind `=?`.
fn word(from: &str) -> Option<(String, &str)> {
    let end = from.char_indices().nth(MAX_WORD).map_or(from.len(), |(at, _)| at);
    let (charset, rest) = from[..end].split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, rest) = rest.split_once("?=")?;
    let after = &from[end - rest.len()..];
    let bytes = match encoding {
        "B" | "b" => {
            let mut plain = encoded.to_owned();
            plain.retain(|c| c != '=' && !c.is_ascii_whitespace());
            STANDARD_NO_PAD.decode(plain).ok()?
        }
        "Q" | "q" => q_decode(encoded.as_bytes()),
        _ => return None,
    };
    Some((decode_charset(charset, &bytes), after))
}

fn q_decode(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(&byte) = encoded.get(at) {
        match (byte, encoded.get(at + 1..at + 3).and_then(hex_pair)) {
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
