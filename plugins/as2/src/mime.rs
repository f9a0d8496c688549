//! MIME without its mail parts: header blocks, parameters, file names, transfer encodings and the
//! multipart splitter (RFC 2045, 2046, 2047, 2183, 2231).

pub(crate) mod header;
mod parameters;
pub mod splitter;
pub(crate) mod transfer;
pub(crate) mod words;

pub(crate) use header::HeaderBlock;
pub(crate) use parameters::{ContentType, file_name, file_names};
pub(crate) use transfer::Transfer;
