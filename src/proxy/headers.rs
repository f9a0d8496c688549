//! Header fields as they came: names in their case, values to the letter; without credentials.

use as2hook_as2::Headers;
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};

/// Credentials of the other side's HTTP are not written down.
const CREDENTIALS: [&[u8]; 4] =
    [b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"];

pub(super) fn of_request(request: &RequestHeader) -> Headers {
    let fields = request.case_header_iter();
    all(fields.map(|(name, value)| (name.as_slice(), value.as_bytes())))
}

pub(super) fn of_response(response: &ResponseHeader) -> Headers {
    let fields = response.case_header_iter();
    all(fields.map(|(name, value)| (name.as_slice(), value.as_bytes())))
}

/// The response's own `Date` fields.
pub(super) fn dates(response: &ResponseHeader) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !response.headers.contains_key(header::DATE) {
        return Vec::new();
    }
    let fields = response.case_header_iter();
    let dates = fields.filter(|(name, _)| name.as_slice().eq_ignore_ascii_case(b"date"));
    dates.map(|(name, value)| (name.as_slice().to_vec(), value.as_bytes().to_vec())).collect()
}

fn all<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        if CREDENTIALS.iter().any(|credential| name.eq_ignore_ascii_case(credential)) {
            continue;
        }
        headers.push(String::from_utf8_lossy(name), value);
    }
    headers
}
