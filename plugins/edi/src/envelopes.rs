//! One interchange of segments, from its header to its trailer.

use encoding_rs::{Encoding, WINDOWS_1252};

use crate::{
    EdiWarning, EventLists, Interchange,
    edifact::Edifact,
    elements::Elements,
    header::{IsaHeader, ServiceHeader},
    interchange::OpenInterchange,
    open_ack::OpenAck,
    segments::{ReadStop, SegmentReader, SegmentRole},
    x12::X12,
};

/// Reads an interchange.
pub(crate) struct Envelopes {
    reader: SegmentReader,
    charset: &'static Encoding,
    dialect: Dialect,
    contents: Contents,
}

/// What the segments are put into.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) open: OpenInterchange,
    pub(crate) ack: OpenAck,
}

/// Tags belong to a standard.
enum Dialect {
    X12(X12),
    Edifact(Edifact),
}

/// Where the reading of an interchange stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeStop {
    /// All bytes are used.
    More,
    /// Its trailer was read.
    Trailer,
    /// Its next segment may be another header, of which [`Envelopes::segment`] are the first bytes.
    Header,
}

/// What a segment changes beyond the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentEffect {
    None,
    /// It is the interchange's trailer.
    Trailer,
    /// It sets a release character.
    Release(u8),
    /// An object of so many bytes follows so many segments.
    Object {
        segments: u64,
        length: u64,
    },
    /// It sets the character set.
    Charset(&'static Encoding),
}

// === impl Envelopes ===

impl Envelopes {
    pub(crate) fn of_x12(header: &IsaHeader, lists: &mut EventLists) -> Self {
        let reader = SegmentReader::new(header.separators, X12::BEGINS);
        let mut contents = Contents::default();
        let dialect =
            X12::open(&elements_of(&header.segment, &reader, WINDOWS_1252), &mut contents, lists);
        if header.width != IsaHeader::WIDTH {
            let (expected, found) = (IsaHeader::WIDTH.into(), header.width.into());
            contents
                .open
                .warn(EdiWarning::new("isa-width", "ISA", Some(expected), Some(found)), lists);
        }
        Self { reader, charset: WINDOWS_1252, dialect: Dialect::X12(dialect), contents }
    }

    /// Of a UNB or UIB that comes next.
    pub(crate) fn of_edifact(header: &ServiceHeader) -> Self {
        let reader = SegmentReader::new(header.separators, Edifact::BEGINS);
        let dialect = Dialect::Edifact(Edifact::new(header.is_guessed));
        Self { reader, charset: WINDOWS_1252, dialect, contents: Contents::default() }
    }

    /// Takes the next bytes, and returns how many of them are used.
    pub(crate) fn push(&mut self, bytes: &[u8], lists: &mut EventLists) -> (usize, EnvelopeStop) {
        let mut at = 0;
        loop {
            let mut skipped = 0;
            let (used, stop) = match &self.dialect {
                Dialect::X12(x12) => {
                    self.reader
                        .read(&bytes[at..], &mut skipped, |tag, element| x12.role(tag, element))
                }
                Dialect::Edifact(edifact) => {
                    self.reader
                        .read(&bytes[at..], &mut skipped, |tag, element| edifact.role(tag, element))
                }
            };
            at += used;
            self.contents.open.count_segments(skipped);
            match stop {
                ReadStop::More => return (at, EnvelopeStop::More),
                ReadStop::Header => return (at, EnvelopeStop::Header),
                ReadStop::Whole(segment) => {
                    if self.take(segment, lists) {
                        return (at, EnvelopeStop::Trailer);
                    }
                }
                ReadStop::Collected => {
                    if self.take_collected(lists) {
                        return (at, EnvelopeStop::Trailer);
                    }
                }
            }
        }
    }

    /// What is read of the segment.
    pub(crate) fn segment(&self) -> &[u8] {
        self.reader.segment()
    }

    /// Goes on behind a stop at a header that was none.
    pub(crate) fn skip_segment(&mut self) {
        self.reader.skip_segment();
    }

    /// No more bytes come. The interchange, if it is listed.
    pub(crate) fn finish(mut self, lists: &mut EventLists) -> Option<Interchange> {
        if self.reader.is_keeping() {
            let elements = elements_of(self.reader.segment(), &self.reader, self.charset);
            let number = self.contents.open.interchange.control_number.as_deref();
            let is_whole = match &self.dialect {
                Dialect::X12(_) => X12::is_whole(&elements, number),
                Dialect::Edifact(edifact) => edifact.is_whole(&elements, number),
            };
            if is_whole {
                self.take_collected(lists);
            }
        }
        self.contents.ack.close(lists);
        self.contents.open.finish()
    }

    fn take_collected(&mut self, lists: &mut EventLists) -> bool {
        let segment = self.reader.take_segment();
        let is_trailer = self.take(&segment, lists);
        self.reader.reuse(segment);
        is_trailer
    }

    /// Whether it is the trailer.
    fn take(&mut self, segment: &[u8], lists: &mut EventLists) -> bool {
        let contents = &mut self.contents;
        contents.open.count_segments(1);
        let elements = elements_of(segment, &self.reader, self.charset);
        let effect = match &mut self.dialect {
            Dialect::X12(x12) => x12.take(&elements, contents, lists),
            Dialect::Edifact(edifact) => edifact.take(&elements, contents, lists),
        };
        match effect {
            SegmentEffect::None => {}
            SegmentEffect::Trailer => return true,
            SegmentEffect::Release(release) => self.reader.set_release(release),
            SegmentEffect::Object { segments, length } => self.reader.skip_object(segments, length),
            SegmentEffect::Charset(charset) => self.charset = charset,
        }
        false
    }
}

fn elements_of<'a>(
    segment: &'a [u8],
    reader: &SegmentReader,
    charset: &'static Encoding,
) -> Elements<'a> {
    Elements::new(segment, reader.separators(), charset)
}

/// The tag of a segment whose first bytes these are. `None`: it is longer than any that matters.
pub(crate) fn tag_of(bytes: &[u8], element: u8) -> Option<&[u8]> {
    match bytes.iter().position(|&byte| byte == element) {
        Some(end) => Some(&bytes[..end]),
        // A segment without elements.
        None => (bytes.len() < 4).then_some(bytes),
    }
}

/// Whether a segment begins like a header with this tag, whatever its separator.
pub(crate) fn begins_header(bytes: &[u8], tag: &[u8; 3]) -> bool {
    matches!(bytes.strip_prefix(tag), Some(&[next]) if !next.is_ascii_alphanumeric())
}

/// What a segment is for, if it is one of the tags.
pub(crate) fn keep_if(is_kept: bool) -> SegmentRole {
    if is_kept { SegmentRole::Keep } else { SegmentRole::Skip }
}
