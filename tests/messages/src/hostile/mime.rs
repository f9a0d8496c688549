//! MIME (RFC 2045, RFC 2047, RFC 2231) that costs more than it weighs.

use std::fmt::Write;

use super::Attack;

const MIXED: &str = "multipart/mixed; boundary=B";
const REPORT: &str = "multipart/report; report-type=disposition-notification; boundary=report";

/// A part whose header is one line without a colon and without an end.
pub fn header_of_one_line(length: usize) -> Attack {
    parts(1, &format!("{}\r\n", "a".repeat(length)))
}

/// Attachments whose names begin an encoded word every two characters.
pub fn encoded_words(attachments: usize, length: usize) -> Attack {
    let name = "=?".repeat(length / 2);
    let header =
        format!("Content-Type: x/y\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n");
    parts(attachments, &header)
}

/// Attachments with names and types of this length.
pub fn long_names(attachments: usize, length: usize) -> Attack {
    let (half, name) = (length / 2, "n".repeat(length / 2));
    let kind = "t".repeat(half);
    let header = format!(
        "Content-Type: a/{kind}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n"
    );
    parts(attachments, &header)
}

/// Attachments whose name comes in as many pieces (RFC 2231) as fit into so many bytes.
pub fn many_parameters(attachments: usize, length: usize) -> Attack {
    let mut header = String::from("Content-Disposition: attachment");
    let mut nth = 0;
    while header.len() < length {
        write!(header, "; filename*{nth}*=a").expect("a string takes every piece");
        nth += 1;
    }
    parts(attachments, &format!("Content-Type: x/y\r\n{header}\r\n"))
}

/// A part whose header is one field of as many folded lines as fit into so many bytes.
pub fn folded_lines(attachments: usize, length: usize) -> Attack {
    parts(attachments, &format!("Content-Type: x/y\r\nX-A: a\r\n{}", " b\r\n".repeat(length / 4)))
}

/// A multipart that does not say its boundary.
pub fn multipart_without_boundary(length: usize) -> Attack {
    let line = format!("{}\n", "a".repeat(30));
    Attack::new("multipart/mixed", line.repeat(length / line.len()).into_bytes())
}

/// A multipart whose boundary is nearly there all the time.
pub fn boundary_near_misses(length: usize) -> Attack {
    let boundary = "-".repeat(69);
    let content_type = format!("multipart/mixed; boundary=\"{boundary}x\"");
    Attack::new(&content_type, [b"\r\n--".as_slice(), &vec![b'-'; length]].concat())
}

/// As many parts as fit into so many bytes, all of them empty.
pub fn tiny_parts(length: usize) -> Attack {
    Attack::new(MIXED, "--B\r\n\r\n\r\n".repeat(length / 9).into_bytes())
}

/// Receipts whose second part is another receipt, so many deep, and so many bytes of text inside.
pub fn nested_reports(depth: usize, length: usize) -> Attack {
    let mut body = format!("--report\r\n\r\n{}\r\n--report--\r\n", "a".repeat(length));
    for nth in 0..depth {
        // The boundary of the next one outside is another.
        let inner =
            format!("multipart/report; report-type=disposition-notification; boundary=report{nth}");
        body = body.replace("--report\r\n", &format!("--report{nth}\r\n"));
        body = body.replace("--report--\r\n", &format!("--report{nth}--\r\n"));
        body = format!("--report\r\nContent-Type: {inner}\r\n\r\n{body}\r\n--report--\r\n");
    }
    Attack::new(REPORT, body.into_bytes())
}

/// So many `multipart/signed` around each other, with so many bytes of content inside and no signature.
pub fn nested_multipart_signed(layers: usize, length: usize) -> Attack {
    let mut attack = Attack::new("application/octet-stream", vec![b'x'; length]);
    for nth in 0..layers {
        let content_type = format!(
            "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=\"sha-1, sha-256, \
             sha-384, sha-512, md5\"; boundary=s{nth}"
        );
        let mut body =
            format!("--s{nth}\r\nContent-Type: {}\r\n\r\n", attack.content_type).into_bytes();
        body.extend_from_slice(&attack.body);
        body.extend_from_slice(format!("\r\n--s{nth}--\r\n").as_bytes());
        let output = attack.output + body.len() as u64;
        attack = Attack { content_type, body, output };
    }
    attack
}

fn parts(count: usize, header: &str) -> Attack {
    let body = format!("--B\r\n{header}\r\nx\r\n").repeat(count) + "--B--\r\n";
    Attack::new(MIXED, body.into_bytes())
}
