//! The filters of a rule on an event's documents, signature and processing errors.

use std::fmt;

use as2hook_as2::{ErrorCode, ProcessingError, SignatureStatus};

use super::documents::{DocumentType, found_in};
use crate::event::Event;

/// The filters of a rule. All that are given must hold; by default none is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// A document of one of these types is in the message. Unlike the others it makes a rule more
    /// specific.
    pub documents: Option<Vec<DocumentType>>,
    /// The signature has one of these statuses. A signature that was not verified has none.
    pub signature: Option<Vec<SignatureStatus>>,
    /// Which processing errors the event has.
    pub errors: Option<ErrorFilter>,
}

/// A condition on processing errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorFilter {
    /// None at all.
    None,
    /// At least one, whichever it is.
    Any,
    /// At least one of these.
    Codes(Vec<ErrorCode>),
}

/// What is known of an event for its filters; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    documents: Option<Vec<DocumentType>>,
    /// One bit.
    signature: Option<u8>,
    errors: Option<u16>,
}

/// Filters on signature and errors as sets of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterMask {
    signature: u8,
    errors: u16,
}

/// Whether an event satisfies the filters of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterMatch {
    Yes,
    No,
    /// Too little is known.
    Maybe,
}

/// The bit of a signature that was not verified.
const NOT_JUDGED: u8 = 1 << 7;
/// The bit of an event without any error.
const NO_ERROR: u16 = 1 << 15;
/// The bit of an event that has an error of any code.
const SOME_ERROR: u16 = 1 << 14;
/// The bits of the codes.
const CODES: u16 = SOME_ERROR - 1;

// === impl Filters ===

impl Filters {
    pub(crate) fn mask(&self) -> FilterMask {
        let statuses = |words: &Vec<_>| words.iter().fold(0, |set, word| set | status_bit(*word));
        FilterMask {
            signature: self.signature.as_ref().map_or(u8::MAX, statuses),
            errors: match &self.errors {
                None => NO_ERROR | CODES,
                Some(ErrorFilter::None) => NO_ERROR,
                Some(ErrorFilter::Any) => CODES,
                Some(ErrorFilter::Codes(codes)) => codes_bits(codes.iter().copied()),
            },
        }
    }
}

impl fmt::Display for Filters {
    /// As a condition: "its signature is valid and it has no errors".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |words: Vec<String>| words.join(" or ");
        let mut conditions = Vec::new();
        if let Some(documents) = &self.documents {
            let types = documents.iter().map(ToString::to_string).collect();
            conditions.push(format!("it has a document {}", or(types)));
        }
        if let Some(statuses) = &self.signature {
            let words = statuses.iter().map(|status| status.as_str().to_owned()).collect();
            conditions.push(format!("its signature is {}", or(words)));
        }
        match &self.errors {
            None => {}
            Some(ErrorFilter::None) => conditions.push("it has no errors".to_owned()),
            Some(ErrorFilter::Any) => conditions.push("it has errors".to_owned()),
            Some(ErrorFilter::Codes(codes)) => {
                conditions.push(format!("it has an error {}", or(words(codes))));
            }
        }
        f.write_str(&conditions.join(" and "))
    }
}

impl fmt::Display for ErrorFilter {
    /// `none`, `any`, or the codes as in `800,900`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Any => f.write_str("any"),
            Self::Codes(codes) => f.write_str(&words(codes).join(",")),
        }
    }
}

// === impl Findings ===

impl Findings {
    /// Returns what is known of an event that was decoded and settled. One that was not decoded has no documents.
    pub fn of(event: &Event) -> Self {
        let decoded = event.decoded.as_ref();
        let status = decoded.and_then(|decoded| decoded.signature_status);
        let known = Self::default().signature(status).errors([]);
        let documents = Some(decoded.map(found_in).unwrap_or_default());
        Self { documents, ..known }.with(event.processing_errors())
    }

