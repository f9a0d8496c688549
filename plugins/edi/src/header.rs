//! What begins an interchange of segments: ISA, UNA, UNB or UIB, verified, with the separators that it sets.
//!
//! A text may hold these letters by chance, so a header counts only if all of it is one.

use crate::elements::Separators;

/// Bytes that decide whether a header is one.
pub(crate) const MAX_HEADER: usize = 1024;
/// Bytes of an ISA, whatever its padding.
const MAX_ISA: usize = 512;
/// Elements of an ISA.
const ISA_ELEMENTS: usize = 16;

/// A verified header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InterchangeHeader {
    X12(IsaHeader),
    Edifact(ServiceHeader),
}

/// An ISA.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IsaHeader {
    pub(crate) separators: Separators,
    /// The segment without its terminator, and without line ends.
    pub(crate) segment: Vec<u8>,
    /// Bytes of the segment with its terminator, without line ends: 106.
    pub(crate) width: u64,
}

// === impl IsaHeader ===

impl IsaHeader {
    /// What each ISA should have.
    pub(crate) const WIDTH: u64 = 106;
}

/// What stands before a UNB or UIB, which is not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServiceHeader {
    pub(crate) separators: Separators,
    /// Without UNA, and other separators than the standard's.
    pub(crate) is_guessed: bool,
}

/// Whether it is a header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderMatch {
    No,
    /// More bytes decide; never of [`MAX_HEADER`] bytes, and never at the end.
    Undecided,
    /// It is, and so many bytes of it are read.
    Yes(InterchangeHeader, usize),
}

/// Looks for a header at the beginning of the bytes. `end`: no more bytes come.
pub(crate) fn match_header(bytes: &[u8], end: bool) -> HeaderMatch {
    let end = end || bytes.len() >= MAX_HEADER;
    match bytes.get(..3) {
        Some(b"ISA") => match_isa(bytes, end),
        Some(b"UNA") => match_una(bytes, end),
        Some(b"UNB" | b"UIB") => match_service(bytes, None, end),
        Some(_) => HeaderMatch::No,
        None => undecided(
            end || ![b"ISA", b"UNA", b"UNB", b"UIB"].iter().any(|tag| tag.starts_with(bytes)),
        ),
    }
}

/// Sixteen equal separators, five digits in ISA12, and what separates components and segments behind.
///
/// Fields without their padding and line ends anywhere are common; the terminator itself may be a line end.
fn match_isa(bytes: &[u8], end: bool) -> HeaderMatch {
    let Some(&element) = bytes.get(3) else { return undecided(end) };
    if !is_separator(element) {
        return HeaderMatch::No;
    }
    let mut segment = Vec::with_capacity(106);
    let mut width = 0;
    let mut count = 0;
    let mut version_from = 0;
    let mut component = None;
    for (at, &byte) in bytes.iter().enumerate().take(MAX_ISA) {
        if let Some(component) = component {
            width += 1;
            // Some pad the end, and some write a separator of two bytes.
            if byte == b' ' || (component >= 0xc0 && is_continuation(byte)) {
                continue;
            }
            let is_terminator = matches!(byte, b'\r' | b'\n') || is_separator(byte);
            if !is_terminator || byte == element {
                return HeaderMatch::No;
            }
            let separators = Separators { element, component, terminator: byte, release: None };
            let header = IsaHeader { separators, segment, width };
            return HeaderMatch::Yes(InterchangeHeader::X12(header), at + 1);
        }
        if matches!(byte, b'\r' | b'\n') {
            continue;
        }
        width += 1;
        segment.push(byte);
        if byte == element {
            count += 1;
            match count {
                12 => version_from = segment.len(),
                13 if !is_version(&segment[version_from..segment.len() - 1]) => {
                    return HeaderMatch::No;
                }
                17 => return HeaderMatch::No,
                _ => {}
            }
        } else if count == ISA_ELEMENTS {
            if !is_separator(byte) {
                return HeaderMatch::No;
            }
            component = Some(byte);
        }
    }
    if !end && bytes.len() < MAX_ISA {
        return HeaderMatch::Undecided;
    }
    match component {
        // The file ends before the terminator.
        Some(component) if end && bytes.len() < MAX_ISA => {
            let separators = Separators { element, component, terminator: b'~', release: None };
            let header = IsaHeader { separators, segment, width };
            HeaderMatch::Yes(InterchangeHeader::X12(header), bytes.len())
        }
        _ => HeaderMatch::No,
    }
}

