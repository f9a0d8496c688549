//! SignedData with its content inside.

use crate::{
    ber::{Tag, read::Reader},
    digest::{Digest, Digests},
    fault::Fault,
    layer::{Child, Entity, EntityPosition},
    signature::{Claim, SignedData},
    state::{DecodeFlow, End},
};

/// An opaque signature on its way.
pub(super) struct Opaque {
    claim: Claim,
    digests: Option<Digests>,
    content: Child,
    signatures: SignedData,
}

// === impl Opaque ===

impl Opaque {
    pub(super) fn new(place: EntityPosition, flow: &mut DecodeFlow<'_>) -> Self {
        let limit = flow.state.options.limits.header;
        Self {
            claim: Claim::take(flow),
            digests: None,
            content: Child::new(Entity::new(place.signed(), limit)),
            signatures: SignedData::default(),
        }
    }

    pub(super) fn captured(
        &mut self,
        tag: Tag,
        element: &[u8],
        content_seen: bool,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<(), Fault> {
        let set = Reader::new(element).any()?;
        match (tag, content_seen) {
            (Tag::SET, false) => {
                let (mut announced, mut is_odd) = (Vec::new(), false);
                let mut algorithms = set.inside();
                while let Some(algorithm) = algorithms.next()? {
                    let digest = Digest::from_oid(algorithm.algorithm()?.0);
                    is_odd |= digest.is_none();
                    announced.extend(digest);
                }
                self.digests = Some(self.claim.digests(announced, is_odd, false, flow));
                Ok(())
            }
            (Tag::SET, true) => self.signatures.add_signers(set),
            _ => self.signatures.add_certificates(set),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if let Some(digests) = &mut self.digests {
            digests.update(bytes);
        }
        self.content.push(bytes, flow)
    }

    pub(super) fn end_of_content(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        self.content.finish(End::Whole, flow)
    }

    pub(super) fn finish(&mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        self.content.finish(end, flow)?;
        if end == End::Whole
            && let Some(digests) = self.digests.take()
        {
            self.claim.settle_by(Some(&self.signatures), &digests.finish(), flow)?;
        }
        Ok(())
    }
}
