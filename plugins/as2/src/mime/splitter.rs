//! Splits a multipart body (RFC 2046 section 5.1) byte-exactly, holding never more than a boundary.

use memchr::memmem::Finder;

use crate::fault::Fault;

/// Takes a multipart body apart.
pub struct Splitter {
    /// LF, `--`, boundary. `None`: to be learnt from the body's first `--` line.
    delimiter: Option<Finder<'static>>,
    held: Vec<u8>,
    state: State,
    /// A delimiter may stand right here, since a line begins.
    at_line: bool,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A part begins.
    Begin,
    /// Its next bytes, header included.
    Data(&'a [u8]),
    /// It is complete.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Part,
    Epilogue,
}

enum Line {
    /// Opens a part, with so many bytes behind the boundary.
    Open(usize),
    Close,
    /// Looks alike only.
    Content,
    /// Not enough bytes to tell.
    Undecided,
}

/// Bytes of a boundary; RFC 2046 allows 70.
const MAX_BOUNDARY: usize = 1000;
/// Blanks behind a boundary; RFC 2046 allows any number.
const MAX_PADDING: usize = 256;
/// Bytes of preamble searched for an undeclared boundary.
const MAX_SEARCH: usize = 16 * 1024;

// === impl Splitter ===

impl Splitter {
    /// By the declared boundary, or by the body's own first one when there is none.
    pub fn new(boundary: Option<&str>) -> Self {
        // RFC 2046: no boundary ends with a blank. One with a line end (RFC 2231 can write it) can
        // never stand on a line.
        let fits = |b: &&str| (1..=MAX_BOUNDARY).contains(&b.len()) && !b.contains('\n');
        let boundary = boundary.map(str::trim_end).filter(fits);
        Self {
            delimiter: boundary.map(|b| finder(b.as_bytes())),
            held: Vec::new(),
            state: State::Preamble,
            at_line: true,
        }
    }

    /// Whether the closing delimiter has come.
    pub fn is_closed(&self) -> bool {
        self.state == State::Epilogue
    }

