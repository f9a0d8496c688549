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
    /// Identifier and length octets, gathered over the edges of pushes.
    header: Vec<u8>,
    /// Of the primitive element at hand.
    left: u64,
    action: Action,
    position: u64,
    capture: Option<Capture>,
    captured: usize,
    budget: usize,
    done: bool,
}

struct Frame {
    /// Where it ends; `None` for indefinite length.
    end: Option<u64>,
    /// The nearest end around it.
    bound: u64,
    action: Action,
    /// The action was asked for at this very element, not inherited.
    root: bool,
}

struct Capture {
    depth: usize,
    tag: Tag,
    raw: Vec<u8>,
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
            header: Vec::new(),
            left: 0,
            action: Action::Skip,
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
                self.pop_ended(to)?;
                continue;
            }
            self.header.push(bytes[0]);
            self.position = self.position.checked_add(1).ok_or(OVERLONG)?;
            bytes = &bytes[1..];
            if let Some((tag, _, length)) = header(&self.header)? {
                let mut header = std::mem::take(&mut self.header);
                self.begin(tag, length, &header, to)?;
                header.clear();
                self.header = header;
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        tag: Tag,
        length: Option<u64>,
        header: &[u8],
        to: &mut impl Visitor,
    ) -> Result<(), Fault> {
        const OVERRUN: Fault =
            Fault::Malformed("an element reaches over the end of the one around it");
        let bound = self.frames.last().map_or(u64::MAX, |f| f.bound);
        if self.position > bound {
            return Err(OVERRUN);
        }
        if tag.octet == 0 {
            if length != Some(0) || self.frames.last().is_none_or(|f| f.end.is_some()) {
                return Err(Fault::Malformed("an end-of-contents stands where nothing ends"));
            }
            self.note_raw(header)?;
            self.pop(to)?;
            return self.pop_ended(to);
        }
        let end = match length {
            Some(length) => Some(self.position.checked_add(length).ok_or(OVERLONG)?),
            None if tag.is_constructed() => None,
            None => {
                return Err(Fault::Malformed("a primitive element has an indefinite length"));
            }
        };
        if end.is_some_and(|end| end > bound) {
            return Err(OVERRUN);
        }
        let (action, root) = self.action_of(tag, to)?;
        self.note_raw(header)?;
        if tag.is_constructed() && self.frames.len() >= MAX_DEPTH {
            return Err(Fault::Limit { what: "nesting of CMS elements", limit: DEPTH });
        }
        if tag.is_constructed() || root {
            self.frames.push(Frame { end, bound: end.unwrap_or(bound), action, root });
        }
        if !tag.is_constructed() {
            self.action = action;
            self.left = end.map_or(0, |end| end - self.position);
        }
        self.pop_ended(to)
    }

    /// What to do with the element: as with the one around it, or as the visitor says.
    fn action_of(&mut self, tag: Tag, to: &mut impl Visitor) -> Result<(Action, bool), Fault> {
        match self.frames.last().map_or(Action::Enter, |f| f.action) {
            Action::Enter => {}
            Action::Stream if !tag.is_octet_string() => {
                return Err(Fault::Malformed("a segment of an octet string is no octet string"));
            }
            inherited => return Ok((inherited, false)),
        }
        let depth = self.frames.len();
        let action = to.element(depth, tag)?;
        if action == Action::Enter && !tag.is_constructed() {
            return Err(Fault::Malformed("a CMS element is primitive where it must not"));
        }
        if action == Action::Capture {
            self.capture = Some(Capture { depth, tag, raw: Vec::new() });
        }
        Ok((action, action != Action::Enter))
    }

    fn content(&mut self, bytes: &[u8], to: &mut impl Visitor) -> Result<(), Fault> {
        let count = bytes.len() as u64;
        self.left -= count;
        // Cannot overflow: the element's end was checked when it began.
        self.position += count;
        match self.action {
            Action::Stream => to.data(bytes),
            Action::Capture => self.note_raw(bytes),
            Action::Enter | Action::Skip => Ok(()),
        }
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
            if frame.root && frame.action == Action::Stream {
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

/// An element's tag, bytes of its header, and the length of its content (`None`: indefinite). `None`: more of
/// the header has to come.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<(Tag, usize, Option<u64>)>, Fault> {
    let Some(&octet) = bytes.first() else { return Ok(None) };
    if octet & 0x1f == 0x1f {
        return Err(Fault::Malformed("a CMS element has a tag that CMS does not have"));
    }
    let tag = Tag { octet };
    match bytes.get(1) {
        None => Ok(None),
        Some(0x80) => Ok(Some((tag, 2, None))),
        Some(&short @ 0..0x80) => Ok(Some((tag, 2, Some(u64::from(short))))),
        Some(long) => {
            let count = usize::from(long & 0x7f);
            if count > 8 {
                return Err(OVERLONG);
            }
            let Some(octets) = bytes.get(2..2 + count) else { return Ok(None) };
            let length = octets.iter().fold(0, |n, &b| n << 8 | u64::from(b));
            Ok(Some((tag, 2 + count, Some(length))))
        }
    }
}
