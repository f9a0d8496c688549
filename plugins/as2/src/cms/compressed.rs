//! CompressedData (RFC 3274), inflated within bounds.

use flate2::Decompress;

use crate::{
    Warning,
    ber::{oid, read::Reader},
    fault::Fault,
    inflate::Inflater,
    layer::{Child, Entity, EntityPosition},
    mime::Transfer,
    state::{DecodeFlow, End, LayerStart},
};

/// A compressed content on its way.
pub(super) struct Compressed {
    inflater: Inflater,
    /// `None`: nothing has come.
    encoding: Option<Transfer>,
    content: Child,
    /// What was known before anything inside was.
    before: Option<LayerStart>,
}

// === impl Compressed ===

impl Compressed {
    pub(super) fn new(place: EntityPosition, flow: &mut DecodeFlow<'_>) -> Self {
        flow.state.facts.compressed = true;
        let limit = flow.state.options.limits.header;
        Self {
            inflater: Inflater::new(Decompress::new(true)),
            encoding: None,
            content: Child::new(Entity::new(place.unwrapped(false), limit)),
            before: Some(LayerStart::new(flow.state)),
        }
    }

    /// The algorithm.
    pub(super) fn captured(&mut self, element: &[u8]) -> Result<(), Fault> {
        let (id, _) = Reader::new(element).any()?.algorithm()?;
        if id == oid::ZLIB { Ok(()) } else { Err(Fault::Inflate) }
    }

    /// PHP's phpas2 writes the compressed stream in base64, whose first character no such stream has.
    pub(super) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Some(&first) = bytes.first() else { return Ok(()) };
        let mut encoding = self.encoding.take().unwrap_or_else(|| {
            let is_zlib = first & 0x0f == 8 || !first.is_ascii_alphanumeric();
            if is_zlib {
                return Transfer::Identity;
            }
            flow.state.facts.warn(Warning::compressed_in_base64());
            Transfer::base64()
        });
        let pushed = encoding.push(bytes, &mut |bytes| self.inflate(bytes, flow));
        self.encoding = Some(encoding);
        pushed
    }

    fn inflate(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let content = &mut self.content;
        self.inflater.push(bytes, flow, &mut |bytes, flow| content.push(bytes, flow))?;
        Ok(())
    }

    pub(super) fn end_of_content(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if let Some(mut encoding) = self.encoding.take() {
            encoding.finish(&mut |bytes| self.inflate(bytes, flow))?;
        }
        if !self.inflater.is_over() {
            return Err(Fault::Inflate);
        }
        self.content.finish(End::Whole, flow)
    }

    pub(super) fn finish(&mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        self.content.finish(end, flow)
    }

    /// How much came out of a damaged stream depends on how it was cut: none of it counts. Of one
    /// that is cut off or over a limit the facts stay.
    pub(super) fn abandon(&mut self, fault: &Fault, flow: &mut DecodeFlow<'_>) {
        if let Some(before) = self.before.take().filter(|_| *fault == Fault::Inflate) {
            before.restore(flow.state);
        }
    }
}
