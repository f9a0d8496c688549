//! multipart/signed (RFC 1847): digests the first part while it passes, judges it by the second.

use super::{Child, Entity, Place};
use crate::{
    digest::{Digest, Digests},
    fault::Fault,
    mime::{
        ContentType, Transfer, header,
        splitter::{Event, Splitter},
    },
    signature::{Claim, Signatures},
    state::{End, Flow},
};

/// A signed part and its detached signature.
pub(crate) struct Signed {
    splitter: Splitter,
    place: Place,
    parts: usize,
    content: Child,
    digests: Digests,
    signature: Vec<u8>,
    claim: Claim,
}

/// Bytes of a detached signature with its certificates.
const MAX_SIGNATURE: usize = 1024 * 1024;

// === impl Signed ===

impl Signed {
    pub(crate) fn new(kind: &ContentType, place: Place, flow: &mut Flow<'_>) -> Self {
        let micalg = kind.parameter("micalg").unwrap_or_default();
        let announced: Vec<Digest> = micalg.split(',').filter_map(Digest::from_name).collect();
        let claim = Claim::take(flow);
        Self {
            splitter: Splitter::new(kind.parameter("boundary")),
            place,
            parts: 0,
            content: Child::none(),
            digests: Digests::new(claim.wanted(&announced, flow), true, true),
            signature: Vec::new(),
            claim,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
        let mut splitter = std::mem::replace(&mut self.splitter, Splitter::new(None));
        let pushed = splitter.push(bytes, &mut |event| self.on_event(event, flow));
        self.splitter = splitter;
        pushed
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        if end == End::Cut {
            self.content.finish(end, flow);
            return Ok(());
        }
        let mut splitter = std::mem::replace(&mut self.splitter, Splitter::new(None));
        let ended = splitter.finish(&mut |event| self.on_event(event, flow));
        ended?;
        let is_cut = self.parts < 2 || !splitter.is_closed();
        let signature = detached(&self.signature).and_then(|bytes| Signatures::parse(&bytes)).ok();
        // A signature that was cut off is told as that, not as a wrong one besides.
        if signature.is_some() || !is_cut {
            self.claim.settle_by(signature.as_ref(), &self.digests.finish(), flow);
        }
        if is_cut { Err(Fault::Truncated) } else { Ok(()) }
    }

    fn on_event(&mut self, event: Event<'_>, flow: &mut Flow<'_>) -> Result<(), Fault> {
        match (event, self.parts) {
            (Event::Begin, 0) => {
                self.parts = 1;
                let limit = flow.state.options.limits.header;
                self.content = Child::new(Entity::new(self.place.signed(), limit));
            }
            (Event::Begin, parts) => self.parts = parts.saturating_add(1),
            (Event::Data(bytes), 1) => {
                self.content.push(bytes, flow);
                // The header decides whether line ends matter, so the content goes first.
                self.digests.set_canonicalise(self.content.entity().is_some_and(Entity::textual));
                self.digests.update(bytes);
            }
            (Event::Data(bytes), 2) => {
                if self.signature.len() + bytes.len() > MAX_SIGNATURE {
                    let limit = MAX_SIGNATURE as u64;
                    return Err(Fault::Limit { what: "bytes of a signature", limit });
                }
                self.signature.extend_from_slice(bytes);
            }
            (Event::End, 1) => self.content.finish(End::Whole, flow),
            (Event::Data(_) | Event::End, _) => {}
        }
        Ok(())
    }
}

/// The CMS bytes of a signature part, whatever its header says about their encoding.
fn detached(part: &[u8]) -> Result<Vec<u8>, Fault> {
    let head = header_end(part);
    let headers = header::parse(&part[..head]);
    let body = &part[head..];
    let first = body.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    if body.get(first) == Some(&0x30) {
        return Ok(body[first..].to_vec());
    }
    let mut transfer = match Transfer::declared(&headers) {
        quoted @ Transfer::Quoted(_) => quoted,
        _ => Transfer::base64(),
    };
    let mut out = Vec::with_capacity(body.len());
    let mut keep = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    for line in body[first..].split_inclusive(|&b| b == b'\n') {
        if !line.starts_with(b"-----") {
            transfer.push(line, &mut keep)?;
        }
    }
    transfer.finish(&mut keep)?;
    Ok(out)
}

/// Where the header ends; 0 when there is none.
fn header_end(part: &[u8]) -> usize {
    if part.starts_with(b"\r\n") {
        return 2;
    }
    if !header::is_known_field(part) {
        return 0;
    }
    let crlf = memchr::memmem::find(part, b"\r\n\r\n").map(|at| at + 4);
    let lf = memchr::memmem::find(part, b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b).unwrap_or(part.len()),
    }
}
