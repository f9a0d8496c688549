//! `Content-Type` and `Content-Disposition` with their parameters, as senders really write them, and the
//! file names in them, made harmless.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::words;
use crate::{cut, headers::Headers};

/// A media type with its parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContentType {
    /// `type/subtype`, lower case; empty when there is none.
    pub(crate) essence: String,
    parameters: Parameters,
}

/// `value; name=value; ...`, RFC 2231 continuations joined.
#[derive(Clone, Debug, Default)]
struct Parameters {
    /// What stands before the first `;`.
    value: String,
    all: Vec<(String, String)>,
}

/// A pair before RFC 2231.
struct Pair<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

struct Segment {
    number: u32,
    encoded: bool,
    bytes: Vec<u8>,
}

/// Parameters of one field; the rest is passed over.
const MAX_PARAMETERS: usize = 128;

// === impl ContentType ===

impl ContentType {
    pub(crate) fn of(headers: &Headers) -> Self {
        let Some(field) = headers.get("content-type") else { return Self::default() };
        let parameters = Parameters::parse(field);
        let mut essence = parameters.value.to_ascii_lowercase();
        essence.retain(|c| !c.is_ascii_whitespace());
        Self { essence, parameters }
    }

    /// A parameter by its lower-case name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)
    }

    /// Whether it has parts. Archives that type lists call `multipart/x-zip` and the like have none.
    pub(crate) fn is_multipart(&self) -> bool {
        const ARCHIVES: [&str; 5] = ["x-zip", "x-gzip", "x-tar", "x-ustar", "x-rar"];
        let kind = self.essence.strip_prefix("multipart/");
        kind.is_some_and(|kind| !ARCHIVES.contains(&kind))
    }

    /// An S/MIME layer by its declared type.
    pub(crate) fn is_cms(&self) -> bool {
        matches!(
            self.essence.as_str(),
            "application/pkcs7-mime"
                | "application/x-pkcs7-mime"
                | "application/pkcs7"
                | "application/x-pkcs7"
                | "application/cms"
        )
    }

    /// Says so little that the content may well be something else.
    pub(crate) fn is_vague(&self) -> bool {
        self.essence.is_empty()
            || matches!(
                self.essence.as_str(),
                "application/octet-stream" | "text/plain" | "text/html" | "application/binary"
            )
    }

    /// Text for which senders disagree about line ends, so that a canonical digest is worth it.
    pub(crate) fn is_textual(&self) -> bool {
        self.essence.is_empty()
            || self.essence.starts_with("text/")
            || self.is_multipart()
            || self.essence.starts_with("message/")
            || self.essence.starts_with("application/edi")
            || ["/xml", "+xml", "/json", "+json"].iter().any(|end| self.essence.ends_with(end))
    }
}

// === impl Parameters ===

impl Parameters {
    fn parse(field: &[u8]) -> Self {
        let field = unquote_whole(field);
        let (value, mut rest) = split_value(&field);
        let value = String::from_utf8_lossy(value.trim_ascii()).into_owned();
        let mut pairs = Vec::new();
        while !rest.is_empty() && pairs.len() < MAX_PARAMETERS {
            let (pair, after) = next_pair(rest);
            pairs.extend(pair);
            rest = after;
        }
        Self { value, all: join(&pairs) }
    }

    /// By its lower-case name. Blanks at the ends do not count: they come of folds behind a quote.
    fn get(&self, name: &str) -> Option<&str> {
        self.all.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim())
    }
}

/// From `Content-Disposition`, else from `Content-Type`'s `name`.
pub(crate) fn file_name(headers: &Headers) -> Option<String> {
    file_names(headers).next()
}

/// All that stand there, the best one first.
pub(crate) fn file_names(headers: &Headers) -> impl Iterator<Item = String> {
    let parse = |field| headers.get(field).map(Parameters::parse);
    let of = |parameters: &Option<Parameters>, name| clean(parameters.as_ref()?.get(name)?);
    let disposition = parse("content-disposition");
    let (filename, name) = (of(&disposition, "filename"), of(&disposition, "name"));
    let kind = std::iter::once_with(move || of(&parse("content-type"), "name"));
    std::iter::once(filename).chain(kind).chain([name]).flatten()
}

