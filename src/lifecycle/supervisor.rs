//! Reports to systemd (`sd_notify`, units of `Type=notify`): that the gateway serves, which process
//! is the main one since the last hand-over, and that it stops. Without `NOTIFY_SOCKET`: nothing.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
};

/// This process serves, and is the main one.
pub(super) fn ready() {
    tell(&format!("READY=1\nMAINPID={}", process::id()));
}

/// The gateway is on its way out, with no successor.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    if let Err(error) = send(state) {
        tracing::warn!(%error, "The state could not be reported to the supervisor.");
    }
}

fn send(state: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
