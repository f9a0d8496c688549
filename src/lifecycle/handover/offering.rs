//! The old process's side of a hand-over.

use std::{io, os::fd::AsFd as _, path::Path, time::Duration};

use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    super::sockets::ListeningSockets,
    FOR_WORD, HandoverError, KEPT, Offer, PROTOCOL, TAKEN, UpgradeSocket, YOURS, acquaint,
    unusable,
    wire::{SocketPath, Wire},
    word,
};

/// So long the old process looks for a successor after its SIGQUIT.
const FOR_SUCCESSOR: Duration = Duration::from_secs(60);

/// So long the old process waits until its successor could begin.
const FOR_TAKEN: Duration = Duration::from_secs(60);

/// Between two looks for a successor.
const GLANCE: Duration = Duration::from_millis(50);

/// The new process, as the old one sees it: it has taken the sockets.
#[derive(Debug)]
pub(in crate::lifecycle) struct Successor {
    /// Its end tells the successor that we are gone.
    _wire: Wire,
    process: i32,
}

impl UpgradeSocket {
    /// Looks for a successor and hands the sockets over to it. When this returns `Ok`, it serves.
    pub(in crate::lifecycle) async fn offer(
        &self,
        sockets: &ListeningSockets,
    ) -> Result<Successor, HandoverError> {
        let stream = self.find().await?;
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

    async fn find(&self) -> Result<UnixStream, HandoverError> {
        let look = async {
            let mut logged = false;
            loop {
                for address in &self.addresses {
                    if let Some(stream) = connect(&self.file(*address)).await? {
                        return Ok(stream);
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
        };
        let found = timeout(FOR_SUCCESSOR, look).await;
        found.unwrap_or(Err(HandoverError::NoSuccessor(FOR_SUCCESSOR)))
    }
}

/// To the process that waits at this file. `None`: none does.
async fn connect(file: &Path) -> Result<Option<UnixStream>, HandoverError> {
    let address = SocketPath::of(file).map_err(|source| unusable(file, source))?;
    match UnixStream::connect(address.path()).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(unusable(file, source)),
    }
}

// === impl Successor ===

impl Successor {
    /// Its process.
    pub(in crate::lifecycle) fn process(&self) -> i32 {
        self.process
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