fn is_version(field: &[u8]) -> bool {
    field.len() == 5 && field.iter().all(u8::is_ascii_digit)
}

/// UNA, then perhaps blanks and line ends, then UNB or UIB with these separators.
fn match_una(bytes: &[u8], end: bool) -> HeaderMatch {
    let Some(&[component, element, _, release, _, terminator]) = bytes.get(3..9) else {
        return undecided(end);
    };
    let is_terminator = matches!(terminator, b'\r' | b'\n') || is_separator(terminator);
    let differ = component != element && element != terminator && component != terminator;
    if !(is_separator(component) && is_separator(element) && is_terminator && differ) {
        return HeaderMatch::No;
    }
    // A blank says that there is none.
    let release = is_separator(release).then_some(release);
    let separators = Separators { element, component, terminator, release };
    let blanks = bytes[9..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    match match_service(&bytes[9 + blanks..], Some(separators), end) {
        HeaderMatch::Yes(header, used) => HeaderMatch::Yes(header, 9 + blanks + used),
        other => other,
    }
}

/// UNB or UIB with a syntax identifier of four letters and its version. `announced`: by a UNA.
fn match_service(bytes: &[u8], announced: Option<Separators>, end: bool) -> HeaderMatch {
    let Some(&[b'U', b'N' | b'I', b'B', element, ref letters @ .., component, version]) =
        bytes.get(..10)
    else {
        let may_be = [b"UNB", b"UIB"].iter().any(|tag| bytes.iter().zip(*tag).all(|(a, b)| a == b));
        return undecided(end || !may_be || bytes.len() >= 10);
    };
    let is_service = is_separator(element)
        && letters.iter().all(u8::is_ascii_alphabetic)
        && is_separator(component)
        && component != element
        && version.is_ascii_digit();
    if !is_service {
        return HeaderMatch::No;
    }
    let found = |separators, is_guessed| {
        HeaderMatch::Yes(InterchangeHeader::Edifact(ServiceHeader { separators, is_guessed }), 0)
    };
    match (announced, element, component) {
        (Some(separators), ..)
            if (separators.element, separators.component) == (element, component) =>
        {
            found(separators, false)
        }
        (Some(_), ..) => HeaderMatch::No,
        (None, b'+', b':') => {
            found(Separators { element, component, terminator: b'\'', release: Some(b'?') }, false)
        }
        // The separators of level B (UNOB).
        (None, 0x1d, 0x1f) => {
            found(Separators { element, component, terminator: 0x1c, release: None }, false)
        }
        _ => match guess_terminator(&bytes[10..], element) {
            Some(terminator) if terminator != component => {
                let release = Some(b'?')
                    .filter(|release| ![element, component, terminator].contains(release));
                found(Separators { element, component, terminator, release }, true)
            }
            _ => undecided(end),
        },
    }
}

/// What stands before the first group, message or package.
fn guess_terminator(bytes: &[u8], element: u8) -> Option<u8> {
    let found = bytes.windows(4).position(|tag| {
        tag[3] == element && matches!(&tag[..3], b"UNH" | b"UNG" | b"UNO" | b"UIH")
    });
    let before = &bytes[..found?];
    let line_ends = before.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    let (before, line_end) = before.split_at(before.len() - line_ends);
    match before.last() {
        Some(&last) if is_separator(last) && last != element => Some(last),
        _ => line_end.iter().copied().find(|byte| matches!(byte, b'\r' | b'\n')),
    }
}

fn undecided(end: bool) -> HeaderMatch {
    if end { HeaderMatch::No } else { HeaderMatch::Undecided }
}

fn is_separator(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric() && !byte.is_ascii_whitespace() && byte != 0
}

/// A byte of a UTF-8 character behind its first.
pub(crate) fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISA: &str = "ISA*00*          *00*          *ZZ*ALPHA          *ZZ*BETA           *261115*0930*U*00401*000000101*0*P*>~GS";

    fn isa(bytes: &[u8]) -> Option<IsaHeader> {
        match match_header(bytes, true) {
            HeaderMatch::Yes(InterchangeHeader::X12(header), _) => Some(header),
            _ => None,
        }
    }

    fn service(bytes: &[u8]) -> Option<ServiceHeader> {
        match match_header(bytes, true) {
            HeaderMatch::Yes(InterchangeHeader::Edifact(header), _) => Some(header),
            _ => None,
        }
    }

    #[test]
    fn isa_is_read_to_its_terminator() {
        let header = isa(ISA.as_bytes()).unwrap();
        assert_eq!((header.width, header.separators.terminator), (106, b'~'));
        assert_eq!(header.segment, &ISA.as_bytes()[..105]);
    }

    #[test]
    fn isa_in_lines_or_with_a_blank_before_its_terminator_is_one() {
        let wrapped = ISA.replace("*0930", "*09\r\n30");
        assert_eq!(isa(wrapped.as_bytes()).unwrap(), isa(ISA.as_bytes()).unwrap());
        let padded = isa(ISA.replace(">~", "> ~").as_bytes()).unwrap();
        assert_eq!((padded.width, padded.separators.terminator), (107, b'~'));
    }

    #[test]
    fn isa_that_does_not_verify_is_none() {
        for (old, new) in [("00401", "0040A"), ("*P*", "*P"), (">~", ">GS"), ("ISA*", "ISA")] {
            assert_eq!(isa(ISA.replace(old, new).as_bytes()), None, "{new}");
        }
        assert_eq!(isa(ISA.replace('*', "A").as_bytes()), None);
        assert_eq!(isa(ISA.replace('*', " ").as_bytes()), None);
    }

    #[test]
    fn header_cut_anywhere_is_undecided_until_it_is_decided() {
        let una = "UNA:+.? '\r\nUNB+UNOA:3+";
        let odd = "UNB|UNOA^1|A|B|261115^0930|1~\r\nUNH|";
        for text in [&ISA[..106], &una[..una.len() - 1], odd] {
            for cut in 0..text.len() {
                let bytes = &text.as_bytes()[..cut];
                assert_eq!(match_header(bytes, false), HeaderMatch::Undecided, "{text} {cut}");
            }
            assert!(matches!(match_header(text.as_bytes(), false), HeaderMatch::Yes(..)), "{text}");
        }
    }

    #[test]
    fn una_sets_the_separators() {
        let header = service(b"UNA:+.\\ '  \r\nUNB+IATA:1+").unwrap();
        let separators =
            Separators { element: b'+', component: b':', terminator: b'\'', release: Some(b'\\') };
        assert_eq!(header, ServiceHeader { separators, is_guessed: false });
        assert_eq!(service(b"UNA:+.  'UNB+UNOA:1+").unwrap().separators.release, None);
        assert_eq!(service(b"UNA:+.? 'UNB|UNOA:1+"), None);
    }

    #[test]
    fn odd_separators_without_una_are_guessed() {
        for (end, terminator) in [("~", b'~'), ("~\r\n", b'~'), ("\r\n", b'\r'), ("\n", b'\n')] {
            let text = format!("UNB|UNOA^1|A|B|261115^0930|1{end}UNH|1");
            let header = service(text.as_bytes()).unwrap();
            assert!(header.is_guessed);
            assert_eq!(header.separators.terminator, terminator);
        }
        assert_eq!(service(b"UNB|UNOA^1|A|B|261115^0930|1~BGM|1"), None);
    }

    #[test]
    fn unb_that_does_not_verify_is_none() {
        for text in ["UNB+UNOA\n1;2", "UNB+UN0A:1", "UNBELIEVABLE", "UNB+UNOA:X", "UNB+UNOA"] {
            assert_eq!(match_header(text.as_bytes(), true), HeaderMatch::No, "{text}");
        }
    }
}