    /// Sets the types of all documents, in their order.
    #[must_use]
    pub fn documents(self, types: Vec<DocumentType>) -> Self {
        Self { documents: Some(types), ..self }
    }

    /// Returns which of the documents is the first of these types: its place, or 0 where documents are unknown.
    pub(crate) fn first_of(&self, types: Option<&[DocumentType]>) -> (FilterMatch, usize) {
        let (Some(types), Some(found)) = (types, &self.documents) else {
            let matched = if types.is_none() { FilterMatch::Yes } else { FilterMatch::Maybe };
            return (matched, 0);
        };
        match found.iter().position(|one| types.iter().any(|of| of.overlaps(one))) {
            Some(place) => (FilterMatch::Yes, place),
            None => (FilterMatch::No, usize::MAX),
        }
    }

    /// Sets the status of the signature; `None`: it was not verified.
    #[must_use]
    pub fn signature(self, status: Option<SignatureStatus>) -> Self {
        Self { signature: Some(status.map_or(NOT_JUDGED, status_bit)), ..self }
    }

    /// Sets all processing errors.
    #[must_use]
    pub fn errors(self, codes: impl IntoIterator<Item = ErrorCode>) -> Self {
        let errors = match codes_bits(codes) {
            0 => NO_ERROR,
            codes => codes,
        };
        Self { errors: Some(errors), ..self }
    }

    /// Sets that there are processing errors; which ones is unknown.
    #[must_use]
    pub fn some_errors(self) -> Self {
        Self { errors: Some(SOME_ERROR), ..self }
    }

    /// Adds processing errors to the known ones.
    #[must_use]
    pub fn with<'a>(self, more: impl IntoIterator<Item = &'a ProcessingError>) -> Self {
        let more = codes_bits(more.into_iter().map(|error| error.code));
        let errors = self.errors.map(|known| match more {
            0 => known,
            more => known & !NO_ERROR | more,
        });
        Self { errors, ..self }
    }
}

// === impl FilterMatch ===

impl FilterMatch {
    /// Whether both filters hold.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }
}

// === impl FilterMask ===

impl FilterMask {
    /// Whether an event with these findings satisfies the filters.
    pub(crate) fn matches(self, findings: &Findings) -> FilterMatch {
        let signature = match findings.signature {
            _ if self.signature == u8::MAX => FilterMatch::Yes,
            None => FilterMatch::Maybe,
            Some(bit) if self.signature & bit != 0 => FilterMatch::Yes,
            Some(_) => FilterMatch::No,
        };
        let errors = match findings.errors {
            _ if self.errors == NO_ERROR | CODES => FilterMatch::Yes,
            None => FilterMatch::Maybe,
            Some(bits) if self.errors & bits != 0 => FilterMatch::Yes,
            Some(SOME_ERROR) if self.errors & CODES == CODES => FilterMatch::Yes,
            Some(SOME_ERROR) if self.errors & CODES != 0 => FilterMatch::Maybe,
            Some(_) => FilterMatch::No,
        };
        signature.and(errors)
    }

    /// Whether one event could satisfy both. It can have several errors at once.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let both = self.errors & other.errors;
        let errors = both & NO_ERROR != 0 || self.errors & CODES != 0 && other.errors & CODES != 0;
        self.signature & other.signature != 0 && errors
    }

    /// Whether there is any filter.
    pub(crate) fn is_some(self) -> bool {
        self != Filters::default().mask()
    }
}

// === helpers ===

fn words(codes: &[ErrorCode]) -> Vec<String> {
    codes.iter().map(|code| code.number().to_string()).collect()
}

fn status_bit(status: SignatureStatus) -> u8 {
    1 << SignatureStatus::ALL.iter().position(|one| *one == status).unwrap_or(0)
}

fn codes_bits(codes: impl IntoIterator<Item = ErrorCode>) -> u16 {
    let place = |code| ErrorCode::ALL.iter().position(|one| *one == code).unwrap_or(0);
    codes.into_iter().fold(0, |set, code| set | 1 << place(code))
}
