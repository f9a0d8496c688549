//! A request, and the manners it is sent with.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use openssl::sha::Sha256;

use crate::http::{Body, hex};
use crate::message::{Built, Message};
use crate::stream::Stream;

/// A request to send. Sent with `Content-Length` and in one go by default.
pub struct Post<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(String, String)>,
    body: Source<'a>,
    pub(super) manner: Manner,
}

/// How a request is sent.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    version: &'static str,
    /// Chunk sizes, used in turn and over again; none: `Content-Length`.
    chunks: Vec<usize>,
    pub(super) expect_continue: bool,
    pub(super) invitation: Duration,
    pub(super) half_close: bool,
    pub(super) cut: Option<u64>,
    /// The largest piece written at once.
    piece: usize,
    pub(super) pause: Duration,
    bare: bool,
}

type Write_<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync + 'a>;

enum Source<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { length: Option<u64>, write: Write_<'a> },
}

/// Puts a body on the wire as the manners say.
pub(super) struct Framed<'a> {
    to: &'a mut Stream,
    manner: &'a Manner,
    chunk: Vec<u8>,
    turn: usize,
    written: u64,
    hash: Sha256,
}

// === impl Post ===

impl<'a> Post<'a> {
    /// A `POST` of these bytes.
    pub fn new(target: &'a str, body: &'a [u8]) -> Self {
        Self { body: Source::Bytes(body), ..Self::method("POST", target) }
    }

    /// A request without a body.
    pub fn method(method: &'a str, target: &'a str) -> Self {
        let manner = Manner {
            version: "HTTP/1.1",
            chunks: Vec::new(),
            expect_continue: false,
            invitation: Duration::from_secs(1),
            half_close: false,
            cut: None,
            piece: 64 << 10,
            pause: Duration::ZERO,
            bare: false,
        };
        Self { method, target, headers: Vec::new(), body: Source::None, manner }
    }

    /// A `POST` of an AS2 message with its header fields.
    pub fn message(target: &'a str, message: &'a Built) -> Self {
        Self::new(target, &message.body).headers(&message.headers)
    }

    /// A `POST` of an AS2 message that is written while it is made, however large. `length`: its
    /// `Content-Length` (see [`Message::length`]); `None` sends it chunked, 64 KiB at a time.
    pub fn stream(target: &'a str, message: &'a Message, length: Option<u64>) -> Self {
        let write = move |mut to: &mut dyn Write| message.write(&mut to).map(drop);
        let body = Source::Stream { length, write: Box::new(write) };
        let post = Self { body, ..Self::method("POST", target) }.headers(&message.headers());
        if length.is_none() { post.chunked(&[64 << 10]) } else { post }
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds fields.
    pub fn headers(mut self, headers: &[(String, String)]) -> Self {
        self.headers.extend_from_slice(headers);
        self
    }

    /// Sends the body in chunks of these sizes, in turn and over again.
    pub fn chunked(mut self, sizes: &[usize]) -> Self {
        self.manner.chunks = sizes.to_vec();
        self
    }

    /// Sends `Expect: 100-continue` and waits a second for the invitation, as curl does.
    pub fn expect_continue(mut self) -> Self {
        self.manner.expect_continue = true;
        self
    }

    /// Speaks HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.manner.version = "HTTP/1.0";
        self
    }

    /// Sends the end of its side behind the request, and then waits for the response.
    pub fn half_close(mut self) -> Self {
        self.manner.half_close = true;
        self
    }

    /// Ends the connection's way out after this many bytes of the body.
    pub fn cut(mut self, bytes: u64) -> Self {
        self.manner.cut = Some(bytes);
        self
    }

    /// Sends the body in pieces of this size with a pause behind each.
    pub fn slowly(mut self, piece: usize, pause: Duration) -> Self {
        self.manner.piece = piece.max(1);
        self.manner.pause = pause;
        self
    }

    /// Adds no field of its own: neither `Host` nor framing.
    pub fn bare(mut self) -> Self {
        self.manner.bare = true;
        self
    }

    pub(super) fn verb(&self) -> &str {
        self.method
    }

    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        write!(head, "{} {} {}\r\n", self.method, self.target, self.manner.version)?;
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        if !self.manner.bare {
            self.own_fields(&mut head)?;
        }
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }

    pub(super) fn write_body(&self, to: &mut dyn Write) -> io::Result<()> {
        match &self.body {
            Source::None => Ok(()),
            Source::Bytes(bytes) => to.write_all(bytes),
            Source::Stream { write, .. } => write(to),
        }
    }

    fn own_fields(&self, head: &mut Vec<u8>) -> io::Result<()> {
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.extend_from_slice(b"Host: as2.example\r\n");
        }
        if self.manner.expect_continue {
            head.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        if !self.manner.chunks.is_empty() {
            return write!(head, "Transfer-Encoding: chunked\r\n");
        }
        match &self.body {
            Source::None => Ok(()),
            Source::Bytes(bytes) => write!(head, "Content-Length: {}\r\n", bytes.len()),
            Source::Stream { length, .. } => {
                let length = length.ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidInput, "neither chunks nor a length")
                })?;
                write!(head, "Content-Length: {length}\r\n")
            }
        }
    }
}

impl fmt::Debug for Post<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

// === impl Framed ===

impl<'a> Framed<'a> {
    pub(super) fn new(to: &'a mut Stream, post: &'a Post<'_>) -> Self {
        Self {
            to,
            manner: &post.manner,
            chunk: Vec::new(),
            turn: 0,
            written: 0,
            hash: Sha256::new(),
        }
    }

    /// Writes what is left, and the last chunk. Returns what was sent.
    pub(super) fn finish(mut self) -> io::Result<Body> {
        if self.manner.chunks.is_empty() {
            self.to.flush()?;
        } else {
            if !self.chunk.is_empty() {
                self.put_chunk()?;
            }
            self.put(b"0\r\n\r\n")?;
        }
        Ok(Body { bytes: Vec::new(), length: self.written, sha256: hex(&self.hash.finish()) })
    }

    fn chunk_size(&self) -> usize {
        let sizes = &self.manner.chunks;
        sizes[self.turn % sizes.len()].max(1)
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        let mut wire = format!("{:x}\r\n", self.chunk.len()).into_bytes();
        wire.append(&mut self.chunk);
        wire.extend_from_slice(b"\r\n");
        self.turn += 1;
        self.put(&wire)
    }

    /// Writes in pieces, with a pause behind each, and stops where the body is to be cut.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(self.manner.piece) {
            self.to.write_all(piece)?;
            self.to.flush()?;
            super::pause(self.manner);
        }
        Ok(())
    }
}

impl Write for Framed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut take = bytes;
        if let Some(cut) = self.manner.cut {
            let room = usize::try_from(cut - self.written).unwrap_or(usize::MAX);
            if room == 0 {
                // What is held of a chunk has been sent, as far as the caller knows.
                if !self.chunk.is_empty() {
                    self.put_chunk()?;
                }
                return Ok(0);
            }
            take = &bytes[..bytes.len().min(room)];
        }
        if self.manner.chunks.is_empty() {
            self.put(take)?;
        } else {
            take = &take[..take.len().min(self.chunk_size() - self.chunk.len())];
            self.chunk.extend_from_slice(take);
            if self.chunk.len() == self.chunk_size() {
                self.put_chunk()?;
            }
        }
        self.hash.update(take);
        self.written += take.len() as u64;
        Ok(take.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
