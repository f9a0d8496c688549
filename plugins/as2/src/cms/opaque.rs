//! SignedData with its content inside.

use crate::{
    ber::{Tag, read::Reader},
    digest::{Digest, Digests},
    fault::Fault,
    layer::{Child, Entity, Place},
    signature::{Claim, Signatures},
    state::{End, Flow},
};

/// An opaque signature on its way.
pub(super) struct Opaque {
    claim: Claim,
    announced: Vec<Digest>,
    digests: Option<Digests>,
    content: Child,
    signatures: Signatures,
}

// === impl Opaque ===

impl Opaque {
    pub(super) fn new(place: Place, flow: &mut Flow<'_>) -> Self {
        let limit = flow.state.options.limits.header;
        Self {
            claim: Claim::take(flow),
            announced: Vec::new(),
            digests: None,
            content: Child::new(Entity::new(place.signed(), limit)),
            signatures: Signatures::default(),
        }
    }

    pub(super) fn captured(
        &mut self,
        tag: Tag,
        element: &[u8],
        content_seen: bool,
        flow: &mut Flow<'_>,
    ) -> Result<(), Fault> {
        let set = Reader::new(element).any()?;
        match (tag, content_seen) {
            (Tag::SET, false) => {
                let mut algorithms = set.inside();
                while let Some(algorithm) = algorithms.next()? {
                    self.announced.extend(Digest::from_oid(algorithm.algorithm()?.0));
                }
                self.announced.truncate(Digest::ALL.len());
                let wanted = self.claim.wanted(&self.announced, flow);
                self.digests = Some(Digests::new(wanted, false, true));
                Ok(())
            }
            (Tag::SET, true) => self.signatures.add_signers(set),
            _ => self.signatures.add_certificates(set),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        if let Some(digests) = &mut self.digests {
            digests.update(bytes);
        }
        self.content.push(bytes, flow);
    }

    pub(super) fn end_of_content(&mut self, flow: &mut Flow<'_>) {
        self.content.finish(End::Whole, flow);
    }

    pub(super) fn finish(&mut self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        self.content.finish(end, flow);
        if end == End::Whole
            && let Some(digests) = self.digests.take()
        {
            self.claim.settle_by(Some(&self.signatures), &digests.finish(), flow);
        }
        Ok(())
    }
}
