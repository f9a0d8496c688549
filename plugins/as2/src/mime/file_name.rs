//! The sender's file name: decoded, and made harmless.

use super::{parameters::Parameters, words::is_direction};
use crate::{cut, headers::Headers};

/// From `Content-Disposition`, else from `Content-Type`'s `name`.
pub(crate) fn of(headers: &Headers) -> Option<String> {
    all(headers).next()
}

/// All that stand there, the best one first.
pub(crate) fn all(headers: &Headers) -> impl Iterator<Item = String> {
    let parse = |field| headers.get(field).map(Parameters::parse);
    let of = |parameters: &Option<Parameters>, name| clean(parameters.as_ref()?.get(name)?);
    let disposition = parse("content-disposition");
    let (filename, name) = (of(&disposition, "filename"), of(&disposition, "name"));
    let kind = std::iter::once_with(move || of(&parse("content-type"), "name"));
    std::iter::once(filename).chain(kind).chain([name]).flatten()
}

/// Without any path, control characters and what else a file name must not be.
pub(crate) fn clean(name: &str) -> Option<String> {
    let base = name.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    let mut out = String::new();
    for c in base.chars().filter(|&c| !c.is_control() && !is_direction(c)) {
        if out.len() + c.len_utf8() > cut::FIELD {
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
