//! How a new process takes the listening sockets over from the one that runs.
//!
//! The new one, once it has checked all that it can, waits at a socket file in the data folder. Its name has
//! an address that the new one wants and another process listens on, so that gateways that share a store or a
//! key do not meet each other there. The old one, on SIGQUIT, looks for the files of its own addresses,
//! connects, and passes its listening sockets (`SCM_RIGHTS`). Three words of a byte each then make sure that
//! there is always one that serves:
//!
//! 1. old: `OFFER`, with the sockets;
//! 2. new: `TAKEN`, when it could begin at once. If it ends before, the old one goes on as if nothing
//!    had been;
//! 3. old: `YOURS`, and it stops accepting. The new one begins. Had the old one lost its patience
//!    meanwhile, it says `KEPT`, and the new one ends. If the old one has terminated, the new one begins.
//!
//! Both have the sockets' one queue of connections all the while, so none is refused. The connection
//! stays open as long as the old process lives: its end means to the new one that what is left is its own.
//!
//! Pingora's own way (`Opt::upgrade`) is not used: there the old process stops whether a new one took its
//! sockets or not, and the file is open to every user.

use std::{
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Pid, Signal, kill_process},
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

use as2hook_config::{Config, Listen, StoreLocation};

/// So long the old process looks for a successor after its SIGQUIT, and between two looks.
const FOR_SUCCESSOR: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// So long a new process waits for its predecessor's SIGQUIT, and where it has sent that itself.
const FOR_SIGQUIT: Duration = Duration::from_secs(300);
const FOR_OFFER: Duration = Duration::from_secs(20);

/// So long the old process waits until its successor could begin.
const FOR_TAKEN: Duration = Duration::from_secs(60);

/// The time for a word of a process that has nothing else to do.
const FOR_WORD: Duration = Duration::from_secs(10);

/// Another number where these words or their meaning change.
const OFFER: u8 = b'2';
const TAKEN: u8 = b't';
const YOURS: u8 = b'y';
const KEPT: u8 = b'k';

/// More sockets than any gateway has.
const SOCKETS_MAX: usize = 16;

/// The longest path that the system takes in a socket's address, its end included.
const PATH_MAX: usize = 108;

/// Where the two meet: a file for each listen address.
#[derive(Clone, Debug)]
pub(super) struct UpgradeSocket {
    beside: PathBuf,
    addresses: Vec<SocketAddr>,
}

/// The process at the other end of a hand-over. The end of this connection means that we are gone.
#[derive(Debug)]
pub(super) struct OtherProcess {
    stream: UnixStream,
    /// 0 where it means nothing here.
    pub(super) number: i32,
}

