//! The listening sockets: bound by this process, or taken over from the one before it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use socket2::{SockFilter, SockRef};

use super::LifecycleError;
use as2hook_config::Listen;

/// Every listening socket of the gateway. Kept beside the listeners, to be handed on.
#[derive(Debug)]
pub(super) struct ListeningSockets {
    listeners: Vec<(ListenerAddress, TcpListener)>,
    /// Another process may have copies of them.
    offered: AtomicBool,
}

/// Where a listener is, as the config says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenerAddress {
    /// `inbound`, `outbound`, `admin`.
    listener: &'static str,
    pub(super) address: SocketAddr,
}

const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";
const ADMIN: &str = "admin";

// === impl ListeningSockets ===

impl ListeningSockets {
    /// Binds every address of the config. Those that another process listens on are returned, too.
    pub(super) fn bind(listen: &Listen) -> Result<(Self, Vec<ListenerAddress>), LifecycleError> {
        let mut sockets = Self { listeners: Vec::new(), offered: AtomicBool::new(false) };
        let taken = sockets.add(ListenerAddress::all(listen))?;
        Ok((sockets, taken))
    }

    /// Binds these, too. Returns those that another process still listens on.
    pub(super) fn add(
        &mut self,
        places: Vec<ListenerAddress>,
    ) -> Result<Vec<ListenerAddress>, LifecycleError> {
        let mut taken = Vec::new();
        for place in places {
            match TcpListener::bind(place.address) {
                Ok(socket) => self.listeners.push((place, socket)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken.push(place),
                Err(source) => return Err(place.cannot(source)),
            }
        }
        self.ready()?;
        Ok(taken)
    }

    /// Adds those of `offered` that are wanted, and closes the rest.
    ///
    /// # Errors
    /// When one that is wanted is not among them, or is no listening socket.
    pub(super) fn adopt(
        &mut self,
        wanted: Vec<ListenerAddress>,
        offered: Vec<OwnedFd>,
    ) -> Result<(), LifecycleError> {
        let mut offered: Vec<_> = offered.into_iter().map(TcpListener::from).collect();
        for place in wanted {
            let is_it = |socket: &TcpListener| {
                socket.local_addr().is_ok_and(|address| address == place.address)
            };
            let Some(nth) = offered.iter().position(is_it) else {
                return Err(place.cannot(io::ErrorKind::AddrInUse.into()));
            };
            let socket = offered.swap_remove(nth);
            let listens = sockopt::socket_acceptconn(&socket);
            if !listens.map_err(|error| place.cannot(error.into()))? {
                return Err(place.cannot(io::ErrorKind::InvalidInput.into()));
            }
            self.listeners.push((place, socket));
        }
        self.ready()
    }

    /// What a new process is offered.
    pub(super) fn offer(&self) -> Vec<BorrowedFd<'_>> {
        self.offered.store(true, Ordering::Relaxed);
        self.listeners.iter().map(|(_, socket)| socket.as_fd()).collect()
    }

    /// For the inbound listener.
    pub(super) fn inbound(&self) -> Result<TcpListener, LifecycleError> {
        Ok(self.of(INBOUND)?.expect("every config has an inbound listener"))
    }

    /// For the outbound listener, where the config has one.
    pub(super) fn outbound(&self) -> Result<Option<TcpListener>, LifecycleError> {
        self.of(OUTBOUND)
    }

    /// For the admin listener. Call within a tokio runtime.
    pub(super) fn admin(&self) -> Result<tokio::net::TcpListener, LifecycleError> {
        let admin = self.of(ADMIN)?.expect("every config has an admin listener");
        tokio::net::TcpListener::from_std(admin).map_err(LifecycleError::Threads)
    }

    /// Stops new connections to the gateway's listeners; those that the kernel has completed stay. Where the
    /// system cannot do that, a connection in the moment of the close is reset; so where another process may
    /// have got these sockets, which would be deaf then.
    pub(super) fn stop_accepting(&self) {
        if self.offered.load(Ordering::Relaxed) {
            return;
        }
        for (place, socket) in self.for_traffic() {
            if let Err(error) = refuse_new(socket) {
                tracing::debug!(%error, listener = place.listener, "Newcomers cannot be turned away.");
            }
        }
    }

    /// Whether the gateway's listeners have connections that are not accepted yet.
    pub(super) fn has_callers(&self) -> bool {
        let listeners = self.for_traffic();
        let mut fds: Vec<_> =
            listeners.map(|(_, socket)| PollFd::new(socket, PollFlags::IN)).collect();
        // Where the system does not say, nothing is waited for.
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn for_traffic(&self) -> impl Iterator<Item = &(ListenerAddress, TcpListener)> {
        self.listeners.iter().filter(|(place, _)| place.listener != ADMIN)
    }

    fn of(&self, listener: &str) -> Result<Option<TcpListener>, LifecycleError> {
        let found = self.listeners.iter().find(|(place, _)| place.listener == listener);
        let Some((place, socket)) = found else { return Ok(None) };
        socket.try_clone().map(Some).map_err(|source| place.cannot(source))
    }

    fn ready(&self) -> Result<(), LifecycleError> {
        for (place, socket) in &self.listeners {
            socket.set_nonblocking(true).map_err(|source| place.cannot(source))?;
        }
        Ok(())
    }
}

// === impl ListenerAddress ===

impl ListenerAddress {
    fn all(listen: &Listen) -> Vec<Self> {
        let place = |listener, address| Self { listener, address };
        let mut all = vec![place(INBOUND, listen.inbound.address)];
        all.extend(listen.outbound.as_ref().map(|listener| place(OUTBOUND, listener.address)));
        all.push(place(ADMIN, listen.admin.address));
        all
    }

    pub(super) fn cannot(&self, source: io::Error) -> LifecycleError {
        LifecycleError::Bind { address: self.address, source }
    }
}

/// A listening socket that is closed resets every connection that the kernel has completed on it and the
/// process has not accepted, and there is no moment without such ones as long as new ones come. So first
/// requests to connect are dropped in the kernel: their senders ask again a second later, and by
/// then are refused, or reach the next process. Handshakes that have begun go on.
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    // Where the flags are in a TCP header (RFC 9293 section 3.1).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Instructions of the classic packet filter.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    /// A process that gets a stop signal in the middle of a hand-over made its successor deaf.
    #[test]
    fn a_socket_that_was_offered_lets_newcomers_in() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let place = ListenerAddress { listener: INBOUND, address };
        let listeners = vec![(place, socket)];
        let sockets = ListeningSockets { listeners, offered: AtomicBool::new(false) };
        assert_eq!(sockets.offer().len(), 1);
        sockets.stop_accepting();
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn completed_connection_stays_and_later_one_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _through = TcpStream::connect(address).unwrap();
        refuse_new(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        listener.accept().unwrap();
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
