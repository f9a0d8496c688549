//! Splits a multipart body (RFC 2046 section 5.1) byte-exactly, holding never more than a boundary.

use memchr::memmem::Finder;

use crate::fault::Fault;

/// Takes a multipart body apart.
pub struct Splitter {
    /// LF, `--`, boundary.
    delimiter: Finder<'static>,
    held: Vec<u8>,
    state: SplitterState,
    /// A delimiter may stand right here, since a line begins.
    at_line: bool,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MimeEvent<'a> {
    /// A part begins.
    Begin,
    /// Its next bytes, header included.
    Data(&'a [u8]),
    /// It is complete.
    End,
}

/// Takes what comes out.
pub type OnEvent<'a> = dyn FnMut(MimeEvent<'_>) -> Result<(), Fault> + 'a;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SplitterState {
    Preamble,
    Part,
    Epilogue,
}

enum DelimiterLine {
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

// === impl Splitter ===

impl Splitter {
    /// By the declared boundary. `None`: it cannot be one, so the body has no parts. A boundary is
    /// never guessed from the body: two readers might guess differently.
    pub fn new(boundary: &str) -> Option<Self> {
        // RFC 2046: no boundary ends with a blank; one in front is a fold that came behind the quote.
        // One with a line end (RFC 2231 can write it) can never stand on a line.
        let boundary = boundary.trim();
        if !(1..=MAX_BOUNDARY).contains(&boundary.len()) || boundary.contains('\n') {
            return None;
        }
        let delimiter = Finder::new(&[b"\n--", boundary.as_bytes()].concat()).into_owned();
        Some(Self { delimiter, held: Vec::new(), state: SplitterState::Preamble, at_line: true })
    }

    /// Whether the closing delimiter has come.
    pub fn is_closed(&self) -> bool {
        self.state == SplitterState::Epilogue
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], on: &mut OnEvent<'_>) -> Result<(), Fault> {
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
    pub fn finish(&mut self, on: &mut OnEvent<'_>) -> Result<(), Fault> {
        let rest = std::mem::take(&mut self.held);
        self.scan(&rest, true, on)?;
        if self.state == SplitterState::Part { on(MimeEvent::End) } else { Ok(()) }
    }

    /// Bytes beyond what is held that decide every question.
    fn reach(&self) -> usize {
        self.delimiter.needle().len() + MAX_PADDING + 4
    }

    /// Emits what is certain and returns how much that was.
    fn scan(&mut self, bytes: &[u8], end: bool, on: &mut OnEvent<'_>) -> Result<usize, Fault> {
        let Self { delimiter: finder, state, at_line: line_begins, .. } = self;
        let delimiter = finder.needle();
        let mut at = 0;
        while at < bytes.len() && *state != SplitterState::Epilogue {
            let rest = &bytes[at..];
            let at_line = std::mem::take(line_begins);
            // The line end that a delimiter begins with may be one that is already consumed.
            let found = if at_line && rest.starts_with(&delimiter[1..]) {
                Some((0, delimiter.len() - 1))
            } else if at_line && !end && delimiter[1..].starts_with(rest) {
                *line_begins = true;
                return Ok(at);
            } else {
                finder.find(rest).map(|lf| (lf, lf + delimiter.len()))
            };
            let Some((start, behind)) = found else {
                let hold = if end { 0 } else { tail_to_hold(rest, delimiter) };
                emit(*state, &rest[..rest.len() - hold], on)?;
                return Ok(bytes.len() - hold);
            };
            let has_cr = start > 0 && behind > delimiter.len() && rest[start - 1] == b'\r';
            let content = &rest[..start - usize::from(has_cr)];
            match classify(&rest[behind..], end) {
                DelimiterLine::Content => {
                    emit(*state, &rest[..behind], on)?;
                    at += behind;
                }
                DelimiterLine::Undecided => {
                    emit(*state, content, on)?;
                    // What is held begins at the delimiter's own line end, or at a line.
                    *line_begins = at_line && start == 0;
                    return Ok(at + content.len());
                }
                line @ (DelimiterLine::Open(_) | DelimiterLine::Close) => {
                    emit(*state, content, on)?;
                    if *state == SplitterState::Part {
                        on(MimeEvent::End)?;
                    }
                    let DelimiterLine::Open(line_end) = line else {
                        *state = SplitterState::Epilogue;
                        break;
                    };
                    *state = SplitterState::Part;
                    on(MimeEvent::Begin)?;
                    at += behind + line_end;
                    *line_begins = true;
                }
            }
        }
        Ok(bytes.len())
    }
}

fn emit(state: SplitterState, bytes: &[u8], on: &mut OnEvent<'_>) -> Result<(), Fault> {
    if state == SplitterState::Part && !bytes.is_empty() {
        on(MimeEvent::Data(bytes))
    } else {
        Ok(())
    }
}

/// What the bytes behind a boundary make of it.
fn classify(behind: &[u8], end: bool) -> DelimiterLine {
    let undecided = if end { DelimiterLine::Open(behind.len()) } else { DelimiterLine::Undecided };
    if let Some(after) = behind.strip_prefix(b"--") {
        return match after.first() {
            None if end => DelimiterLine::Close,
            None => DelimiterLine::Undecided,
            Some(b' ' | b'\t' | b'\r' | b'\n') => DelimiterLine::Close,
            Some(_) => DelimiterLine::Content,
        };
    }
    if behind == b"-" {
        return undecided;
    }
    let most = &behind[..behind.len().min(MAX_PADDING + 1)];
    let padding = most.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
    if padding > MAX_PADDING {
        return DelimiterLine::Content;
    }
    match &behind[padding..] {
        [b'\n', ..] => DelimiterLine::Open(padding + 1),
        [b'\r', b'\n', ..] => DelimiterLine::Open(padding + 2),
        [] | [b'\r'] => undecided,
        _ => DelimiterLine::Content,
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
