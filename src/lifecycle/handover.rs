//! How a new process takes the listening sockets over from the one that runs.
//!
//! The new one, once it has checked all that it can, waits at a socket file in the data folder. Its name has
//! an address that the new one wants and another process listens on, so that gateways that share a store or a
//! key do not meet each other there. The old one, on SIGQUIT, looks for the files of its own addresses,
//! connects, and passes its listening sockets (`SCM_RIGHTS`). Three words then make sure that there is always
//! one that serves:
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
//! Pingora's own way (`Opt::upgrade`) is not used: there the old process stops whether a new one took its
//! sockets or not, and the file is open to every user.
//!
//! # Layout
//! - `taking`: the new process's side
//! - `offering`: the old one's
//! - `wire`: lines, and sockets beside them, between the two

mod offering;
mod taking;
mod wire;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{net::UnixStream, time::timeout};

pub(super) use self::{offering::Successor, taking::Predecessor};
use super::sockets::ListenerAddress;
use as2hook_config as config;

/// The time for a word of a process that has nothing else to do.
const FOR_WORD: Duration = Duration::from_secs(10);

/// Where the two meet: a file for each listen address.
#[derive(Clone, Debug)]
pub(super) struct UpgradeSocket {
    beside: PathBuf,
    addresses: Vec<SocketAddr>,
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
        /// How long it was waited for.
        within: Duration,
        /// What it listens on.
        address: SocketAddr,
    },
    /// There is no process to hand over to.
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
    sockets: Vec<ListenerAddress>,
}

const PROTOCOL: u32 = 1;
const TAKEN: &str = "taken";
const YOURS: &str = "yours";
const KEPT: &str = "kept";

// === impl UpgradeSocket ===

impl UpgradeSocket {
    /// Beside the store's file; beside the key of secrets, where the store is a database elsewhere.
    pub(super) fn of(config: &config::Config) -> Self {
        let beside = match &config.store {
            config::StoreLocation::Sqlite(database) => database,
            config::StoreLocation::Postgres(_) => &config.secret_key_file,
        };
        let places = ListenerAddress::all(&config.listen);
        let addresses = places.into_iter().map(|place| place.address).collect();
        Self { beside: beside.clone(), addresses }
    }

    /// The file of the gateway that listens on this address.
    fn file(&self, address: SocketAddr) -> PathBuf {
        let mut name = self.beside.as_os_str().to_owned();
        name.push(format!(".{address}.upgrade"));
        PathBuf::from(name)
    }
}

fn unusable(path: &Path, source: io::Error) -> HandoverError {
    HandoverError::Socket { path: path.to_owned(), source }
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

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
