//! Bounds what is kept of an event, so that partners' bytes fill no disk. `docs/webhooks.md` states it.
//!
//! What is longer is cut, and ends in `...` and 32 hexadecimal digits of the SHA-256 of the whole: two
//! that differ stay different, as keys too. Traffic and decoding are not touched by it.

use std::borrow::Cow;

pub use as2hook_as2::cut::{AS2_NAME, LINE as MESSAGE_ID, cut_as2_name as as2_name};
use as2hook_as2::{
    Attachment, Decoded, ErrorCode, Header, Headers, Mdn, ProcessingError,
    cut::{cut_bytes, cut_text},
};
use serde_json::{Map, Value};

use crate::event::{Event, SendError, Verdict};

/// Bytes of an event's JSON form in the store, without its payload and its verdict.
pub const METADATA: usize = 256 * 1024;

/// Bytes of a header's name.
const HEADER_NAME: usize = 256;

/// What a header takes beside its name and value.
const HEADER_ROW: usize = 32;

/// Bytes of an error's text.
const ERROR: usize = 512;

/// Errors; beyond them the first of each code.
const ERRORS: usize = 32;

/// Bytes of a short text: an algorithm, a disposition.
const SHORT: usize = 1024;
/// MICs that an MDN may have: the decoder gives five at the most.
const MICS: usize = 8;

/// The headers that everything else depends on: they are kept before others.
const ESSENTIAL: [&str; 8] = [
    "AS2-From",
    "AS2-To",
    "Message-ID",
    "Subject",
    "Content-Type",
    "Disposition-Notification-To",
    "Disposition-Notification-Options",
    "Receipt-Delivery-Option",
];

/// One set of bounds, in bytes.
#[derive(Clone, Copy)]
struct Bounds {
    header: usize,
    headers: usize,
    text: usize,
    human_message: usize,
    attachment: usize,
    /// Of all attachments' JSON forms.
    attachments: usize,
}

/// The usual ones.
const BOUNDS: Bounds = Bounds {
    header: 8 << 10,
    headers: 64 << 10,
    text: 2 << 10,
    human_message: 16 << 10,
    attachment: 1 << 10,
    attachments: METADATA,
};

/// The next is taken where an event is too large in all under the one before.
const STAGES: [Bounds; 4] = [
    BOUNDS,
    Bounds { human_message: 4 << 10, attachment: 255, ..BOUNDS },
    Bounds { headers: 32 << 10, text: 1 << 10, human_message: 2 << 10, attachment: 64, ..BOUNDS },
    Bounds {
        header: 2 << 10,
        headers: 16 << 10,
        text: 1 << 10,
        human_message: 1 << 10,
        attachment: 64,
        attachments: 64 << 10,
    },
];

impl Event {
    /// The event within its bounds, and its JSON form.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn bounded(&self) -> Result<(Self, Vec<u8>), serde_json::Error> {
        let mut event = self.clone();
        let body = event.bound()?;
        Ok((event, body))
    }

    /// Cuts what is too long. Within its bounds it stays as it is. Returns its JSON form.
    ///
    /// # Errors
    /// When it has none; it is cut all the same.
    pub fn bound(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = Vec::new();
        for bounds in &STAGES {
            self.cut(bounds);
            json = serde_json::to_vec(self)?;
            if json.len() <= METADATA {
                break;
            }
        }
        Ok(json)
    }

    fn cut(&mut self, bounds: &Bounds) {
        [&mut self.partner, &mut self.station].into_iter().flatten().for_each(cut_name);
        if let Some(headers) = bounded_headers(&self.headers, bounds) {
            self.headers = headers;
        }
        if let Some(decoded) = &mut self.decoded {
            let left_out = cut_decoded(decoded, bounds);
            if left_out > 0 {
                let text = format!(
                    "{left_out} attachments are left out: what is kept of an event is limited"
                );
                self.errors.push(ProcessingError::new(ErrorCode::Limit, text));
            }
        }
        cut_outcome(&mut self.errors, &mut self.send_error, &mut self.extra);
    }
}

impl Verdict {
    /// Cuts what is too long: what comes with an answer adds at most 32 KiB to its event.
    pub fn bound(&mut self) {
        cut_outcome(&mut self.errors, &mut self.send_error, &mut self.extra);
    }
}

/// A Message-ID as it is kept.
pub fn message_id(id: &str) -> Cow<'_, str> {
    cut_text(id, MESSAGE_ID)
}

fn cut_name(name: &mut String) {
    if let Cow::Owned(cut) = as2_name(name) {
        *name = cut;
    }
}

fn cut_string(value: &mut String, most: usize) {
    if let Cow::Owned(cut) = cut_text(value, most) {
        *value = cut;
    }
}

fn cut_each<'a>(values: impl IntoIterator<Item = &'a mut Option<String>>, most: usize) {
    values.into_iter().flatten().for_each(|value| cut_string(value, most));
}

