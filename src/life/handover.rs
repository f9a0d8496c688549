//! How a new process takes the listening sockets over from the one that runs.
//!
//! The new one, once it has checked all that it can, waits at a socket file in the data folder. The old
//! one, told to by SIGQUIT, connects there and passes its listening sockets (`SCM_RIGHTS`). Three words
//! then make sure that there is always one that serves:
//!
//! 1. old: which sockets these are, with the sockets;
//! 2. new: `taken`, when it could begin at once. If it ends before, the old one goes on as if nothing
//!    had been;
//! 3. old: `yours`, and it stops accepting. The new one begins. Had the old one lost its patience
//!    meanwhile, it says `kept`, and the new one ends. Were it gone, the new one begins.
//!
//! Both have the sockets' one queue of connections all the while, so none is refused. The connection
//! stays open as long as the old process lives: its end tells the new one that what is left is its own.
//!
//! Pingora's own way (`Opt::upgrade`) is not used: there the old process stops whether anybody took its
//! sockets or not, and the file is open to everybody.

mod wire;

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

use self::wire::{Address, Wire};
use super::sockets::{Place, Sockets};
use crate::config;

/// So long a new process waits for its predecessor's SIGQUIT.
const FOR_SIGQUIT: Duration = Duration::from_secs(300);

/// So long the old process looks for a successor after its SIGQUIT.
const FOR_SUCCESSOR: Duration = Duration::from_secs(60);

/// So long the old process waits until its successor could begin.
const FOR_TAKEN: Duration = Duration::from_secs(60);

/// For an answer of a process that has nothing else to do.
const FOR_WORD: Duration = Duration::from_secs(10);

/// Between two looks for a successor.
const GLANCE: Duration = Duration::from_millis(50);

/// Where the two meet.
#[derive(Clone, Debug)]
pub(super) struct Meeting(PathBuf);

/// The new process, as the old one sees it: it has taken the sockets.
#[derive(Debug)]
pub(super) struct Successor {
    /// Its end tells the successor that we are gone.
    _wire: Wire,
    process: i32,
}

/// The old process, as the new one sees it.
#[derive(Debug)]
pub(super) struct Predecessor {
    wire: Wire,
    process: i32,
}

/// Why the sockets were not handed over. Whoever serves goes on serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// There is nobody to take over from.
    #[error(
        "no process handed its listeners over within {} s: send SIGQUIT to the one that runs, which must have the same store",
        .0.as_secs()
    )]
    NoPredecessor(Duration),
    /// There is nobody to hand over to.
    #[error(
        "no new process asked for the listeners within {} s: start it with `as2hook run --upgrade`",
        .0.as_secs()
    )]
    NoSuccessor(Duration),
    /// A third process is in the way.
    #[error("{0}: another process waits there already to take over")]
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
    #[error("process {process} ended before it had taken the listeners over: its log says why")]
    Failed {
        /// Its number.
        process: i32,
    },
    /// The new process took too long.
    #[error("process {process} did not take the listeners over within {} s", .within.as_secs())]
    Slow {
        /// Its number.
        process: i32,
        /// How long it had.
        within: Duration,
    },
    /// The old process serves on.
    #[error("process {process} had waited too long and keeps its listeners")]
    Kept {
        /// Its number.
        process: i32,
    },
    /// The connection between the two.
    #[error("the hand-over failed: {0}")]
    Wire(#[from] io::Error),
    /// The other side speaks otherwise.
    #[error("process {process} does not speak this as2hook's way of handing over")]
    Foreign {
        /// Its number.
        process: i32,
    },
}

/// What the old process says first.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    /// Of this exchange of words, not of as2hook.
    protocol: u32,
    version: String,
    sockets: Vec<Place>,
}

const PROTOCOL: u32 = 1;
const TAKEN: &str = "taken";
const YOURS: &str = "yours";
const KEPT: &str = "kept";

// === impl Meeting ===

impl Meeting {
    /// Beside the store's file; beside the key of secrets, where the store is a database elsewhere.
    pub(super) fn of(config: &config::Config) -> Self {
        let beside = match &config.store {
            config::Store::Sqlite(database) => database,
            config::Store::Postgres(_) => &config.secret_key_file,
        };
        let mut name = beside.as_os_str().to_owned();
        name.push(".upgrade");
        Self(PathBuf::from(name))
    }

    /// Waits for the running process to be told, and takes what it hands over.
    pub(super) async fn wait(&self) -> Result<(Predecessor, Vec<(Place, OwnedFd)>), HandoverError> {
        let address = Address::of(&self.0).map_err(|source| self.unusable(source))?;
        let listener = self.listen(&address).await?;
        tracing::info!(
            file = %self.0.display(),
            seconds = FOR_SIGQUIT.as_secs(),
            "Ready to take over: waiting for SIGQUIT to the process that runs."
        );
        let met = timeout(FOR_SIGQUIT, async {
            loop {
                let (stream, _) =
                    listener.accept().await.map_err(|source| self.unusable(source))?;
                // One who only looks whether somebody waits here is not the one we wait for.
                match hear(stream).await {
                    Ok(offered) => return Ok(offered),
                    Err(error) => tracing::debug!(%error, "Somebody came who hands nothing over."),
                }
            }
        })
        .await;
        // A file that stays is stale, and replaced by the next.
        let _ = fs::remove_file(address.path());
        met.unwrap_or(Err(HandoverError::NoPredecessor(FOR_SIGQUIT)))
    }

