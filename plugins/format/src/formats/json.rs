//! `json`: the document of an event; a message's keys come in the order of `docs/webhooks.md`.

use std::borrow::Cow;

use as2hook_as2::{ContentKind, Decoded, MicForm, ProcessingError};
use as2hook_event::{Event, EventKind};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::{Map, Value};

use crate::format::{Body, Content, Format, Rendering};

pub(super) struct JsonFormat;

impl Format for JsonFormat {
    fn content<'a>(&self, event: &'a Event, rendering: &Rendering<'_>) -> Content<'a> {
        let document = serde_json::to_vec(&JsonDocument { event, rendering })
            .expect("keys are strings and values plain data, so nothing can fail");
        Content {
            body: Body::Bytes(document.into()),
            content_type: Some(Cow::Borrowed(b"application/json")),
            ..Content::default()
        }
    }
}

struct JsonDocument<'a> {
    event: &'a Event,
    rendering: &'a Rendering<'a>,
}

/// An object whose keys come in the order they are put, each once.
struct Object<'a, M> {
    map: M,
    extra: &'a Map<String, Value>,
    written: Vec<&'a str>,
}

/// What a document is about.
enum Subject {
    Message,
    Mdn,
    /// No AS2 exchange.
    Other,
}

impl Serialize for JsonDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let map = serializer.serialize_map(None)?;
        let mut object = Object { map, extra: &self.event.extra, written: Vec::with_capacity(40) };
        for (key, value) in self.rendering.leading {
            object.written.push(key);
            object.map.serialize_entry(key, value)?;
        }
        match self.subject() {
            Subject::Message => self.message(&mut object)?,
            Subject::Mdn => self.mdn(&mut object)?,
            Subject::Other => {
                self.common(&mut object)?;
                object.put("partner", &self.event.partner)?;
                object.put("station", &self.event.station)?;
                object.put("partnerType", &self.event.partner_type)?;
            }
        }
        if let Some(error) = &self.event.send_error {
            object.put("error", error)?;
        }
        if let Some(event) = &self.event.supersedes {
            object.put("supersedes", event)?;
        }
        object.finish()
    }
}

// === impl JsonDocument ===

