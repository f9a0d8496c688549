//! Escapes, shortens and redacts each log line before it is written.
//!
//! Control characters, C1 and bidirectional ones are escaped, in both formats: a line is one line, and
//! reads as it is. The values of `Authorization` and `Cookie` fields are left out. A line has
//! [`MOST`] bytes at the most.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

use serde_json::{Map, Value};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::QUEUE;

/// Bytes of one line, its end included.
const MOST: usize = 4096;

/// How long a value may be in a JSON line that is too long: the first of these by which it fits.
const VALUES: [usize; 4] = [1024, 256, 64, 8];

/// Puts lines into the queue to stderr.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub(super) json: bool,
    /// The formatter writes colours.
    pub(super) ansi: bool,
}

// === impl Lines ===

impl Lines {
    /// The line as it is to be written.
    fn clean<'l>(&self, line: &'l str) -> Cow<'l, str> {
        let text = line.strip_suffix('\n').unwrap_or(line);
        let plain = line.len() <= MOST && !text.chars().any(|one| self.is_escaped(one));
        if plain && credentials(text).is_none() {
            return Cow::Borrowed(line);
        }
        let mut clean = self.escaped(&redacted(text, self.json));
        if clean.len() >= MOST {
            clean = match self.json {
                true => self.shortened(&clean),
                false => cut(&clean, MOST - 1),
            };
        }
        clean.push('\n');
        Cow::Owned(clean)
    }

    fn is_escaped(&self, one: char) -> bool {
        match one {
            // The formatter's own colours: it escapes those of values itself.
            '\u{1b}' => !self.ansi,
            _ => is_control_or_direction(one),
        }
    }

    fn escaped(&self, text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for one in text.chars() {
            match self.is_escaped(one) {
                false => escaped.push(one),
                // Writing into a string does not fail.
                true if self.json => drop(write!(escaped, "\\u{:04x}", u32::from(one))),
                true => escaped.extend(one.escape_default()),
            }
        }
        escaped
    }

    /// A JSON line whose long values are cut.
    fn shortened(&self, line: &str) -> String {
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
            return r#"{"message":"A log line was too long, and could not be shortened."}"#
                .to_owned();
        };
        for most in VALUES {
            let fields: Map<_, _> =
                fields.iter().map(|(name, value)| (cut(name, most), short(value, most))).collect();
            let line = self.escaped(&Value::Object(fields).to_string());
            if line.len() < MOST {
                return line;
            }
        }
        r#"{"message":"A log line had too many fields."}"#.to_owned()
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        *self
    }
}

impl Write for Lines {
    /// The formatter hands over one line in one call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        QUEUE.push(self.clean(&line).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a character changes how a terminal shows what stands around it: control characters, C1 and
/// bidirectional ones, and line breaks beyond ASCII.
pub(crate) fn is_control_or_direction(one: char) -> bool {
    match one {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2066}'..='\u{2069}' => true,
        _ => one.is_control(),
    }
}

fn short(value: &Value, most: usize) -> Value {
    match value {
        Value::String(text) => Value::String(cut(text, most)),
        Value::Array(_) | Value::Object(_) => Value::String(cut(&value.to_string(), most)),
        other => other.clone(),
    }
}

/// At most so many bytes, and how many there were.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let behind = format!("… ({} bytes)", text.len());
    let mut end = most.saturating_sub(behind.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{behind}", &text[..end])
}

