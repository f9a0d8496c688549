//! Lines, and sockets beside them, between two processes.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::UnixStream,
};

/// The longest line that is read.
const LINE_MAX: usize = 4096;

/// More sockets than any gateway has.
const SOCKETS_MAX: usize = 16;

/// The longest path that the system takes in a socket's address, its end included.
const PATH_MAX: usize = 108;

/// One end of the connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    read: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

/// A socket file's path as the system takes it, however deep its folder.
pub(super) struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new(), sockets: Vec::new() }
    }

    /// Sends a line, and these sockets with it.
    pub(super) async fn send(&mut self, line: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let line = format!("{line}\n");
        let mut sent = 0;
        if !sockets.is_empty() {
            let send = || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
                }
                let slices = [IoSlice::new(line.as_bytes())];
                Ok(sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL)?)
            };
            sent = self.stream.async_io(Interest::WRITABLE, send).await?;
        }
        self.stream.write_all(&line.as_bytes()[sent..]).await
    }

    /// Receives a line, and the sockets that came with it.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the other side is gone.
    pub(super) async fn receive(&mut self) -> io::Result<(String, Vec<OwnedFd>)> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8(line[..end].to_vec()).map_err(io::Error::other)?;
                return Ok((line, std::mem::take(&mut self.sockets)));
            }
            if self.read.len() > LINE_MAX || self.sockets.len() > SOCKETS_MAX {
                return Err(io::Error::other("the other side says more than it should"));
            }
            let (bytes, sockets) =
                self.stream.async_io(Interest::READABLE, || receive_some(&self.stream)).await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&bytes);
            self.sockets.extend(sockets);
        }
    }
}

// === impl SocketPath ===

impl SocketPath {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() < PATH_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        // The system's own short way to an open folder.
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn receive_some(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = [0; LINE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds);
        }
    }
    Ok((bytes[..received.bytes].to_vec(), sockets))
}
