//! A name server, and the resolver configuration of a gateway.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::gateway::Running;

/// Says the same addresses of every name, valid for ten minutes; of `silent.example` it says nothing.
#[derive(Debug)]
pub struct NameServer {
    address: Ipv4Addr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Mutex<Vec<Ipv4Addr>>,
    queries: AtomicUsize,
}

/// The `/etc/resolv.conf` that one gateway sees.
#[derive(Debug)]
pub struct ResolvConf(PathBuf);

// === impl NameServer ===

impl NameServer {
    /// Listens on port 53 of an address of its own in 127.0.0.0/8, which only root may in most places.
    pub fn start(addresses: &[Ipv4Addr]) -> io::Result<Self> {
        let address = Self::nowhere();
        let socket = UdpSocket::bind((address, 53))?;
        let names = Mutex::new(addresses.to_vec());
        let shared = Arc::new(Shared { names, queries: AtomicUsize::new(0) });
        let serving = Arc::clone(&shared);
        // It ends with the test's process.
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                serving.respond(&socket, from, &query[..length]);
            }
        });
        Ok(Self { address, shared })
    }

    /// An address on which nothing listens.
    pub fn nowhere() -> Ipv4Addr {
        Ipv4Addr::new(127, fastrand::u8(64..), fastrand::u8(..), fastrand::u8(1..255))
    }

    /// Where it listens.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// These from now on.
    pub fn set(&self, addresses: &[Ipv4Addr]) {
        *self.shared.names.lock().unwrap() = addresses.to_vec();
    }

    /// How often it was asked.
    pub fn queries(&self) -> usize {
        self.shared.queries.load(Ordering::SeqCst)
    }
}

// === impl Shared ===

impl Shared {
    /// RFC 1035 section 4: the header and question as they came, and the records.
    fn respond(&self, socket: &UdpSocket, to: SocketAddr, query: &[u8]) {
        let Some(end) = query.get(12..).and_then(|names| names.iter().position(|byte| *byte == 0))
        else {
            return;
        };
        let question = 12 + end + 5;
        self.queries.fetch_add(1, Ordering::SeqCst);
        if query.windows(7).any(|part| part == b"\x06silent") {
            return;
        }
        // AAAA and all others have none.
        let is_a = query.get(question - 4..question - 2) == Some(&[0, 1]);
        let addresses = if is_a { self.names.lock().unwrap().clone() } else { Vec::new() };
        let mut response = query[..2].to_vec();
        response.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
        response.extend(&query[12..question]);
        for address in addresses {
            response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4]);
            response.extend(address.octets());
        }
        drop(socket.send_to(&response, to));
    }
}

// === impl ResolvConf ===

impl ResolvConf {
    /// Puts it under a gateway that is not yet running: it asks this name server.
    pub fn under(gateway: &mut Running, server: Ipv4Addr) -> Self {
        let this = Self(gateway.folder().join("resolv.conf"));
        this.name(server);
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let file = this.0.display().to_string();
        let name_space = ["unshare", "--user", "--map-root-user", "--mount"];
        gateway.set_wrapper(&[&name_space[..], &["sh", "-c", script, &file]].concat());
        this
    }

    /// Names another name server, in the file that is there.
    pub fn name(&self, server: Ipv4Addr) {
        let text = format!("nameserver {server}\noptions timeout:1 attempts:1\n");
        fs::write(&self.0, text).expect("the gateway's folder is the tests'");
    }
}
