//! Segments in pieces of a stream: those that matter are collected, the others are skipped to their end.

use memchr::{memchr, memchr2};

use crate::{elements::Separators, header::is_continuation};

/// Bytes of a segment that are kept; a UNB of the longest fields has less than 1 KiB.
pub(crate) const MAX_SEGMENT: usize = 4096;
/// Bytes that decide what a segment is for: its tag and a separator.
const TAG: usize = 4;
/// Bytes within which the trailer of a package is looked for, where its object is longer than announced.
const MAX_RESYNC: usize = 8;

/// What a segment is for, by its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentRole {
    /// Nothing that is read.
    Skip,
    /// It is collected.
    Keep,
    /// It may begin another interchange.
    Header,
    /// Its data stands behind the element of this number, which is the data's length in bytes.
    Binary(usize),
}

/// Where a segment's reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadStop<'a> {
    /// All bytes are used.
    More,
    /// This segment is all here, and needed no copy.
    Whole(&'a [u8]),
    /// [`SegmentReader::segment`] is complete.
    Collected,
    /// [`SegmentReader::segment`] has the first bytes of what may be a header.
    Header,
}

/// Reads segments.
pub(crate) struct SegmentReader {
    separators: Separators,
    /// Bits of the letters that may follow a first byte in a tag that matters; or [`FILLER`].
    followers: [u32; 256],
    state: ReadState,
    segment: Vec<u8>,
    /// The last byte was a release character, so the next one is data.
    is_released: bool,
}

/// Of a byte that stands between segments, among the followers.
const FILLER: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadState {
    Start,
    Tag,
    Keep,
    Skip,
    /// So many separators before binary data.
    Length(usize),
    /// Bytes of binary data within a segment.
    Data(u64),
    /// Segments before an object.
    BeforeObject {
        segments: u64,
        length: u64,
    },
    /// Bytes of an object between two segments.
    Object(u64),
    /// The trailer of an object.
    Resync,
}

// === impl SegmentReader ===

impl SegmentReader {
    /// `begins`: the first two letters of the tags that matter.
    pub(crate) fn new(separators: Separators, begins: &[&[u8; 2]]) -> Self {
        let mut followers = [0; 256];
        for [first, second] in begins {
            followers[usize::from(*first)] |= bit(*second);
        }
        for (byte, followers) in (0..=u8::MAX).zip(&mut followers) {
            let is_filler = byte == separators.terminator
                || matches!(byte, b'\r' | b'\n' | b'\t' | b' ' | 0 | 0x1a)
                // The rest of a terminator of several bytes.
                || (separators.terminator >= 0xc0 && is_continuation(byte));
            if is_filler {
                *followers = FILLER;
            }
        }
        let (state, segment) = (ReadState::Start, Vec::new());
        Self { separators, followers, state, segment, is_released: false }
    }

    pub(crate) fn separators(&self) -> Separators {
        self.separators
    }

    pub(crate) fn set_release(&mut self, release: u8) {
        self.separators.release = Some(release);
    }

    /// What is collected.
    pub(crate) fn segment(&self) -> &[u8] {
        &self.segment
    }

