//! The way through, from the body's bytes to the result.

use std::sync::Arc;

use crate::{
    Decoded, Headers, Keyring, Kind, SignatureStatus, Sink,
    fault::Fault,
    layer::Entity,
    mic,
    state::{End, Facts, Flow, State},
};

/// What a decode may use at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body as it comes.
    pub body: u64,
    /// Bytes of all attachments together, decoded.
    pub decoded: u64,
    /// Ratio of a CompressedData's output to its input, looked at from 64 MiB of output on.
    pub expansion: u32,
    /// Bytes of one MIME header block.
    pub header: usize,
    /// Attachments of one message.
    pub attachments: usize,
}

/// How to decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// Open DES, RC2-40 and RC2-128 too.
    pub legacy_algorithms: bool,
}

/// Decodes one message or MDN while it passes.
pub struct Decoder {
    state: State,
    headers: Headers,
    root: Root,
    received: u64,
}

enum Root {
    /// Nothing has come yet.
    Waiting,
    Entity(Box<Entity>),
    /// It failed, or a limit was passed: the rest is counted and dropped.
    Dropped,
}

// === impl Decoder ===

impl Decoder {
    /// Begins with the HTTP headers of the request or answer.
    pub fn new(headers: &Headers, keyring: Arc<Keyring>, options: Options) -> Self {
        let mut state = State::new(keyring, options);
        state.sender = headers.as2_name("as2-from").unwrap_or_default();
        state.requested_mic = mic::requested(headers);
        Self { state, headers: headers.clone(), root: Root::Waiting, received: 0 }
    }

    /// Takes the body's next bytes, cut anywhere. After an error the rest is counted and dropped.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if matches!(self.root, Root::Dropped) {
            return;
        }
        let pushed = self.pass(bytes, sink);
        if let Err(fault) = pushed {
            self.state.report(&fault);
            self.root = Root::Dropped;
        }
    }

    /// The body is complete (`whole`) or was cut off: tells what it was.
    pub fn finish(mut self, whole: bool, sink: &mut dyn Sink) -> Decoded {
        if let Err(fault) = self.end(whole, sink) {
            self.state.report(&fault);
        }
        if !whole {
            self.state.report(&Fault::Truncated);
        }
        self.tell()
    }

    /// Bytes that were pushed.
    pub fn received(&self) -> u64 {
        self.received
    }

    fn pass(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Fault> {
        let limit = self.state.options.limits.body;
        if self.received > limit {
            return Err(Fault::Limit { what: "bytes of the body", limit });
        }
        let mut flow = Flow { state: &mut self.state, sink };
        if matches!(self.root, Root::Waiting) {
            self.root = Root::Entity(Box::new(Entity::root(self.headers.clone(), &mut flow)?));
        }
        match &mut self.root {
            Root::Entity(entity) => entity.push(bytes, &mut flow),
            Root::Waiting | Root::Dropped => Ok(()),
        }
    }

    fn end(&mut self, whole: bool, sink: &mut dyn Sink) -> Result<(), Fault> {
        if matches!(self.root, Root::Waiting) {
            self.pass(b"", sink)?;
        }
        let mut flow = Flow { state: &mut self.state, sink };
        match std::mem::replace(&mut self.root, Root::Dropped) {
            Root::Entity(entity) => {
                entity.finish(if whole { End::Whole } else { End::Cut }, &mut flow)
            }
            Root::Waiting | Root::Dropped => Ok(()),
        }
    }

    fn tell(self) -> Decoded {
        let Facts {
            encrypted,
            signed,
            compressed,
            hidden,
            unknown,
            encryption_algorithm,
            decrypted_with,
            judgement,
            mic,
            attachments,
            mdn,
            ..
        } = self.state.facts;
        let flag = |is: bool| if is || !hidden { Some(is) } else { None };
        let status = match (&judgement, signed) {
            (Some(judgement), _) => Some(judgement.status),
            // The signature was never reached.
            (None, true) => Some(SignatureStatus::Invalid),
            (None, false) => (!hidden).then_some(SignatureStatus::Unsigned),
        };
        Decoded {
            kind: if mdn.is_some() { Kind::Mdn } else { Kind::Message },
            as2_message_id: text(&self.headers, "message-id"),
            sender_id: self.headers.as2_name("as2-from"),
            receiver_id: self.headers.as2_name("as2-to"),
            subject: text(&self.headers, "subject"),
            encrypted: (encrypted || !unknown).then_some(encrypted),
            signed: flag(signed),
            compressed: flag(compressed),
            encryption_algorithm,
            decrypted_with,
            signature_verified: status.and_then(SignatureStatus::verified),
            signature_status: status,
            signer: judgement.as_ref().and_then(|j| j.signer.clone()),
            digest_algorithm: judgement.and_then(|j| j.digest).map(|d| d.name().to_owned()),
            mic,
            attachments: if mdn.is_some() { Vec::new() } else { attachments },
            errors: self.state.errors,
            mdn,
        }
    }
}

fn text(headers: &Headers, name: &str) -> Option<String> {
    headers.text(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

// === impl Limits ===

impl Default for Limits {
    /// The gateway's defaults, as `conf/as2hook.yaml` has them.
    fn default() -> Self {
        Self {
            body: 4 << 30,
            decoded: 8 << 30,
            expansion: 200,
            header: 64 * 1024,
            attachments: 1000,
        }
    }
}