impl JsonDocument<'_> {
    fn subject(&self) -> Subject {
        use EventKind::{CertificateExpiring, MdnReceived, MdnSent};
        match (self.event.kind, &self.event.decoded) {
            (CertificateExpiring, _) => Subject::Other,
            (kind, _) if kind.is_about_webhooks() => Subject::Other,
            (MdnReceived | MdnSent, _) => Subject::Mdn,
            (_, Some(decoded)) if decoded.kind == ContentKind::Mdn => Subject::Mdn,
            _ => Subject::Message,
        }
    }

    fn message<'a, M: SerializeMap>(&'a self, to: &mut Object<'a, M>) -> Result<(), M::Error> {
        let decoded = self.event.decoded.as_ref();
        let (sender, receiver) = self.parties();
        to.put("as2MessageId", &self.message_id())?;
        to.put("compressed", &decoded.and_then(|d| d.compressed))?;
        to.put("encrypted", &decoded.and_then(|d| d.encrypted))?;
        to.put("signed", &decoded.and_then(|d| d.signed))?;
        to.put("subject", &self.subject_line())?;
        to.put("receiverId", &receiver)?;
        to.put("senderId", &sender)?;
        to.put("partnerType", &self.event.partner_type)?;
        to.put("attachments", decoded.map_or([].as_slice(), |d| &d.attachments))?;
        self.common(to)?;
        self.decoded(to)
    }

    fn mdn<'a, M: SerializeMap>(&'a self, to: &mut Object<'a, M>) -> Result<(), M::Error> {
        let decoded = self.event.decoded.as_ref();
        let mdn = decoded.and_then(|d| d.mdn.as_ref());
        let (sender, receiver) = self.parties();
        to.put("as2MessageId", &mdn.and_then(|m| m.original_message_id.as_deref()))?;
        to.put("persistedTimestamp", &self.event.occurred_at.as_millisecond())?;
        to.put("mdnError", &mdn.map(|m| m.error))?;
        to.put("mdnId", &self.message_id())?;
        to.put("disposition", &mdn.and_then(|m| m.disposition.as_deref()))?;
        to.put("humanMessage", &mdn.and_then(|m| m.human_message.as_deref()))?;
        to.put("mic", &mdn.and_then(|m| m.mic.as_deref()))?;
        to.put("micMatches", &self.event.mic_matches)?;
        // Of a MIC that matches it is among the extra keys.
        to.put("micForm", &None::<MicForm>)?;
        to.put("signed", &decoded.and_then(|d| d.signed))?;
        to.put("signatureVerified", &decoded.and_then(|d| d.signature_verified))?;
        to.put("receiverId", &receiver)?;
        to.put("senderId", &sender)?;
        to.put("partnerType", &self.event.partner_type)?;
        self.common(to)?;
        to.put("subject", &self.subject_line())?;
        to.put("encrypted", &decoded.and_then(|d| d.encrypted))?;
        to.put("compressed", &decoded.and_then(|d| d.compressed))?;
        self.decoded(to)?;
        to.put("mdn", &mdn)
    }

    /// What every JSON body has.
    fn common<'a, M: SerializeMap>(&'a self, to: &mut Object<'a, M>) -> Result<(), M::Error> {
        to.put("event", self.event.kind.as_str())?;
        to.put("eventId", &self.event.id)?;
        to.put("occurredAt", &self.event.occurred_at)?;
        to.put("direction", &self.event.direction)?;
        to.put("attempt", &self.rendering.attempt)
    }

    /// The fields of section 6 that no contract key has told yet.
    fn decoded<'a, M: SerializeMap>(&'a self, to: &mut Object<'a, M>) -> Result<(), M::Error> {
        let none = None::<Decoded>;
        let decoded = self.event.decoded.as_ref().or(none.as_ref());
        let kind = if matches!(self.subject(), Subject::Mdn) {
            ContentKind::Mdn
        } else {
            ContentKind::Message
        };
        to.put("kind", &decoded.map_or(kind, |d| d.kind))?;
        to.put("encryptionAlgorithm", &decoded.and_then(|d| d.encryption_algorithm.as_deref()))?;
        to.put("decryptedWith", &decoded.and_then(|d| d.decrypted_with.as_deref()))?;
        to.put("signatureVerified", &decoded.and_then(|d| d.signature_verified))?;
        to.put("signatureStatus", &decoded.and_then(|d| d.signature_status))?;
        to.put("signer", &decoded.and_then(|d| d.signer.as_deref()))?;
        to.put("digestAlgorithm", &decoded.and_then(|d| d.digest_algorithm.as_deref()))?;
        to.put("mic", &decoded.and_then(|d| d.mic.as_deref()))?;
        let errors: Vec<&ProcessingError> = self.event.processing_errors().collect();
        to.put("errors", &errors)?;
        to.put("warnings", decoded.map_or([].as_slice(), |d| &d.warnings))
    }

    /// Who sent the message or MDN, and who was to get it.
    fn parties(&self) -> (Option<&str>, Option<&str>) {
        use EventKind::{MdnReceived, MessageDuplicate, MessageReceived, MessageRejected};
        let Event { kind, decoded, partner, station, .. } = self.event;
        let (partner, station) = (partner.as_deref(), station.as_deref());
        let by_partner = [MessageReceived, MessageRejected, MessageDuplicate, MdnReceived];
        let (sender, receiver) =
            if by_partner.contains(kind) { (partner, station) } else { (station, partner) };
        let decoded = decoded.as_ref();
        (
            decoded.and_then(|d| d.sender_id.as_deref()).or(sender),
            decoded.and_then(|d| d.receiver_id.as_deref()).or(receiver),
        )
    }

    /// The `Message-ID` of what this is about.
    fn message_id(&self) -> Option<String> {
        let decoded = self.event.decoded.as_ref().and_then(|d| d.as2_message_id.clone());
        let header = || self.event.headers.text("Message-ID").map(|text| text.into_owned());
        decoded.or_else(header)
    }

    /// `Subject` as text.
    fn subject_line(&self) -> Option<String> {
        let decoded = self.event.decoded.as_ref().and_then(|d| d.subject.clone());
        decoded.or_else(|| self.event.headers.subject())
    }
}

// === impl Object ===

impl<'a, M: SerializeMap> Object<'a, M> {
    /// Adds a key unless it is there already. The event's extra keys know better than its fields.
    fn put<T: Serialize + ?Sized>(&mut self, key: &'a str, value: &T) -> Result<(), M::Error> {
        if self.written.contains(&key) {
            return Ok(());
        }
        self.written.push(key);
        match self.extra.get(key) {
            Some(known) => self.map.serialize_entry(key, known),
            None => self.map.serialize_entry(key, value),
        }
    }

    fn finish(mut self) -> Result<M::Ok, M::Error> {
        for (key, value) in self.extra {
            if !self.written.contains(&key.as_str()) {
                self.map.serialize_entry(key, value)?;
            }
        }
        self.map.end().map_err(M::Error::custom)
    }
}
