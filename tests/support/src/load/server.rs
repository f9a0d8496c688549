//! A server with a fixed number of threads: each takes a connection and serves it to its end.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::wire::{Wire, field};

/// The stack of a thread that reads, responds, and calls nothing deep.
const STACK: usize = 256 << 10;

/// Listens on a free port of 127.0.0.1 until the process ends.
#[derive(Clone, Debug)]
pub struct Server {
    address: SocketAddr,
}

/// A whole request.
#[derive(Debug)]
pub struct Seen<'a> {
    head: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// When its head was there.
    pub at: Instant,
}

// === impl Server ===

impl Server {
    /// Serves with so many threads, which is how many connections it can have at once. `respond` writes
    /// the whole response, or nothing to close the connection without one.
    pub fn start(
        threads: usize,
        respond: impl Fn(&Seen<'_>, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new((listener, respond));
        for _ in 0..threads {
            let shared = shared.clone();
            let serving = move || {
                loop {
                    let Ok((socket, _)) = shared.0.accept() else { continue };
                    // Its errors are the other side's business, which counts them.
                    let _ = serve(socket, &shared.1);
                }
            };
            let spawned = thread::Builder::new().stack_size(STACK).spawn(serving);
            spawned.expect("a server's threads can be started");
        }
        Self { address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

// === impl Seen ===

impl Seen<'_> {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(self.head, name)
    }

    /// The request's target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

fn serve(socket: TcpStream, respond: impl Fn(&Seen<'_>, &mut Vec<u8>)) -> io::Result<()> {
    let mut wire = Wire::new(socket)?;
    let mut out = Vec::new();
    loop {
        let last = {
            let Some(whole) = wire.read()? else { return Ok(()) };
            let seen = Seen { head: whole.head, body: whole.body, at: whole.at };
            out.clear();
            respond(&seen, &mut out);
            seen.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        };
        if out.is_empty() {
            return Ok(());
        }
        wire.write(&out)?;
        if last {
            return Ok(());
        }
    }
}