/// `None`: they are within their bounds.
fn bounded_headers(headers: &Headers, bounds: &Bounds) -> Option<Headers> {
    let cut_value = |field: &Header| {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("AS2-From") || is("AS2-To") {
            let name = headers.as2_name(&field.name)?;
            if let Cow::Owned(cut) = as2_name(&name) {
                return Some(cut.into_bytes());
            }
        }
        cut_bytes(&field.value, if is("Message-ID") { MESSAGE_ID } else { bounds.header })
    };
    let mut essential = [false; ESSENTIAL.len()];
    let mut fields = Vec::with_capacity(headers.len());
    let (mut total, mut first, mut is_cut) = (0, 0, false);
    for field in headers {
        let (name, value) = (cut_text(&field.name, HEADER_NAME), cut_value(field));
        is_cut |= matches!(name, Cow::Owned(_)) || value.is_some();
        let size = name.len() + value.as_ref().unwrap_or(&field.value).len() + HEADER_ROW;
        let place = ESSENTIAL.iter().position(|known| known.eq_ignore_ascii_case(&name));
        let is_first = place.is_some_and(|place| !std::mem::replace(&mut essential[place], true));
        total += size;
        first += if is_first { size } else { 0 };
        fields.push((name, value, field, size, is_first));
    }
    if total <= bounds.headers && !is_cut {
        return None;
    }
    let mut room = bounds.headers.saturating_sub(first);
    let mut kept = Headers::new();
    for (name, value, field, size, is_first) in fields {
        if !is_first {
            match room.checked_sub(size) {
                Some(left) => room = left,
                None => continue,
            }
        }
        kept.push(name, value.unwrap_or_else(|| field.value.clone()));
    }
    Some(kept)
}

/// Returns how many attachments are left out.
fn cut_decoded(decoded: &mut Decoded, bounds: &Bounds) -> usize {
    [&mut decoded.sender_id, &mut decoded.receiver_id].into_iter().flatten().for_each(cut_name);
    cut_each([&mut decoded.as2_message_id], MESSAGE_ID);
    cut_each([&mut decoded.subject], bounds.text);
    let short = [
        &mut decoded.encryption_algorithm,
        &mut decoded.decrypted_with,
        &mut decoded.signer,
        &mut decoded.digest_algorithm,
        &mut decoded.mic,
    ];
    cut_each(short, SHORT);
    decoded.mics.truncate(MICS);
    decoded.mics.iter_mut().for_each(|own| cut_string(&mut own.mic, SHORT));
    cut_errors(&mut decoded.errors);
    decoded.warnings.truncate(ERRORS);
    decoded.warnings.iter_mut().for_each(|warning| cut_string(&mut warning.message, ERROR));
    decoded.mdn.iter_mut().for_each(|mdn| cut_mdn(mdn, bounds));
    if bounds.attachments < METADATA {
        // What they are of stands in the documents all the same.
        decoded.acks = Vec::new();
    }
    let mut room = bounds.attachments;
    let mut kept = 0;
    for attachment in &mut decoded.attachments {
        let Attachment { name, content_type, sha256, .. } = attachment;
        cut_each([name, content_type], bounds.attachment);
        cut_string(sha256, 64);
        let mut length = json_length(attachment);
        if length > room
            && let Some(edi) = &mut attachment.edi
        {
            // It still says how many there are.
            edi.interchanges = Vec::new();
            length = json_length(attachment);
        }
        match room.checked_sub(length) {
            Some(left) => room = left,
            None => break,
        }
        kept += 1;
    }
    let left_out = decoded.attachments.len() - kept;
    decoded.attachments.truncate(kept);
    left_out
}

fn cut_mdn(mdn: &mut Mdn, bounds: &Bounds) {
    cut_each([&mut mdn.original_message_id], MESSAGE_ID);
    cut_each([&mut mdn.human_message], bounds.human_message);
    let short = [
        &mut mdn.disposition,
        &mut mdn.action,
        &mut mdn.disposition_type,
        &mut mdn.modifier,
        &mut mdn.modifier_text,
        &mut mdn.mic,
        &mut mdn.reporting_ua,
        &mut mdn.final_recipient,
    ];
    cut_each(short, SHORT);
}

fn cut_errors(errors: &mut Vec<ProcessingError>) {
    let mut kept: Vec<ProcessingError> = Vec::with_capacity(errors.len().min(ERRORS));
    for mut error in std::mem::take(errors) {
        if kept.len() < ERRORS || kept.iter().all(|other| other.code != error.code) {
            cut_string(&mut error.message, ERROR);
            kept.push(error);
        }
    }
    *errors = kept;
}

/// What an event and a verdict have in common. The keys of `extra` are as2hook's own; texts in it may be
/// others'.
fn cut_outcome(
    errors: &mut Vec<ProcessingError>,
    send_error: &mut Option<SendError>,
    extra: &mut Map<String, Value>,
) {
    cut_errors(errors);
    let texts = extra.values_mut().filter_map(|value| match value {
        Value::String(text) => Some(text),
        _ => None,
    });
    let message = send_error.iter_mut().map(|error| &mut error.message);
    message.chain(texts).for_each(|text| cut_string(text, SHORT));
}

/// The length of a JSON form. What has none is an error where it is stored.
fn json_length(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_errors_each_code_stays() {
        let mut errors = vec![ProcessingError::new(ErrorCode::Parse, "a"); 1_000];
        errors.push(ProcessingError::new(ErrorCode::Signature, "b"));
        cut_errors(&mut errors);
        assert_eq!(errors.len(), ERRORS + 1);
        assert_eq!(errors.last().unwrap().code, ErrorCode::Signature);
    }
}
