//! Digests, as CMS names them and as OpenSSL does.

use as2hook_as2::{Digest, ber::oid as ids};
use openssl::{
    hash::MessageDigest,
    md::{Md, MdRef},
};

pub fn digest_id(digest: Digest) -> &'static [u8] {
    match digest {
        Digest::Md5 => ids::MD5,
        Digest::Sha1 => ids::SHA1,
        Digest::Sha224 => ids::SHA224,
        Digest::Sha256 => ids::SHA256,
        Digest::Sha384 => ids::SHA384,
        Digest::Sha512 => ids::SHA512,
        Digest::Sha3_224 => ids::SHA3_224,
        Digest::Sha3_256 => ids::SHA3_256,
        Digest::Sha3_384 => ids::SHA3_384,
        Digest::Sha3_512 => ids::SHA3_512,
    }
}

pub fn message_digest(digest: Digest) -> MessageDigest {
    match digest {
        Digest::Md5 => MessageDigest::md5(),
        Digest::Sha1 => MessageDigest::sha1(),
        Digest::Sha224 => MessageDigest::sha224(),
        Digest::Sha256 => MessageDigest::sha256(),
        Digest::Sha384 => MessageDigest::sha384(),
        Digest::Sha512 => MessageDigest::sha512(),
        Digest::Sha3_224 => MessageDigest::sha3_224(),
        Digest::Sha3_256 => MessageDigest::sha3_256(),
        Digest::Sha3_384 => MessageDigest::sha3_384(),
        Digest::Sha3_512 => MessageDigest::sha3_512(),
    }
}

/// For [`openssl::pkey_ctx::PkeyCtx`].
pub fn md(digest: Digest) -> &'static MdRef {
    match digest {
        Digest::Md5 => Md::md5(),
        Digest::Sha1 => Md::sha1(),
        Digest::Sha224 => Md::sha224(),
        Digest::Sha256 => Md::sha256(),
        Digest::Sha384 => Md::sha384(),
        Digest::Sha512 => Md::sha512(),
        Digest::Sha3_224 => Md::sha3_224(),
        Digest::Sha3_256 => Md::sha3_256(),
        Digest::Sha3_384 => Md::sha3_384(),
        Digest::Sha3_512 => Md::sha3_512(),
    }
}
