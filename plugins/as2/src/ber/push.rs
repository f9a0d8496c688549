//! The push parser: bytes in, cut anywhere; elements out, none of them held unless asked for.

use crate::fault::Fault;

/// Identifies an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The first identifier octet; every tag of CMS fits in it.
    pub octet: u8,
}

/// What to do with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell me its children.
    Enter,
    /// Give it to me whole, in its raw encoding.
    Capture,
    /// It is an octet string, perhaps in segments: pass its content on.
    Stream,
    /// Not of interest.
    Skip,
}

/// Told about the elements as they come.
pub trait Visitor {
    /// An element begins at this depth; 0 is the outermost.
    fn element(&mut self, depth: usize, tag: Tag) -> Result<Action, Fault>;
    /// An element asked for by [`Action::Capture`] is complete.
    fn captured(&mut self, depth: usize, tag: Tag, raw: Vec<u8>) -> Result<(), Fault>;
    /// The next bytes of a [`Action::Stream`].
    fn data(&mut self, bytes: &[u8]) -> Result<(), Fault>;
    /// A streamed element is complete.
    fn end_of_stream(&mut self) -> Result<(), Fault>;
}

/// Parses one BER element and ignores what follows it.
pub struct Parser {
    frames: Vec<Frame>,
    header: BerHeader,
    /// Of the primitive element at hand.
    left: u64,
    mode: Mode,
    position: u64,
    capture: Option<Capture>,
    captured: usize,
    budget: usize,
    done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Enter,
    Capture,
    Stream,
    Skip,
}

struct Frame {
    /// Where it ends; `None` for indefinite length.
    end: Option<u64>,
    /// The nearest end around it.
    bound: u64,
    mode: Mode,
    /// The mode was asked for at this very element, not inherited.
    root: bool,
}

struct Capture {
    depth: usize,
    tag: Tag,
    raw: Vec<u8>,
}

/// Identifier and length octets, gathered over the edges of pushes.
#[derive(Default)]
struct BerHeader {
    bytes: [u8; 10],
    have: usize,
}

enum Length {
    Definite(u64),
    Indefinite,
}

/// Elements within elements. Real messages need 12; segments of segments a few more.
const MAX_DEPTH: usize = 32;

// === impl Tag ===

impl Tag {
    /// INTEGER.
    pub const INTEGER: Self = Self { octet: 0x02 };
    /// OCTET STRING, primitive.
    pub const OCTET_STRING: Self = Self { octet: 0x04 };
    /// OBJECT IDENTIFIER.
    pub const OID: Self = Self { octet: 0x06 };
    /// SEQUENCE.
    pub const SEQUENCE: Self = Self { octet: 0x30 };
    /// SET.
    pub const SET: Self = Self { octet: 0x31 };

    /// Whether it is built of other elements.
    pub const fn is_constructed(self) -> bool {
        self.octet & 0x20 != 0
    }

    /// Whether it is the context-specific tag of this number, primitive or constructed.
    pub const fn is_context(self, number: u8) -> bool {
        self.octet & 0xdf == 0x80 | number
    }

    /// Whether it is an OCTET STRING, primitive or constructed.
    pub const fn is_octet_string(self) -> bool {
        self.octet & 0xdf == 0x04
    }
}

// === impl Parser ===

impl Parser {
    /// `budget`: bytes of all captured elements together.
    pub fn new(budget: usize) -> Self {
        Self {
            frames: Vec::with_capacity(8),
            header: BerHeader::default(),
            left: 0,
            mode: Mode::Skip,
            position: 0,
            capture: None,
            captured: 0,
            budget,
            done: false,
        }
    }