/// Without the values of fields that are credentials. What stands behind such a name goes, up to the end
/// of the header's line, of the JSON string, or of the value that the name itself stands in.
fn redacted(text: &str, json: bool) -> Cow<'_, str> {
    let (mut redacted, mut rest, mut quoted) = (String::new(), text, false);
    while let Some((begin, newline)) = credentials(rest) {
        let value = &rest[begin..];
        quoted = !json && is_quoted(&rest[..begin], quoted);
        let end = end_of_value(value, json || quoted, newline);
        redacted.push_str(&rest[..begin]);
        redacted.push_str("***");
        rest = &value[end..];
    }
    if redacted.is_empty() {
        return Cow::Borrowed(text);
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

/// Where the value of such a field begins, and the backslashes that an escaped line break has there.
fn credentials(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut from = 0;
    // `Proxy-Authorization` and `Set-Cookie` end alike.
    while let Some(at) = memchr::memchr2(b'o', b'O', &bytes[from..]).map(|at| from + at) {
        from = at + 1;
        let name = [("authorization", 4), ("cookie", 1)].into_iter().find_map(|(name, o)| {
            let begin = at.checked_sub(o)?;
            let end = begin + name.len();
            bytes.get(begin..end)?.eq_ignore_ascii_case(name.as_bytes()).then_some((begin, end))
        });
        let Some((begin, end)) = name else { continue };
        let behind = &bytes[end..];
        let skipped = behind.iter().take_while(|byte| b"\\\"' ".contains(byte)).count();
        if let Some(b':' | b'=' | b',') = behind.get(skipped) {
            return Some((end + skipped + 1, newline_before(&bytes[..begin])));
        }
    }
    None
}

/// Whether the end of a text line's piece is inside the quoted value of one of our fields (`name="value"`).
/// `quoted`: whether its beginning is.
fn is_quoted(piece: &str, mut quoted: bool) -> bool {
    let bytes = piece.as_bytes();
    let mut slashes = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if quoted => quoted = slashes % 2 == 1,
            // The formatter may write its `=` in another colour.
            b'"' => quoted = bytes[..at].ends_with(b"=") || bytes[..at].ends_with(b"=\x1b[0m"),
            _ => {}
        }
        slashes = if *byte == b'\\' { slashes + 1 } else { 0 };
    }
    quoted
}

/// The backslashes of the escaped line break before a header's line: 1, or 2 and more where it is escaped
/// again. 0: there is none.
fn newline_before(line: &[u8]) -> usize {
    let of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let name = line.iter().rev().take_while(of_name).count();
    let (line, name) = line.split_at(line.len() - name);
    if !matches!(name.first(), Some(b'n' | b'r')) {
        return 0;
    }
    let slashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
    // Each escaping doubles them, those that a client wrote before the line break once more.
    slashes & slashes.wrapping_neg()
}

