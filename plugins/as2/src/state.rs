//! What the layers share: the configuration, the facts found so far, and the bounds in force.

use std::sync::Arc;

use crate::{
    Attachment, Headers, Keyring, Mdn, Options, ProcessingError, Sink, digest::Digest,
    fault::Fault, signature::Judgement,
};

/// The state of one decode.
pub(crate) struct State {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) options: Options,
    /// `AS2-From`, unquoted; empty when there is none.
    pub(crate) sender: String,
    /// The first supported algorithm of `signed-receipt-micalg`.
    pub(crate) requested_mic: Option<Digest>,
    pub(crate) facts: Facts,
    pub(crate) errors: Vec<ProcessingError>,
    decoded: u64,
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
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) mdn: Option<Mdn>,
    begun: usize,
}

/// The state, and where attachments go, on the way through the layers.
pub(crate) struct Flow<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) sink: &'a mut dyn Sink,
}

/// What was known before a layer began, to go back to.
pub(crate) struct Before {
    facts: Facts,
    errors: usize,
}

/// How a layer's content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Complete.
    Whole,
    /// Cut off, which is already told.
    Cut,
}

/// Errors of one message.
const MAX_ERRORS: usize = 32;

// === impl State ===

impl State {
    pub(crate) fn new(keyring: Arc<Keyring>, options: Options) -> Self {
        Self {
            keyring,
            options,
            sender: String::new(),
            requested_mic: None,
            facts: Facts::default(),
            errors: Vec::new(),
            decoded: 0,
        }
    }

    /// Notes an error, each text once.
    pub(crate) fn report(&mut self, fault: &Fault) {
        self.add_error(ProcessingError::from(fault));
    }

    pub(crate) fn add_error(&mut self, error: ProcessingError) {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

// === impl Before ===

impl Before {
    pub(crate) fn new(state: &State) -> Self {
        Self { facts: state.facts.clone(), errors: state.errors.len() }
    }

    /// The layer proved false: whatever came out of it was nothing, and what it hides is unknown.
    /// Its errors go too, since they depend on how much came out.
    pub(crate) fn restore(self, state: &mut State) {
        state.facts = Facts { hidden: true, begun: state.facts.begun, ..self.facts };
        state.errors.truncate(self.errors);
    }
}

// === impl Flow ===

impl Flow<'_> {
    /// Begins an attachment and tells its index.
    pub(crate) fn begin(&mut self, name: Option<&str>, headers: &Headers) -> Result<usize, Fault> {
        let limit = self.state.options.limits.attachments;
        let facts = &mut self.state.facts;
        if facts.begun >= limit {
            return Err(Fault::Limit { what: "attachments", limit: limit as u64 });
        }
        let index = facts.begun;
        facts.begun += 1;
        self.sink.begin(index, name, headers);
        Ok(index)
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
    pub(crate) fn end(&mut self, index: usize, attachment: Attachment) {
        self.sink.end(index, &attachment);
        self.state.facts.attachments.push(attachment);
    }

    pub(crate) fn report(&mut self, fault: &Fault) {
        self.state.report(fault);
    }
}
