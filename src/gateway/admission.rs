//! Which requests are let in: what Pingora 0.9.1 cannot pass on unambiguously, and what is over a
//! limit, gets a clear answer here and never reaches the receiver.

use http::{HeaderMap, Method, Version, header};
use pingora::http::RequestHeader;

use super::answer::Rejection;

/// Judges a request by its head. `raw` is the head as it came off the wire.
///
/// # Errors
/// The answer to give instead.
pub(super) fn admit(
    request: &RequestHeader,
    raw: &[u8],
    header_limit: usize,
    body_limit: u64,
) -> Result<(), Rejection> {
    if raw.len() > header_limit {
        return Err(Rejection::HeadTooLarge { limit: header_limit });
    }
    if request.version == Version::HTTP_09 {
        return Err(Rejection::Version);
    }
    // Pingora escapes or cuts what it does not like in a target: then two readers see two of them.
    if target(raw).is_some_and(|target| target != request.raw_path()) {
        return Err(Rejection::Target);
    }
    if count(raw, b"transfer-encoding") > 0 && count(raw, b"content-length") > 0 {
        return Err(Rejection::Framing("both Content-Length and Transfer-Encoding"));
    }
    if count(raw, b"content-length") > 1 || count(raw, b"transfer-encoding") > 1 {
        return Err(Rejection::Framing("more than one Content-Length or Transfer-Encoding"));
    }
    if !only_chunked(&request.headers) {
        return Err(Rejection::Framing("a Transfer-Encoding that is not just \"chunked\""));
    }
    if request.version == Version::HTTP_10
        && request.headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Err(Rejection::Framing("Transfer-Encoding in HTTP/1.0"));
    }
    if let Some(as2) = ["as2-from", "as2-to", "message-id"].into_iter().find(|name| {
        request.headers.get_all(*name).iter().count() > 1 && request.method == Method::POST
    }) {
        return Err(Rejection::Repeated(as2));
    }
    if content_length(&request.headers).is_some_and(|length| length > body_limit) {
        return Err(Rejection::BodyTooLarge { limit: body_limit });
    }
    Ok(())
}

/// Whether the request asks for an interim answer before it sends its body.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn only_chunked(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The target as it stands in the request line.
fn target(raw: &[u8]) -> Option<&[u8]> {
    let line = raw.split(|&b| b == b'\n').next()?.trim_ascii_end();
    let target = line.splitn(2, |&b| b == b' ').nth(1)?;
    let end = target.iter().rposition(|&b| b == b' ')?;
    Some(target[..end].trim_ascii())
}

/// How often a field stands in a head. Pingora drops a Content-Length beside a Transfer-Encoding
/// before any hook sees it, so the bytes are asked.
fn count(raw: &[u8], name: &[u8]) -> usize {
    raw.split(|&b| b == b'\n')
        .skip(1)
        .filter(|line| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                && line[name.len()..].trim_ascii_start().first() == Some(&b':')
        })
        .count()
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
        if start.next() == Some("HTTP/1.0") {
            request.set_version(Version::HTTP_10);
        }
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            request.append_header(name.trim_end().to_owned(), value).unwrap();
        }
        admit(&request, raw.as_bytes(), 1024, 100)
    }

    #[test]
    fn an_ordinary_message_is_let_in() {
        judge("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n").unwrap();
        judge("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "content-length : 5\r\ntransfer-encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: xchunked",
        ] {
            let result = judge(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"));
            assert!(matches!(result, Err(Rejection::Framing(_))), "{fields}: {result:?}");
        }
    }

    #[test]
    fn a_target_that_pingora_changes_is_refused() {
        let request = RequestHeader::build("POST", b"/a%20b", None).unwrap();
        let raw = b"POST /a b HTTP/1.1\r\n\r\n";
        assert_eq!(admit(&request, raw, 1024, 100), Err(Rejection::Target));
    }

    #[test]
    fn limits_are_inclusive() {
        judge("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n").unwrap();
        let over = judge("POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
        assert!(matches!(over, Err(Rejection::BodyTooLarge { limit: 100 })));
        let long = format!("POST / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1024));
        assert!(matches!(judge(&long), Err(Rejection::HeadTooLarge { .. })));
    }

    #[test]
    fn an_as2_identity_stands_once() {
        let twice = judge("POST / HTTP/1.1\r\nAS2-From: A\r\nas2-from: B\r\n\r\n");
        assert!(matches!(twice, Err(Rejection::Repeated("as2-from"))));
    }
}
