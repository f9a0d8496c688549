//! The start line and the header fields.

use std::io::{self, BufRead};

use super::Headers;

/// More than any head under test; a stand-in must not be the one that gives up first.
const MOST: usize = 4 << 20;

/// The head of a request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Every byte of it, the empty line included.
    pub raw: Vec<u8>,
    /// The request or status line.
    pub line: String,
    /// The fields, names in their case, values as bytes.
    pub headers: Headers,
}

// === impl Head ===

impl Head {
    /// The first field of this name as text, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether a comma-separated field names this token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers.all(name).any(|value| {
            let value = String::from_utf8_lossy(value);
            value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token))
        })
    }

    /// The names of the fields in the case and order they came in.
    pub fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|header| header.name.as_str()).collect()
    }

    /// The word at this place of the start line, or nothing.
    pub fn word(&self, nth: usize) -> &str {
        self.line.split(' ').nth(nth).unwrap_or_default()
    }
}

/// Reads one head. `None`: the other side closed before the first byte.
pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    loop {
        let began = head.raw.len();
        let read = from.read_until(b'\n', &mut head.raw)?;
        if read == 0 {
            return if head.raw.is_empty() { Ok(None) } else { Err(unfinished("a head")) };
        }
        if head.raw.len() > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without an end"));
        }
        let line = trim(&head.raw[began..]);
        if line.is_empty() {
            if head.line.is_empty() {
                continue;
            }
            return Ok(Some(head));
        }
        if head.line.is_empty() {
            head.line = String::from_utf8_lossy(line).into_owned();
            continue;
        }
        let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec();
        head.headers.push(name, value);
    }
}

pub(super) fn unfinished(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection ended within {what}"))
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_case_order_and_duplicates() {
        let wire = b"POST /as2?x=1 HTTP/1.1\r\naS2-fRoM:  ACME \r\nX-A: 1\r\nX-A: 2\r\n\r\nrest";
        let mut from = &wire[..];
        let head = read_head(&mut from).unwrap().unwrap();
        assert_eq!(head.names(), ["aS2-fRoM", "X-A", "X-A"]);
        assert_eq!(head.header("AS2-From"), Some("ACME"));
        assert_eq!((head.word(1), from), ("/as2?x=1", &b"rest"[..]));
        assert_eq!(head.raw, &wire[..wire.len() - 4]);
    }

    #[test]
    fn an_end_before_the_first_byte_is_no_error_and_later_it_is() {
        assert_eq!(read_head(&mut &b""[..]).unwrap(), None);
        assert!(read_head(&mut &b"GET / HTTP/1.1\r\nHost: a\r\n"[..]).is_err());
    }
}