    /// Takes the next bytes.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        on: &mut dyn FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.delimiter.is_none() {
            return self.learn(bytes, on);
        }
        while !self.held.is_empty() && !bytes.is_empty() {
            let mut joined = std::mem::take(&mut self.held);
            let before = joined.len();
            let take = bytes.len().min(self.reach());
            joined.extend_from_slice(&bytes[..take]);
            let used = self.scan(&joined, false, on)?;
            if used >= before {
                bytes = &bytes[used - before..];
            } else {
                bytes = &bytes[take..];
                joined.drain(..used);
                self.held = joined;
            }
        }
        if !bytes.is_empty() {
            let used = self.scan(bytes, false, on)?;
            self.held.extend_from_slice(&bytes[used..]);
        }
        Ok(())
    }

    /// The body ends.
    pub fn finish(
        &mut self,
        on: &mut dyn FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let rest = std::mem::take(&mut self.held);
        if self.delimiter.is_some() {
            self.scan(&rest, true, on)?;
        }
        if self.state == State::Part { on(Event::End) } else { Ok(()) }
    }

    /// Bytes beyond what is held that decide every question.
    fn reach(&self) -> usize {
        self.delimiter.as_ref().map_or(0, |d| d.needle().len()) + MAX_PADDING + 4
    }

    /// Learns the boundary from the first line that begins with `--`.
    fn learn(
        &mut self,
        bytes: &[u8],
        on: &mut dyn FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let take = bytes.len().min(MAX_SEARCH + 1 - self.held.len().min(MAX_SEARCH + 1));
        self.held.extend_from_slice(&bytes[..take]);
        let complete = memchr::memrchr(b'\n', &self.held).map_or(0, |at| at + 1);
        let boundary = self.held[..complete]
            .split(|&b| b == b'\n')
            .find_map(|line| line.strip_prefix(b"--"))
            .map(|rest| rest.trim_ascii_end().to_vec())
            .filter(|b| (1..=MAX_BOUNDARY).contains(&b.len()));
        match boundary {
            Some(boundary) => {
                self.delimiter = Some(finder(&boundary));
                let held = std::mem::take(&mut self.held);
                self.push(&held, on)?;
                self.push(&bytes[take..], on)
            }
            None if self.held.len() > MAX_SEARCH => {
                Err(Fault::Malformed("a multipart content has no boundary"))
            }
            None => Ok(()),
        }
    }

    /// Emits what is certain and returns how much that was.
    fn scan(
        &mut self,
        bytes: &[u8],
        end: bool,
        on: &mut dyn FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        // Taken out so that `self` stays free to be written; put back below.
        let Some(finder) = self.delimiter.take() else { return Ok(bytes.len()) };
        let used = self.scan_for(&finder, bytes, end, on);
        self.delimiter = Some(finder);
        used
    }

    fn scan_for(
        &mut self,
        finder: &Finder<'_>,
        bytes: &[u8],
        end: bool,
        on: &mut dyn FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        let delimiter = finder.needle();
        let mut at = 0;
        while at < bytes.len() && self.state != State::Epilogue {
            let rest = &bytes[at..];
            let at_line = std::mem::take(&mut self.at_line);
            // The line end that a delimiter begins with may be one that is already consumed.
            let found = if at_line && rest.starts_with(&delimiter[1..]) {
                Some((0, delimiter.len() - 1))
            } else if at_line && !end && delimiter[1..].starts_with(rest) {
                self.at_line = true;
                return Ok(at);
            } else {
                finder.find(rest).map(|lf| (lf, lf + delimiter.len()))
            };
            let Some((start, behind)) = found else {
                let hold = if end { 0 } else { tail_to_hold(rest, delimiter) };
                self.emit(&rest[..rest.len() - hold], on)?;
                return Ok(bytes.len() - hold);
            };
            let has_cr = start > 0 && behind > delimiter.len() && rest[start - 1] == b'\r';
            let content = &rest[..start - usize::from(has_cr)];
            match classify(&rest[behind..], end) {
                Line::Content => {
                    self.emit(&rest[..behind], on)?;
                    at += behind;
                }
                Line::Undecided => {
                    self.emit(content, on)?;
                    // What is held begins at the delimiter's own line end, or at a line.
                    self.at_line = at_line && start == 0;
                    return Ok(at + content.len());
                }
                Line::Open(line_end) => {
                    self.emit(content, on)?;
                    if self.state == State::Part {
                        on(Event::End)?;
                    }
                    self.state = State::Part;
                    on(Event::Begin)?;
                    at += behind + line_end;
                    self.at_line = true;
                }
                Line::Close => {
                    self.emit(content, on)?;
                    if self.state == State::Part {
                        on(Event::End)?;
                    }
                    self.state = State::Epilogue;
                }
            }
        }
        Ok(bytes.len())
    }

    fn emit(
        &self,
        bytes: &[u8],
        on: &mut dyn FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.state == State::Part && !bytes.is_empty() { on(Event::Data(bytes)) } else { Ok(()) }
    }
}

fn finder(boundary: &[u8]) -> Finder<'static> {
    Finder::new(&[b"\n--", boundary].concat()).into_owned()
}

/// What the bytes behind a boundary make of it.
fn classify(behind: &[u8], end: bool) -> Line {
    let undecided = if end { Line::Open(behind.len()) } else { Line::Undecided };
    if let Some(after) = behind.strip_prefix(b"--") {
        return match after.first() {
            None if end => Line::Close,
            None => Line::Undecided,
            Some(b' ' | b'\t' | b'\r' | b'\n') => Line::Close,
            Some(_) => Line::Content,
        };
    }
    if behind == b"-" {
        return undecided;
    }
    let padding = behind.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
    if padding > MAX_PADDING {
        return Line::Content;
    }
    match &behind[padding..] {
        [b'\n', ..] => Line::Open(padding + 1),
        [b'\r', b'\n', ..] => Line::Open(padding + 2),
        [] | [b'\r'] => undecided,
        _ => Line::Content,
    }
}

/// How many bytes at the end may be a delimiter's beginning.
fn tail_to_hold(bytes: &[u8], delimiter: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(delimiter.len());
    if let Some(lf) = memchr::memrchr(b'\n', &bytes[from..]).map(|at| from + at)
        && delimiter.starts_with(&bytes[lf..])
    {
        let has_cr = lf > 0 && bytes[lf - 1] == b'\r';
        return bytes.len() - lf + usize::from(has_cr);
    }
    usize::from(bytes.last() == Some(&b'\r'))
}
