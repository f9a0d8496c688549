//! The way through, from the body's bytes to the result.

use std::sync::Arc;

use crate::{
    ContentKind, ContentReceiver, Decoded, Headers, Keyring, SignatureStatus, Warning,
    coding::ContentCodings,
    cut::{self, cut, cut_as2_name},
    fault::Fault,
    layer::{Child, Entity, SNIFFED, is_cms, is_multipart_header},
    mic,
    mime::{ContentType, words},
    state::{DecodeFlow, DecodeState, End, LayerStart},
};

/// What a decode may use at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Bytes of the body as it comes.
    pub body: u64,
    /// Bytes of all attachments together, decoded.
    pub decoded: u64,
    /// Bytes that all CompressedData together may put out for each byte of the HTTP body so far,
    /// beyond 16 MiB. Real documents reach 3 to 110, flat files padded with blanks 300 to 380, which
    /// 200 admits up to 34 MiB of output.
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
    pub limits: DecoderLimits,
    /// Open DES, RC2-40 and RC2-128 too.
    pub legacy_algorithms: bool,
}

/// Decodes one message or MDN while it passes.
pub struct Decoder {
    state: DecodeState,
    headers: Headers,
    /// `None`: one of them is not known, or the decode has failed: nothing is decoded, and the sink gets
    /// nothing more of the body.
    codings: Option<ContentCodings>,
    /// What was known before they were.
    before: Option<LayerStart>,
    /// `None`: nothing has come yet.
    root: Option<Child>,
    received: u64,
}

/// Bytes that go through the layers at once.
const BLOCK: usize = 64 * 1024;

// === impl Decoder ===

impl Decoder {
    /// Begins with the HTTP headers of the request or answer.
    pub fn new(headers: &Headers, keyring: Arc<Keyring>, options: Options) -> Self {
        let mut state = DecodeState::new(keyring, options);
        state.sender = headers.as2_name("as2-from").unwrap_or_default();
        state.requested_mics = mic::requested(headers);
        state.wants_mdn = headers.get("disposition-notification-to").is_some();
        let mut decoder = Self {
            state,
            headers: headers.clone(),
            codings: None,
            before: None,
            root: None,
            received: 0,
        };
        match ContentCodings::of(headers) {
            Ok(codings) => {
                decoder.before = (!codings.is_empty()).then(|| LayerStart::new(&decoder.state));
                decoder.codings = Some(codings);
            }
            Err(fault) => {
                decoder.state.facts.hidden = true;
                decoder.state.facts.unknown = true;
                decoder.fail(fault);
            }
        }
        decoder
    }

    /// Whether a body that begins with these bytes is a document: there is no layer in it to open, so its
    /// decode takes little for its length.
    pub fn is_document(&self, first: &[u8]) -> bool {
        // As many as the decode looks at: in all of them a byte further on may deny what these say.
        let first = &first[..first.len().min(SNIFFED)];
        let kind = ContentType::of(&self.headers);
        let is_layer = kind.is_cms() || kind.is_multipart() || kind.essence.starts_with("message/");
        let may_be_layer = kind.is_vague() && (is_cms(first, true) || is_multipart_header(first));
        self.codings.as_ref().is_some_and(ContentCodings::is_empty) && !is_layer && !may_be_layer
    }