    pub(crate) fn take_segment(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.segment)
    }

    /// For the next segment.
    pub(crate) fn reuse(&mut self, segment: Vec<u8>) {
        self.segment = segment;
    }

    /// Whether a segment is being collected.
    pub(crate) fn is_keeping(&self) -> bool {
        self.state == ReadState::Keep
    }

    /// Takes what was taken for a header as any other segment.
    pub(crate) fn skip_segment(&mut self) {
        self.state = ReadState::Skip;
    }

    /// Skips so many segments, then so many bytes that no segment is in; then the trailer of a package comes.
    pub(crate) fn skip_object(&mut self, segments: u64, length: u64) {
        self.state = match segments {
            0 => ReadState::Object(length),
            segments => ReadState::BeforeObject { segments, length },
        };
    }

    /// Reads to the end of the next segment that matters. Returns the bytes used, and adds up the others.
    #[inline]
    pub(crate) fn read<'a>(
        &mut self,
        bytes: &'a [u8],
        skipped: &mut u64,
        role: impl Fn(&[u8], u8) -> SegmentRole,
    ) -> (usize, ReadStop<'a>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                ReadState::Start => {
                    at = self.skip_plain(bytes, at, skipped);
                    let rest = &bytes[at..];
                    if rest.is_empty() {
                        continue;
                    }
                    if self.role_at_hand(rest, &role) == Some(SegmentRole::Keep) {
                        match self.find_end(rest) {
                            Some(end) if !has_line_end(&rest[..end]) => {
                                return (at + end + 1, ReadStop::Whole(&rest[..end]));
                            }
                            _ => self.is_released = false,
                        }
                    }
                    self.segment.clear();
                    self.state = ReadState::Tag;
                }
                ReadState::Skip => match self.find_end(&bytes[at..]) {
                    Some(end) => {
                        at += end + 1;
                        *skipped += 1;
                        self.state = ReadState::Start;
                    }
                    None => at = bytes.len(),
                },
                ReadState::Tag => {
                    if Some(byte) == self.separators.release {
                        self.state = ReadState::Skip;
                        continue;
                    }
                    if byte == self.separators.terminator {
                        self.begin(role(&self.segment, self.separators.element));
                        if self.state == ReadState::Tag {
                            self.state = ReadState::Skip;
                        }
                        continue;
                    }
                    at += 1;
                    if !is_line_end(byte) {
                        self.segment.push(byte);
                    }
                    if self.segment.len() == TAG {
                        self.begin(role(&self.segment, self.separators.element));
                        if self.state == ReadState::Tag {
                            return (at, ReadStop::Header);
                        }
                    }
                }
                ReadState::Keep => {
                    let end = self.find_end(&bytes[at..]);
                    self.collect(&bytes[at..end.map_or(bytes.len(), |end| at + end)]);
                    let Some(end) = end else { return (bytes.len(), ReadStop::More) };
                    self.state = ReadState::Start;
                    return (at + end + 1, ReadStop::Collected);
                }
                ReadState::Length(separators) => {
                    if byte == self.separators.terminator {
                        self.state = ReadState::Skip;
                        continue;
                    }
                    at += 1;
                    if byte != self.separators.element {
                        self.collect(&[byte]);
                    } else if separators > 1 {
                        self.segment.clear();
                        self.state = ReadState::Length(separators - 1);
                    } else {
                        let length = std::str::from_utf8(&self.segment).ok();
                        let length = length.and_then(|length| length.trim().parse().ok());
                        self.state = length.map_or(ReadState::Skip, ReadState::Data);
                    }
                }
                ReadState::Data(left) => {
                    self.state = match skip(left, bytes.len(), &mut at) {
                        0 => ReadState::Skip,
                        left => ReadState::Data(left),
                    }
                }
                ReadState::BeforeObject { segments, length } => match self.find_end(&bytes[at..]) {
                    Some(end) => {
                        at += end + 1;
                        self.skip_object(segments - 1, length);
                    }
                    None => at = bytes.len(),
                },
                ReadState::Object(left) => {
                    self.state = match skip(left, bytes.len(), &mut at) {
                        0 => {
                            self.segment.clear();
                            ReadState::Resync
                        }
                        left => ReadState::Object(left),
                    }
                }
                ReadState::Resync => {
                    at += 1;
                    self.segment.push(byte);
                    if self.segment.ends_with(b"UNP") {
                        self.segment.drain(..self.segment.len() - 3);
                        self.state = ReadState::Keep;
                    } else if self.segment.len() == MAX_RESYNC {
                        self.state = ReadState::Skip;
                    }
                }
            }
        }
        (at, ReadStop::More)
    }

    /// Skips what is between segments, and segments that do not matter by their first two bytes.
    #[inline]
    fn skip_plain(&mut self, bytes: &[u8], mut at: usize, skipped: &mut u64) -> usize {
        while let Some(&first) = bytes.get(at) {
            let followers = self.followers[usize::from(first)];
            if followers == FILLER {
                at += 1;
                continue;
            }
            // What is no letter may be a line end within the tag.
            let is_plain = followers == 0
                || bytes.get(at + 1).is_some_and(|&second| {
                    second.is_ascii_uppercase() && followers & bit(second) == 0
                });
            if !is_plain {
                break;
            }
            let Some(end) = self.find_end(&bytes[at..]) else {
                self.state = ReadState::Skip;
                return bytes.len();
            };
            at += end + 1;
            *skipped += 1;
        }
        at
    }

    fn begin(&mut self, role: SegmentRole) {
        self.state = match role {
            SegmentRole::Skip => ReadState::Skip,
            SegmentRole::Keep => ReadState::Keep,
            SegmentRole::Header => ReadState::Tag,
            SegmentRole::Binary(element) => {
                // The separator behind the tag is collected already.
                self.segment.clear();
                ReadState::Length(element)
            }
        };
    }

    /// What a segment is for. `None`: the bytes at hand do not say.
    fn role_at_hand(
        &self,
        bytes: &[u8],
        role: &impl Fn(&[u8], u8) -> SegmentRole,
    ) -> Option<SegmentRole> {
        let tag = bytes.get(..TAG)?;
        let Separators { element, terminator, .. } = self.separators;
        let is_clear = !tag.iter().any(|&byte| byte == terminator || is_line_end(byte));
        is_clear.then(|| role(tag, element))
    }

    /// Adds to the segment, without the line ends of wrapped files.
    fn collect(&mut self, bytes: &[u8]) {
        let room = MAX_SEGMENT.saturating_sub(self.segment.len());
        self.segment.extend(bytes.iter().filter(|&&byte| !is_line_end(byte)).take(room));
    }

    /// The next terminator that is not data.
    #[inline(always)]
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.separators.release {
            None => memchr(self.separators.terminator, bytes),
            Some(release) => self.find_unreleased(release, bytes),
        }
    }

    fn find_unreleased(&mut self, release: u8, bytes: &[u8]) -> Option<usize> {
        let terminator = self.separators.terminator;
        let mut at = 0;
        loop {
            if self.is_released {
                // A wrapped file may have a line end between the two.
                at += bytes[at..].iter().position(|&byte| !is_line_end(byte))? + 1;
                self.is_released = false;
            }
            at += memchr2(terminator, release, &bytes[at..])?;
            if bytes[at] == terminator {
                return Some(at);
            }
            at += 1;
            self.is_released = true;
        }
    }
}

/// Skips as many bytes of those left as there are, and returns how many are left then.
fn skip(left: u64, end: usize, at: &mut usize) -> u64 {
    let here = (end - *at) as u64;
    let skipped = left.min(here);
    // It is no more than there are here.
    *at += usize::try_from(skipped).unwrap_or(end - *at);
    left - skipped
}

/// Of an uppercase letter.
fn bit(letter: u8) -> u32 {
    1 << (letter.wrapping_sub(b'A') & 31)
}

/// Of a short segment: without branches it is faster than a search.
fn has_line_end(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | is_line_end(byte))
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