/// Without any path, control characters and what else a file name must not be.
fn clean(name: &str) -> Option<String> {
    let base = name.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    let mut out = String::new();
    for c in base.chars().filter(|&c| !c.is_control() && !words::is_direction(c)) {
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

/// `"multipart/signed; boundary=..."`: some put the whole field into quotes.
fn unquote_whole(field: &[u8]) -> Cow<'_, [u8]> {
    let field = field.trim_ascii();
    let Some(inside) = field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")) else {
        return Cow::Borrowed(field);
    };
    let end_of_value = inside.iter().position(|&b| b == b';').unwrap_or(inside.len());
    if inside[..end_of_value].contains(&b'"') {
        return Cow::Borrowed(field);
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// The value, and the parameters behind it. Some leave out the value (`filename=x`), or the semicolon
/// behind it (`attachment filename=x`).
fn split_value(field: &[u8]) -> (&[u8], &[u8]) {
    match field.iter().position(|&b| b == b';' || b == b'=') {
        Some(at) if field[at] == b'=' => {
            let before = field[..at].trim_ascii_end();
            let blank = before.iter().rposition(|b| b.is_ascii_whitespace());
            field.split_at(blank.map_or(0, |blank| blank + 1))
        }
        _ => split_at_semicolon(field),
    }
}

fn split_at_semicolon(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&b| b == b';') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, b""),
    }
}

/// Reads `name=value`; without quotes the value reaches to the next `;`, blanks and all.
fn next_pair(bytes: &[u8]) -> (Option<Pair<'_>>, &[u8]) {
    let end_of_name = bytes.iter().position(|&b| b == b'=' || b == b';').unwrap_or(bytes.len());
    let name = bytes[..end_of_name].trim_ascii();
    if bytes.get(end_of_name) != Some(&b'=') {
        return (None, bytes.get(end_of_name + 1..).unwrap_or(b""));
    }
    let after = bytes[end_of_name + 1..].trim_ascii_start();
    if after.first() == Some(&b'"')
        && let Some((value, rest)) = quoted(&after[1..])
    {
        let (_, rest) = split_at_semicolon(rest);
        return (Some(Pair { name, value: Cow::Owned(value) }), rest);
    }
    let (value, rest) = split_at_semicolon(after);
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    (Some(Pair { name, value: Cow::Borrowed(value) }), rest)
}

/// A quoted string from behind its opening quote. Browsers and others write Windows paths without
/// doubling the backslash, so only `\"` and `\\` are taken for escapes.
fn quoted(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'"', _) => return Some((out, &bytes[at + 1..])),
            (b'\\', Some(&escaped @ (b'"' | b'\\'))) => {
                out.push(escaped);
                at += 2;
            }
            (&byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// Joins RFC 2231 continuations and decodes their charset; RFC 2231 forms win over plain ones.
fn join(pairs: &[Pair<'_>]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut extended: Vec<(String, Vec<Segment>)> = Vec::new();
    for pair in pairs {
        let name = String::from_utf8_lossy(pair.name).to_ascii_lowercase();
        let (base, number, encoded) = section(&name);
        if number.is_none() && !encoded {
            if !all.iter().any(|(n, _)| *n == name) {
                all.push((name, words::text(&pair.value)));
            }
            continue;
        }
        let segment = Segment { number: number.unwrap_or(0), encoded, bytes: pair.value.to_vec() };
        match extended.iter_mut().find(|(n, _)| n == base) {
            Some((_, segments)) => segments.push(segment),
            None => extended.push((base.to_owned(), vec![segment])),
        }
    }
    for (name, mut segments) in extended {
        segments.sort_by_key(|s| s.number);
        let value = decode_segments(&segments);
        all.retain(|(n, _)| *n != name);
        all.push((name, value));
    }
    all
}

/// `filename*1*` is `filename`, segment 1, percent-encoded.
fn section(name: &str) -> (&str, Option<u32>, bool) {
    let (name, encoded) = match name.strip_suffix('*') {
        Some(name) => (name, true),
        None => (name, false),
    };
    match name.rsplit_once('*') {
        Some((base, number)) => match number.parse() {
            Ok(number) => (base, Some(number), encoded),
            Err(_) => (name, None, encoded),
        },
        None => (name, None, encoded),
    }
}

fn decode_segments(segments: &[Segment]) -> String {
    let mut charset = String::new();
    let mut bytes = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if !segment.encoded {
            bytes.extend_from_slice(&segment.bytes);
            continue;
        }
        let mut value = segment.bytes.as_slice();
        if index == 0 {
            let mut pieces = value.splitn(3, |&b| b == b'\'');
            if let (Some(set), Some(_language), Some(rest)) =
                (pieces.next(), pieces.next(), pieces.next())
            {
                charset = String::from_utf8_lossy(set).into_owned();
                value = rest;
            }
        }
        bytes.extend(percent_decode(value));
    }
    if charset.is_empty() { words::text(&bytes) } else { words::decode_charset(&charset, &bytes) }
}