    /// Takes the body's next bytes, cut anywhere. After an error the rest is counted and dropped.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn ContentReceiver) {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if let Err(fault) = self.take(bytes, sink) {
            self.fail(fault);
        }
    }

    /// The body is complete (`whole`) or was cut off: returns what it was.
    pub fn finish(mut self, whole: bool, sink: &mut dyn ContentReceiver) -> Decoded {
        if let (Some(codings), true) = (&self.codings, whole)
            && let Err(fault) = codings.finish()
        {
            self.fail(fault);
        }
        let mut flow = DecodeFlow { state: &mut self.state, sink };
        pass(&mut self.root, &self.headers, b"", &mut flow);
        let end = if whole { End::Whole } else { End::Cut };
        if let Some(Err(fault)) = self.root.take().map(|mut root| root.finish(end, &mut flow)) {
            self.state.conclude(fault);
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

    /// Takes the content codings off. The sink gets the body also where a layer of it cannot be decoded, but
    /// not under a coding that is not known or damaged, nor beyond `limits.body`.
    fn take(&mut self, bytes: &[u8], sink: &mut dyn ContentReceiver) -> Result<(), Fault> {
        let Self { state, headers, codings, root, received, .. } = self;
        let Some(codings) = codings else { return Ok(()) };
        let limit = state.options.limits.body;
        if *received > limit {
            return Err(Fault::Limit { what: "bytes of the body", limit });
        }
        state.body = *received;
        let mut flow = DecodeFlow { state, sink };
        if codings.is_unusual() {
            flow.grow()?;
        }
        bytes.chunks(BLOCK).try_for_each(|block| {
            codings.push(block, &mut flow, &mut |bytes, flow| {
                flow.sink.body(bytes);
                pass(root, headers, bytes, flow);
                Ok(())
            })
        })
    }

    /// Nothing more is decoded. How much came out of a damaged body depends on how it was cut: none of it counts.
    fn fail(&mut self, fault: Fault) {
        if matches!(fault, Fault::DamagedCoding(_))
            && let Some(before) = self.before.take()
        {
            before.restore(&mut self.state);
            self.state.facts.unknown = true;
        }
        self.state.conclude(fault);
        self.codings = None;
        self.root = Some(Child::none());
    }

    fn tell(self) -> Decoded {
        let facts = self.state.facts;
        let mut warnings = facts.warnings;
        if let Some(mdn) = &facts.mdn
            && mdn.modifier.as_deref() == Some("warning")
        {
            warnings.push(Warning::mdn(mdn.modifier_text.as_deref()));
        }
        let name = |field| {
            let name = self.headers.as2_name(field)?;
            Some(cut_as2_name(&name).into_owned())
        };
        let flag = |is: bool| if is || !facts.hidden { Some(is) } else { None };
        let status = match (&facts.judgement, facts.signed) {
            (Some(judgement), _) => Some(judgement.status),
            // The signature was never reached.
            (None, true) => Some(SignatureStatus::Invalid),
            (None, false) => (!facts.hidden).then_some(SignatureStatus::Unsigned),
        };
        let is_mdn = facts.mdn.is_some();
        let attachments = if is_mdn { Vec::new() } else { self.state.attachments };
        // What attachments have that turned out to be none is nothing.
        let (documents, acks) = match attachments.iter().any(|all| all.edi.is_some()) {
            true => (self.state.edi.document_counts().to_vec(), self.state.edi.into_acks()),
            false => (Vec::new(), Vec::new()),
        };
        Decoded {
            kind: if is_mdn { ContentKind::Mdn } else { ContentKind::Message },
            as2_message_id: message_id(&self.headers),
            sender_id: name("as2-from"),
            receiver_id: name("as2-to"),
            subject: self.headers.subject(),
            encrypted: (facts.encrypted || !facts.unknown).then_some(facts.encrypted),
            signed: flag(facts.signed),
            compressed: flag(facts.compressed),
            encryption_algorithm: facts.encryption_algorithm,
            decrypted_with: facts.decrypted_with,
            signature_verified: status.and_then(SignatureStatus::verified),
            signature_status: status,
            signer: facts.judgement.as_ref().and_then(|j| j.signer.clone()),
            digest_algorithm: facts.judgement.and_then(|j| j.digest).map(|d| d.name().to_owned()),
            mic: facts.mic,
            mics: facts.mics,
            attachments,
            documents,
            acks,
            errors: self.state.errors,
            warnings,
            mdn: facts.mdn,
        }
    }
}

/// Passes on what the codings give. After a fault the rest is dropped.
fn pass(root: &mut Option<Child>, headers: &Headers, bytes: &[u8], flow: &mut DecodeFlow<'_>) {
    if root.is_none() {
        match Entity::root(headers.clone(), flow) {
            Ok(entity) => *root = Some(Child::new(entity)),
            Err(fault) => {
                *root = Some(Child::none());
                flow.state.conclude(fault);
            }
        }
    }
    if let Some(root) = root.as_mut().filter(|_| !bytes.is_empty())
        && let Err(fault) = root.push(bytes, flow)
    {
        flow.state.conclude(fault);
    }
}

/// Unfolded and cut.
fn message_id(headers: &Headers) -> Option<String> {
    let value = words::unfold(headers.get("message-id")?);
    let value = cut(String::from_utf8_lossy(&value).trim().to_owned(), cut::LINE);
    (!value.is_empty()).then_some(value)
}

// === impl DecoderLimits ===

impl Default for DecoderLimits {
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
