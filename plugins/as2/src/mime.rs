//! MIME without its mail parts: header blocks, parameters, file names, transfer encodings and the
//! multipart splitter (RFC 2045, 2046, 2047, 2183, 2231).

pub(crate) mod content_type;
pub(crate) mod file_name;
pub(crate) mod header;
pub(crate) mod parameters;
pub mod splitter;
pub(crate) mod transfer;
pub(crate) mod words;

pub(crate) use content_type::ContentType;
pub(crate) use header::HeaderBlock;
pub(crate) use transfer::Transfer;
