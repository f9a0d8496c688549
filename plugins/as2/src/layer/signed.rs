//! multipart/signed (RFC 1847): digests the first part while it passes, judges it by the second.

use super::{Child, Entity, EntityPosition};
use crate::{
    Warning,
    digest::{Digest, Digests},
    fault::Fault,
    mime::{
        ContentType, Transfer, header,
        splitter::{MimeEvent, Splitter},
    },
    signature::{Claim, SignedData},
    state::{DecodeFlow, End},
};

/// A signed part and its detached signature.
pub(crate) struct Signed {
    splitter: Splitter,
    parts: SignedParts,
}

/// What its two parts have brought.
struct SignedParts {
    place: EntityPosition,
    count: usize,
    content: Child,
    digests: Digests,
    signature: Vec<u8>,
    claim: Claim,
}

/// Bytes of a detached signature with its certificates.
const MAX_SIGNATURE: usize = 1024 * 1024;
/// A longer one takes more memory than usual messages do.
const USUAL_SIGNATURE: usize = 64 * 1024;

// === impl Signed ===

impl Signed {
    pub(crate) fn new(
        splitter: Splitter,
        kind: &ContentType,
        place: EntityPosition,
        flow: &mut DecodeFlow<'_>,
    ) -> Self {
        let micalg = kind.parameter("micalg").unwrap_or_default();
        let names: Vec<_> = micalg.split(',').map(Digest::from_name).collect();
        let is_odd = names.contains(&None);
        let announced = names.into_iter().flatten().collect();
        let claim = Claim::take(flow);
        let parts = SignedParts {
            place,
            count: 0,
            content: Child::none(),
            digests: claim.digests(announced, is_odd, true, flow),
            signature: Vec::new(),
            claim,
        };
        Self { splitter, parts }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { splitter, parts } = self;
        splitter.push(bytes, &mut |event| parts.on_event(event, flow))
    }

    pub(crate) fn finish(self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { mut splitter, mut parts } = self;
        if end == End::Cut {
            return parts.content.finish(end, flow);
        }
        splitter.finish(&mut |event| parts.on_event(event, flow))?;
        let is_cut = parts.count < 2 || !splitter.is_closed();
        let signature = detached(parts.signature).and_then(|bytes| SignedData::parse(&bytes)).ok();
        // A signature that was cut off is told as that, not as a wrong one besides.
        if signature.is_none() && is_cut {
            return Err(Fault::Truncated);
        }
        let sums = parts.digests.finish();
        let is_sound = parts.claim.settle_by(signature.as_ref(), &sums, flow)?;
        if is_cut && !is_sound {
            return Err(Fault::Truncated);
        }
        if is_cut {
            // What is signed is whole.
            flow.state.facts.warn(Warning::no_closing_delimiter());
        }
        Ok(())
    }
}

// === impl SignedParts ===

impl SignedParts {
    fn on_event(&mut self, event: MimeEvent<'_>, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match (event, self.count) {
            (MimeEvent::Begin, 0) => {
                self.count = 1;
                let limit = flow.state.options.limits.header;
                self.content = Child::new(Entity::new(self.place.signed(), limit));
            }
            (MimeEvent::Begin, count) => self.count = count.saturating_add(1),
            (MimeEvent::Data(bytes), 1) => {
                self.content.push(bytes, flow)?;
                // The header decides whether line ends matter, so the content goes first.
                self.digests.set_canonicalise(self.content.entity().is_some_and(Entity::textual));
                self.digests.update(bytes);
            }
            (MimeEvent::Data(bytes), 2) => {
                if self.signature.len() + bytes.len() > MAX_SIGNATURE {
                    let limit = MAX_SIGNATURE as u64;
                    return Err(Fault::Limit { what: "bytes of a signature", limit });
                }
                if self.signature.len() + bytes.len() > USUAL_SIGNATURE {
                    flow.grow()?;
                }
                self.signature.extend_from_slice(bytes);
            }
            (MimeEvent::End, 1) => self.content.finish(End::Whole, flow)?,
            (MimeEvent::Data(_) | MimeEvent::End, _) => {}
        }
        Ok(())
    }
}

/// The CMS bytes of a signature part, whatever its header says about their encoding.
fn detached(mut part: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let (headers, body) = header::split(&part);
    let body = body.trim_ascii_start();
    if body.first() == Some(&0x30) {
        let head = part.len() - body.len();
        part.drain(..head);
        return Ok(part);
    }
    let mut transfer = match Transfer::declared(&headers) {
        quoted @ Transfer::Quoted(_) => quoted,
        _ => Transfer::base64(),
    };
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let mut keep = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    for line in body.split_inclusive(|&b| b == b'\n') {
        if !line.starts_with(b"-----") {
            transfer.push(line, &mut keep)?;
        }
    }
    transfer.finish(&mut keep)?;
    Ok(out)
}
