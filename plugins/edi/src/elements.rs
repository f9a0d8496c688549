//! Elements and components of one segment, and their text.

use encoding_rs::Encoding;

use crate::{Party, WarningValue};

/// Bytes of a field that are kept; the longest of the standards have 70 characters.
const FIELD: usize = 255;

/// What separates the parts of an interchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Separators {
    pub(crate) element: u8,
    pub(crate) component: u8,
    pub(crate) terminator: u8,
    /// Makes the next byte data.
    pub(crate) release: Option<u8>,
}

/// A segment without its terminator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a> {
    segment: &'a [u8],
    /// The tag and two elements, which are all that most segments are asked for.
    first: [&'a [u8]; 3],
    separators: Separators,
    /// Of what is not UTF-8.
    charset: &'static Encoding,
}

// === impl Elements ===

impl<'a> Elements<'a> {
    pub(crate) fn new(
        segment: &'a [u8],
        separators: Separators,
        charset: &'static Encoding,
    ) -> Self {
        let mut first: [&[u8]; 3] = [&[]; 3];
        let mut rest = Some(segment);
        for element in &mut first {
            let Some(bytes) = rest else { break };
            (*element, rest) = split(bytes, separators.element, separators.release);
        }
        Self { segment, first, separators, charset }
    }

    pub(crate) fn with_charset(self, charset: &'static Encoding) -> Self {
        Self { charset, ..self }
    }

    pub(crate) fn tag(&self) -> &'a [u8] {
        self.first[0]
    }

    /// The element as it is written; the tag is element 0.
    pub(crate) fn raw(&self, element: usize) -> &'a [u8] {
        match self.first.get(element) {
            Some(bytes) => bytes,
            None => part(self.segment, self.separators.element, self.separators.release, element),
        }
    }

    /// A component as it is written, from 0.
    pub(crate) fn raw_component(&self, element: usize, component: usize) -> &'a [u8] {
        let separators = self.separators;
        part(self.raw(element), separators.component, separators.release, component)
    }

    /// An element. `None`: it is empty or missing.
    pub(crate) fn text(&self, element: usize) -> Option<String> {
        self.read(self.raw(element))
    }

    pub(crate) fn component(&self, element: usize, component: usize) -> Option<String> {
        self.read(self.raw_component(element, component))
    }

    /// Components as they are written, without the empty ones at the end.
    pub(crate) fn components(&self, element: usize, numbers: &[usize]) -> Option<String> {
        let parts = numbers.iter().map(|&at| self.component(element, at).unwrap_or_default());
        let joined = parts.collect::<Vec<_>>().join(":");
        let joined = joined.trim_end_matches(':');
        (!joined.is_empty()).then(|| joined.to_owned())
    }

    /// An id with its qualifier behind it, as in S002, S003, S006 and S007.
    pub(crate) fn party(&self, element: usize) -> Option<Party> {
        let (id, qualifier) = (self.component(element, 0), self.component(element, 1));
        (id.is_some() || qualifier.is_some()).then_some(Party { qualifier, id })
    }

    pub(crate) fn texts(&self, elements: std::ops::RangeInclusive<usize>) -> Vec<String> {
        elements.filter_map(|element| self.text(element)).collect()
    }

    /// A whole number.
    pub(crate) fn count(&self, element: usize, component: usize) -> Option<u64> {
        whole_number(self.raw_component(element, component))
    }

    /// The text of what is written. `None`: it is empty.
    pub(crate) fn read(&self, raw: &[u8]) -> Option<String> {
        text(&unescaped(raw, self.separators.release), self.charset)
    }
}

// === impl WarningValue ===

impl WarningValue {
    /// A number, if it is one.
    pub(crate) fn of_count(text: String) -> Self {
        whole_number(text.as_bytes()).map_or(Self::Text(text), Self::Number)
    }
}

fn whole_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.trim_ascii();
    let add = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Bytes for a person: without padding, decoded, without control characters, and not too long. `None`: empty.
pub(crate) fn text(bytes: &[u8], charset: &'static Encoding) -> Option<String> {
    let bytes = bytes.trim_ascii_end();
    let decoded = match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => charset.decode_without_bom_handling(bytes).0,
    };
    let text = decoded.replace(char::is_control, "\u{fffd}");
    (!text.is_empty()).then(|| cut(&text).to_owned())
}

/// What is kept of a text.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(FIELD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn unescaped(raw: &[u8], release: Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut released = false;
    for &byte in raw {
        released = !released && Some(byte) == release;
        if !released {
            bytes.push(byte);
        }
    }
    bytes
}

fn part(bytes: &[u8], separator: u8, release: Option<u8>, number: usize) -> &[u8] {
    let mut rest = Some(bytes);
    for _ in 0..number {
        let Some(bytes) = rest else { break };
        rest = split(bytes, separator, release).1;
    }
    rest.map_or(&[], |bytes| split(bytes, separator, release).0)
}

/// What stands before the first separator and behind it.
fn split(bytes: &[u8], separator: u8, release: Option<u8>) -> (&[u8], Option<&[u8]>) {
    let end = match release {
        None => bytes.iter().position(|&byte| byte == separator),
        Some(release) => {
            let mut is_released = false;
            bytes.iter().position(|&byte| {
                let is_data = is_released;
                is_released = !is_released && byte == release;
                !is_data && byte == separator
            })
        }
    };
    match end {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(segment: &[u8]) -> Elements<'_> {
        let separators =
            Separators { element: b'+', component: b':', terminator: b'\'', release: Some(b'?') };
        Elements::new(segment, separators, encoding_rs::WINDOWS_1252)
    }

    #[test]
    fn released_separators_are_data() {
        let elements = elements(b"UNB+a?+b?:c:14+x??+?'");
        assert_eq!(elements.component(1, 0).as_deref(), Some("a+b:c"));
        assert_eq!(elements.component(1, 1).as_deref(), Some("14"));
        assert_eq!(elements.text(2).as_deref(), Some("x?"));
        assert_eq!(elements.text(3).as_deref(), Some("'"));
        assert_eq!(elements.text(4), None);
    }

    #[test]
    fn text_that_is_not_utf_8_is_decoded_by_its_character_set() {
        let elements = elements(b"UNB+M\xfcller+M\xc3\xbcller");
        assert_eq!(elements.text(1).as_deref(), Some("Müller"));
        assert_eq!(elements.text(2).as_deref(), Some("Müller"));
    }

    #[test]
    fn long_field_is_cut_at_a_character() {
        let long = [b"UNB+a".as_slice(), "ü".repeat(200).as_bytes()].concat();
        let text = elements(&long).text(1).unwrap();
        assert_eq!(text, "a".to_owned() + &"ü".repeat(127));
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(elements(b"UNB+a\0b").text(1).as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn empty_components_at_the_end_are_left_out() {
        let elements = elements(b"UNH+ORDERS:D:96A::EAN+ORDERS:D:96A:UN");
        assert_eq!(elements.components(1, &[1, 2, 3, 4]).as_deref(), Some("D:96A::EAN"));
        assert_eq!(elements.components(2, &[1, 2, 3, 4]).as_deref(), Some("D:96A:UN"));
    }
}
