//! What is on the wire: AS2 messages and MDNs, decoded while they pass.
//!
//! Push parsers in constant memory: bytes go in through [`Decoder::push`], decoded attachments come
//! out of a [`Sink`], and [`Decoder::finish`] tells what the message was. No I/O, no async.
//!
//! # Layout
//! - [`headers`]: header fields as they came, and the AS2 names among them
//! - [`keys`]: whose keys open an envelope, and whose certificates judge a signature
//! - [`decoder`]: the way through, from the body's bytes to the result
//! - [`sink`]: where attachments go while they stream
//! - [`decoded`]: the result, plain data that serialises as section 6 of the design has it

pub mod decoded;
pub mod decoder;
pub mod headers;
pub mod keys;
pub mod sink;

pub use decoded::{Attachment, Decoded, ErrorCode, Kind, Mdn, ProcessingError, SignatureStatus};
pub use decoder::{Decoder, Limits, Options};
pub use headers::{Header, Headers};
pub use keys::{Keyring, StationKey};
pub use sink::Sink;
