//! What is on the wire: AS2 messages and MDNs, decoded while they pass.
//!
//! Push parsers in constant memory: bytes go in through [`Decoder::push`], decoded attachments come
//! out of a [`Sink`], and [`Decoder::finish`] tells what the message was. No I/O, no async.
//!
//! # Layout
//! - [`headers`]: header fields as they came, and the AS2 names among them
//! - [`keys`]: whose keys open an envelope, and whose certificates judge a signature
//! - [`decoder`]: the way through, from the body's bytes to the result
//! - `layer`: what stands between the body and the documents: entities, multiparts, signatures, reports
//! - `cms`: the layers of CMS: envelopes, opaque signatures, compression
//! - `signature`: how a signature stands towards the sender's certificates
//! - [`ber`], [`mime`], [`mdn`], [`digest`]: the parsers below
//! - [`fault`]: why a layer stopped
//! - [`sink`]: where attachments go while they stream
//! - [`decoded`]: the result, plain data that serialises to the JSON of `as2hook decode`

pub mod ber;
mod cms;
pub mod decoded;
pub mod decoder;
pub mod digest;
pub mod fault;
pub mod headers;
mod hex;
pub mod keys;
mod layer;
pub mod mdn;
mod mic;
pub mod mime;
mod signature;
pub mod sink;
mod state;

pub use decoded::{Attachment, Decoded, ErrorCode, Kind, Mdn, ProcessingError, SignatureStatus};
pub use decoder::{Decoder, Limits, Options};
pub use digest::Digest;
pub use fault::Fault;
pub use headers::{Header, Headers};
pub use keys::{Keyring, StationKey};
pub use sink::Sink;
