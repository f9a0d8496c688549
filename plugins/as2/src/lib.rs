//! What is on the wire: AS2 messages and MDNs, decoded while they pass.
//!
//! Push parsers in constant memory: bytes go in through [`Decoder::push`], decoded attachments come
//! out of a [`ContentReceiver`], and [`Decoder::finish`] returns what the message was. No I/O, no async.
//!
//! # Memory
//! One decode takes 1.5 MiB for a message as partners send them, most of it the first MiB of a signed
//! part, which is kept until its signature is there; and never more than [`MAX_MEMORY`] whatever the
//! nesting, with a `header` limit of 64 KiB. That is: the kept part (1 MiB, of the outermost signature
//! alone), one detached signature with its copies (3 MiB), a header block with its fields at the
//! innermost entity (256 KiB) and one that was none for each of the 16 layers (1 MiB), what may be a
//! document instead of a layer, until it is decided (256 KiB), the buffers of 16 layers (150 KiB each),
//! what the envelopes of a document are read with (64 KiB), and what the result keeps (1 MiB).
//!
//! # Layout
//! - [`headers`]: header fields as they came, and the AS2 names among them
//! - [`keys`]: whose keys open an envelope, and whose certificates judge a signature
//! - [`decoder`]: the way through, from the body's bytes to the result
//! - `coding`: the content codings of HTTP around the body
//! - `layer`: what stands between the body and the documents: entities, multiparts, signatures, reports
//! - `cms`: the layers of CMS: envelopes, opaque signatures, compression
//! - `signature`: how a signature stands towards the sender's certificates
//! - [`mic`]: the MICs of a message, compared with that of an MDN
//! - [`ber`], [`mime`], [`mdn`], [`digest`]: the parsers below
//! - [`fault`]: why a layer stopped
//! - `state`: what the layers share
//! - `gather`: small pieces joined
//! - `inflate`: deflated streams in pieces
//! - [`sink`]: where attachments go while they stream
//! - [`cut`]: how long each text of the result may be
//! - `warning`: what is odd and no error
//! - `serial`, [`hex`]: serial numbers and bytes as text
//! - [`decoded`]: the result, plain data that serialises to the JSON of `as2hook decode`

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod ber;
mod cms;
mod coding;
pub mod cut;
pub mod decoded;
pub mod decoder;
pub mod digest;
pub mod fault;
mod gather;
pub mod headers;
pub mod hex;
mod inflate;
pub mod keys;
mod layer;
pub mod mdn;
pub mod mic;
pub mod mime;
mod serial;
mod signature;
pub mod sink;
mod state;
mod warning;

pub use as2hook_edi as edi;
pub use decoded::{
    Attachment, ContentKind, Decoded, ErrorCode, Mdn, ProcessingError, SignatureStatus,
};
pub use decoder::{Decoder, DecoderLimits, Options};
pub use digest::Digest;
pub use fault::Fault;
pub use headers::{Header, Headers};
pub use keys::{Keyring, StationKey};
pub use mic::{MessageMic, MicComparison, MicForm};
pub use sink::ContentReceiver;
pub use warning::Warning;

/// Bytes of memory that the decode of one message may take at the most, whatever its nesting.
pub const MAX_MEMORY: u64 = 8 << 20;
