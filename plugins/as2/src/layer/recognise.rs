//! Recognises what an entity is by its header fields and its first bytes.

use crate::{
    Headers,
    ber::{Tag, oid, push::header},
    mime::{
        ContentType, Transfer, file_name, file_names, header::is_known_field, transfer::is_base64,
    },
};

/// Whether these first bytes are a CMS layer although no header says so. `any`: of any kind, not
/// only an envelope, which is never a document.
pub(crate) fn is_cms(first: &[u8], any: bool) -> bool {
    let first = first.trim_ascii_start();
    if first.first() == Some(&0x30) {
        return is_binary_cms(first, any);
    }
    first.starts_with(b"M")
        && is_base64(first)
        && is_binary_cms(&Transfer::base64().decoded(first), any)
}

/// Whether decrypted bytes begin like an entity: a known field, plain text, or another CMS.
pub(crate) fn is_plausible(first: &[u8]) -> bool {
    is_known_field(first) || is_cms(first, true) || is_text(first)
}

/// Whether a header of a multipart was written into the body, too.
pub(crate) fn is_multipart_header(first: &[u8]) -> bool {
    let start = String::from_utf8_lossy(first).to_ascii_lowercase();
    let kind = start.trim_start().strip_prefix("content-type:").map(str::trim_start);
    kind.is_some_and(|k| k.starts_with("multipart/signed") || k.starts_with("multipart/report"))
}

/// Whether there are two `Content-Type` fields. Within a message copies of one are harmless.
pub(crate) fn has_two_types(headers: &Headers, depth: u8) -> bool {
    let mut kinds = headers.all("content-type").map(<[u8]>::trim_ascii);
    let first = kinds.next();
    kinds.any(|kind| depth == 0 || Some(kind) != first)
}

/// Whether it has a file name, and none of those that S/MIME gives its own layers (RFC 8551 section
/// 3.2.1): `Content-Type` may have one of these beside the document's in `Content-Disposition`.
pub(crate) fn has_document_name(headers: &Headers) -> bool {
    let mut names = file_names(headers).peekable();
    names.peek().is_some() && !names.any(|name| name.to_ascii_lowercase().starts_with("smime."))
}

/// Whether its line ends count as text, so that they may be changed on the way.
pub(crate) fn is_textual(headers: &Headers, kind: &ContentType) -> bool {
    match headers.text("content-transfer-encoding") {
        Some(encoding) => !encoding.trim().eq_ignore_ascii_case("binary"),
        None => kind.is_textual(),
    }
}

/// Whether it is text for a person, without a file name.
pub(crate) fn is_remark(headers: &Headers, kind: &ContentType) -> bool {
    let is_text = kind.essence == "multipart/alternative" || is_prose(&kind.essence);
    is_text && file_name(headers).is_none()
}

/// Whether it may stand behind the notification of an MDN: text for a person, returned content, or a
/// signature. The parts of a multipart are judged one by one.
pub(crate) fn is_beside_notification(headers: &Headers, kind: &ContentType) -> bool {
    let is_signature = kind.essence.ends_with("-signature");
    let is_returned = kind.essence.starts_with("message/") || kind.essence == "text/rfc822-headers";
    kind.is_multipart() || is_signature || is_returned || is_remark(headers, kind)
}

fn is_binary_cms(first: &[u8], any: bool) -> bool {
    let Ok(Some((Tag::SEQUENCE, inside, _))) = header(first) else { return false };
    let Some([0x06, length, id @ ..]) = first.get(inside..) else { return false };
    let Some(id) = id.get(..usize::from(*length)) else { return false };
    id == oid::ENVELOPED_DATA
        || id == oid::AUTH_ENVELOPED_DATA
        || (any && (id == oid::SIGNED_DATA || id == oid::COMPRESSED_DATA))
}

/// Whether it is text for a person by its type, and no document such as `text/xml` or `text/csv`.
fn is_prose(essence: &str) -> bool {
    matches!(essence, "" | "text/plain" | "text/html" | "text/enriched" | "text/rfc822-headers")
}

/// UTF-8 without control characters; the last character may be cut.
fn is_text(first: &[u8]) -> bool {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\r' | '\n'))
}
