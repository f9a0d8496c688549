//! What the layers share: the configuration, the facts found so far, and the bounds in force.

use std::sync::Arc;

use as2hook_edi::EventLists;

use crate::{
    Attachment, ContentReceiver, Headers, Keyring, Mdn, MessageMic, Options, ProcessingError,
    Warning, cut, digest::Digest, fault::Fault, signature::judgement::Judgement,
};

/// The state of one decode.
#[derive(Default)]
pub(crate) struct DecodeState {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) options: Options,
    /// `AS2-From`, unquoted; empty when there is none.
    pub(crate) sender: String,
    /// The supported algorithms of `signed-receipt-micalg`, the preferred one first.
    pub(crate) requested_mics: Vec<Digest>,
    /// The message asks for an MDN, so that one may come which has a MIC.
    pub(crate) wants_mdn: bool,
    pub(crate) facts: Facts,
    pub(crate) attachments: Vec<Attachment>,
    /// What is listed of the attachments' envelopes, and what these acknowledge.
    pub(crate) edi: EventLists,
    pub(crate) errors: Vec<ProcessingError>,
    /// Bytes of the HTTP body so far.
    pub(crate) body: u64,
    decoded: u64,
    /// Bytes that all layers together have decompressed.
    output: u64,
    /// Bytes of work since the last checkpoint.
    work: usize,
    /// Bytes left for the attachments' names and content types.
    attachment_text: usize,
    /// Certificates of senders that may still be parsed.
    certificates: usize,
    verifications: u64,
    private_operations: u64,
    /// The sink knows that it may take more memory than usual.
    is_large: bool,
    /// The fault of a checkpoint, which ends the decode in all layers.
    stopped: Option<Fault>,
}

/// What is known of the content. Taken back when the layer that it came out of turns out false.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    pub(crate) encrypted: bool,
    pub(crate) signed: bool,
    pub(crate) compressed: bool,
    /// Something stands in a layer that could not be opened.
    pub(crate) hidden: bool,
    /// A CMS layer ended before it said what it is.
    pub(crate) unknown: bool,
    pub(crate) encryption_algorithm: Option<String>,
    pub(crate) decrypted_with: Option<String>,
    pub(crate) judgement: Option<Judgement>,
    /// A layer has taken it on to tell the MIC.
    pub(crate) mic_claimed: bool,
    pub(crate) mic: Option<String>,
    /// The same and others that an MDN may have.
    pub(crate) mics: Vec<MessageMic>,
    pub(crate) mdn: Option<Mdn>,
    /// Each code once.
    pub(crate) warnings: Vec<Warning>,
    begun: usize,
}

/// The state, and where attachments go, on the way through the layers.
pub(crate) struct DecodeFlow<'a> {
    pub(crate) state: &'a mut DecodeState,
    pub(crate) sink: &'a mut dyn ContentReceiver,
}

/// What was known before a layer began, to go back to.
pub(crate) struct LayerStart {
    facts: Facts,
    attachments: usize,
    errors: usize,
}

/// How a layer's content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Complete.
    Whole,
    /// Cut off, which is already reported.
    Cut,
}

/// Bytes of work between two checkpoints.
const CHECKPOINT: usize = 64 * 1024;
/// Bytes that may come out of compression whatever the ratio: small texts compress better than any
/// bound.
const FREE_OUTPUT: u64 = 16 << 20;
/// Signatures of one message that are verified, in all its layers together, and its keys that are
/// opened. Real messages need one of each, some two.
const MAX_OPERATIONS: u64 = 16;
/// Certificates of one message that are parsed, in all its layers together.
const MAX_CERTIFICATES: usize = 32;
/// Errors of one message.
const MAX_ERRORS: usize = 32;

// === impl DecodeState ===

impl DecodeState {
    pub(crate) fn new(keyring: Arc<Keyring>, options: Options) -> Self {
        Self {
            keyring,
            options,
            attachment_text: cut::ATTACHMENT_TEXT,
            edi: EventLists::new(cut::EDI, cut::ACKS),
            certificates: MAX_CERTIFICATES,
            ..Self::default()
        }
    }

    /// Notes an error, each text once.
    pub(crate) fn report(&mut self, fault: &Fault) {
        self.add_error(ProcessingError::from(fault));
    }

    /// Notes what ended the decode: the fault of a checkpoint, whatever the layers made of it.
    pub(crate) fn conclude(&mut self, fault: Fault) {
        let fault = self.stopped.clone().unwrap_or(fault);
        self.report(&fault);
    }

    /// Whether a checkpoint has ended the decode.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether one more attachment may begin.
    pub(crate) fn admit(&self) -> Result<(), Fault> {
        let limit = self.options.limits.attachments;
        if self.facts.begun < limit {
            return Ok(());
        }
        Err(Fault::Limit { what: "attachments", limit: limit as u64 })
    }

    /// Whether one more certificate of a sender may be parsed; takes the right to.
    pub(crate) fn admit_certificate(&mut self) -> bool {
        let is_admitted = self.certificates > 0;
        self.certificates = self.certificates.saturating_sub(1);
        is_admitted
    }

