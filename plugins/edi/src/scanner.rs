//! The way through a file: what it begins with, then one interchange after the other.

use crate::{
    Edi, EdiWarning, EventLists, Interchange, Standard,
    envelopes::{EnvelopeStop, Envelopes},
    header::{HeaderMatch, InterchangeHeader, MAX_HEADER, is_continuation, match_header},
    xml::Xml,
};

/// Scans one file.
///
/// ```
/// use as2hook_edi::{EventLists, Scanner};
///
/// let (mut scanner, mut lists) = (Scanner::new(), EventLists::default());
/// for piece in b"UNB+UNOC:3+ALPHA+BETA+261115:0930+1'UNZ+0+1'".chunks(7) {
///     scanner.push(piece, &mut lists);
/// }
/// let edi = scanner.finish(&mut lists);
/// assert_eq!(edi.unwrap().interchanges[0].control_number.as_deref(), Some("1"));
/// ```
pub struct Scanner {
    stage: ScanStage,
    /// Bytes that more are needed to decide of.
    held: Vec<u8>,
    /// No more bytes come.
    is_end: bool,
    /// What is held, or comes next, may be a header within an interchange.
    is_candidate: bool,
    /// The byte before.
    previous: u8,
    /// Bytes since the beginning or the last trailer that belong to nothing.
    garbage: usize,
    standard: Option<Standard>,
    interchanges: Vec<Interchange>,
    interchange_count: u64,
    /// The last interchange that has ended is listed.
    is_last_listed: bool,
}

enum ScanStage {
    /// Nothing is decided yet.
    Beginning,
    /// Padding was skipped; the first bytes that are none decide.
    BehindPadding,
    /// Looks for a header.
    Search,
    Envelopes(Standard, Box<Envelopes>),
    Xml(Box<Xml>),
    /// Nothing that is read, or nothing any more.
    Ignore,
}

/// Bytes that are held to decide of, at most.
const MAX_HELD: usize = 2 * MAX_HEADER;
/// Bytes at the beginning that decide whether a file is left alone.
const SIGNATURE: usize = 8;
/// Bytes that belong to nothing, within which a header is looked for.
const MAX_GARBAGE: usize = 64 * 1024;
/// What is left alone, even if a header stands in it: HL7, flat IDocs, TRADACOMS, PDF, ZIP.
const OTHERS: [&[u8]; 7] =
    [b"MSH|", b"FHS|", b"BHS|", b"EDI_DC40", b"STX=", b"%PDF", b"PK\x03\x04"];

// === impl Scanner ===

impl Scanner {
    /// Begins a file.
    pub fn new() -> Self {
        Self {
            stage: ScanStage::Beginning,
            held: Vec::new(),
            is_end: false,
            is_candidate: false,
            previous: b'\n',
            garbage: 0,
            standard: None,
            interchanges: Vec::new(),
            interchange_count: 0,
            is_last_listed: false,
        }
    }

    /// Takes the next bytes; `lists` are those of its event.
    pub fn push(&mut self, mut bytes: &[u8], lists: &mut EventLists) {
        while !bytes.is_empty() {
            if self.held.is_empty() {
                bytes = &bytes[self.step(bytes, lists)..];
                continue;
            }
            let held = self.held.len();
            let take = bytes.len().min(MAX_HELD.saturating_sub(held));
            let mut joined = std::mem::take(&mut self.held);
            joined.extend_from_slice(&bytes[..take]);
            let used = self.steps(&joined, lists);
            if used >= held {
                bytes = &bytes[used - held..];
            } else {
                self.held.extend_from_slice(&joined[used..]);
                bytes = &bytes[take..];
            }
        }
    }

