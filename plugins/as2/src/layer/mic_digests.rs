//! The MICs of a message that is not signed, digested while it passes.

use crate::{
    Headers, MessageMic, MicForm,
    digest::{Digest, Digests},
    fault::Fault,
    layer::Mic,
    mic,
    mime::Transfer,
    state::DecodeFlow,
};

/// Digests one entity in the forms that a MIC may be over.
pub(crate) struct MicDigests {
    /// The usual form first.
    forms: Vec<FormDigest>,
    /// For [`MicForm::ContentDecoded`].
    transfer: Option<Transfer>,
}

/// One algorithm over one form.
struct FormDigest {
    form: MicForm,
    digest: Digest,
    digests: Digests,
    unoffered: bool,
    /// Bytes that it may still take. A longer content is not worth the pass.
    room: u64,
}

/// Passes over all bytes.
const MAX_PASSES: usize = 4;
/// Bytes up to which algorithms are computed that were not offered, where others were.
const MAX_UNOFFERED: u64 = 1024 * 1024;

// === impl MicDigests ===

impl MicDigests {
    /// `raw` is the entity's MIME header with its blank line; the message's own is HTTP's, of which the
    /// fields about the content are taken.
    pub(crate) fn new(
        place: Mic,
        headers: &Headers,
        raw: &[u8],
        flow: &DecodeFlow<'_>,
    ) -> Option<Self> {
        let requested = &flow.state.requested_mics;
        let habitual: &[Digest] = if flow.state.wants_mdn { &mic::HABITUAL } else { &[] };
        let &first = requested.first().or(habitual.first())?;
        let usual = match place {
            Mic::Elsewhere => return None,
            Mic::Body => MicForm::Content,
            Mic::Entity => MicForm::Entity,
        };
        let transfer = Transfer::declared(headers);
        let is_encoded = !matches!(transfer, Transfer::Identity);
        let is_certain = flow.state.facts.encrypted;
        let others = [MicForm::Entity, MicForm::Content, MicForm::ContentDecoded]
            .into_iter()
            .filter(|&form| form != usual && !is_certain)
            .filter(|&form| form != MicForm::ContentDecoded || is_encoded);
        let all_forms = || std::iter::once(usual).chain(others.clone());
        let unoffered = habitual.iter().filter(|digest| !requested.contains(digest));
        let unoffered = unoffered.filter(|&&digest| digest != first);
        let is_body = matches!(place, Mic::Body);
        let fields = if is_body { fields_of_content(headers) } else { Vec::new() };
        let header = if is_body { &fields[..] } else { raw };
        let forms: Vec<_> = all_forms()
            .map(|form| (form, first))
            .chain(requested.iter().skip(1).map(|&digest| (usual, digest)))
            .chain(unoffered.flat_map(|&digest| all_forms().map(move |form| (form, digest))))
            .take(MAX_PASSES)
            .map(|(form, digest)| {
                let mut digests = Digests::new([digest], false);
                if form == MicForm::Entity {
                    digests.update(header);
                }
                let unoffered = !requested.contains(&digest);
                let is_bounded = unoffered && !requested.is_empty();
                let room = if is_bounded { MAX_UNOFFERED } else { u64::MAX };
                FormDigest { form, digest, digests, unoffered, room }
            })
            .collect();
        let has_decoded = forms.iter().any(|own| own.form == MicForm::ContentDecoded);
        Some(Self { forms, transfer: has_decoded.then_some(transfer) })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Self { forms, transfer } = self;
        let length = bytes.len() as u64;
        forms.retain(|own| own.room >= length);
        for own in forms.iter_mut() {
            own.room -= length;
            if own.form != MicForm::ContentDecoded {
                own.digests.update(bytes);
            }
        }
        match transfer {
            Some(transfer) => transfer.push(bytes, &mut |decoded| update_decoded(forms, decoded)),
            None => Ok(()),
        }
    }

    /// The MICs, the usual one first.
    pub(crate) fn finish(mut self) -> Result<Vec<MessageMic>, Fault> {
        let Self { forms, transfer } = &mut self;
        if let Some(transfer) = transfer {
            transfer.finish(&mut |decoded| update_decoded(forms, decoded))?;
        }
        let mics = self.forms.into_iter().filter_map(|own| {
            let FormDigest { form, digest, digests, unoffered, .. } = own;
            let sum = digests.finish().by(digest)?;
            Some(MessageMic { form, mic: mic::format(digest, &sum.raw), unoffered })
        });
        Ok(mics.collect())
    }
}

fn update_decoded(forms: &mut [FormDigest], decoded: &[u8]) -> Result<(), Fault> {
    for own in forms {
        if own.form == MicForm::ContentDecoded {
            own.digests.update(decoded);
        }
    }
    Ok(())
}

/// The header that a server makes of HTTP's: the fields of MIME, as they came.
fn fields_of_content(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::new();
    for field in headers {
        let name = field.name.to_ascii_lowercase();
        let is_http = matches!(name.as_str(), "content-length" | "content-encoding");
        if name.starts_with("content-") && !is_http {
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(&field.value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
