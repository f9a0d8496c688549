//! EDI envelopes in a stream: which interchanges, groups and documents a file has, and which it acknowledges.
//!
//! A push scanner in constant memory: bytes go in through [`Scanner::push`], and [`Scanner::finish`]
//! returns what they were. X12, EDIFACT (interactive and packages too) and XML (root element, Standard
//! Business Document Header) are read without a guide. No I/O, no async.
//!
//! Only envelopes and acknowledgements are read; every other segment is skipped to its terminator.
//! Nothing is transcoded but the fields that are reported. Damage is reported in
//! [`Interchange::warnings`], and never repaired.
//!
//! # Limits
//! One scanner takes 64 KiB at most, besides the lists of its event, which [`EventLists`] bounds. A field
//! is cut to 255 bytes, more than any standard allows. Multi-byte character sets other than UTF-8 are read
//! as bytes: the second byte of a Shift-JIS, Big5 or GBK character, or a part of an escape sequence of
//! ISO 2022 (`UNOX`), may equal a separator. X12 and EDIFACT in UTF-16 are not recognised. Repetitions are
//! not separated, since no element that is read here repeats.
//!
//! # Layout
//! - [`scanner`]: the way through a file: what it begins with, one interchange after the other
//! - `header`: what begins an interchange, and its separators
//! - `segments`: segments in pieces of a stream
//! - `elements`: elements and components of one segment
//! - `envelopes`: one interchange of segments, from its header to its trailer
//! - `x12`, `edifact`: what the segments of each mean
//! - `xml`: the root element and the Standard Business Document Header
//! - `interchange`: what is open in an interchange, and its warnings
//! - `open_ack`: an acknowledgement while it is read
//! - `local_time`: dates without a zone
//! - [`lists`]: what one event lists of all this
//! - [`edi`], [`ack`]: the result, plain data that serialises to the JSON of an event

#![forbid(unsafe_code)]

pub mod ack;
pub mod edi;
mod edifact;
mod elements;
mod envelopes;
mod header;
mod interchange;
pub mod lists;
mod local_time;
mod open_ack;
pub mod scanner;
mod segments;
mod x12;
mod xml;

pub use ack::{Ack, AckStatus, AckedDocument, AckedGroup, AckedInterchange, RejectedGroup};
pub use edi::{
    DocumentCount, Edi, EdiDocument, EdiWarning, FunctionalGroup, Interchange, Party, Standard,
    WarningValue, XmlRoot,
};
pub use lists::EventLists;
pub use scanner::Scanner;