    /// The file ends. `None`: it is nothing that is read.
    pub fn finish(mut self, lists: &mut EventLists) -> Option<Edi> {
        self.is_end = true;
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let used = self.steps(&held, lists);
            self.held.extend_from_slice(&held[used..]);
        }
        match std::mem::replace(&mut self.stage, ScanStage::Ignore) {
            ScanStage::Envelopes(standard, envelopes) => self.close(standard, *envelopes, lists),
            ScanStage::Xml(xml) => {
                if let Some(interchange) = xml.finish() {
                    self.add_xml(interchange, lists);
                }
            }
            _ => {}
        }
        let Self { standard, interchanges, interchange_count, .. } = self;
        standard.map(|standard| Edi { standard, interchanges, interchange_count })
    }

    /// Steps until all bytes are used, or some are held.
    fn steps(&mut self, bytes: &[u8], lists: &mut EventLists) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.held.is_empty() {
            used += self.step(&bytes[used..], lists);
        }
        used
    }

    /// Takes bytes as far as one stage reaches, and returns how many. Those it holds count as taken.
    fn step(&mut self, bytes: &[u8], lists: &mut EventLists) -> usize {
        match &mut self.stage {
            ScanStage::Beginning => self.begin(bytes),
            ScanStage::BehindPadding => self.choose(bytes),
            ScanStage::Search => self.search(bytes, lists),
            ScanStage::Envelopes(..) if self.is_candidate => self.judge_candidate(bytes, lists),
            ScanStage::Envelopes(_, envelopes) => {
                let (used, stop) = envelopes.push(bytes, lists);
                match stop {
                    EnvelopeStop::More => {}
                    EnvelopeStop::Trailer => self.close_envelopes(lists),
                    EnvelopeStop::Header => {
                        self.is_candidate = true;
                        let read = envelopes.segment();
                        if bytes[..used].ends_with(read) {
                            return used - read.len();
                        }
                        // Its beginning came earlier.
                        self.held.extend_from_slice(read);
                    }
                }
                used
            }
            ScanStage::Xml(xml) => {
                xml.push(bytes);
                bytes.len()
            }
            ScanStage::Ignore => bytes.len(),
        }
    }

    /// UTF-16 is XML or nothing. It begins with a byte order mark or `<`, of which one byte looks like padding.
    fn begin(&mut self, bytes: &[u8]) -> usize {
        if bytes.len() < 2 && !self.is_end {
            return self.hold(bytes);
        }
        self.stage = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'<', 0, ..] | [0, b'<', ..] => {
                ScanStage::Xml(Box::default())
            }
            _ => ScanStage::BehindPadding,
        };
        0
    }

    fn choose(&mut self, bytes: &[u8]) -> usize {
        let padding = bytes.iter().take_while(|&&byte| is_padding(byte)).count();
        if padding > 0 {
            return padding;
        }
        if bytes.len() < SIGNATURE && !self.is_end {
            return self.hold(bytes);
        }
        self.stage = match bytes {
            [b'<', ..] => ScanStage::Xml(Box::default()),
            _ if OTHERS.iter().any(|other| bytes.starts_with(other)) => ScanStage::Ignore,
            _ => ScanStage::Search,
        };
        0
    }

    /// A header that verifies is one, whatever stands before it.
    fn search(&mut self, bytes: &[u8], lists: &mut EventLists) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            if matches!(byte, b'I' | b'U') && !self.previous.is_ascii_alphanumeric() {
                match match_header(&bytes[at..], self.is_end) {
                    HeaderMatch::Yes(header, used) => {
                        self.open(&header, lists);
                        return at + used;
                    }
                    HeaderMatch::Undecided => return at + self.hold(&bytes[at..]),
                    HeaderMatch::No => {}
                }
            }
            self.previous = byte;
            if !is_padding(byte) {
                self.skip_garbage(lists);
            }
            if self.garbage > MAX_GARBAGE {
                self.stage = ScanStage::Ignore;
                return at + 1;
            }
        }
        bytes.len()
    }

    /// Within an interchange, a header ends it, even without its trailer.
    fn judge_candidate(&mut self, bytes: &[u8], lists: &mut EventLists) -> usize {
        match match_header(bytes, self.is_end) {
            HeaderMatch::Yes(header, used) => {
                self.close_envelopes(lists);
                self.open(&header, lists);
                used
            }
            HeaderMatch::Undecided => self.hold(bytes),
            HeaderMatch::No => {
                self.is_candidate = false;
                if let ScanStage::Envelopes(_, envelopes) = &mut self.stage {
                    envelopes.skip_segment();
                }
                0
            }
        }
    }

    fn hold(&mut self, bytes: &[u8]) -> usize {
        self.held.extend_from_slice(bytes);
        bytes.len()
    }

    fn open(&mut self, header: &InterchangeHeader, lists: &mut EventLists) {
        let (standard, envelopes) = match header {
            InterchangeHeader::X12(isa) => (Standard::X12, Envelopes::of_x12(isa, lists)),
            InterchangeHeader::Edifact(header) => {
                (Standard::Edifact, Envelopes::of_edifact(header))
            }
        };
        self.stage = ScanStage::Envelopes(standard, Box::new(envelopes));
    }

    fn close_envelopes(&mut self, lists: &mut EventLists) {
        if let ScanStage::Envelopes(standard, envelopes) =
            std::mem::replace(&mut self.stage, ScanStage::Search)
        {
            self.close(standard, *envelopes, lists);
        }
        self.is_candidate = false;
        self.previous = b'\n';
        self.garbage = 0;
    }

    fn close(&mut self, standard: Standard, envelopes: Envelopes, lists: &mut EventLists) {
        let interchange = envelopes.finish(lists);
        self.count(standard, interchange);
    }

    fn add_xml(&mut self, mut interchange: Interchange, lists: &mut EventLists) {
        let mut documents = std::mem::take(&mut interchange.documents);
        for document_type in documents.iter().filter_map(|document| document.document_type.clone())
        {
            let text = document_type.clone();
            lists.count_document(Standard::Xml, document_type.as_bytes(), || Some(text));
        }
        let is_listed = lists.admit_interchange(&interchange);
        documents.retain(|document| is_listed && lists.admit_document(document));
        interchange.documents = documents;
        self.count(Standard::Xml, is_listed.then_some(interchange));
    }

    fn count(&mut self, standard: Standard, interchange: Option<Interchange>) {
        self.interchange_count += 1;
        self.is_last_listed = interchange.is_some();
        let first = *self.standard.get_or_insert(standard);
        if let Some(mut interchange) = interchange {
            interchange.standard = (standard != first).then_some(standard);
            self.interchanges.push(interchange);
        }
    }

    /// Bytes behind a trailer that are no padding are reported once.
    fn skip_garbage(&mut self, lists: &mut EventLists) {
        self.garbage += 1;
        if self.garbage == 1
            && self.is_last_listed
            && let Some(last) = self.interchanges.last_mut()
        {
            let trailer = match last.standard.or(self.standard) {
                Some(Standard::X12) => "IEA",
                _ if last.interactive => "UIZ",
                _ => "UNZ",
            };
            lists.add_warning(last, EdiWarning::new("trailing-data", trailer, None, None));
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// What may stand before, between and behind interchanges: blanks, line ends, NUL, the end of a CP/M file, a
/// byte order mark, the rest of a terminator of several bytes, a stray terminator of EDIFACT.
fn is_padding(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0 | 0x1a | 0xef | b'\'') || is_continuation(byte)
}