    pub(crate) fn add_error(&mut self, error: ProcessingError) {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

// === impl Facts ===

impl Facts {
    pub(crate) fn warn(&mut self, warning: Warning) {
        if self.warnings.iter().all(|known| known.code != warning.code) {
            self.warnings.push(warning);
        }
    }
}

// === impl LayerStart ===

impl LayerStart {
    pub(crate) fn new(state: &DecodeState) -> Self {
        Self {
            facts: state.facts.clone(),
            attachments: state.attachments.len(),
            errors: state.errors.len(),
        }
    }

    /// The layer was none: nothing is known of it.
    pub(crate) fn rewind(self, state: &mut DecodeState) {
        state.facts = Facts { begun: state.facts.begun, ..self.facts };
        state.errors.truncate(self.errors);
    }

    /// The layer proved false: whatever came out of it was nothing, and what it hides is unknown.
    /// Its errors go too, since they depend on how much came out.
    pub(crate) fn restore(self, state: &mut DecodeState) {
        state.facts = Facts { hidden: true, begun: state.facts.begun, ..self.facts };
        state.attachments.truncate(self.attachments);
        state.errors.truncate(self.errors);
    }
}

// === impl DecodeFlow ===

impl DecodeFlow<'_> {
    /// Begins an attachment and returns its index.
    pub(crate) fn begin(&mut self, name: Option<&str>, headers: &Headers) -> Result<usize, Fault> {
        self.state.admit()?;
        let facts = &mut self.state.facts;
        let index = facts.begun;
        facts.begun += 1;
        self.sink.begin(index, name, headers);
        Ok(index)
    }

    /// Counts so many bytes of work; what costs more than its bytes say counts for more.
    pub(crate) fn work(&mut self, bytes: usize) -> Result<(), Fault> {
        let state = &mut *self.state;
        state.work = state.work.saturating_add(bytes);
        match &state.stopped {
            Some(fault) => Err(fault.clone()),
            None if state.work < CHECKPOINT => Ok(()),
            None => self.checkpoint(),
        }
    }

    /// Lets the sink yield, or end the decode.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Fault> {
        if let Some(fault) = &self.state.stopped {
            return Err(fault.clone());
        }
        self.state.work = 0;
        let passed = self.sink.checkpoint(self.state.output);
        self.state.stopped = passed.clone().err();
        passed
    }

    /// Says once that the message may take more memory than usual ones.
    pub(crate) fn grow(&mut self) -> Result<(), Fault> {
        if let Some(fault) = &self.state.stopped {
            return Err(fault.clone());
        }
        if std::mem::replace(&mut self.state.is_large, true) {
            return Ok(());
        }
        let grown = self.sink.grow();
        self.state.stopped = grown.clone().err();
        grown
    }

    /// Counts decompressed bytes of all layers against the bounds, which grow with the body.
    pub(crate) fn count_output(&mut self, bytes: usize) -> Result<(), Fault> {
        let state = &mut *self.state;
        state.output = state.output.saturating_add(bytes as u64);
        let limits = state.options.limits;
        let ratio = u64::from(limits.expansion);
        if state.output > FREE_OUTPUT.saturating_add(state.body.saturating_mul(ratio)) {
            return Err(Fault::Limit { what: "expansion of compressed content", limit: ratio });
        }
        // Attachments are bounded by `decoded`; what is no attachment must end somewhere too.
        if state.output > limits.decoded.saturating_mul(2).saturating_add(FREE_OUTPUT) {
            return Err(Fault::Limit { what: "bytes of decoded content", limit: limits.decoded });
        }
        Ok(())
    }

    /// Before each verification of a signature.
    pub(crate) fn begin_verification(&mut self) -> Result<(), Fault> {
        self.state.verifications += 1;
        self.begin_operation(self.state.verifications, "signature verifications")
    }

    /// Before each operation with a private key.
    pub(crate) fn begin_private_operation(&mut self) -> Result<(), Fault> {
        self.state.private_operations += 1;
        self.begin_operation(self.state.private_operations, "keys to open")
    }

    fn begin_operation(&mut self, count: u64, what: &'static str) -> Result<(), Fault> {
        if count > MAX_OPERATIONS {
            return Err(Fault::Limit { what, limit: MAX_OPERATIONS });
        }
        self.checkpoint()
    }

    /// A child failed: reports its fault and lets the layer around go on, unless the whole decode
    /// has ended.
    pub(crate) fn absorb(&mut self, fault: Fault) -> Result<(), Fault> {
        if self.state.is_stopped() {
            return Err(fault);
        }
        self.state.report(&fault);
        Ok(())
    }

    /// Counts decoded bytes against the limit.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        let limit = self.state.options.limits.decoded;
        self.state.decoded = self.state.decoded.saturating_add(bytes as u64);
        if self.state.decoded > limit {
            return Err(Fault::Limit { what: "bytes of decoded content", limit });
        }
        Ok(())
    }

    /// The attachment is complete.
    pub(crate) fn end(&mut self, index: usize, mut attachment: Attachment) {
        let room = &mut self.state.attachment_text;
        attachment.name = attachment.name.and_then(|name| cut::cut_to_room(name, room));
        attachment.content_type =
            attachment.content_type.and_then(|kind| cut::cut_to_room(kind, room));
        self.sink.end(index, &attachment);
        self.state.attachments.push(attachment);
    }
}
