//! Reads a payload for a delivery.

use std::{
    io::{self, Cursor},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
};

use super::error;
use crate::{model::Payload, store::StoreError};

/// A payload's bytes, wherever they are kept.
#[derive(Debug)]
pub struct PayloadReader {
    size: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Cursor<Bytes>),
    File(File),
}

/// Opens a payload to be read from its beginning; [`Payload::None`] reads as nothing.
///
/// # Errors
/// [`StoreError::Payload`] when its file is gone, or is not as long as it was when it was written.
pub async fn open_payload(payload: &Payload) -> Result<PayloadReader, StoreError> {
    let (size, source) = match payload {
        Payload::None => (0, Source::Memory(Cursor::default())),
        Payload::Inline(bytes) => (bytes.len() as u64, Source::Memory(Cursor::new(bytes.clone()))),
        Payload::File { path, size } => {
            let opened = async {
                let file = File::open(path).await?;
                let found = file.metadata().await?.len();
                if found == *size {
                    Ok(file)
                } else {
                    let text = format!("it is {found} bytes long and was written with {size}");
                    Err(io::Error::new(io::ErrorKind::InvalidData, text))
                }
            };
            (*size, Source::File(opened.await.map_err(|source| error(path, source))?))
        }
        Payload::Stored { id, .. } => {
            let reason = "it is kept in pieces, which a folder has none of".to_owned();
            return Err(StoreError::Pieces { payload: *id, reason });
        }
    };
    Ok(PayloadReader { size, source })
}

// === impl PayloadReader ===

impl PayloadReader {
    /// Length in bytes, all in all.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl AsyncRead for PayloadReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.source {
            Source::Memory(bytes) => Pin::new(bytes).poll_read(context, buffer),
            Source::File(file) => Pin::new(file).poll_read(context, buffer),
        }
    }
}
