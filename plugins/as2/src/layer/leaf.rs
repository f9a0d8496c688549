//! A document: transfer-decoded, counted, digested, and handed to the sink.

use as2hook_edi::Scanner;
use openssl::sha::Sha256;

use crate::{
    Attachment, Headers,
    cut::{self, cut},
    fault::Fault,
    mime::{Transfer, file_name, words},
    state::{DecodeFlow, End},
};

/// One attachment on its way.
pub(crate) struct Leaf {
    transfer: Transfer,
    /// `None`: a certificate exchange, which is no payload.
    document: Option<Box<LeafDocument>>,
}

struct LeafDocument {
    index: usize,
    name: Option<String>,
    content_type: Option<String>,
    size: u64,
    sum: Sha256,
    edi: Scanner,
}

// === impl Leaf ===

impl Leaf {
    pub(crate) fn begin(
        headers: &Headers,
        in_exchange: bool,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<Self, Fault> {
        if in_exchange {
            return Ok(Self { transfer: Transfer::Identity, document: None });
        }
        let name = file_name(headers);
        let content_type = headers
            .get("content-type")
            .map(|value| words::text(&words::unfold(value)))
            .filter(|value| !value.is_empty())
            .map(|value| cut(value.replace(char::is_control, " "), cut::FIELD));
        let index = flow.begin(name.as_deref(), headers)?;
        let document = LeafDocument {
            index,
            name,
            content_type,
            size: 0,
            sum: Sha256::new(),
            edi: Scanner::new(),
        };
        Ok(Self { transfer: Transfer::declared(headers), document: Some(Box::new(document)) })
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Some(document) = &mut self.document else { return Ok(()) };
        self.transfer.push(bytes, &mut |decoded| document.take(decoded, flow))
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Some(mut document) = self.document.take() else { return Ok(()) };
        if end == End::Cut {
            return Ok(());
        }
        self.transfer.finish(&mut |decoded| document.take(decoded, flow))?;
        let attachment = Attachment {
            name: document.name,
            size: document.size,
            content_type: document.content_type,
            sha256: crate::hex::encode(&document.sum.finish()),
            edi: document.edi.finish(&mut flow.state.edi),
        };
        flow.end(document.index, attachment);
        Ok(())
    }
}

// === impl LeafDocument ===

impl LeafDocument {
    fn take(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        flow.count(bytes.len())?;
        self.size += bytes.len() as u64;
        self.sum.update(bytes);
        self.edi.push(bytes, &mut flow.state.edi);
        flow.sink.data(self.index, bytes);
        Ok(())
    }
}
