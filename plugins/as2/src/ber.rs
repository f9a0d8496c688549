//! BER, the encoding of CMS (X.690): a push parser for what streams, a reader for what is small.

pub mod oid;
pub mod push;
pub(crate) mod read;

pub use push::{Action, Parser, Tag, Visitor};