/// `newline`: as [`newline_before`]. A client's own backslash has twice as many, so what looks like a line
/// break in a credential does not end it.
fn end_of_value(value: &str, quoted: bool, newline: usize) -> usize {
    let mut slashes = 0;
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'\\' => slashes += 1,
            b'r' | b'n' if newline > 0 && slashes % (2 * newline) == newline => {
                return at - newline;
            }
            b'"' if quoted && slashes % 2 == 0 => return at - slashes,
            b'\r' | b'\n' => return at,
            _ => slashes = 0,
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Lines = Lines { json: false, ansi: false };
    const JSON: Lines = Lines { json: true, ansi: false };

    #[test]
    fn control_and_bidirectional_characters_are_escaped_in_both_formats() {
        let hostile = "a\u{1b}[2J\r\nERROR forged\u{85}\u{9b}1m\u{202e}\u{2066}\u{2028}\u{7f}ü\n";
        let text = TEXT.clean(hostile);
        assert_eq!(
            text,
            "a\\u{1b}[2J\\r\\nERROR forged\\u{85}\\u{9b}1m\\u{202e}\\u{2066}\\u{2028}\\u{7f}ü\n"
        );
        let line = format!("{}\n", serde_json::json!({ "message": hostile, "level": "INFO" }));
        let json = JSON.clean(&line).into_owned();
        assert!(json.trim_end().chars().all(|one| !JSON.is_escaped(one)), "{json}");
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["message"], hostile, "it is the same for a reader of JSON");
    }

    #[test]
    fn common_line_is_written_as_it_is() {
        let line = "INFO Inbound exchange. peer=\"192.0.2.1\"\n";
        assert!(matches!(TEXT.clean(line), Cow::Borrowed(_)));
    }

    #[test]
    fn colours_of_the_formatter_stay() {
        let ansi = Lines { json: false, ansi: true };
        assert_eq!(
            ansi.clean("\u{1b}[32mINFO\u{1b}[0m x\u{202e}\n"),
            "\u{1b}[32mINFO\u{1b}[0m x\\u{202e}\n"
        );
    }

    #[test]
    fn long_line_is_cut_and_a_json_one_stays_json() {
        let text = TEXT.clean(&format!("{}\n", "ü".repeat(100_000))).into_owned();
        assert!(text.len() <= MOST && text.ends_with("(200000 bytes)\n"), "{}", text.len());
        for hostile in ["x".repeat(100_000), "\u{202e}".repeat(3000), "\"\\".repeat(3000)] {
            let line = serde_json::json!({ "level": "INFO", "message": hostile, "status": 400 });
            let json = JSON.clean(&format!("{line}\n")).into_owned();
            let read: Value = serde_json::from_str(&json).unwrap();
            assert!(json.len() <= MOST && read["status"] == 400 && read["level"] == "INFO");
        }
        let many: Map<_, _> = (0..5000).map(|n| (n.to_string(), Value::Null)).collect();
        let json = JSON.clean(&format!("{}\n", Value::Object(many))).into_owned();
        assert!(json.len() <= MOST && serde_json::from_str::<Value>(&json).is_ok());
    }

    #[test]
    fn credential_in_a_quoted_value_does_not_hide_the_fields_behind_it_in_text() {
        let line =
            r#"INFO Exchange. path="/authorization:x" id="a\"cookie=\"b\"" as2="A" status=404"#;
        assert_eq!(
            TEXT.clean(&format!("{line}\n")),
            r#"INFO Exchange. path="/authorization:***" id="a\"cookie=***" as2="A" status=404"#
                .to_owned()
                + "\n"
        );
        let ansi = Lines { json: false, ansi: true };
        let clean =
            ansi.clean("\u{1b}[3mpath\u{1b}[0m\u{1b}[2m=\u{1b}[0m\"/cookie:x\" status=404\n");
        assert!(clean.ends_with("\"/cookie:***\" status=404\n"), "{clean}");
    }

    #[test]
    fn credential_with_typed_line_breaks_is_left_out_to_the_end_of_its_line() {
        for typed in [r"\n", r"\r", r"\r\n", r"\\n", r"\\\r\n", r"\nCookie: ", r"\"] {
            let head = format!("POST / HTTP/1.1\r\nAuthorization: a{typed}s3cr3t\\\r\nHost: b\r\n");
            let printed = format!("{head:?}");
            for line in [printed.clone(), format!("{printed:?}"), format!("buf={printed}")] {
                let text = TEXT.clean(&format!("{line}\n")).into_owned();
                let json = serde_json::json!({ "message": line, "status": 1 });
                let json = JSON.clean(&format!("{json}\n")).into_owned();
                for clean in [text, json] {
                    assert!(clean.contains("***") && clean.contains("Host: b"), "{clean}");
                    assert!(!clean.contains("s3cr3t"), "{clean}");
                }
            }
            // Without a line break before it, it is left out to the end.
            let line = TEXT.clean(&format!("Authorization: a{typed}s3cr3t\n")).into_owned();
            assert!(!line.contains("s3cr3t"), "{line}");
        }
    }

    #[test]
    fn credentials_are_left_out_however_they_are_printed() {
        for (line, clean) in [
            (
                r"buf: POST / HTTP/1.1\r\nAuthorization: Basic s3cr3t\r\nHost: a",
                r"buf: POST / HTTP/1.1\r\nAuthorization:***\r\nHost: a",
            ),
            (
                r#"{"host": "a", "proxy-authorization": "Digest u=\"s3cr3t\""}"#,
                r#"{"host": "a", "proxy-authorization":***"#,
            ),
            ("COOKIE=s3cr3t", "COOKIE=***"),
            (r#"("set-cookie", "s3cr3t")"#, r#"("set-cookie",***"#),
        ] {
            assert_eq!(TEXT.clean(&format!("{line}\n")), format!("{clean}\n"));
            let json = serde_json::json!({ "message": line, "status": 1 });
            let json = JSON.clean(&format!("{json}\n")).into_owned();
            let read: Value = serde_json::from_str(&json).unwrap();
            assert!(!json.contains("s3cr3t") && read["status"] == 1, "{json}");
        }
        // A quote in a head does not end a value that stands in no quotes.
        let raw = r#"buf: Agent: 19" x\r\nAuthorization: Digest u="a", response="s3cr3t""#;
        assert!(!TEXT.clean(&format!("{raw}\n")).contains("s3cr3t"));
        let harmless = "No Authorization header: send one\n";
        assert_eq!(TEXT.clean(harmless), harmless);
    }
}
