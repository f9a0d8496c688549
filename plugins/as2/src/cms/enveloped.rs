//! EnvelopedData and AuthEnvelopedData: finds our key, decrypts, hands on the entity inside.

use openssl::hash::{Hasher, MessageDigest};

use super::{cipher, recipients::OwnRecipient};
use crate::{
    ErrorCode,
    ber::{
        Tag,
        read::{Reader, encode},
    },
    fault::Fault,
    layer::{Entity, EntityPosition},
    state::{DecodeFlow, End, LayerStart},
};

/// An envelope on its way.
pub(super) struct Enveloped {
    place: EntityPosition,
    /// AuthEnvelopedData.
    is_authenticated: bool,
    recipients: Vec<u8>,
    algorithm: Vec<u8>,
    decryptor: Option<cipher::Decryptor>,
    content: EnvelopeContent,
    /// Authenticated attributes behind the content, as the SET that the tag covers.
    attributes: Vec<u8>,
    /// The authentication tag behind the content.
    tag: Option<Vec<u8>>,
    /// What was known before anything inside was.
    before: Option<LayerStart>,
}

/// What is inside.
enum EnvelopeContent {
    /// It has not begun, or it is over.
    None,
    Entity(Box<Entity>),
    /// The entity failed.
    Dropped(Hasher),
}

// === impl Enveloped ===

impl Enveloped {
    pub(super) fn new(
        place: EntityPosition,
        is_authenticated: bool,
        flow: &mut DecodeFlow<'_>,
    ) -> Self {
        flow.state.facts.encrypted = true;
        Self {
            place,
            is_authenticated,
            recipients: Vec::new(),
            algorithm: Vec::new(),
            decryptor: None,
            content: EnvelopeContent::None,
            attributes: Vec::new(),
            tag: None,
            before: None,
        }
    }

    pub(super) fn captured(&mut self, tag: Tag, element: &[u8]) -> Result<(), Fault> {
        match tag {
            Tag::SET => self.recipients = element.to_vec(),
            Tag::SEQUENCE => self.algorithm = element.to_vec(),
            tag if tag.is_octet_string() => {
                self.tag = Some(Reader::new(element).any()?.content.to_vec());
            }
            // The tag covers them under the tag of a SET (RFC 5083 section 2.2).
            tag if tag.is_context(1) && self.is_authenticated => {
                self.attributes = encode(Tag::SET.octet, Reader::new(element).any()?.content);
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything in front of the content is there.
    pub(super) fn begin(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let algorithm = std::mem::take(&mut self.algorithm);
        let algorithm = cipher::ContentEncryption::parse(Reader::new(&algorithm).any()?);
        let state = &mut *flow.state;
        if let Ok(algorithm) = &algorithm {
            state.facts.encryption_algorithm.get_or_insert_with(|| algorithm.name().to_owned());
        }
        let keyring = state.keyring.clone();
        if keyring.keys().is_empty() {
            return Err(Fault::NoKey);
        }
        let recipients = std::mem::take(&mut self.recipients);
        let own = OwnRecipient::find(&recipients, &keyring)?;
        let algorithm = algorithm?;
        if algorithm.is_legacy() && !state.options.legacy_algorithms {
            return Err(Fault::Legacy(algorithm.name()));
        }
        let (secret, key) = own.open(algorithm.key_length(), flow)?;
        self.decryptor = Some(algorithm.decryptor(&secret, self.is_authenticated)?);
        self.before = Some(LayerStart::new(flow.state));
        flow.state.facts.decrypted_with = crate::keys::serial_hex(&key.certificate);
        let place = self.place.unwrapped(!algorithm.is_authenticated());
        self.content =
            EnvelopeContent::Entity(Box::new(Entity::new(place, flow.state.options.limits.header)));
        Ok(())
    }

    pub(super) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { decryptor: Some(decryptor), content, .. } = self else { return Ok(()) };
        decryptor.push(bytes, &mut |plain| content.push(plain, flow))
    }

    pub(super) fn end_of_content(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if self.is_authenticated { Ok(()) } else { self.conclude(flow) }
    }

    pub(super) fn finish(&mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if end == End::Whole && self.is_authenticated {
            return self.conclude(flow);
        }
        self.content.finish(end, flow)
    }

    /// What came out is not to be believed, or nothing came out. Of a content that is cut off or over
    /// a limit the facts stay: they are what is known.
    pub(super) fn abandon(&mut self, fault: &Fault, flow: &mut DecodeFlow<'_>) {
        match self.before.take() {
            Some(_) if *fault == Fault::Truncated || fault.code() == ErrorCode::Limit => {}
            Some(before) => before.restore(flow.state),
            None => flow.state.facts.hidden = true,
        }
    }

    fn conclude(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { decryptor: Some(decryptor), content, tag, attributes, .. } = self else {
            return Ok(());
        };
        let tag = tag.as_deref().map(|tag| (tag, attributes.as_slice()));
        let opened = decryptor.finish(tag, &mut |plain| content.push(plain, flow));
        // With wrong padding the content is read to its end too: the time shows nothing of it.
        let end = match opened {
            Err(_) if self.is_authenticated => End::Cut,
            _ => End::Whole,
        };
        let finished = content.finish(end, flow);
        opened.and(finished)
    }
}

// === impl EnvelopeContent ===

impl EnvelopeContent {
    /// A fault of the entity is its own. What follows it is digested nevertheless, as it would be
    /// without the fault.
    fn push(&mut self, plain: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match self {
            Self::None => Ok(()),
            Self::Entity(entity) => match entity.push(plain, flow) {
                Ok(()) => Ok(()),
                Err(fault) => {
                    *self = Hasher::new(MessageDigest::sha256()).map_or(Self::None, Self::Dropped);
                    flow.absorb(fault)
                }
            },
            Self::Dropped(hasher) => {
                flow.work(plain.len())?;
                hasher.update(plain).map_err(|_| Fault::Unavailable("SHA-256"))
            }
        }
    }

    /// Only garbage fails the envelope.
    fn finish(&mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self::Entity(entity) = std::mem::replace(self, Self::None) else { return Ok(()) };
        match entity.finish(end, flow) {
            Err(Fault::NotMime) => Err(Fault::NotOpened),
            Err(fault) => flow.absorb(fault),
            Ok(()) => Ok(()),
        }
    }
}
