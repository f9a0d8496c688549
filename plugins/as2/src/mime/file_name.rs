//! The sender's file name: decoded, and made harmless.

use super::parameters::Parameters;
use crate::headers::Headers;

/// Bytes of a file name at the most, as file systems have it.
const MAX_NAME: usize = 255;

/// From `Content-Disposition`, else from `Content-Type`'s `name`.
pub(crate) fn of(headers: &Headers) -> Option<String> {
    let from = |field: &str, parameter: &str| {
        let value = headers.get(field)?;
        clean(Parameters::parse(value).get(parameter)?)
    };
    from("content-disposition", "filename")
        .or_else(|| from("content-type", "name"))
        .or_else(|| from("content-disposition", "name"))
}

/// Without any path, control characters and what else a file name must not be.
pub(crate) fn clean(name: &str) -> Option<String> {
    let base = name.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    let mut out = String::new();
    for c in base.chars().filter(|&c| !c.is_control() && !is_direction(c)) {
        if out.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        out.push(c);
    }
    let out = out.trim();
    // `C:name` is a path on Windows too.
    let out = match out.as_bytes() {
        [drive, b':', ..] if drive.is_ascii_alphabetic() => out[2..].trim_start(),
        _ => out,
    };
    let nothing = out.is_empty() || out.chars().all(|c| c == '.');
    (!nothing).then(|| out.to_owned())
}

/// Characters that make a name read other than it is.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