    /// Whether the outermost element is complete.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], to: &mut impl Visitor) -> Result<(), Fault> {
        while !bytes.is_empty() && !self.done {
            if self.left > 0 {
                let take = usize::try_from(self.left).map_or(bytes.len(), |l| l.min(bytes.len()));
                let (now, later) = bytes.split_at(take);
                self.content(now, to)?;
                bytes = later;
                if self.left == 0 {
                    self.end_primitive(to)?;
                }
                continue;
            }
            self.header.bytes[self.header.have] = bytes[0];
            self.header.have += 1;
            self.position = self.position.checked_add(1).ok_or(OVERLONG)?;
            bytes = &bytes[1..];
            if let Some((tag, length)) = self.header.parse()? {
                self.begin(tag, &length, to)?;
                self.header.have = 0;
            }
        }
        Ok(())
    }

    fn begin(&mut self, tag: Tag, length: &Length, to: &mut impl Visitor) -> Result<(), Fault> {
        let bound = self.frames.last().map_or(u64::MAX, |f| f.bound);
        if self.position > bound {
            return Err(Fault::Malformed("an element reaches over the end of the one around it"));
        }
        if tag.octet == 0 {
            return self.end_of_contents(length, to);
        }
        let end = match *length {
            Length::Definite(length) => {
                let end = self.position.checked_add(length).ok_or(OVERLONG)?;
                if end > bound {
                    return Err(Fault::Malformed(
                        "an element reaches over the end of the one around it",
                    ));
                }
                Some(end)
            }
            Length::Indefinite if tag.is_constructed() => None,
            Length::Indefinite => {
                return Err(Fault::Malformed("a primitive element has an indefinite length"));
            }
        };
        let (mode, root) = self.mode_of(tag, to)?;
        self.note_raw_header()?;
        if tag.is_constructed() {
            if self.frames.len() >= MAX_DEPTH {
                return Err(Fault::Limit { what: "nesting of CMS elements", limit: DEPTH });
            }
            self.frames.push(Frame { end, bound: end.unwrap_or(bound), mode, root });
            return self.pop_ended(to);
        }
        self.mode = mode;
        self.left = end.map_or(0, |end| end - self.position);
        if root {
            self.frames.push(Frame { end, bound: end.unwrap_or(bound), mode, root });
            if self.left == 0 {
                return self.pop_ended(to);
            }
            return Ok(());
        }
        if self.left == 0 {
            return self.pop_ended(to);
        }
        Ok(())
    }

    /// What to do with the element: as the one around it, or as the visitor says.
    fn mode_of(&mut self, tag: Tag, to: &mut impl Visitor) -> Result<(Mode, bool), Fault> {
        let around = self.frames.last().map_or(Mode::Enter, |f| f.mode);
        match around {
            Mode::Enter => {}
            Mode::Stream if !tag.is_octet_string() => {
                return Err(Fault::Malformed("a segment of an octet string is no octet string"));
            }
            inherited => return Ok((inherited, false)),
        }
        let depth = self.frames.len();
        match to.element(depth, tag)? {
            Action::Enter if tag.is_constructed() => Ok((Mode::Enter, false)),
            Action::Enter => Err(Fault::Malformed("a CMS element is primitive where it must not")),
            Action::Capture => {
                self.capture = Some(Capture { depth, tag, raw: Vec::new() });
                Ok((Mode::Capture, true))
            }
            Action::Stream => Ok((Mode::Stream, true)),
            Action::Skip => Ok((Mode::Skip, true)),
        }
    }

    fn end_of_contents(&mut self, length: &Length, to: &mut impl Visitor) -> Result<(), Fault> {
        let open = self.frames.last().is_some_and(|f| f.end.is_none());
        if !open || !matches!(length, Length::Definite(0)) {
            return Err(Fault::Malformed("an end-of-contents stands where nothing ends"));
        }
        self.note_raw_header()?;
        self.pop(to)?;
        self.pop_ended(to)
    }

    fn content(&mut self, bytes: &[u8], to: &mut impl Visitor) -> Result<(), Fault> {
        let count = bytes.len() as u64;
        self.left -= count;
        // Cannot overflow: the element's end was checked when it began.
        self.position += count;
        match self.mode {
            Mode::Stream => to.data(bytes),
            Mode::Capture => self.note_raw(bytes),
            Mode::Enter | Mode::Skip => Ok(()),
        }
    }

    fn end_primitive(&mut self, to: &mut impl Visitor) -> Result<(), Fault> {
        self.pop_ended(to)
    }

    /// Leaves every element that ends here.
    fn pop_ended(&mut self, to: &mut impl Visitor) -> Result<(), Fault> {
        while self.frames.last().is_some_and(|f| f.end == Some(self.position)) {
            self.pop(to)?;
        }
        Ok(())
    }

    fn pop(&mut self, to: &mut impl Visitor) -> Result<(), Fault> {
        if let Some(frame) = self.frames.pop() {
            if frame.root && frame.mode == Mode::Stream {
                to.end_of_stream()?;
            }
            if frame.root
                && let Some(capture) = self.capture.take()
            {
                to.captured(capture.depth, capture.tag, capture.raw)?;
            }
        }
        self.done = self.frames.is_empty();
        Ok(())
    }

    fn note_raw_header(&mut self) -> Result<(), Fault> {
        if self.capture.is_none() {
            return Ok(());
        }
        let header = self.header.bytes;
        self.note_raw(&header[..self.header.have])
    }

    fn note_raw(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Some(capture) = &mut self.capture {
            self.captured += bytes.len();
            if self.captured > self.budget {
                return Err(Fault::Limit {
                    what: "bytes of CMS structure around the content",
                    limit: self.budget as u64,
                });
            }
            capture.raw.extend_from_slice(bytes);
        }
        Ok(())
    }
}

const DEPTH: u64 = MAX_DEPTH as u64;
const OVERLONG: Fault = Fault::Malformed("an element's length is beyond all bounds");

// === impl BerHeader ===

impl BerHeader {
    /// Tag and length once they are complete.
    fn parse(&self) -> Result<Option<(Tag, Length)>, Fault> {
        let bytes = &self.bytes[..self.have];
        let Some(&octet) = bytes.first() else { return Ok(None) };
        if octet & 0x1f == 0x1f {
            return Err(Fault::Malformed("a CMS element has a tag that CMS does not have"));
        }
        let Some(&first) = bytes.get(1) else { return Ok(None) };
        let length = match first {
            0x80 => Length::Indefinite,
            0..0x80 => Length::Definite(u64::from(first)),
            _ => {
                let count = usize::from(first & 0x7f);
                if count > 8 {
                    return Err(OVERLONG);
                }
                let Some(octets) = bytes.get(2..2 + count) else { return Ok(None) };
                Length::Definite(octets.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
            }
        };
        Ok(Some((Tag { octet }, length)))
    }
}