/// Why the sockets were not handed over. The old process goes on serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// There is no process to take over from.
    #[error(
        "no process handed its listeners over within {} s: send SIGQUIT to the one that listens on {address}, which must have the same store and listen address in its config",
        .within.as_secs()
    )]
    NoPredecessor {
        /// Where it listens.
        address: SocketAddr,
        /// How long it had.
        within: Duration,
    },
    /// There is nothing to replace.
    #[error("no process listens on an address of the config: `as2hook run` starts a gateway")]
    NoGateway,
    /// The process that listens is not one of this program, or not visible.
    #[error(
        "{0}: no as2hook that this user can see listens there: run this as root or as the gateway's user, or name its process with --pid"
    )]
    Hidden(SocketAddr),
    /// It is not clear which process to replace.
    #[error("{0}: several processes listen there: name the gateway's with --pid")]
    Several(SocketAddr),
    /// The process that was named is not the gateway of this config.
    #[error("process {0} listens on no address of the config")]
    NotListening(i32),
    /// There is no process to hand over to.
    #[error(
        "no new process asked for the listeners within {within} s: start it with `as2hook run --upgrade`",
        within = FOR_SUCCESSOR.as_secs()
    )]
    NoSuccessor,
    /// The new process would run as another user.
    #[error("process {process} runs as user {user}: run this as that user")]
    OtherUser {
        /// Its number.
        process: i32,
        /// Its user.
        user: u32,
    },
    /// A service manager started the old process, and would not know the new one.
    #[error("process {0} is a service of the system's: `systemctl reload` replaces it")]
    Service(i32),
    /// The old process may not be signalled, or is gone.
    #[error("SIGQUIT cannot be sent to process {process}: {source}")]
    Signal {
        /// Its number.
        process: i32,
        /// What the system said.
        source: io::Error,
    },
    /// A third process is in the way.
    #[error("{0}: another process is already waiting there to take over")]
    Occupied(PathBuf),
    /// The socket file.
    #[error("the socket for the hand-over cannot be used: {path}: {source}")]
    Socket {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side belongs to another user.
    #[error("process {process} of user {user} wants to take part in the hand-over, and may not")]
    Stranger {
        /// Its number.
        process: i32,
        /// Its user.
        user: u32,
    },
    /// The new process ended, or failed to begin.
    #[error("process {0} ended before it had taken the listeners over: its log says why")]
    Failed(i32),
    /// The new process took too long.
    #[error("process {process} did not take the listeners over within {} s", .within.as_secs())]
    Slow {
        /// Its number.
        process: i32,
        /// How long it had.
        within: Duration,
    },
    /// The old process serves on.
    #[error("process {0} had waited too long and keeps its listeners")]
    Kept(i32),
    /// The connection between the two.
    #[error("the hand-over failed: {0}")]
    Wire(#[from] io::Error),
    /// The other side speaks otherwise.
    #[error("process {0} uses another version of the handover protocol")]
    Foreign(i32),
}

// === impl UpgradeSocket ===

impl UpgradeSocket {
    /// Beside the store's file; beside the key of secrets, where the store is a database elsewhere.
    pub(super) fn of(config: &Config) -> Self {
        let beside = match &config.store {
            StoreLocation::Sqlite(database) => database,
            StoreLocation::Postgres(_) => &config.secret_key_file,
        };
        let Listen { inbound, outbound, admin, .. } = &config.listen;
        let outbound = outbound.as_ref().map(|listener| listener.address);
        let addresses = [Some(inbound.address), outbound, Some(admin.address)];
        Self { beside: beside.clone(), addresses: addresses.into_iter().flatten().collect() }
    }

    /// The old process looks for a successor and hands the sockets over to it. When this returns `Ok`, that
    /// one serves.
    pub(super) async fn offer<'a>(
        &self,
        sockets: impl FnOnce() -> Vec<BorrowedFd<'a>>,
    ) -> Result<OtherProcess, HandoverError> {
        let found = timeout(FOR_SUCCESSOR, self.find()).await;
        let found = found.unwrap_or(Err(HandoverError::NoSuccessor));
        let other = OtherProcess::new(found?)?;
        other.send(OFFER, &sockets()).await?;
        match other.receive_within(FOR_TAKEN).await {
            Ok((TAKEN, _)) => {}
            Ok(_) => return Err(HandoverError::Foreign(other.number)),
            Err(error) => {
                // It may be about to begin. If it does not get this, it is gone.
                let _ = other.send(KEPT, &[]).await;
                return Err(error);
            }
        }
        other.send(YOURS, &[]).await?;
        Ok(other)
    }

    async fn find(&self) -> Result<UnixStream, HandoverError> {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        let mut logged = false;
        loop {
            for address in &self.addresses {
                let file = self.file(*address);
                match connect(&file).await {
                    Ok(stream) => return Ok(stream),
                    // None waits there, or one that is gone did.
                    Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => {}
                    Err(source) => return Err(unusable(&file, source)),
                }
            }
            if !logged {
                tracing::info!(
                    beside = %self.beside.display(),
                    addresses = ?self.addresses,
                    seconds = FOR_SUCCESSOR.as_secs(),
                    "SIGQUIT: serving on until `as2hook run --upgrade` asks for the listeners."
                );
                logged = true;
            }
            sleep(GLANCE).await;
        }
    }

    /// The new process waits until the one that listens on `taken` gets SIGQUIT, and takes what that hands
    /// over. Sends it the signal where it is given.
    pub(super) async fn wait(
        &self,
        taken: SocketAddr,
        predecessor: Option<Pid>,
    ) -> Result<(OtherProcess, Vec<OwnedFd>), HandoverError> {
        let within = if predecessor.is_some() { FOR_OFFER } else { FOR_SIGQUIT };
        let file = self.file(taken);
        if connect(&file).await.is_ok() {
            return Err(HandoverError::Occupied(file));
        }
        // Of a process that was killed while it waited.
        let _ = fs::remove_file(&file);
        let listener = listen(&file).map_err(|source| unusable(&file, source))?;
        tracing::info!(
            file = %file.display(),
            seconds = within.as_secs(),
            "Ready to take over: waiting for SIGQUIT to the process that runs."
        );
        if let Some(pid) = predecessor {
            let signalled = kill_process(pid, Signal::QUIT).map_err(io::Error::from);
            let process = pid.as_raw_pid();
            signalled.map_err(|source| HandoverError::Signal { process, source })?;
        }
        let met = timeout(within, async {
            loop {
                let accepted = listener.accept().await;
                let (stream, _) = accepted.map_err(|source| unusable(&file, source))?;
                // A process that only looks whether one waits here is not the one we wait for.
                match OtherProcess::offers(stream).await {
                    Ok(offered) => return Ok(offered),
                    Err(error @ HandoverError::Failed(_)) => {
                        tracing::debug!(%error, "A process connected that hands nothing over.");
                    }
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            "A process cannot hand its listeners over to this one; restart it instead."
                        );
                    }
                }
            }
        })
        .await;
        // A file that stays is stale, and replaced by the next.
        let _ = fs::remove_file(&file);
        met.unwrap_or(Err(HandoverError::NoPredecessor { address: taken, within }))
    }

    /// The file of the gateway that listens on this address.
    fn file(&self, address: SocketAddr) -> PathBuf {
        let mut name = self.beside.as_os_str().to_owned();
        name.push(format!(".{address}.upgrade"));
        PathBuf::from(name)
    }
}

