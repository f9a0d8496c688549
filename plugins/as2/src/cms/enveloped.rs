//! EnvelopedData and AuthEnvelopedData: finds our key, decrypts, hands on the entity inside.

use super::{cipher, recipients};
use crate::{
    ber::{
        Tag,
        read::{Reader, encode},
    },
    fault::Fault,
    layer::{Entity, Place},
    state::{Before, End, Flow},
};

/// An envelope on its way.
pub(super) struct Enveloped {
    place: Place,
    /// AuthEnvelopedData.
    is_authenticated: bool,
    recipients: Vec<u8>,
    algorithm: Vec<u8>,
    decryptor: Option<cipher::Decryptor>,
    /// `None` before the content begins and after the entity failed.
    entity: Option<Entity>,
    /// Authenticated attributes behind the content, as the SET that the tag covers.
    attributes: Vec<u8>,
    /// The authentication tag behind the content.
    tag: Option<Vec<u8>>,
    /// What was known before anything inside was.
    before: Option<Before>,
}

// === impl Enveloped ===

impl Enveloped {
    pub(super) fn new(place: Place, is_authenticated: bool, flow: &mut Flow<'_>) -> Self {
        flow.state.facts.encrypted = true;
        Self {
            place,
            is_authenticated,
            recipients: Vec::new(),
            algorithm: Vec::new(),
            decryptor: None,
            entity: None,
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
    pub(super) fn begin(&mut self, flow: &mut Flow<'_>) -> Result<(), Fault> {
        let algorithm = cipher::Algorithm::parse(Reader::new(&self.algorithm).any()?)?;
        let state = &mut *flow.state;
        state.facts.encryption_algorithm.get_or_insert_with(|| algorithm.name().to_owned());
        if state.keyring.keys().is_empty() {
            return Err(Fault::NoKey);
        }
        if algorithm.is_legacy() && !state.options.legacy_algorithms {
            return Err(Fault::Legacy(algorithm.name()));
        }
        let keyring = state.keyring.clone();
        let (secret, key) = recipients::open(&self.recipients, &keyring, algorithm.key_length())?;
        self.decryptor = Some(algorithm.decryptor(&secret, self.is_authenticated)?);
        self.before = Some(Before::new(state));
        state.facts.decrypted_with = crate::keys::serial_hex(&key.certificate);
        let place = self.place.unwrapped(!algorithm.is_authenticated());
        self.entity = Some(Entity::new(place, state.options.limits.header));
        Ok(())
    }

    pub(super) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
        let Self { decryptor: Some(decryptor), entity, .. } = self else { return Ok(()) };
        decryptor.push(bytes, &mut |plain| hand_on(entity, plain, flow))
    }

    pub(super) fn end_of_content(&mut self, flow: &mut Flow<'_>) -> Result<(), Fault> {
        if self.is_authenticated { Ok(()) } else { self.conclude(flow) }
    }

    pub(super) fn finish(&mut self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        if end == End::Whole && self.is_authenticated {
            return self.conclude(flow);
        }
        match self.entity.take() {
            Some(entity) => entity.finish(end, flow),
            None => Ok(()),
        }
    }

    /// What came out is not to be believed, or nothing came out. Of a content that is cut off the
    /// facts stay: they are what is known.
    pub(super) fn abandon(&mut self, fault: &Fault, flow: &mut Flow<'_>) {
        match self.before.take() {
            Some(_) if *fault == Fault::Truncated => {}
            Some(before) => before.restore(flow.state),
            None => flow.state.facts.hidden = true,
        }
    }

    fn conclude(&mut self, flow: &mut Flow<'_>) -> Result<(), Fault> {
        let Self { decryptor: Some(decryptor), entity, tag, attributes, .. } = self else {
            return Ok(());
        };
        let tag = tag.as_deref().map(|tag| (tag, attributes.as_slice()));
        decryptor.finish(tag, &mut |plain| hand_on(entity, plain, flow))?;
        match entity.take().map(|entity| entity.finish(End::Whole, flow)) {
            Some(Err(Fault::NotMime)) => Err(Fault::NotOpened),
            Some(Err(fault)) => {
                flow.report(&fault);
                Ok(())
            }
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// Only garbage fails the envelope; other faults are the entity's own.
fn hand_on(entity: &mut Option<Entity>, plain: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
    match entity.as_mut().map(|entity| entity.push(plain, flow)) {
        Some(Err(Fault::NotMime)) => Err(Fault::NotOpened),
        Some(Err(fault)) => {
            flow.report(&fault);
            *entity = None;
            Ok(())
        }
        Some(Ok(())) | None => Ok(()),
    }
}