    /// Looks for a successor and hands the sockets over to it. When this returns `Ok`, it serves.
    pub(super) async fn offer(&self, sockets: &Sockets) -> Result<Successor, HandoverError> {
        let address = Address::of(&self.0).map_err(|source| self.unusable(source))?;
        let stream = self.find(&address).await?;
        let process = acquaint(&stream)?;
        let (places, fds): (Vec<_>, Vec<_>) =
            sockets.all().map(|(place, socket)| (place.clone(), socket.as_fd())).unzip();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let offer = Offer { protocol: PROTOCOL, version, sockets: places };
        let line = serde_json::to_string(&offer).map_err(io::Error::other)?;
        let mut wire = Wire::new(stream);
        word(FOR_WORD, process, wire.send(&line, &fds)).await?;
        match word(FOR_TAKEN, process, wire.receive()).await {
            Ok((line, _)) if line == TAKEN => {}
            Ok(_) => return Err(HandoverError::Foreign { process }),
            Err(error) => {
                // It may be about to begin. If it does not hear this, it is gone.
                let _ = word(FOR_WORD, process, wire.send(KEPT, &[])).await;
                return Err(error);
            }
        }
        word(FOR_WORD, process, wire.send(YOURS, &[])).await?;
        Ok(Successor { _wire: wire, process })
    }

    async fn listen(&self, address: &Address) -> Result<UnixListener, HandoverError> {
        if UnixStream::connect(address.path()).await.is_ok() {
            return Err(HandoverError::Occupied(self.0.clone()));
        }
        // Of a process that was killed while it waited.
        let _ = fs::remove_file(address.path());
        let listener = UnixListener::bind(address.path()).map_err(|e| self.unusable(e))?;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(address.path(), private).map_err(|e| self.unusable(e))?;
        Ok(listener)
    }

    async fn find(&self, address: &Address) -> Result<UnixStream, HandoverError> {
        let look = async {
            let mut told = false;
            loop {
                match UnixStream::connect(address.path()).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) if is_nobody(&error) => {}
                    Err(source) => return Err(self.unusable(source)),
                }
                if !told {
                    tracing::info!(
                        file = %self.0.display(),
                        seconds = FOR_SUCCESSOR.as_secs(),
                        "SIGQUIT: serving on until `as2hook run --upgrade` asks for the listeners."
                    );
                    told = true;
                }
                sleep(GLANCE).await;
            }
        };
        let found = timeout(FOR_SUCCESSOR, look).await;
        found.unwrap_or(Err(HandoverError::NoSuccessor(FOR_SUCCESSOR)))
    }

    fn unusable(&self, source: io::Error) -> HandoverError {
        HandoverError::Socket { path: self.0.clone(), source }
    }
}

// === impl Successor ===

impl Successor {
    /// Its process.
    pub(super) fn process(&self) -> i32 {
        self.process
    }
}

// === impl Predecessor ===

impl Predecessor {
    /// Tells it that we could begin, and waits for its last word: when this returns `Ok`, we are to.
    pub(super) async fn taken(&mut self) -> Result<(), HandoverError> {
        let process = self.process;
        match word(FOR_WORD, process, self.wire.send(TAKEN, &[])).await {
            // It may have said something before it went.
            Ok(()) | Err(HandoverError::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
        match word(FOR_WORD, process, self.wire.receive()).await {
            Ok((line, _)) if line == YOURS => Ok(()),
            Ok((line, _)) if line == KEPT => Err(HandoverError::Kept { process }),
            Ok(_) => Err(HandoverError::Foreign { process }),
            // It died at this very moment: somebody has to serve.
            Err(HandoverError::Failed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until its process is gone. Returns its number.
    pub(super) async fn gone(mut self) -> i32 {
        // It says nothing more, so whatever comes is its end.
        let _ = self.wire.receive().await;
        self.process
    }
}

/// Hears what the process at the other end has to hand over.
async fn hear(stream: UnixStream) -> Result<(Predecessor, Vec<(Place, OwnedFd)>), HandoverError> {
    let process = acquaint(&stream)?;
    let mut wire = Wire::new(stream);
    let (line, sockets) = word(FOR_WORD, process, wire.receive()).await?;
    let offer: Offer =
        serde_json::from_str(&line).map_err(|_| HandoverError::Foreign { process })?;
    if offer.protocol != PROTOCOL || offer.sockets.len() != sockets.len() {
        return Err(HandoverError::Foreign { process });
    }
    tracing::info!(process, version = offer.version, "Taking over.");
    Ok((Predecessor { wire, process }, offer.sockets.into_iter().zip(sockets).collect()))
}

/// One step of the exchange, in time; a connection that ends is the other process's end.
async fn word<T>(
    within: Duration,
    process: i32,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, HandoverError> {
    match timeout(within, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_end(&error) => Err(HandoverError::Failed { process }),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(HandoverError::Slow { process, within }),
    }
}

/// The other side's process, if it is of our user (or of root's); 0 where its number means nothing here.
fn acquaint(stream: &UnixStream) -> Result<i32, HandoverError> {
    let peer = stream.peer_cred()?;
    let process = peer.pid().unwrap_or(0);
    match peer.uid() {
        0 => Ok(process),
        own if own == rustix::process::geteuid().as_raw() => Ok(process),
        user => Err(HandoverError::Stranger { process, user }),
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
