//! `Content-Disposition` with a file name that a partner chose (RFC 6266, RFC 8187).

use std::fmt::Write as _;

/// More than any file system takes. A longer name would make a header that servers refuse, and with
/// it the whole delivery; the JSON has the whole name.
const NAME_MAX: usize = 255;

/// Returns `attachment` with the name: as a bare token if it is one, otherwise as quoted ASCII for
/// old readers, with the exact name in `filename*=`.
pub(super) fn attachment(name: Option<&str>) -> String {
    let name: String = name.unwrap_or_default().chars().take(NAME_MAX).collect();
    if name.is_empty() {
        "attachment".to_owned()
    } else if name.bytes().all(is_token) {
        format!("attachment; filename={name}")
    } else {
        let ascii: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", encoded(&name))
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether every reader takes the character alike inside quotes: neither `"` and `\`, which need
/// escapes that some do not remove, nor `%`, which some decode without an encoding (RFC 6266
/// appendix D).
fn is_plain(c: char) -> bool {
    (c == ' ' || c.is_ascii_graphic()) && !matches!(c, '"' | '\\' | '%')
}

/// Encodes everything except the `attr-char` of RFC 8187 section 3.2.1 as `%XX`.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len() * 2);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
