//! Deflated streams, inflated in pieces and within bounds.

use flate2::{Decompress, FlushDecompress, Status};

use crate::{fault::Fault, state::DecodeFlow};

/// One stream on its way.
pub(crate) struct Inflater {
    stream: Decompress,
    out: Vec<u8>,
    is_over: bool,
}

/// Takes the bytes that come out.
pub(crate) type Output<'a> = dyn FnMut(&[u8], &mut DecodeFlow<'_>) -> Result<(), Fault> + 'a;

/// Bytes inflated at once.
const PIECE: usize = 16 * 1024;

// === impl Inflater ===

impl Inflater {
    pub(crate) fn new(stream: Decompress) -> Self {
        Self { stream, out: Vec::new(), is_over: false }
    }

    /// Whether the stream has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Inflates the next bytes; what comes out is counted against the bounds of the message. Returns what
    /// stands behind the end of the stream.
    pub(crate) fn push<'a>(
        &mut self,
        mut bytes: &'a [u8],
        flow: &mut DecodeFlow<'_>,
        out: &mut Output<'_>,
    ) -> Result<&'a [u8], Fault> {
        self.out.resize(PIECE, 0);
        while !self.is_over {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(bytes, &mut self.out, FlushDecompress::None)
                .map_err(|_| Fault::Inflate)?;
            let taken = advance(before_in, self.stream.total_in());
            let made = advance(before_out, self.stream.total_out());
            bytes = bytes.get(taken..).unwrap_or_default();
            flow.count_output(made)?;
            if made > 0 {
                out(&self.out[..made], flow)?;
            }
            match status {
                Status::StreamEnd => self.is_over = true,
                Status::Ok | Status::BufError if taken == 0 && made == 0 => {
                    return if bytes.is_empty() { Ok(bytes) } else { Err(Fault::Inflate) };
                }
                // With room left in the output everything that was there is out.
                Status::Ok | Status::BufError if bytes.is_empty() && made < PIECE => break,
                Status::Ok | Status::BufError => {}
            }
        }
        Ok(bytes)
    }
}

fn advance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(0)
}
