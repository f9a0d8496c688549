//! Where an entity stands among the layers of its message.

/// Where an entity stands among the layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntityPosition {
    /// Layers around it.
    pub(crate) depth: u8,
    /// What of it the MIC is over, if no signature follows.
    pub(crate) mic: Mic,
    /// Only layers are around it, no multipart of attachments: more layers may follow.
    pub(crate) in_chain: bool,
    /// An MDN may stand here: nothing but text stands in front of it, in whatever multiparts.
    pub(crate) may_report: bool,
    /// It came out of a cipher without authentication, so it must look like an entity.
    pub(crate) must_be_mime: bool,
    /// A signature is around it.
    pub(crate) in_signed: bool,
    /// A part of a certificate exchange, no payload.
    pub(crate) in_exchange: bool,
}

/// What the MIC is over (RFC 4130 section 7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mic {
    /// Something around it has the MIC.
    Elsewhere,
    /// The body: neither signed nor encrypted.
    Body,
    /// Header and body: encrypted or compressed.
    Entity,
}

// === impl EntityPosition ===

impl EntityPosition {
    /// Of the body itself, whose header is HTTP's.
    pub(crate) const ROOT: Self = Self {
        depth: 0,
        mic: Mic::Body,
        in_chain: true,
        may_report: true,
        must_be_mime: false,
        in_signed: false,
        in_exchange: false,
    };

    /// Of what a cipher or a compression held.
    pub(crate) fn unwrapped(self, must_be_mime: bool) -> Self {
        let mic = if self.mic == Mic::Elsewhere { Mic::Elsewhere } else { Mic::Entity };
        Self { depth: self.depth + 1, mic, must_be_mime, ..self }
    }

    /// Of what a signature covers.
    pub(crate) fn signed(self) -> Self {
        Self {
            depth: self.depth + 1,
            mic: Mic::Elsewhere,
            must_be_mime: false,
            in_signed: true,
            ..self
        }
    }

    /// Of a part among attachments.
    pub(crate) fn part(self, in_exchange: bool, may_report: bool) -> Self {
        Self {
            depth: self.depth + 1,
            mic: Mic::Elsewhere,
            in_chain: false,
            may_report,
            must_be_mime: false,
            in_exchange,
            ..self
        }
    }
}
