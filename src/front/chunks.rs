//! The chunks of a request's body, read along by the letter of RFC 9112 section 7.1. Pingora's own
//! reader takes a size of no digits for the end, and a bare LF in an extension for its end; the next
//! reader on the way may not.

/// What no chunked body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkFlaw {
    /// Neither digits, nor an extension, nor CR LF.
    #[error("a chunk's size cannot be read")]
    Size,
    /// No CR LF behind a chunk's data.
    #[error("a chunk does not end where its size says")]
    End,
    /// A line of the trailers.
    #[error("the trailers cannot be read")]
    Trailer,
    /// An extension or trailers beyond their bounds.
    #[error("a chunk's extension or the trailers are too long")]
    TooLong,
}

/// Follows one body.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    at: At,
    left: u64,
    digits: u32,
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Of a size with its extension.
const LINE: usize = 1024;

/// Of all trailers together.
const TRAILERS: usize = 16 * 1024;

/// Hex digits of a size, leading noughts with them.
const DIGITS: u32 = 16;

// === impl Chunks ===

impl Chunks {
    /// At the first chunk's size.
    pub(crate) fn new() -> Self {
        Self { at: At::Size, left: 0, digits: 0, line: 0 }
    }

    /// Follows the next bytes. How many are this body's; those behind its end are another request's.
    ///
    /// # Errors
    /// What is wrong; nothing of these bytes is to be taken then.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<usize, ChunkFlaw> {
        let all = bytes.len();
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.at == At::Data {
                let data = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= data as u64;
                bytes = &bytes[data..];
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            if self.is_whole() {
                break;
            }
            self.at = self.step(byte)?;
            bytes = rest;
        }
        Ok(all - bytes.len())
    }

    /// Whether its end has come.
    pub(crate) fn is_whole(&self) -> bool {
        self.at == At::Done
    }

    fn step(&mut self, byte: u8) -> Result<At, ChunkFlaw> {
        Ok(match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Size, b';' | b' ' | b'\t') if self.digits > 0 => self.long(At::Extension, LINE)?,
            (At::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(ChunkFlaw::Size)?;
                self.digits += 1;
                let size = self.left.checked_mul(16).map(|size| size + u64::from(digit));
                self.left = size.filter(|_| self.digits <= DIGITS).ok_or(ChunkFlaw::Size)?;
                At::Size
            }
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) if byte.is_ascii_control() && byte != b'\t' => {
                return Err(ChunkFlaw::Size);
            }
            (At::Extension, _) => self.long(At::Extension, LINE)?,
            (At::SizeLf, b'\n') if self.left == 0 => self.line_of(At::TrailerStart),
            (At::SizeLf, b'\n') => At::Data,
            (At::SizeLf, _) => return Err(ChunkFlaw::Size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.digits = 0;
                self.line_of(At::Size)
            }
            (At::DataCr | At::DataLf, _) => return Err(ChunkFlaw::End),
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => At::Done,
            (At::TrailerLf | At::EndLf, _) => return Err(ChunkFlaw::Trailer),
            (At::TrailerStart | At::Trailer, b'\n' | b'\0') => return Err(ChunkFlaw::Trailer),
            (At::TrailerStart | At::Trailer, _) => self.long(At::Trailer, TRAILERS)?,
            (At::Data | At::Done, _) => self.at,
        })
    }

    fn line_of(&mut self, next: At) -> At {
        self.line = 0;
        next
    }

    fn long(&mut self, next: At, most: usize) -> Result<At, ChunkFlaw> {
        self.line += 1;
        if self.line > most { Err(ChunkFlaw::TooLong) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However it is cut.
    fn followed(body: &str) -> Result<bool, ChunkFlaw> {
        let follow = |size: usize| {
            let mut chunks = Chunks::new();
            for piece in body.as_bytes().chunks(size) {
                chunks.push(piece)?;
            }
            Ok(chunks.is_whole())
        };
        let whole = follow(body.len());
        for size in 1..body.len() {
            assert_eq!(follow(size), whole, "{body:?} in pieces of {size}");
        }
        whole
    }

    #[test]
    fn whole_bodies_end() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "000A;a=\"b\"\r\n0123456789\r\n1 \r\nx\r\n0;x\r\nA: b\r\nC: d\r\n\r\nGET /next",
        ] {
            assert_eq!(followed(body), Ok(true), "{body:?}");
        }
        assert_eq!(followed("3\r\nab"), Ok(false));
    }

    #[test]
    fn what_stands_behind_the_end_is_not_taken() {
        let body = b"3\r\nabc\r\n0\r\n\r\n";
        for cut in 0..=body.len() {
            let mut chunks = Chunks::new();
            assert_eq!(chunks.push(&body[..cut]), Ok(cut));
            let rest = [&body[cut..], b"GET /next"].concat();
            assert_eq!(chunks.push(&rest), Ok(body.len() - cut));
            assert_eq!(chunks.push(b"GET /next"), Ok(0));
        }
    }

    #[test]
    fn what_readers_may_take_in_two_ways_is_a_flaw() {
        for (body, flaw) in [
            ("\r\nabc", ChunkFlaw::Size),
            (";a\r\nabc", ChunkFlaw::Size),
            (" 3\r\nabc", ChunkFlaw::Size),
            ("+3\r\nabc", ChunkFlaw::Size),
            ("0x3\r\nabc", ChunkFlaw::Size),
            ("3\nabc", ChunkFlaw::Size),
            ("3\rabc", ChunkFlaw::Size),
            ("3;a\nb\r\nabc", ChunkFlaw::Size),
            ("3;a\rb\r\nabc", ChunkFlaw::Size),
            ("10000000000000003\r\nabc", ChunkFlaw::Size),
            ("00000000000000003\r\nabc", ChunkFlaw::Size),
            ("3\r\nabcd", ChunkFlaw::End),
            ("3\r\nabc\n0", ChunkFlaw::End),
            ("0\r\n\n", ChunkFlaw::Trailer),
            ("0\r\nA: b\n\r\n", ChunkFlaw::Trailer),
            ("0\r\n\rX", ChunkFlaw::Trailer),
        ] {
            assert_eq!(followed(body), Err(flaw), "{body:?}");
        }
        assert_eq!(followed(&format!("1;{}", "x".repeat(LINE))), Err(ChunkFlaw::TooLong));
        let mut chunks = Chunks::new();
        chunks.push(b"0\r\n").unwrap();
        let trailer = format!("A: {}\r\n", "x".repeat(90));
        let ended = (0..TRAILERS).find_map(|_| chunks.push(trailer.as_bytes()).err());
        assert_eq!(ended, Some(ChunkFlaw::TooLong));
    }
}
