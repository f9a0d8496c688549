//! The listening sockets: bound by this process, passed by the service manager, or taken over from the process
//! before this one.

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

use super::{LifecycleError, supervisor};
use as2hook_config::Listen;

/// Every listening socket of the gateway. Kept beside the listeners, to be handed on.
#[derive(Debug)]
pub(super) struct ListeningSockets {
    listeners: Vec<(ListenerAddress, TcpListener)>,
    /// Another process may have copies of them: a new gateway, or the service manager.
    are_shared: AtomicBool,
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
    /// Takes those of `inherited` that the config names, and binds its other addresses. Those that another process
    /// listens on are returned, too.
    pub(super) fn open(
        listen: &Listen,
        mut inherited: Vec<TcpListener>,
    ) -> Result<(Self, Vec<ListenerAddress>), LifecycleError> {
        let is_shared = AtomicBool::new(!inherited.is_empty());
        let mut sockets = Self { listeners: Vec::new(), are_shared: is_shared };
        let mut to_bind = Vec::new();
        for place in ListenerAddress::all(listen) {
            match place.take_from(&mut inherited)? {
                Some(socket) => sockets.listeners.push((place, socket)),
                None => to_bind.push(place),
            }
        }
        if !inherited.is_empty() {
            tracing::info!("The config has other addresses than the sockets that were kept.");
            Self::forget();
        }
        // Those that nothing wants are in the way of an address that overlaps with theirs.
        drop(inherited);
        let taken = sockets.add(to_bind)?;
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
            let socket = place.take_from(&mut offered)?;
            let socket = socket.ok_or_else(|| place.cannot(io::ErrorKind::AddrInUse.into()))?;
            self.listeners.push((place, socket));
        }
        self.ready()
    }

    /// What a new process is offered.
    pub(super) fn offer(&self) -> Vec<BorrowedFd<'_>> {
        self.are_shared.store(true, Ordering::Relaxed);
        self.listeners.iter().map(|(_, socket)| socket.as_fd()).collect()
    }

    /// Has the service manager keep them for the next process, where it does that.
    pub(super) fn keep(&self) {
        let named = self.listeners.iter().map(|(place, socket)| (place.listener, socket.as_fd()));
        if supervisor::keep(named) {
            self.are_shared.store(true, Ordering::Relaxed);
        }
    }

    /// Has the service manager keep none. Connections are refused then instead of waiting in vain.
    pub(super) fn forget() {
        [INBOUND, OUTBOUND, ADMIN].into_iter().for_each(supervisor::forget);
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
        if self.are_shared.load(Ordering::Relaxed) {
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

    /// Takes the listening socket of this address out of these.
    fn take_from(
        &self,
        sockets: &mut Vec<TcpListener>,
    ) -> Result<Option<TcpListener>, LifecycleError> {
        let is_it =
            |socket: &TcpListener| socket.local_addr().is_ok_and(|address| address == self.address);
        let Some(nth) = sockets.iter().position(is_it) else { return Ok(None) };
        let socket = sockets.swap_remove(nth);
        if !sockopt::socket_acceptconn(&socket).map_err(|error| self.cannot(error.into()))? {
            return Err(self.cannot(io::ErrorKind::InvalidInput.into()));
        }
        Ok(Some(socket))
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

    const SOON: Duration = Duration::from_secs(5);

    fn bound() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// A config whose listeners have these addresses.
    fn listen(inbound: SocketAddr, admin: SocketAddr) -> Listen {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("as2hook.yaml");
        let config = format!(
            "listen: {{ inbound: {{ address: \"{inbound}\" }}, admin: {{ address: \"{admin}\" }} }}\n\
             receiver: {{ url: \"http://127.0.0.1:9\" }}\n"
        );
        std::fs::write(&file, config).unwrap();
        std::fs::write(folder.path().join("webhooks.yaml"), "webhooks: []\n").unwrap();
        let plugins = as2hook_config::Plugins::default();
        as2hook_config::load(&file, &plugins).unwrap().config.listen
    }

    /// A process that gets a stop signal in the middle of a handover made its successor deaf.
    #[test]
    fn offered_socket_accepts_new_connections() {
        let (socket, address) = bound();
        let place = ListenerAddress { listener: INBOUND, address };
        let listeners = vec![(place, socket)];
        let sockets = ListeningSockets { listeners, are_shared: AtomicBool::new(false) };
        assert_eq!(sockets.offer().len(), 1);
        sockets.stop_accepting();
        TcpStream::connect_timeout(&address, SOON).unwrap();
    }

    #[test]
    fn inherited_socket_is_used_and_others_are_closed() {
        let ((inbound, inbound_address), (unwanted, unwanted_address)) = (bound(), bound());
        let (free, admin_address) = bound();
        drop(free);
        let waiting = TcpStream::connect(inbound_address).unwrap();
        let listen = listen(inbound_address, admin_address);
        let (sockets, taken) = ListeningSockets::open(&listen, vec![unwanted, inbound]).unwrap();
        assert!(taken.is_empty(), "{taken:?}");
        // The one that connected before is still there, and the kernel has it for this process.
        assert!(sockets.has_callers());
        let (_, peer) = sockets.inbound().unwrap().accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        assert!(TcpStream::connect(unwanted_address).is_err());
        TcpStream::connect(admin_address).unwrap();
        // The service manager has a copy, which the next process gets.
        sockets.stop_accepting();
        TcpStream::connect_timeout(&inbound_address, SOON).unwrap();
    }

    #[test]
    fn inherited_socket_that_does_not_listen_is_an_error() {
        let (_socket, address) = bound();
        let connected = TcpStream::connect(address).unwrap();
        let own = connected.local_addr().unwrap();
        let (_free, admin_address) = bound();
        let no_listener = TcpListener::from(OwnedFd::from(connected));
        let opened = ListeningSockets::open(&listen(own, admin_address), vec![no_listener]);
        assert!(matches!(opened, Err(LifecycleError::Bind { address, .. }) if address == own));
    }

    #[test]
    fn completed_connection_stays_and_later_one_is_refused() {
        let (listener, address) = bound();
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
