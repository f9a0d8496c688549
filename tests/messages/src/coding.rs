//! Content codings of HTTP, as servers apply them.

use std::io::{self, Write};

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

/// RFC 1952.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    written(encoder.write_all(bytes).and_then(|()| encoder.finish()))
}

/// What `deflate` stands for (RFC 1950).
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    written(encoder.write_all(bytes).and_then(|()| encoder.finish()))
}

/// What some servers send as `deflate` (RFC 1951).
pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    written(encoder.write_all(bytes).and_then(|()| encoder.finish()))
}

fn written(coded: io::Result<Vec<u8>>) -> Vec<u8> {
    coded.expect("memory takes all")
}
