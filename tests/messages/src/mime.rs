//! MIME entities and multiparts.

/// `headers` is lines without their ends.
pub fn entity(headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for header in headers {
        out.extend(header.as_bytes());
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
    out.extend(body);
    out
}

/// An EDI document as most senders send it.
pub fn document(body: &[u8]) -> Vec<u8> {
    entity(
        &[
            "Content-Type: application/edifact",
            "Content-Transfer-Encoding: binary",
            "Content-Disposition: attachment; filename=\"orders.edi\"",
        ],
        body,
    )
}

pub fn multipart(kind: &str, boundary: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend(format!("--{boundary}\r\n").bytes());
        body.extend(*part);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    entity(&[&format!("Content-Type: {kind}; boundary=\"{boundary}\"")], &body)
}
