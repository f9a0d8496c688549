//! The new process's side of a hand-over.

use std::{
    fs,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::Path,
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::{
    super::sockets::ListenerAddress,
    FOR_WORD, HandoverError, KEPT, Offer, PROTOCOL, TAKEN, UpgradeSocket, YOURS, acquaint,
    unusable,
    wire::{SocketPath, Wire},
    word,
};

/// So long a new process waits for its predecessor's SIGQUIT.
const FOR_SIGQUIT: Duration = Duration::from_secs(300);

/// The old process, as the new one sees it.
#[derive(Debug)]
pub(in crate::lifecycle) struct Predecessor {
    wire: Wire,
    process: i32,
}

impl UpgradeSocket {
    /// Waits until the process that listens on `taken` gets SIGQUIT, and takes what it hands over.
    pub(in crate::lifecycle) async fn wait(
        &self,
        taken: SocketAddr,
    ) -> Result<(Predecessor, Vec<(ListenerAddress, OwnedFd)>), HandoverError> {
        let file = self.file(taken);
        let address = SocketPath::of(&file).map_err(|source| unusable(&file, source))?;
        let listener = listen(&file, &address).await?;
        tracing::info!(
            file = %file.display(),
            seconds = FOR_SIGQUIT.as_secs(),
            "Ready to take over: waiting for SIGQUIT to the process that runs."
        );
        let met = timeout(FOR_SIGQUIT, async {
            loop {
                let (stream, _) =
                    listener.accept().await.map_err(|source| unusable(&file, source))?;
                // A process that only looks whether one waits here is not the one we wait for.
                match hear(stream).await {
                    Ok(offered) => return Ok(offered),
                    Err(error) => {
                        tracing::debug!(%error, "A process connected that hands nothing over.");
                    }
                }
            }
        })
        .await;
        // A file that stays is stale, and replaced by the next.
        let _ = fs::remove_file(address.path());
        let none = HandoverError::NoPredecessor { within: FOR_SIGQUIT, address: taken };
        met.unwrap_or(Err(none))
    }
}

async fn listen(file: &Path, address: &SocketPath) -> Result<UnixListener, HandoverError> {
    if UnixStream::connect(address.path()).await.is_ok() {
        return Err(HandoverError::Occupied(file.to_owned()));
    }
    // Of a process that was killed while it waited.
    let _ = fs::remove_file(address.path());
    let listener = UnixListener::bind(address.path()).map_err(|e| unusable(file, e))?;
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(address.path(), private).map_err(|e| unusable(file, e))?;
    Ok(listener)
}

// === impl Predecessor ===

impl Predecessor {
    /// Tells it that we could begin, and waits for its last word: when this returns `Ok`, we are to.
    pub(in crate::lifecycle) async fn taken(&mut self) -> Result<(), HandoverError> {
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
            // It died at this very moment: one process has to serve.
            Err(HandoverError::Failed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until its process is gone. Returns its number.
    pub(in crate::lifecycle) async fn gone(mut self) -> i32 {
        // It says nothing more, so whatever comes is its end.
        let _ = self.wire.receive().await;
        self.process
    }
}

/// Hears what the process at the other end has to hand over.
async fn hear(
    stream: UnixStream,
) -> Result<(Predecessor, Vec<(ListenerAddress, OwnedFd)>), HandoverError> {
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
