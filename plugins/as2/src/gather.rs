//! Small pieces joined, so that what a push costs by itself is paid for kilobytes and not for bytes.

use crate::fault::Fault;

/// Takes the bytes that come out of a parser.
pub(crate) type Out<'a> = dyn FnMut(&[u8]) -> Result<(), Fault> + 'a;

/// Joins pieces of less than [`SMALL`] bytes; passes larger ones on as they are.
#[derive(Default)]
pub(crate) struct Gather(Vec<u8>);

/// A piece that is worth a push of its own.
const SMALL: usize = 1024;
/// Bytes gathered at the most.
const ROOM: usize = 4096;

// === impl Gather ===

impl Gather {
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut Out<'_>) -> Result<(), Fault> {
        if !self.0.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(ROOM - self.0.len()));
            self.0.extend_from_slice(now);
            bytes = later;
            if self.0.len() == ROOM {
                self.flush(out)?;
            }
        }
        if bytes.len() < SMALL {
            self.0.extend_from_slice(bytes);
            return Ok(());
        }
        out(bytes)
    }

    /// Passes on what is gathered.
    pub(crate) fn flush(&mut self, out: &mut Out<'_>) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let passed = out(&self.0);
        self.0.clear();
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_keep_their_order_and_small_ones_are_joined() {
        let all: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        for sizes in [&[1][..], &[3, 5000], &[1024], &[1023, 1], &[1, 4095, 4096, 4097]] {
            let (mut gather, mut out, mut pushes) = (Gather::default(), Vec::new(), 0);
            let mut take = |bytes: &[u8]| {
                out.extend_from_slice(bytes);
                pushes += 1;
                Ok(())
            };
            let mut rest = all.as_slice();
            for size in sizes.iter().cycle() {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                gather.push(now, &mut take).expect("nothing fails");
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            gather.flush(&mut take).expect("nothing fails");
            assert!(out == all, "by {sizes:?}");
            assert!(pushes <= 1 + all.len() / 1024, "{pushes} pushes by {sizes:?}");
        }
    }
}
