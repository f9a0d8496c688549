//! Header fields exactly as they came: names in their case, values as bytes, duplicates in order.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    cut::{self, cut},
    mime::words,
};

/// One field. The value is what stood after the colon, without the white space around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The name in the sender's case.
    pub name: String,
    /// The value's bytes; not always UTF-8.
    #[serde(with = "latin1")]
    pub value: Vec<u8>,
}

/// The fields of a message, in order. Names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(Vec<Header>);

/// Fields of one header block; those of a mail that went around the world are sixty.
pub(crate) const MAX_FIELDS: usize = 1000;

// === impl Headers ===

impl Headers {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads header lines as they stand in HTTP or MIME, with CRLF or LF, folded lines joined by a
    /// blank, up to the first empty line. Lines that are no field are passed over.
    pub fn parse(block: &[u8]) -> Self {
        let lines = block.split(|&byte| byte == b'\n');
        parse_lines(lines.take_while(|line| !matches!(*line, b"" | b"\r")))
    }

    /// Adds a field behind the others.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push(Header { name: name.into(), value: value.into() });
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|h| h.value.as_slice())
    }

    /// Every field of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_slice())
    }

    /// The first field of this name as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(String::from_utf8_lossy)
    }

    /// `Subject` for a person: decoded as file names are, and without what would show it other than it is.
    pub fn subject(&self) -> Option<String> {
        let text = words::text(&words::unfold(self.get("subject")?));
        let shown = text.chars().filter(|&c| !words::is_direction(c));
        let text: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = cut(text.trim().to_owned(), cut::LINE);
        (!text.is_empty()).then_some(text)
    }

    /// An AS2 name (`AS2-From`, `AS2-To`), unquoted (RFC 4130 section 6.2). Only `\"` and `\\` are
    /// escapes: a backslash before anything else stands for itself.
    pub fn as2_name(&self, name: &str) -> Option<String> {
        let value = self.text(name)?;
        let value = value.trim();
        let inside = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let Some(inside) = inside.filter(|_| value.len() > 1) else {
            return (!value.is_empty()).then(|| value.to_owned());
        };
        let mut unquoted = String::with_capacity(inside.len());
        let mut characters = inside.chars();
        while let Some(c) = characters.next() {
            let rest = characters.as_str();
            if c == '\\' && rest.starts_with(['"', '\\']) {
                unquoted.extend(characters.next());
            } else {
                unquoted.push(c);
            }
        }
        Some(unquoted)
    }

    /// All fields, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

pub(crate) fn parse_lines<'b>(lines: impl Iterator<Item = &'b [u8]>) -> Headers {
    let mut headers = Headers::new();
    let mut field: Option<(String, Vec<u8>)> = None;
    for line in lines {
        if headers.len() > MAX_FIELDS {
            return headers;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let (Some(b' ' | b'\t'), Some((_, value))) = (line.first(), &mut field) {
            let more = line.trim_ascii();
            if !value.is_empty() && !more.is_empty() {
                value.push(b' ');
            }
            value.extend_from_slice(more);
            continue;
        }
        if let Some((name, value)) = field.take() {
            headers.push(name, value);
        }
        field = line.iter().position(|&b| b == b':').and_then(|colon| {
            let name = line[..colon].trim_ascii_end();
            let good = !name.is_empty() && name.iter().all(|&b| is_token(b));
            good.then(|| {
                let name = String::from_utf8_lossy(name).into_owned();
                (name, line[colon + 1..].trim_ascii().to_vec())
            })
        });
    }
    if let Some((name, value)) = field {
        headers.push(name, value);
    }
    headers
}

pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Keeps any bytes in a JSON string: one character for each byte. Nearly all are ASCII, and copied.
mod latin1 {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => to.serialize_str(text),
            _ => to.serialize_str(&bytes.iter().map(|&b| char::from(b)).collect::<String>()),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_ascii() {
            return Ok(text.into_bytes());
        }
        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
        bytes.collect::<Result<_, _>>().map_err(|_| D::Error::custom("not a byte"))
    }
}
