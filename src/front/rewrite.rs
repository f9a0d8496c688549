//! Rewrites a request's head before Pingora reads it, where RFC 9112 has a proxy do so and Pingora 0.9.1
//! refuses the request instead. The receiver, the tap and the deliveries then see the same fields.

/// Fields that are refused when they are folded: readers that know no folds would see another message, or
/// another receiver of it.
const NEVER_FOLDED: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"connection", b"host"];

/// Replaces each fold, with the blanks around it, by one blank (RFC 9112 section 5.2). Folds behind the
/// request line and in fields of the framing stay as they are, and are refused by that.
pub(crate) fn unfold(head: &[u8]) -> Vec<u8> {
    let mut unfolded = Vec::with_capacity(head.len());
    let mut may_fold = false;
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        if !line.first().is_some_and(is_blank) {
            may_fold =
                !unfolded.is_empty() && !NEVER_FOLDED.iter().any(|name| is_field(line, name));
            unfolded.extend_from_slice(line);
            continue;
        }
        match unfolded.strip_suffix(b"\r\n").filter(|_| may_fold) {
            Some(before) => {
                unfolded.truncate(before.len() - blanks(before.iter().rev()));
                unfolded.push(b' ');
                unfolded.extend_from_slice(&line[blanks(line.iter())..]);
            }
            None => unfolded.extend_from_slice(line),
        }
    }
    unfolded
}

/// Replaces the value of `Host`, or adds the field (RFC 9112 section 3.2.2).
pub(crate) fn replace_host(head: &[u8], host: &[u8]) -> Vec<u8> {
    let mut lines = head.split_inclusive(|&byte| byte == b'\n');
    let found = lines.clone().find(|line| is_field(line, b"host"));
    let name = found.map_or(&b"Host"[..], |line| &line[..b"host".len()]);
    let field = [name, b": ", host, b"\r\n"].concat();
    let mut replaced = lines.next().unwrap_or_default().to_vec();
    if found.is_none() {
        replaced.extend_from_slice(&field);
    }
    for line in lines {
        replaced.extend_from_slice(if is_field(line, b"host") { &field } else { line });
    }
    replaced
}

/// Whether a line is the field of this name, given in small letters.
fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        && line.get(name.len()) == Some(&b':')
}

fn blanks<'b>(bytes: impl Iterator<Item = &'b u8>) -> usize {
    bytes.take_while(|byte| is_blank(byte)).count()
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a head of these lines.
    fn unfolded(lines: &str) -> String {
        let head = format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n");
        let unfolded = String::from_utf8(unfold(head.as_bytes())).unwrap();
        let fields = unfolded.strip_prefix("POST / HTTP/1.1\r\n").unwrap();
        fields.strip_suffix("\r\n\r\n").unwrap().to_owned()
    }

    #[test]
    fn fold_with_the_blanks_around_it_becomes_one_blank() {
        for (folded, plain) in [
            ("A: b\r\n c", "A: b c"),
            ("A: b\r\n\tc", "A: b c"),
            ("A: b \t\r\n \t c", "A: b c"),
            ("A: b;\r\n c;\r\n\td\r\nE: f\r\n g", "A: b; c; d\r\nE: f g"),
            ("A: b\r\n \r\n\t\r\n c", "A: b c"),
            ("A:\r\n b", "A: b"),
            ("A: \r\n b", "A: b"),
            ("A: b\r\n Host: c", "A: b Host: c"),
            ("Host2: b\r\n c\r\nHost: d", "Host2: b c\r\nHost: d"),
        ] {
            assert_eq!(unfolded(folded), plain, "{folded:?}");
        }
        assert_eq!(unfolded("A: b\r\n \r\nC: d"), "A: b \r\nC: d");
    }

    #[test]
    fn fold_behind_the_request_line_or_in_a_field_of_the_framing_stays() {
        for lines in [
            " A: b",
            "\tA: b\r\n c",
            "Content-Length: 3\r\n 0",
            "transfer-encoding:\r\n chunked",
            "CONNECTION: close\r\n , te",
            "Host: a\r\n \r\n\tb",
        ] {
            assert_eq!(unfolded(lines), lines);
        }
    }

    #[test]
    fn bare_cr_before_a_fold_is_kept_and_so_refused() {
        assert_eq!(unfolded("A: b\r\r\n c"), "A: b\r c");
        assert_eq!(unfolded("A: b\n c"), "A: b\n c");
    }

    #[test]
    fn host_is_replaced_or_added_and_other_fields_are_not() {
        let head = b"GET http://a:80/ HTTP/1.1\r\nhOST:  A \r\nHost2: b\r\n\r\n";
        let replaced = b"GET http://a:80/ HTTP/1.1\r\nhOST: a:80\r\nHost2: b\r\n\r\n";
        assert_eq!(replace_host(head, b"a:80"), replaced);
        let head = b"GET http://a:80/ HTTP/1.0\r\nHost2: b\r\n\r\n";
        let added = b"GET http://a:80/ HTTP/1.0\r\nHost: a:80\r\nHost2: b\r\n\r\n";
        assert_eq!(replace_host(head, b"a:80"), added);
    }
}
