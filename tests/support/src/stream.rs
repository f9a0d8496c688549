//! One connection, plain or TLS, that never waits for ever.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::SslStream;
use socket2::{Domain, Socket, Type};

/// How long one read or write may take before it fails; longer than any gateway time-out under test.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A connected socket.
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<SslStream<TcpStream>>),
}

// === impl Stream ===

impl Stream {
    /// Wraps a socket and gives it deadlines.
    pub fn plain(socket: TcpStream) -> io::Result<Self> {
        set_up(&socket)?;
        Ok(Self::Plain(socket))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref(),
        }
    }

    /// Sends the end of our side and keeps on reading: a half-closed connection. TLS says
    /// `close_notify` first.
    pub fn finish_writing(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.shutdown().map_err(io::Error::other)?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// The subject's common name of the certificate that the other side showed, if any.
    pub fn peer_name(&self) -> Option<String> {
        let Self::Tls(tls) = self else { return None };
        let certificate = tls.ssl().peer_certificate()?;
        let entry = certificate.subject_name().entries().next()?;
        entry.data().to_string().ok()
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Plain(socket) => socket.read(into),
                Self::Tls(tls) => tls.read(into),
            };
            // As a read with a deadline ends for a process that was stopped and goes on.
            if !matches!(&read, Err(e) if e.kind() == io::ErrorKind::Interrupted) {
                return read;
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(from),
            Self::Tls(tls) => tls.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.socket())
    }
}

/// Connects from this address of 127.0.0.0/8: to the gateway it is a host of its own.
pub fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// All that comes until the other side closes.
pub fn read_to_close(socket: &mut TcpStream) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = Vec::new();
    // What came before an error, such as a connection that was reset, is there all the same.
    let _ = socket.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// Deadlines, and no Nagle: the tests decide what goes in one segment.
pub(crate) fn set_up(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}
