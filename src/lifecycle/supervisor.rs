//! What passes between the gateway and the system's service manager, by systemd's protocols.
//!
//! - It is notified (`NOTIFY_SOCKET`, units of `Type=notify`) that the gateway serves, which process is the main
//!   one since the last handover, and that it stops.
//! - It keeps the listening sockets (`FDSTORE=1`, units with `FileDescriptorStoreMax=`) and passes them to the next
//!   process (`LISTEN_FDS`), so that a restart refuses no connection: they wait in the kernel meanwhile. It keeps
//!   them where the variable `FDSTORE` says so, which systemd sets from version 254 on, and our unit before that.
//!
//! Without these variables nothing happens here.

use std::{
    env,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::BorrowedFd,
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};

use listenfd::ListenFd;
use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

/// A notification may wait so long for the service manager to read those before it.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the listening sockets that the service manager passes to this process.
pub(super) fn inherited() -> Vec<TcpListener> {
    let mut passed = ListenFd::from_env();
    let all = (0..passed.len()).filter_map(|nth| match passed.take_tcp_listener(nth) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "A passed file descriptor is no TCP socket and is not used.");
            None
        }
    });
    let keep_from_children = |socket: &TcpListener| {
        if let Err(error) = fcntl_setfd(socket, FdFlags::CLOEXEC) {
            tracing::debug!(%error, "A passed socket cannot be marked as this process's own.");
        }
    };
    all.inspect(keep_from_children).collect()
}

/// Notifies that this process serves and is the main one.
pub(super) fn serving() {
    notify(&format!("READY=1\nMAINPID={}", process::id()), None);
}

/// Notifies that the gateway is on its way out, with no successor.
pub(super) fn stopping() {
    notify("STOPPING=1", None);
}

/// Has the service manager keep these sockets, and no others of the same names. False: it does not.
pub(super) fn keep<'a>(sockets: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>) -> bool {
    let most: usize = env::var("FDSTORE").ok().and_then(|most| most.parse().ok()).unwrap_or(0);
    let mut are_kept = false;
    for (name, socket) in sockets.take(most) {
        forget(name);
        are_kept |= notify(&format!("FDSTORE=1\nFDNAME={name}"), Some(socket));
    }
    are_kept
}

/// Has the service manager close its copies of the sockets of this name.
pub(super) fn forget(name: &str) {
    notify(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
}

/// False: there is no service manager, or it cannot be reached.
fn notify(state: &str, socket: Option<BorrowedFd<'_>>) -> bool {
    let sent = send(state, socket);
    if let Err(error) = &sent {
        tracing::warn!(%error, state, "The state could not be reported to the service manager.");
    }
    sent.unwrap_or(false)
}

fn send(state: &str, passed: Option<BorrowedFd<'_>>) -> io::Result<bool> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(false) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.connect_addr(&address)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = passed.as_slice();
    if !passed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(passed));
    }
    sendmsg(&socket, &[IoSlice::new(state.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(true)
}
