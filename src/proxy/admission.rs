//! Which requests are let in: what Pingora 0.9.1 would change, and what is over a limit, gets a clear
//! response here and never reaches the receiver. What no reader of HTTP should take was refused before
//! Pingora saw it: see `head`.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::front::rejection::{OtherSide, Rejection};

/// Judges a request by its head. `raw` is the head as it came off the wire.
///
/// # Errors
/// The response to give instead.
pub(super) fn admit(request: &RequestHeader, raw: &[u8], body_limit: u64) -> Result<(), Rejection> {
    // Pingora escapes or cuts what it does not like in a target: then two readers see two of them.
    if target(raw).is_some_and(|target| target != request.raw_path()) {
        return Err(Rejection::Target);
    }
    if content_length(&request.headers).is_some_and(|length| length > body_limit) {
        return Err(Rejection::BodyTooLarge { limit: body_limit });
    }
    Ok(())
}

/// Judges a response by its head, and leaves it one framing. What Pingora 0.9.1 reads of it is right
/// so far; what it would pass on has to read alike.
///
/// # Errors
/// The response to give instead.
pub(super) fn judge_response(
    response: &mut ResponseHeader,
    far: OtherSide,
) -> Result<(), Rejection> {
    // No upgrade was asked for: behind it would be a tunnel that the tap cannot see into.
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Rejection::BadResponse(far));
    }
    let codings: Vec<_> = response.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.len() > 1 || !codings.into_iter().all(plain) {
        return Err(Rejection::BadResponse(far));
    }
    let lengths = response.headers.get_all(header::CONTENT_LENGTH);
    // A list of equal numbers is one number for Pingora, and goes on as a list, which others may read in
    // another way.
    if !lengths.iter().all(|length| length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(Rejection::BadResponse(far));
    }
    // RFC 9110 section 8.6: of equal ones, one; Pingora has refused others.
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(length), true) = (lengths.next().cloned(), lengths.next().is_some()) {
        let inserted = response.insert_header(header::CONTENT_LENGTH, length);
        inserted.map_err(|_| Rejection::BadResponse(far))?;
    }
    Ok(())
}

/// Whether the request asks for an interim response before it sends its body.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The target as it stands in the request line.
fn target(raw: &[u8]) -> Option<&[u8]> {
    let line = raw.split(|&b| b == b'\n').next()?.trim_ascii_end();
    let target = line.splitn(2, |&b| b == b' ').nth(1)?;
    let end = target.iter().rposition(|&b| b == b' ')?;
    Some(target[..end].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(raw: &str) -> Result<(), Rejection> {
        let mut lines = raw.split("\r\n");
        let mut start = lines.next().unwrap().split(' ');
        let method = start.next().unwrap();
        let mut request =
            RequestHeader::build(method, start.next().unwrap().as_bytes(), None).unwrap();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            request.append_header(name.trim_end().to_owned(), value).unwrap();
        }
        admit(&request, raw.as_bytes(), 100)
    }

    #[test]
    fn a_target_that_pingora_changes_is_refused() {
        let request = RequestHeader::build("POST", b"/a%20b", None).unwrap();
        let raw = b"POST /a b HTTP/1.1\r\n\r\n";
        assert_eq!(admit(&request, raw, 100), Err(Rejection::Target));
    }

    #[test]
    fn limits_are_inclusive() {
        judge("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n").unwrap();
        let over = judge("POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
        assert!(matches!(over, Err(Rejection::BodyTooLarge { limit: 100 })));
    }
}
