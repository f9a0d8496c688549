//! Bodies: read by their framing, hashed always, kept up to a bound.

use std::io::{self, BufRead};

use openssl::sha::Sha256;

use super::Head;
use super::head::unfinished;

/// How a body's end is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither length nor chunks: a request without a body.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`, with the sizes of the first 10,000 chunks.
    Chunked(Vec<u64>),
    /// A response that ends with its connection.
    UntilClose,
}

/// A body as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Its first bytes, as many as the endpoint is set to keep.
    pub bytes: Vec<u8>,
    /// All of its bytes, counted.
    pub length: u64,
    /// SHA-256 of all of it, lower-case hex.
    pub sha256: String,
}

// === impl Framing ===

impl Framing {
    /// What a request's head says.
    pub fn of_request(head: &Head) -> Self {
        Self::announced(head).unwrap_or(Self::None)
    }

    /// What a response's head says, to a request of this method.
    pub fn of_response(head: &Head, method: &str) -> Self {
        let status = head.word(1);
        if method == "HEAD" || status.starts_with('1') || status == "204" || status == "304" {
            return Self::None;
        }
        Self::announced(head).unwrap_or(Self::UntilClose)
    }

    /// Whether it is chunked, whatever the chunks.
    pub fn is_chunked(&self) -> bool {
        matches!(self, Self::Chunked(_))
    }

    fn announced(head: &Head) -> Option<Self> {
        if head.has_token("Transfer-Encoding", "chunked") {
            return Some(Self::Chunked(Vec::new()));
        }
        head.header("Content-Length").and_then(|length| length.parse().ok()).map(Self::Length)
    }
}

/// Reads a body to its end. `keep`: how many bytes of it stay in memory. On an early end the second
/// value is the error, and the first what had come until then.
pub fn read_body(
    from: &mut impl BufRead,
    framing: &mut Framing,
    keep: usize,
) -> (Body, Option<io::Error>) {
    let mut recorder = Recorder { body: Body::default(), hash: Sha256::new(), keep };
    let error = recorder.read(from, framing).err();
    (recorder.finish(), error)
}

struct Recorder {
    body: Body,
    hash: Sha256,
    keep: usize,
}

// === impl Recorder ===

impl Recorder {
    fn read(&mut self, from: &mut impl BufRead, framing: &mut Framing) -> io::Result<()> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.exactly(from, *length),
            Framing::UntilClose => {
                while self.some(from, u64::MAX)? > 0 {}
                Ok(())
            }
            Framing::Chunked(sizes) => loop {
                let size = chunk_size(&line(from)?)?;
                if size == 0 {
                    while !line(from)?.is_empty() {}
                    return Ok(());
                }
                if sizes.len() < 10_000 {
                    sizes.push(size);
                }
                self.exactly(from, size)?;
                if !line(from)?.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk too long"));
                }
            },
        }
    }

    fn exactly(&mut self, from: &mut impl BufRead, mut left: u64) -> io::Result<()> {
        while left > 0 {
            let read = self.some(from, left)?;
            if read == 0 {
                return Err(unfinished("a body"));
            }
            left -= read;
        }
        Ok(())
    }

    /// Takes what is there, `most` at most. 0: the end.
    fn some(&mut self, from: &mut impl BufRead, most: u64) -> io::Result<u64> {
        let there = from.fill_buf()?;
        let take = there.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let piece = &there[..take];
        self.hash.update(piece);
        let room = self.keep.saturating_sub(self.body.bytes.len());
        self.body.bytes.extend_from_slice(&piece[..take.min(room)]);
        self.body.length += take as u64;
        from.consume(take);
        Ok(take as u64)
    }

    fn finish(mut self) -> Body {
        self.body.sha256 = hex(&self.hash.finish());
        self.body
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(unfinished("chunks"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(line);
    let digits = text.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("no chunk size: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_chunks_and_stops_behind_them() {
        let mut from = &b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: 1\r\n\r\nnext"[..];
        let mut framing = Framing::Chunked(Vec::new());
        let (body, error) = read_body(&mut from, &mut framing, 2);
        assert!(error.is_none());
        assert_eq!((body.bytes, body.length, body.sha256.as_str()), (b"ab".to_vec(), 3, SHA_ABC));
        assert_eq!(framing, Framing::Chunked(vec![1, 2]));
        assert_eq!(from, b"next");
    }

    #[test]
    fn an_early_end_tells_what_had_come() {
        let (body, error) = read_body(&mut &b"abc"[..], &mut Framing::Length(4), 10);
        assert_eq!(body.sha256, SHA_ABC);
        assert_eq!(error.unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }
}
