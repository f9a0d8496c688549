//! XML: the root element, and what a Standard Business Document Header says.
//!
//! The beginning of the file is kept, and read at its end; of the rest only the last bytes are, which say
//! whether the root element is closed.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use memchr::memmem;

use crate::{EdiDocument, Interchange, XmlRoot, elements::cut};

mod head;

use head::XmlHead;

/// Bytes of the beginning that are read.
const HEAD: usize = 56 * 1024;
/// Bytes of the end that are read.
const TAIL: usize = 2 * 1024;

/// An XML document while it passes.
#[derive(Default)]
pub(crate) struct Xml {
    head: Vec<u8>,
    /// The last bytes, and up to as many before them.
    tail: Vec<u8>,
}

// === impl Xml ===

impl Xml {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        if self.tail.len() + last.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        self.tail.extend_from_slice(last);
    }

    /// `None`: it has no root element.
    pub(crate) fn finish(self) -> Option<Interchange> {
        let charset = charset(&self.head);
        let text = charset.decode_with_bom_removal(&self.head).0;
        let head = XmlHead::read(&text)?;
        let complete = head.is_empty || is_closed(&self.tail, &head.qualified_name, charset);
        let document = match head.sbdh {
            None => EdiDocument {
                document_type: Some(head.root.root.clone()),
                ..EdiDocument::default()
            },
            Some(ref sbdh) => EdiDocument {
                document_type: sbdh.document_type.clone(),
                version: sbdh.type_version.clone(),
                control_number: sbdh.instance.clone(),
                ..EdiDocument::default()
            },
        };
        let sbdh = head.sbdh.unwrap_or_default();
        Some(Interchange {
            control_number: sbdh.instance,
            sender: sbdh.sender,
            receiver: sbdh.receiver,
            version: sbdh.header_version,
            prepared_at: sbdh.created,
            documents: vec![EdiDocument {
                xml: Some(sbdh.business.unwrap_or(head.root)),
                ..document
            }],
            document_count: 1,
            complete,
            ..Interchange::default()
        })
    }
}

/// By the byte order mark or the first `<`, else as declared. A declaration that can be read as bytes is
/// not in UTF-16, whatever it says.
fn charset(bytes: &[u8]) -> &'static Encoding {
    match bytes {
        [0xff, 0xfe, ..] | [b'<', 0, ..] => return UTF_16LE,
        [0xfe, 0xff, ..] | [0, b'<', ..] => return UTF_16BE,
        _ => {}
    }
    declared(bytes)
        .and_then(Encoding::for_label)
        .filter(|charset| charset.is_ascii_compatible())
        .unwrap_or(UTF_8)
}

/// The value of `encoding` in the XML declaration.
fn declared(bytes: &[u8]) -> Option<&[u8]> {
    let declaration = bytes.strip_prefix(b"<?xml")?;
    let declaration = &declaration[..memmem::find(declaration, b"?>")?];
    let value = &declaration[memmem::find(declaration, b"encoding")? + b"encoding".len()..];
    let value = value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (&quote, value) = value.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
    value.split(|&byte| byte == quote).next()
}

/// Whether the last bytes have the end tag of the root, and nothing but comments, processing instructions
/// and padding behind it.
fn is_closed(tail: &[u8], name: &str, charset: &'static Encoding) -> bool {
    let tag = encode(&format!("</{name}"), charset);
    let Some(at) = memmem::rfind(tail, &tag) else { return false };
    let (rest, _) = charset.decode_without_bom_handling(&tail[at + tag.len()..]);
    let Some(mut rest) = rest.trim_start().strip_prefix('>') else { return false };
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '\0' | '\u{1a}'));
        let end = match rest {
            "" => return true,
            _ if rest.starts_with("<!--") => rest.find("-->").map(|end| end + 3),
            _ if rest.starts_with("<?") => rest.find("?>").map(|end| end + 2),
            _ => None,
        };
        match end {
            Some(end) => rest = &rest[end..],
            None => return false,
        }
    }
}

/// As `charset` has it, which `encoding_rs` does not do for UTF-16.
fn encode(text: &str, charset: &'static Encoding) -> Vec<u8> {
    if charset == UTF_16LE {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    } else if charset == UTF_16BE {
        text.encode_utf16().flat_map(u16::to_be_bytes).collect()
    } else {
        charset.encode(text).0.into_owned()
    }
}

impl XmlRoot {
    fn new(local_name: &[u8], namespace: Option<&[u8]>) -> Self {
        let text = |bytes| cut(&String::from_utf8_lossy(bytes)).to_owned();
        Self { root: text(local_name), namespace: namespace.map(text) }
    }
}
