//! The old process's side of a hand-over.

use std::{io, os::fd::AsFd as _, time::Duration};

use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    super::sockets::Sockets,
    FOR_WORD, HandoverError, KEPT, Meeting, Offer, PROTOCOL, TAKEN, YOURS, acquaint,
    wire::{Address, Wire},
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
pub(in crate::life) struct Successor {
    /// Its end tells the successor that we are gone.
    _wire: Wire,
    process: i32,
}

impl Meeting {
    /// Looks for a successor and hands the sockets over to it. When this returns `Ok`, it serves.
    pub(in crate::life) async fn offer(
        &self,
        sockets: &Sockets,
    ) -> Result<Successor, HandoverError> {
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
}

// === impl Successor ===

impl Successor {
    /// Its process.
    pub(in crate::life) fn process(&self) -> i32 {
        self.process
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
