//! Reads small structures that are whole in memory.

use std::borrow::Cow;

use super::push;
use crate::{ber::Tag, fault::Fault};

/// Walks over elements of definite length, as [`definite`] makes them.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    pub(crate) content: &'a [u8],
    /// With identifier and length.
    pub(crate) raw: &'a [u8],
}

/// Elements within elements; [`definite`] is recursive, so it has to be small.
const MAX_DEPTH: usize = 32;

const MALFORMED: Fault = Fault::Malformed("a CMS structure is damaged");

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (tag, header, length) = header(self.rest)?;
        let end = length.and_then(|l| header.checked_add(l)).ok_or(MALFORMED)?;
        let raw = self.rest.get(..end).ok_or(MALFORMED)?;
        self.rest = &self.rest[end..];
        Ok(Some(Element { tag, content: &raw[header..], raw }))
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, Fault> {
        self.next()?.ok_or(MALFORMED)
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: Tag) -> Result<Element<'a>, Fault> {
        let element = self.any()?;
        if element.tag == tag { Ok(element) } else { Err(MALFORMED) }
    }

    /// The next element if it has this context tag.
    pub(crate) fn context(&mut self, number: u8) -> Result<Option<Element<'a>>, Fault> {
        let mut ahead = *self;
        match ahead.next()? {
            Some(element) if element.tag.is_context(number) => {
                *self = ahead;
                Ok(Some(element))
            }
            _ => Ok(None),
        }
    }
}

// === impl Element ===

impl<'a> Element<'a> {
    /// Its children.
    pub(crate) fn inside(self) -> Reader<'a> {
        Reader::new(self.content)
    }

    /// Of an AlgorithmIdentifier: its object identifier and its parameters.
    pub(crate) fn algorithm(self) -> Result<(&'a [u8], Option<Element<'a>>), Fault> {
        let mut inside = self.inside();
        let id = inside.expect(Tag::OID)?.content;
        Ok((id, inside.next()?))
    }

    /// A small non-negative INTEGER.
    pub(crate) fn small_integer(self) -> Option<u32> {
        if self.tag != Tag::INTEGER || self.content.is_empty() || self.content.len() > 5 {
            return None;
        }
        let value = self.content.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
        u32::try_from(value).ok()
    }
}

/// The same elements with definite lengths and joined octet strings; borrowed where they are that
/// already.
pub(crate) fn definite(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    if let Some(end) = is_definite(bytes, 0)? {
        return Ok(Cow::Borrowed(&bytes[..end]));
    }
    let mut out = Vec::with_capacity(bytes.len());
    convert(bytes, 0, false, &mut out)?;
    Ok(Cow::Owned(out))
}

/// An element of definite length.
pub(crate) fn encode(octet: u8, content: &[u8]) -> Vec<u8> {
    let mut out = head(octet, content.len());
    out.extend_from_slice(content);
    out
}

/// Where the first element ends, if nothing in it needs converting.
fn is_definite(bytes: &[u8], depth: usize) -> Result<Option<usize>, Fault> {
    check_depth(depth)?;
    let (tag, header, length) = header(bytes)?;
    let Some(length) = length else { return Ok(None) };
    let end = header.checked_add(length).ok_or(MALFORMED)?;
    let content = bytes.get(header..end).ok_or(MALFORMED)?;
    if tag.is_constructed() {
        let mut at = 0;
        while at < content.len() {
            match is_definite(&content[at..], depth + 1)? {
                Some(taken) if !tag.is_octet_string() => at += taken,
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(end))
}

/// Converts the first element; returns how many bytes it took. `is_segment`: it stands in a
/// constructed octet string, where only its content counts. Each byte is moved once for each element
/// around it, of which there are few.
fn convert(
    bytes: &[u8],
    depth: usize,
    is_segment: bool,
    out: &mut Vec<u8>,
) -> Result<usize, Fault> {
    check_depth(depth)?;
    let (tag, header, length) = header(bytes)?;
    if is_segment && !tag.is_octet_string() {
        return Err(MALFORMED);
    }
    let start = out.len();
    let taken = match length {
        Some(length) => {
            let end = header.checked_add(length).ok_or(MALFORMED)?;
            let content = bytes.get(header..end).ok_or(MALFORMED)?;
            if tag.is_constructed() {
                let mut at = 0;
                while at < content.len() {
                    at += convert(&content[at..], depth + 1, tag.is_octet_string(), out)?;
                }
            } else {
                out.extend_from_slice(if is_segment { content } else { &bytes[..end] });
                return Ok(end);
            }
            end
        }
        None if !tag.is_constructed() => return Err(MALFORMED),
        None => {
            let mut at = header;
            loop {
                let rest = bytes.get(at..).ok_or(MALFORMED)?;
                if rest.starts_with(&[0, 0]) {
                    break at + 2;
                }
                at += convert(rest, depth + 1, tag.is_octet_string(), out)?;
            }
        }
    };
    if !is_segment {
        let octet = if tag.is_octet_string() { Tag::OCTET_STRING.octet } else { tag.octet };
        let head = head(octet, out.len() - start);
        out.splice(start..start, head);
    }
    Ok(taken)
}

fn check_depth(depth: usize) -> Result<(), Fault> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(Fault::Limit { what: "nesting of CMS elements", limit: MAX_DEPTH as u64 })
}

/// Identifier and length octets.
fn head(octet: u8, length: usize) -> Vec<u8> {
    let octets = length.to_be_bytes();
    let significant = &octets[octets.iter().take_while(|&&b| b == 0).count()..];
    let mut out = vec![octet];
    match (length, significant) {
        (0..0x80, _) => out.push(significant.first().copied().unwrap_or(0)),
        (_, octets) => {
            // At most eight octets.
            out.push(0x80 | u8::try_from(octets.len()).unwrap_or(8));
            out.extend_from_slice(octets);
        }
    }
    out
}

/// Tag, length of the header, and length of the content (`None`: indefinite).
fn header(bytes: &[u8]) -> Result<(Tag, usize, Option<usize>), Fault> {
    let (tag, header, length) = push::header(bytes)?.ok_or(MALFORMED)?;
    let length = length.map(usize::try_from).transpose().map_err(|_| MALFORMED)?;
    Ok((tag, header, length))
}
