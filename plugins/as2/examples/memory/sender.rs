//! Makes large messages while they are sent.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a module of one tool, which fails by panicking"
)]

use std::{io::Write, str::FromStr};

use as2hook_as2::{Digest, SignatureStatus, ber::oid};
use flate2::{Compression, write::ZlibEncoder};
use openssl::{cipher::Cipher, cipher_ctx::CipherCtx, sha::Sha256};

use crate::support::{
    KeyWay, Recipient, SignOptions,
    der::{int, length, octets, oid, seq, tlv},
    identity::{PARTNER, STATION},
};

/// What is around the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    Signed,
    EncryptedDer,
    EncryptedBer,
    SignedEncryptedDer,
    CompressedSignedEncryptedBer,
}

/// A message to send.
pub struct Send {
    layers: Layers,
    size: u64,
    signature: Vec<u8>,
}

type To<'a> = &'a mut dyn FnMut(&[u8]);

const PIECE: usize = 64 * 1024;
const HEADER: &[u8] = b"Content-Type: application/octet-stream\r\n\
    Content-Transfer-Encoding: binary\r\nContent-Disposition: attachment; filename=large.bin\r\n\r\n";
const COMPRESSED: &[u8] =
    b"Content-Type: application/pkcs7-mime; smime-type=compressed-data; name=smime.p7z\r\n\r\n";
const SIGNED: &str = "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=\"=_sig\"";

impl Layers {
    pub const ALL: [Self; 5] = [
        Self::Signed,
        Self::EncryptedDer,
        Self::EncryptedBer,
        Self::SignedEncryptedDer,
        Self::CompressedSignedEncryptedBer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::EncryptedDer => "encrypted-der",
            Self::EncryptedBer => "encrypted-ber",
            Self::SignedEncryptedDer => "signed-encrypted-der",
            Self::CompressedSignedEncryptedBer => "compressed-signed-encrypted-ber",
        }
    }

    pub fn content_type(self) -> &'static str {
        if self == Self::Signed { SIGNED } else { "application/pkcs7-mime" }
    }

    pub fn status(self) -> SignatureStatus {
        if self.is_signed() { SignatureStatus::Valid } else { SignatureStatus::Unsigned }
    }

    fn is_signed(self) -> bool {
        !matches!(self, Self::EncryptedDer | Self::EncryptedBer)
    }

    fn is_compressed(self) -> bool {
        self == Self::CompressedSignedEncryptedBer
    }

    fn is_ber(self) -> bool {
        matches!(self, Self::EncryptedBer | Self::CompressedSignedEncryptedBer)
    }
}

impl FromStr for Layers {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|layers| layers.name() == name);
        found.ok_or_else(|| format!("no layers are called {name}"))
    }
}

impl Send {
    /// Goes over the content once to sign it.
    pub fn new(layers: Layers, size: u64) -> Self {
        let mut send = Self { layers, size, signature: Vec::new() };
        if layers.is_signed() {
            let mut sum = Sha256::new();
            send.content(&mut |bytes| sum.update(bytes));
            let sign = SignOptions::new(&PARTNER, Digest::Sha256);
            send.signature = sign.sign_sum(&sum.finish());
        }
        send
    }

    /// The body, in pieces.
    pub fn to(&self, to: To<'_>) {
        match self.layers {
            Layers::Signed => self.multipart(to),
            layers if layers.is_ber() => self.seal_ber(to),
            _ => self.seal_der(to),
        }
    }

    /// What is signed, or what is encrypted if nothing is.
    fn content(&self, to: To<'_>) {
        if !self.layers.is_compressed() {
            return self.document(to);
        }
        to(COMPRESSED);
        let opening = [
            &[0x30, 0x80][..],
            &oid(oid::COMPRESSED_DATA),
            &[0xa0, 0x80, 0x30, 0x80],
            &int(0),
            &seq(&[&oid(oid::ZLIB)]),
            &[0x30, 0x80],
            &oid(oid::DATA),
            &[0xa0, 0x80, 0x24, 0x80],
        ];
        to(&opening.concat());
        let mut encoder = ZlibEncoder::new(Segments(to), Compression::fast());
        self.document(&mut |bytes| encoder.write_all(bytes).unwrap());
        encoder.finish().unwrap();
        to(&[0; 12]);
    }

