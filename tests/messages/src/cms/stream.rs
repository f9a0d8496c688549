//! Structures around a content that is written while it is made, so that one of 1 GiB costs no more memory
//! than one of 1 KiB.

use std::io::{self, Write};

use as2hook_as2::ber::oid as ids;

use crate::der::{self, Encoding, int, oid, seq};

/// `ContentInfo { kind, [0] { before, { inner, [0] content } } }`, the shape that both have.
pub(super) struct Shape<'a> {
    pub(super) kind: &'a [u8],
    pub(super) before: &'a [u8],
    pub(super) inner: &'a [u8],
    /// Whether `[0]` stands for the OCTET STRING itself or around it.
    pub(super) is_implicit: bool,
}

/// The content of a structure being written.
pub struct ContentWriter<'a> {
    to: &'a mut dyn Write,
    encoding: Encoding,
    /// The beginning of a segment.
    held: Vec<u8>,
    /// Indefinite lengths that are to be ended.
    open: usize,
}

/// Writes CompressedData around the zlib stream that is then written: so many bytes, which DER has to know
/// before.
pub fn compressed_writer(
    encoding: Encoding,
    length: Option<u64>,
    to: &mut dyn Write,
) -> io::Result<ContentWriter<'_>> {
    let before = [int(0), seq(&[&oid(ids::ZLIB)])].concat();
    let inner = oid(ids::DATA);
    let shape =
        Shape { kind: ids::COMPRESSED_DATA, before: &before, inner: &inner, is_implicit: false };
    ContentWriter::begin(&shape, encoding, length, to)
}

// === impl ContentWriter ===

impl<'a> ContentWriter<'a> {
    pub(super) fn begin(
        shape: &Shape<'_>,
        encoding: Encoding,
        length: Option<u64>,
        to: &'a mut dyn Write,
    ) -> io::Result<Self> {
        let kind = oid(shape.kind);
        if encoding != Encoding::Der {
            let tags: &[u8] = if shape.is_implicit { &[0xa0] } else { &[0xa0, 0x24] };
            let head = [
                &[0x30, 0x80][..],
                &kind,
                &[0xa0, 0x80, 0x30, 0x80],
                shape.before,
                &[0x30, 0x80],
                shape.inner,
                &tags.iter().flat_map(|tag| [*tag, 0x80]).collect::<Vec<_>>(),
            ];
            to.write_all(&head.concat())?;
            return Ok(Self { to, encoding, held: Vec::new(), open: 4 + tags.len() });
        }
        let length = length.expect("DER is given the length of its content");
        let content = if shape.is_implicit {
            der::header(0x80, length)
        } else {
            let string = der::header(4, length);
            [der::header(0xa0, string.len() as u64 + length), string].concat()
        };
        // From the inside out: each length covers what follows it and the content.
        let mut head = [shape.inner, &content].concat();
        for (tag, lead) in [(0x30, shape.before), (0x30, &[]), (0xa0, &kind), (0x30, &[])] {
            let around = der::header(tag, head.len() as u64 + length);
            head = [lead, &around, &head].concat();
        }
        to.write_all(&head)?;
        Ok(Self { to, encoding, held: Vec::new(), open: 0 })
    }

    /// Writes the last segment and what closes the structure.
    pub fn finish(self) -> io::Result<()> {
        if !self.held.is_empty() {
            self.to.write_all(&self.encoding.segment(&self.held))?;
        }
        self.to.write_all(&vec![0; 2 * self.open])
    }
}

impl Write for ContentWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(size) = self.encoding.segment_size() else {
            self.to.write_all(bytes)?;
            return Ok(bytes.len());
        };
        let take = bytes.len().min(size - self.held.len());
        self.held.extend_from_slice(&bytes[..take]);
        if self.held.len() == size {
            self.to.write_all(&self.encoding.segment(&self.held))?;
            self.held.clear();
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
