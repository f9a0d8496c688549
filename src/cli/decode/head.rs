//! Header lines at the beginning of a body's own file, as captures and mail programs save them.

use std::io::{self, Read};

use as2hook_as2::Headers;

/// Bytes of header lines that are looked for.
const MAX: usize = 64 * 1024;

/// Reads the header lines that a file begins with, and what was read beyond them. `None`: it begins
/// with the body.
pub(super) fn read(file: &mut dyn Read) -> io::Result<(Option<Headers>, Vec<u8>)> {
    let mut first = Vec::new();
    file.take(MAX as u64).read_to_end(&mut first)?;
    let Some(end) = end_of(&first) else { return Ok((None, first)) };
    let headers = headers(&first[..end]);
    if headers.is_some() {
        first.drain(..end);
    }
    Ok((headers, first))
}

/// Whether a body begins with the delimiter of a multipart and a part's field: without its
/// `Content-Type` it is no more than a document.
pub(super) fn is_multipart(first: &[u8]) -> bool {
    let mut lines = first.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let delimiter = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let boundary = delimiter.strip_prefix(b"--").unwrap_or_default();
    let is_field = |line: &[u8]| line.to_ascii_lowercase().starts_with(b"content-");
    !boundary.is_empty() && lines.next().is_some_and(|line| line.is_empty() || is_field(line))
}

/// Where the first blank line ends.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        at += line.len();
        if line == b"\n" || line == b"\r\n" {
            return (at > line.len()).then_some(at);
        }
    }
    None
}

/// The fields, if every line is one and some are those of AS2 or MIME. A request's or a response's first
/// line may stand in front.
fn headers(block: &[u8]) -> Option<Headers> {
    const KNOWN: [&str; 4] = ["AS2-From", "AS2-To", "Content-Type", "Message-ID"];
    let end = block.iter().position(|&byte| byte == b'\n')? + 1;
    let line = block[..end].trim_ascii();
    let is_start = line.starts_with(b"HTTP/1.")
        || line.ends_with(b" HTTP/1.1")
        || line.ends_with(b" HTTP/1.0");
    let block = if is_start { &block[end..] } else { block };
    let is_field = |line: &[u8]| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let is_fold = line.starts_with(b" ") || line.starts_with(b"\t");
        let is_name = |byte: &u8| byte.is_ascii_graphic();
        is_fold || (name.len() < line.len() && !name.is_empty() && name.iter().all(is_name))
    };
    let mut lines = block.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let headers = Headers::parse(block);
    let is_known = KNOWN.iter().any(|name| headers.get(name).is_some());
    (is_known && lines.all(is_field)).then_some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn split(file: &str) -> (Option<usize>, String) {
        let (headers, rest) = read(&mut file.as_bytes()).unwrap();
        (headers.map(|headers| headers.len()), String::from_utf8(rest).unwrap())
    }

    #[test]
    fn header_lines_in_front_of_a_body_are_recognised() {
        for head in [
            "AS2-From: ACME\r\nAS2-To: US\r\n",
            "POST /as2 HTTP/1.1\r\nAS2-From: ACME\r\nContent-Type: a/b;\r\n\tc=d\r\n",
            "HTTP/1.1 200 OK\nMessage-ID: <1@a>\nX-Other: :\n",
        ] {
            let (found, rest) = split(&format!("{head}\r\nUNB+\r\n\r\nUNZ"));
            assert_eq!((found, rest.as_str()), (Some(2), "UNB+\r\n\r\nUNZ"), "{head}");
        }
        for body in [
            "",
            "UNA:+.? '\r\nUNB+\r\n\r\n",
            "\r\nContent-Type: a/b\r\n\r\n",
            "X-Only: y\r\n\r\nbody",
            "Content-Type: a/b\r\nno field\r\n\r\nbody",
            "Content-Type: a/b\r\nwithout an end",
            "--boundary\r\nContent-Type: a/b\r\n\r\nx",
        ] {
            assert_eq!(split(body), (None, body.to_owned()));
        }
    }
}