    fn document(&self, to: To<'_>) {
        to(HEADER);
        // Half of it compresses.
        let mut piece = vec![b' '; PIECE];
        // The same every time it is gone over.
        let mut state = 1u32;
        for byte in &mut piece[..PIECE / 2] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
        let mut left = self.size;
        while left > 0 {
            let take = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            to(&piece[..take]);
            left -= take as u64;
        }
    }

    fn multipart(&self, to: To<'_>) {
        to(b"--=_sig\r\n");
        self.content(to);
        to(b"\r\n--=_sig\r\nContent-Type: application/pkcs7-signature\r\n\r\n");
        to(&self.signature);
        to(b"\r\n--=_sig--\r\n");
    }

    /// What is encrypted.
    fn inside(&self, to: To<'_>) {
        if self.layers.is_signed() {
            to(format!("Content-Type: {SIGNED}\r\n\r\n").as_bytes());
            self.multipart(to);
        } else {
            self.content(to);
        }
    }

    fn seal_ber(&self, to: To<'_>) {
        let (recipients, algorithm) = prologue();
        let opening = [
            &[0x30, 0x80][..],
            &oid(oid::ENVELOPED_DATA),
            &[0xa0, 0x80, 0x30, 0x80],
            &int(0),
            &recipients,
            &[0x30, 0x80],
            &oid(oid::DATA),
            &algorithm,
            &[0xa0, 0x80],
        ];
        to(&opening.concat());
        self.encrypt(&mut |bytes| {
            for segment in bytes.chunks(4096) {
                to(&octets(segment));
            }
        });
        to(&[0; 10]);
    }

    fn seal_der(&self, to: To<'_>) {
        let mut plain = 0u64;
        self.inside(&mut |bytes| plain += bytes.len() as u64);
        let sealed = usize::try_from(plain / 16 * 16 + 16).unwrap();
        let (recipients, algorithm) = prologue();
        // From the inside out, every header with the length of what follows it.
        let mut behind = sealed;
        let mut opening: Vec<Vec<u8>> = Vec::new();
        let mut around = |tag: u8, fields: Vec<u8>| {
            let header = [vec![tag], length(behind)].concat();
            behind += header.len() + fields.len();
            opening.push(header);
            opening.push(fields);
        };
        around(0x80, [oid(oid::DATA), algorithm].concat());
        around(0x30, [int(0), recipients].concat());
        around(0x30, Vec::new());
        around(0xa0, oid(oid::ENVELOPED_DATA));
        around(0x30, Vec::new());
        opening.iter().rev().for_each(|bytes| to(bytes));
        self.encrypt(to);
    }

    fn encrypt(&self, to: To<'_>) {
        let mut context = CipherCtx::new().unwrap();
        context.encrypt_init(Some(Cipher::aes_256_cbc()), Some(&KEY), Some(&IV)).unwrap();
        let mut out = vec![0; PIECE + 32];
        self.inside(&mut |bytes| {
            for piece in bytes.chunks(PIECE) {
                let count = context.cipher_update(piece, Some(&mut out)).unwrap();
                to(&out[..count]);
            }
        });
        let count = context.cipher_final(&mut out).unwrap();
        to(&out[..count]);
    }
}

const KEY: [u8; 32] = [7; 32];
const IV: [u8; 16] = [9; 16];

fn prologue() -> (Vec<u8>, Vec<u8>) {
    let recipient = Recipient {
        certificate: &STATION.certificate,
        way: KeyWay::Pkcs1,
        by_key_identifier: false,
    };
    let algorithm = seq(&[&oid(oid::AES256_CBC), &octets(&IV)]);
    (tlv(0x31, &recipient.info(&KEY)), algorithm)
}

/// Writes octet strings.
struct Segments<'a>(To<'a>);

impl Write for Segments<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(&octets(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
