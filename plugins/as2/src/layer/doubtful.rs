//! A CMS structure under the name of a document: a layer of the message, or the document itself.

use super::leaf::Leaf;
use crate::{
    Headers,
    cms::Cms,
    fault::Fault,
    state::{DecodeFlow, End, LayerStart},
};

/// Read as a layer until it turns out to be none; then it is a document from its first byte on.
pub(crate) struct Doubtful {
    content: DoubtfulContent,
    undecided: Option<Undecided>,
}

enum DoubtfulContent {
    Layer(Box<Cms>),
    Document(Leaf),
}

struct Undecided {
    headers: Headers,
    /// All bytes so far.
    kept: Vec<u8>,
    before: LayerStart,
}

/// Bytes that are kept until it is decided. An envelope's recipients stand in the first few hundred;
/// what needs more to show that it is a layer is a document.
const MAX_KEPT: usize = 256 * 1024;

// === impl Doubtful ===

impl Doubtful {
    /// `cms` reports by [`Fault::NoLayer`] that it is none.
    pub(crate) fn new(cms: Cms, headers: &Headers, flow: &DecodeFlow<'_>) -> Self {
        let before = LayerStart::new(flow.state);
        let undecided = Undecided { headers: headers.clone(), kept: Vec::new(), before };
        Self { content: DoubtfulContent::Layer(Box::new(cms)), undecided: Some(undecided) }
    }

    /// Whether it is decided that it is a layer.
    pub(crate) fn is_layer(&self) -> bool {
        self.undecided.is_none() && matches!(self.content, DoubtfulContent::Layer(_))
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match &mut self.content {
            DoubtfulContent::Document(leaf) => leaf.push(bytes, flow),
            DoubtfulContent::Layer(cms) => {
                let kept = self.undecided.as_mut().map_or(0, |undecided| {
                    undecided.kept.extend_from_slice(bytes);
                    undecided.kept.len()
                });
                let pushed = cms.push(bytes, flow);
                let is_late = kept > MAX_KEPT && pushed.is_ok() && !cms.is_layer();
                self.decide(if is_late { Err(Fault::NoLayer) } else { pushed }, flow)
            }
        }
    }

    /// No more bytes come: decides.
    pub(crate) fn settle(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if let DoubtfulContent::Layer(cms) = &mut self.content
            && self.undecided.is_some()
        {
            let flushed = cms.flush(flow);
            let is_layer = flushed.is_err() || cms.is_layer();
            return self.decide(if is_layer { flushed } else { Err(Fault::NoLayer) }, flow);
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        self.settle(flow)?;
        match self.content {
            DoubtfulContent::Layer(cms) => cms.finish(end, flow),
            DoubtfulContent::Document(leaf) => leaf.finish(end, flow),
        }
    }

    fn decide(
        &mut self,
        outcome: Result<(), Fault>,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<(), Fault> {
        let DoubtfulContent::Layer(cms) = &self.content else { return outcome };
        if outcome.is_ok() && !cms.is_layer() {
            return Ok(());
        }
        match (outcome, self.undecided.take()) {
            (Err(Fault::NoLayer), Some(Undecided { headers, kept, before })) => {
                before.rewind(flow.state);
                let mut leaf = Leaf::begin(&headers, false, flow)?;
                let pushed = leaf.push(&kept, flow);
                self.content = DoubtfulContent::Document(leaf);
                pushed
            }
            (outcome, _) => outcome,
        }
    }
}
