//! CompressedData (RFC 3274), inflated within bounds.

use flate2::{Decompress, FlushDecompress, Status};

use crate::{
    ber::{oid, read::Reader},
    fault::Fault,
    layer::{Child, Entity, Place},
    state::{Before, End, Flow},
};

/// A compressed content on its way.
pub(super) struct Compressed {
    inflater: Decompress,
    content: Child,
    out: Vec<u8>,
    is_over: bool,
    /// What was known before anything inside was.
    before: Option<Before>,
}

/// Bytes inflated at once.
const PIECE: usize = 16 * 1024;
/// From so many bytes of output on the ratio is looked at: small texts compress better than any
/// bound.
const RATIO_FROM: u64 = 64 << 20;

// === impl Compressed ===

impl Compressed {
    pub(super) fn new(place: Place, flow: &mut Flow<'_>) -> Self {
        flow.state.facts.compressed = true;
        let limit = flow.state.options.limits.header;
        Self {
            inflater: Decompress::new(true),
            content: Child::new(Entity::new(place.unwrapped(false), limit)),
            out: Vec::new(),
            is_over: false,
            before: Some(Before::new(flow.state)),
        }
    }

    /// The algorithm.
    pub(super) fn captured(&mut self, element: &[u8]) -> Result<(), Fault> {
        let (id, _) = Reader::new(element).any()?.algorithm()?;
        if id == oid::ZLIB { Ok(()) } else { Err(Fault::Inflate) }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
        self.out.resize(PIECE, 0);
        while !self.is_over {
            let (before_in, before_out) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self
                .inflater
                .decompress(bytes, &mut self.out, FlushDecompress::None)
                .map_err(|_| Fault::Inflate)?;
            let taken = advance(before_in, self.inflater.total_in());
            let made = advance(before_out, self.inflater.total_out());
            bytes = bytes.get(taken..).unwrap_or_default();
            self.check(flow)?;
            if made > 0 {
                self.content.push(&self.out[..made], flow);
            }
            match status {
                Status::StreamEnd => self.is_over = true,
                Status::Ok | Status::BufError if taken == 0 && made == 0 => {
                    return if bytes.is_empty() { Ok(()) } else { Err(Fault::Inflate) };
                }
                // With room left in the output everything that was there is out.
                Status::Ok | Status::BufError if bytes.is_empty() && made < PIECE => return Ok(()),
                Status::Ok | Status::BufError => {}
            }
        }
        Ok(())
    }

    pub(super) fn end_of_content(&mut self, flow: &mut Flow<'_>) -> Result<(), Fault> {
        if !self.is_over {
            return Err(Fault::Inflate);
        }
        self.content.finish(End::Whole, flow);
        Ok(())
    }

    pub(super) fn finish(&mut self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        self.content.finish(end, flow);
        Ok(())
    }

    /// How much came out of a damaged stream depends on how it was cut: none of it counts. Of one
    /// that is cut off or over a limit the facts stay.
    pub(super) fn abandon(&mut self, fault: &Fault, flow: &mut Flow<'_>) {
        if let Some(before) = self.before.take().filter(|_| *fault == Fault::Inflate) {
            before.restore(flow.state);
        }
    }

    /// The bounds on expansion, in force while inflating.
    fn check(&self, flow: &Flow<'_>) -> Result<(), Fault> {
        let limits = flow.state.options.limits;
        let (taken, made) = (self.inflater.total_in(), self.inflater.total_out());
        let ratio = u64::from(limits.expansion);
        if made >= RATIO_FROM && made > taken.saturating_mul(ratio) {
            return Err(Fault::Limit { what: "expansion of compressed content", limit: ratio });
        }
        // Attachments are bounded by `decoded`; what is no attachment must end somewhere too.
        if made > limits.decoded.saturating_mul(2).saturating_add(RATIO_FROM) {
            return Err(Fault::Limit { what: "bytes of decoded content", limit: limits.decoded });
        }
        Ok(())
    }
}

fn advance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(0)
}
