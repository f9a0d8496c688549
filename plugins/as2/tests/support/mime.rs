//! MIME entities and multiparts.

use as2hook_as2::Headers;

use super::Message;

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

/// The entity's header becomes HTTP's, with the AS2 headers in front.
pub fn http(entity: &[u8], more: &[(&str, &str)]) -> Message {
    let mut headers = Headers::new();
    headers.push("AS2-Version", "1.2");
    headers.push("AS2-From", "PARTNER");
    headers.push("AS2-To", "STATION");
    headers.push("Message-ID", "<1@partner>");
    headers.push("Subject", "a test");
    for (name, value) in more {
        headers.push(*name, *value);
    }
    let end = memchr::memmem::find(entity, b"\r\n\r\n").expect("a header");
    for line in String::from_utf8_lossy(&entity[..end]).lines() {
        let (name, value) = line.split_once(':').expect("a field");
        headers.push(name, value.trim());
    }
    Message { headers, body: entity[end + 4..].to_vec() }
}
