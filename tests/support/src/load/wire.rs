//! One connection, read by whole requests or responses.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::stream::{PATIENCE, set_up};

/// More than any head under load.
const HEAD_MAX: usize = 64 << 10;

/// More than any body under load.
const BODY_MAX: usize = 16 << 20;

pub(super) struct Wire {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// What of the buffer has been handed out.
    used: usize,
}

/// A whole request or response.
pub(super) struct Whole<'a> {
    pub(super) head: &'a str,
    pub(super) body: &'a [u8],
    /// When its head was there.
    pub(super) at: Instant,
}

// === impl Wire ===

impl Wire {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        set_up(&socket)?;
        Ok(Self { socket, buffer: vec![0; 16 << 10], filled: 0, used: 0 })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// The next one. `None`: closed before its first byte.
    pub(super) fn read(&mut self) -> io::Result<Option<Whole<'_>>> {
        self.buffer.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        let end = loop {
            if let Some(end) = end_of_head(&self.buffer[..self.filled]) {
                break end;
            }
            if self.filled > HEAD_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "a head without an end"));
            }
            if !self.fill()? {
                let clean = self.filled == 0;
                return if clean { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        let at = Instant::now();
        let body = {
            let head = head(&self.buffer[..end])?;
            match field(head, "content-length") {
                Some(length) => length.parse().map_err(|_| unreadable("a Content-Length"))?,
                None if field(head, "transfer-encoding").is_some() => {
                    return Err(unreadable("a chunked body"));
                }
                None => 0,
            }
        };
        let whole = end.saturating_add(body);
        if body > BODY_MAX {
            return Err(unreadable("a body"));
        }
        while self.filled < whole {
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        self.used = whole;
        let (head_bytes, body) = (&self.buffer[..end], &self.buffer[end..whole]);
        Ok(Some(Whole { head: head(head_bytes)?, body, at }))
    }

    /// False: the other side has closed.
    fn fill(&mut self) -> io::Result<bool> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let read = self.socket.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read > 0)
    }
}

/// The value of a field, whatever the case of its name.
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let mut named = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim())
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn head(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| unreadable("a head that is not UTF-8"))
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{what} that a load does not read"))
}