// === impl OtherProcess ===

impl OtherProcess {
    /// Of our user, or of root's.
    fn new(stream: UnixStream) -> Result<Self, HandoverError> {
        let peer = stream.peer_cred()?;
        let (process, user) = (peer.pid().unwrap_or(0), peer.uid());
        if user != 0 && user != rustix::process::geteuid().as_raw() {
            return Err(HandoverError::Stranger { process, user });
        }
        Ok(Self { stream, number: process })
    }

    async fn offers(stream: UnixStream) -> Result<(Self, Vec<OwnedFd>), HandoverError> {
        let other = Self::new(stream)?;
        let process = other.number;
        let (OFFER, sockets) = other.receive_within(FOR_WORD).await? else {
            return Err(HandoverError::Foreign(process));
        };
        tracing::info!(process, "Taking over.");
        Ok((other, sockets))
    }

    /// Reports to the old process that we could begin, and waits for its last word: when this returns `Ok`, we
    /// are to.
    pub(super) async fn taken(&self) -> Result<(), HandoverError> {
        let process = self.number;
        match self.send(TAKEN, &[]).await {
            // It may have said something before it went.
            Ok(()) | Err(HandoverError::Failed(_)) => {}
            Err(error) => return Err(error),
        }
        match self.receive_within(FOR_WORD).await {
            Ok((YOURS, _)) => Ok(()),
            Ok((KEPT, _)) => Err(HandoverError::Kept(process)),
            Ok(_) => Err(HandoverError::Foreign(process)),
            // It died at this very moment: one process has to serve.
            Err(HandoverError::Failed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the old process is gone.
    pub(super) async fn gone(&self) {
        // It says nothing more, so whatever comes is its end.
        let _ = self.receive().await;
    }

    /// Sends a word, and passes these sockets with it.
    async fn send(&self, word: u8, sockets: &[BorrowedFd<'_>]) -> Result<(), HandoverError> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
            }
            let word = [IoSlice::new(std::slice::from_ref(&word))];
            Ok(sendmsg(&self.stream, &word, &mut control, SendFlags::NOSIGNAL)?)
        };
        self.within(FOR_WORD, self.stream.async_io(Interest::WRITABLE, send)).await.map(drop)
    }

    async fn receive_within(&self, within: Duration) -> Result<(u8, Vec<OwnedFd>), HandoverError> {
        self.within(within, self.receive()).await
    }

    /// The next word, and the sockets that came with it.
    async fn receive(&self) -> io::Result<(u8, Vec<OwnedFd>)> {
        let receive = || {
            let mut word = [0];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut word)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            if recvmsg(&self.stream, &mut slices, &mut control, flags)?.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut sockets = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = message {
                    sockets.extend(passed);
                }
            }
            Ok((word[0], sockets))
        };
        self.stream.async_io(Interest::READABLE, receive).await
    }

    /// One step of the exchange, in time; a connection that ends is the other process's end.
    async fn within<T>(
        &self,
        within: Duration,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, HandoverError> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let process = self.number;
        match timeout(within, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(match error.kind() {
                BrokenPipe | ConnectionReset | UnexpectedEof => HandoverError::Failed(process),
                _ => error.into(),
            }),
            Err(_) => Err(HandoverError::Slow { process, within }),
        }
    }
}

async fn connect(file: &Path) -> io::Result<UnixStream> {
    let (path, _folder) = short(file)?;
    UnixStream::connect(path).await
}

fn listen(file: &Path) -> io::Result<UnixListener> {
    let (path, _folder) = short(file)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A socket file's path as the system takes it, however deep its folder; good while the second is held.
fn short(file: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if file.as_os_str().len() < PATH_MAX {
        return Ok((file.to_owned(), None));
    }
    // The system's own short way to an open folder.
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = File::open(file.parent().unwrap_or(Path::new("/")))?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name), Some(folder)))
}

fn unusable(path: &Path, source: io::Error) -> HandoverError {
    HandoverError::Socket { path: path.to_owned(), source }
}
