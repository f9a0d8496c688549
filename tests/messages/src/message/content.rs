//! What a message carries, and small writers for it.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The bytes of an attachment.
#[derive(Clone, Debug)]
pub enum Content {
    /// Held.
    Bytes(Vec<u8>),
    /// A pattern over and over, so many bytes in all; the last time cut where it must be.
    Pattern {
        /// What is repeated; not empty.
        unit: Vec<u8>,
        /// Bytes in all.
        length: u64,
    },
}

/// An attachment.
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) fields: Vec<(String, String)>,
    pub(super) content: Content,
}

// === impl Content ===

impl Content {
    /// 64 KiB of bytes without order, over and over: nothing that a compressor could do away with
    /// at once, and the same in every run.
    pub fn large(length: u64) -> Self {
        let mut order = fastrand::Rng::with_seed(20_261_121);
        Self::Pattern { unit: (0..64 << 10).map(|_| order.u8(..)).collect(), length }
    }

    /// How many bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern { length, .. } => *length,
        }
    }

    /// Writes all of it.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => to.write_all(bytes),
            Self::Pattern { unit, length } => {
                let mut left = *length;
                while left > 0 {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(unit.len());
                    to.write_all(&unit[..take])?;
                    left -= take as u64;
                }
                Ok(())
            }
        }
    }

    /// SHA-256 of all of it, lower-case hex.
    pub fn sha256(&self) -> String {
        struct Hash(openssl::sha::Sha256);
        impl Write for Hash {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut hash = Hash(openssl::sha::Sha256::new());
        self.write(&mut hash).expect("hashing does not fail");
        hex(&hash.0.finish())
    }
}

// === impl Part ===

impl Part {
    /// A file of this name and type.
    pub fn new(name: &str, content_type: &str, content: Content) -> Self {
        Self::with_fields(
            &[
                ("Content-Type", &format!("{content_type}; name=\"{name}\"")),
                ("Content-Transfer-Encoding", "binary"),
                ("Content-Disposition", &format!("attachment; filename=\"{name}\"")),
            ],
            content,
        )
    }

    /// A file of text.
    pub fn text(name: &str, content_type: &str, text: &str) -> Self {
        Self::new(name, content_type, Content::Bytes(text.as_bytes().to_vec()))
    }

    /// An attachment with exactly these MIME fields.
    pub fn with_fields(fields: &[(&str, &str)], content: Content) -> Self {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { fields, content }
    }
}

/// Lower-case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) bytes: u64,
}

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Base64 in lines of 76 characters (RFC 2045 section 6.8).
pub(super) struct Base64Lines<'a> {
    to: &'a mut dyn Write,
    held: Vec<u8>,
}

/// The bytes behind one line.
const LINE: usize = 57;

impl<'a> Base64Lines<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, held: Vec::new() }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() { Ok(()) } else { self.lines(&held) }
    }

    fn lines(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut text = String::with_capacity(bytes.len() * 3 / 2);
        for line in bytes.chunks(LINE) {
            STANDARD.encode_string(line, &mut text);
            text.push_str("\r\n");
        }
        self.to.write_all(text.as_bytes())
    }
}

impl Write for Base64Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        let whole = self.held.len() / LINE * LINE;
        let rest = self.held.split_off(whole);
        let full = std::mem::replace(&mut self.held, rest);
        self.lines(&full)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Base64 in lines, in memory.
pub(super) fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut lines = Base64Lines::new(&mut text);
    let written = lines.write_all(bytes).and_then(|()| lines.finish());
    written.expect("memory takes every byte");
    text
}
