//! CMS layers.

use std::io::Write;

use as2hook_as2::{Digest, ber::oid as ids};
use openssl::{
    aes::{AesKey, wrap_key},
    bn::BigNumContext,
    cipher::Cipher as Primitive,
    cipher_ctx::CipherCtx,
    ec::{EcKey, PointConversionForm},
    hash::{MessageDigest, hash},
    lib_ctx::LibCtx,
    md::{Md, MdRef},
    pkey::PKey,
    pkey_ctx::PkeyCtx,
    provider::Provider,
    rand::rand_bytes,
    rsa::Padding,
    sign::RsaPssSaltlen,
    x509::X509,
};

use super::{
    Identity,
    der::{Encoding, NULL, int, octets, oid, seq, set, tlv},
    mime::entity,
};

/// A content encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Aes128Cbc,
    Aes192Cbc,
    Aes256Cbc,
    Aes128Gcm,
    Aes192Gcm,
    Aes256Gcm,
    TripleDes,
    Des,
    Rc2(u8),
}

/// How a recipient gets the content key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWay {
    Pkcs1,
    /// Hash and mask.
    Oaep(Digest, Digest),
    /// Key derivation's digest, and the wrap's key length in bytes; keying material or not.
    Ecdh(Digest, usize, bool),
    /// PKCS#1 whose padding is wrong.
    BadPadding,
    /// PKCS#1 with a key of another length.
    BadLength,
}

#[derive(Clone)]
pub struct Recipient<'a> {
    pub certificate: &'a X509,
    pub way: KeyWay,
    pub by_key_identifier: bool,
}

/// An envelope to make.
#[derive(Clone)]
pub struct Envelope<'a> {
    pub recipients: Vec<Recipient<'a>>,
    pub cipher: Cipher,
    pub encoding: Encoding,
    /// AuthEnvelopedData instead of EnvelopedData.
    pub authenticated: bool,
    /// Authenticated attributes.
    pub attributes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Pkcs1,
    Pss,
    Ecdsa,
}

/// How to sign.
#[derive(Clone)]
pub struct SignOptions<'a> {
    pub by: &'a Identity,
    pub digest: Digest,
    pub scheme: Scheme,
    pub attributes: bool,
    pub embed: bool,
    pub by_key_identifier: bool,
}

/// The shape of a signed entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// multipart/signed with the signature in base64 or binary.
    Detached {
        base64: bool,
    },
    Opaque(Encoding),
}

impl Cipher {
    fn id(self) -> &'static [u8] {
        match self {
            Self::Aes128Cbc => ids::AES128_CBC,
            Self::Aes192Cbc => ids::AES192_CBC,
            Self::Aes256Cbc => ids::AES256_CBC,
            Self::Aes128Gcm => ids::AES128_GCM,
            Self::Aes192Gcm => ids::AES192_GCM,
            Self::Aes256Gcm => ids::AES256_GCM,
            Self::TripleDes => ids::DES_EDE3_CBC,
            Self::Des => ids::DES_CBC,
            Self::Rc2(_) => ids::RC2_CBC,
        }
    }

    fn lengths(self) -> (usize, usize) {
        match self {
            Self::Aes128Cbc => (16, 16),
            Self::Aes192Cbc => (24, 16),
            Self::Aes256Cbc => (32, 16),
            Self::Aes128Gcm => (16, 12),
            Self::Aes192Gcm => (24, 12),
            Self::Aes256Gcm => (32, 12),
            Self::TripleDes => (24, 8),
            Self::Des => (8, 8),
            Self::Rc2(bits) => (usize::from(bits) / 8, 8),
        }
    }

    pub fn is_gcm(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm)
    }

    /// Ciphertext and tag.
    fn encrypt(self, key: &[u8], iv: &[u8], aad: &[u8], plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut context = CipherCtx::new().unwrap();
        let library = LibCtx::new().unwrap();
        let legacy;
        let cipher = match self {
            Self::Aes128Cbc => Primitive::aes_128_cbc(),
            Self::Aes192Cbc => Primitive::aes_192_cbc(),
            Self::Aes256Cbc => Primitive::aes_256_cbc(),
            Self::Aes128Gcm => Primitive::aes_128_gcm(),
            Self::Aes192Gcm => Primitive::aes_192_gcm(),
            Self::Aes256Gcm => Primitive::aes_256_gcm(),
            Self::TripleDes => Primitive::des_ede3_cbc(),
            Self::Des | Self::Rc2(_) => {
                let name = match self {
                    Self::Des => "DES-CBC",
                    Self::Rc2(40) => "RC2-40-CBC",
                    Self::Rc2(64) => "RC2-64-CBC",
                    _ => "RC2-CBC",
                };
                std::mem::forget(Provider::load(Some(&library), "legacy").unwrap());
                legacy = Primitive::fetch(Some(&library), name, None).unwrap();
                &legacy
            }
        };
        context.encrypt_init(Some(cipher), Some(key), Some(iv)).unwrap();
        if !aad.is_empty() {
            context.cipher_update(aad, None).unwrap();
        }
        let mut out = Vec::new();
        context.cipher_update_vec(plain, &mut out).unwrap();
        context.cipher_final_vec(&mut out).unwrap();
        let mut tag = vec![0; if self.is_gcm() { 16 } else { 0 }];
        if self.is_gcm() {
            context.tag(&mut tag).unwrap();
        }
        std::mem::forget(library);
        (out, tag)
    }
}

impl<'a> Envelope<'a> {
    /// For one RSA recipient, DER.
    pub fn to(identity: &'a Identity, cipher: Cipher) -> Self {
        let recipient = Recipient {
            certificate: &identity.certificate,
            way: KeyWay::Pkcs1,
            by_key_identifier: false,
        };
        Self {
            recipients: vec![recipient],
            cipher,
            encoding: Encoding::Der,
            authenticated: false,
            attributes: false,
        }
    }

    /// The ContentInfo.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let (key_length, iv_length) = self.cipher.lengths();
        let (mut key, mut iv) = (vec![0; key_length], vec![0; iv_length]);
        rand_bytes(&mut key).unwrap();
        rand_bytes(&mut iv).unwrap();
        let attributes =
            seq(&[&oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"), &set(&[&oid(ids::DATA)])]);
        let aad = if self.attributes { set(&[&attributes]) } else { Vec::new() };
        let (mut content, tag) = self.cipher.encrypt(&key, &iv, &aad, plain);
        let parameters = match self.cipher {
            Cipher::Rc2(bits) => {
                let version: &[u8] = match bits {
                    40 => &[0, 160],
                    64 => &[120],
                    _ => &[58],
                };
                seq(&[&tlv(2, version), &octets(&iv)])
            }
            cipher if cipher.is_gcm() => seq(&[&octets(&iv), &int(16)]),
            _ => octets(&iv),
        };
        if self.cipher.is_gcm() && !self.authenticated {
            content.extend(&tag);
        }
        let algorithm = seq(&[&oid(self.cipher.id()), &parameters]);
        let recipients: Vec<u8> = self.recipients.iter().flat_map(|r| r.info(&key)).collect();
        let encoding = self.encoding;
        let content = encoding
            .open(0x30, &[oid(ids::DATA), algorithm, encoding.string(0x80, &content)].concat());
        let mut fields = [int(0), encoding.open(0x31, &recipients), content].concat();
        if self.authenticated {
            if self.attributes {
                fields.extend(tlv(0xa1, &attributes));
            }
            fields.extend(octets(&tag));
        }
        let id = if self.authenticated { ids::AUTH_ENVELOPED_DATA } else { ids::ENVELOPED_DATA };
        content_info(encoding, id, &encoding.open(0x30, &fields))
    }

    /// As a MIME entity.
    pub fn entity(&self, plain: &[u8]) -> Vec<u8> {
        let kind = if self.authenticated { "authEnveloped-data" } else { "enveloped-data" };
        smime(kind, &self.seal(plain))
    }
}

impl Recipient<'_> {
    fn identifier(&self) -> Vec<u8> {
        identifier(self.certificate, self.by_key_identifier)
    }

    pub fn info(&self, secret: &[u8]) -> Vec<u8> {
        let public = self.certificate.public_key().unwrap();
        let (algorithm, encrypted) = match self.way {
            KeyWay::Ecdh(digest, length, material) => {
                return self.agree(secret, digest, length, material);
            }
            KeyWay::Oaep(digest, mask) => {
                let mut context = PkeyCtx::new(&public).unwrap();
                context.encrypt_init().unwrap();
                context.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
                context.set_rsa_oaep_md(md(digest)).unwrap();
                context.set_rsa_mgf1_md(md(mask)).unwrap();
                let mut out = Vec::new();
                context.encrypt_to_vec(secret, &mut out).unwrap();
                let hash = |digest| seq(&[&oid(digest_id(digest)), NULL]);
                let mask = seq(&[&oid(ids::MGF1), &hash(mask)]);
                let parameters = seq(&[&tlv(0xa0, &hash(digest)), &tlv(0xa1, &mask)]);
                (seq(&[&oid(ids::RSA_OAEP), &parameters]), out)
            }
            way => {
                let mut context = PkeyCtx::new(&public).unwrap();
                context.encrypt_init().unwrap();
                let mut input = secret.to_vec();
                let padding = if way == KeyWay::BadPadding {
                    input = vec![7; public.size()];
                    input[0] = 0;
                    Padding::NONE
                } else {
                    Padding::PKCS1
                };
                if way == KeyWay::BadLength {
                    input.push(1);
                }
                context.set_rsa_padding(padding).unwrap();
                let mut out = Vec::new();
                context.encrypt_to_vec(&input, &mut out).unwrap();
                (seq(&[&oid(ids::RSA), NULL]), out)
            }
        };
        let version = int(if self.by_key_identifier { 2 } else { 0 });
        seq(&[&version, &self.identifier(), &algorithm, &octets(&encrypted)])
    }

    fn agree(&self, secret: &[u8], digest: Digest, length: usize, material: bool) -> Vec<u8> {
        let public = self.certificate.public_key().unwrap();
        let theirs = public.ec_key().unwrap();
        let own = EcKey::generate(theirs.group()).unwrap();
        let mut numbers = BigNumContext::new().unwrap();
        let form = PointConversionForm::UNCOMPRESSED;
        let point = own.public_key().to_bytes(theirs.group(), form, &mut numbers).unwrap();
        let own = PKey::from_ec_key(own).unwrap();
        let mut context = PkeyCtx::new(&own).unwrap();
        context.derive_init().unwrap();
        context.derive_set_peer(&public).unwrap();
        let mut shared = Vec::new();
        context.derive_to_vec(&mut shared).unwrap();
        let wrap = seq(&[&oid(match length {
            16 => ids::AES128_WRAP,
            24 => ids::AES192_WRAP,
            _ => ids::AES256_WRAP,
        })]);
        let ukm = octets(b"keying material");
        let ukm: Vec<u8> = if material { tlv(0xa0, &ukm) } else { Vec::new() };
        let bits = tlv(0xa2, &octets(&(length as u32 * 8).to_be_bytes()));
        let info = seq(&[&wrap, &ukm, &bits]);
        let mut kek = Vec::new();
        for counter in 1u32..4 {
            let input = [shared.as_slice(), &counter.to_be_bytes(), &info].concat();
            kek.extend(hash(message_digest(digest), &input).unwrap().iter());
        }
        kek.truncate(length);
        let mut wrapped = vec![0; secret.len() + 8];
        let key = AesKey::new_encrypt(&kek).unwrap();
        wrap_key(&key, None, &mut wrapped, secret).unwrap();
        let scheme = match digest {
            Digest::Sha1 => ids::ECDH_SHA1,
            Digest::Sha224 => ids::ECDH_SHA224,
            Digest::Sha256 => ids::ECDH_SHA256,
            Digest::Sha384 => ids::ECDH_SHA384,
            _ => ids::ECDH_SHA512,
        };
        let key_algorithm = seq(&[&oid(b"\x2a\x86\x48\xce\x3d\x02\x01")]);
        let bits = tlv(3, &[&[0], point.as_slice()].concat());
        let originator = tlv(0xa0, &tlv(0xa1, &[key_algorithm, bits].concat()));
        let material: Vec<u8> =
            if material { tlv(0xa1, &octets(b"keying material")) } else { Vec::new() };
        let identifier = if self.by_key_identifier {
            let id = self.certificate.subject_key_id().unwrap();
            tlv(0xa0, &octets(id.as_slice()))
        } else {
            self.identifier()
        };
        let keys = seq(&[&seq(&[&identifier, &octets(&wrapped)])]);
        let algorithm = seq(&[&oid(scheme), &wrap]);
        tlv(0xa1, &[int(3), originator, material, algorithm, keys].concat())
    }
}

impl<'a> SignOptions<'a> {
    pub fn new(by: &'a Identity, digest: Digest) -> Self {
        let scheme =
            if by.key.id() == openssl::pkey::Id::EC { Scheme::Ecdsa } else { Scheme::Pkcs1 };
        Self { by, digest, scheme, attributes: true, embed: true, by_key_identifier: false }
    }

    /// A detached SignedData over content of this digest.
    pub fn sign_sum(&self, sum: &[u8]) -> Vec<u8> {
        self.sign_with(sum, &[], None)
    }

    /// A SignedData's ContentInfo, with the content inside or not.
    pub fn sign(&self, content: &[u8], inside: Option<Encoding>) -> Vec<u8> {
        let sum = hash(message_digest(self.digest), content).unwrap();
        self.sign_with(&sum, content, inside)
    }

    fn sign_with(&self, sum: &[u8], content: &[u8], inside: Option<Encoding>) -> Vec<u8> {
        let encoding = inside.unwrap_or(Encoding::Der);
        let digest = seq(&[&oid(digest_id(self.digest)), NULL]);
        let attribute = |id: &[u8], value: &[u8]| seq(&[&oid(id), &set(&[value])]);
        let mut attributes = [
            attribute(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03", &oid(ids::DATA)),
            attribute(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05", &tlv(0x17, b"261121120000Z")),
            attribute(ids::MESSAGE_DIGEST, &octets(sum)),
        ];
        attributes.sort();
        let attributes = attributes.concat();
        let signed = if self.attributes {
            hash(message_digest(self.digest), &tlv(0x31, &attributes)).unwrap().to_vec()
        } else {
            sum.to_vec()
        };
        let (algorithm, signature) = self.signature(&signed);
        let kept: Vec<u8> = if self.attributes { tlv(0xa0, &attributes) } else { Vec::new() };
        let signer = seq(&[
            &int(if self.by_key_identifier { 3 } else { 1 }),
            &identifier(&self.by.certificate, self.by_key_identifier),
            &digest,
            &kept,
            &algorithm,
            &octets(&signature),
        ]);
        let content = match inside {
            Some(encoding) => {
                let string = encoding.string(4, content);
                encoding.open(0x30, &[oid(ids::DATA), encoding.open(0xa0, &string)].concat())
            }
            None => seq(&[&oid(ids::DATA)]),
        };
        let certificate = self.by.certificate.to_der().unwrap();
        let certificates = if self.embed { encoding.open(0xa0, &certificate) } else { Vec::new() };
        let fields = [
            int(1),
            encoding.open(0x31, &digest),
            content,
            certificates,
            encoding.open(0x31, &signer),
        ];
        content_info(encoding, ids::SIGNED_DATA, &encoding.open(0x30, &fields.concat()))
    }

    fn signature(&self, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut context = PkeyCtx::new(&self.by.key).unwrap();
        context.sign_init().unwrap();
        let digest = seq(&[&oid(digest_id(self.digest)), NULL]);
        let algorithm = match self.scheme {
            Scheme::Pkcs1 => {
                context.set_rsa_padding(Padding::PKCS1).unwrap();
                seq(&[&oid(ids::RSA), NULL])
            }
            Scheme::Pss => {
                context.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                let salt = openssl::md::MdRef::size(md(self.digest)) as u8;
                let mask = seq(&[&oid(ids::MGF1), &digest]);
                let parameters =
                    seq(&[&tlv(0xa0, &digest), &tlv(0xa1, &mask), &tlv(0xa2, &int(salt))]);
                seq(&[&oid(ids::RSA_PSS), &parameters])
            }
            Scheme::Ecdsa => seq(&[&oid(match self.digest {
                Digest::Sha1 => ids::ECDSA_WITH_SHA1,
                Digest::Sha224 => ids::ECDSA_WITH_SHA224,
                Digest::Sha384 => ids::ECDSA_WITH_SHA384,
                Digest::Sha512 => ids::ECDSA_WITH_SHA512,
                Digest::Sha3_224 => ids::ECDSA_WITH_SHA3_224,
                Digest::Sha3_256 => ids::ECDSA_WITH_SHA3_256,
                Digest::Sha3_384 => ids::ECDSA_WITH_SHA3_384,
                Digest::Sha3_512 => ids::ECDSA_WITH_SHA3_512,
                _ => ids::ECDSA_WITH_SHA256,
            })]),
        };
        context.set_signature_md(md(self.digest)).unwrap();
        if self.scheme == Scheme::Pss {
            context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            context.set_rsa_mgf1_md(md(self.digest)).unwrap();
        }
        let mut out = Vec::new();
        context.sign_to_vec(value, &mut out).unwrap();
        (algorithm, out)
    }

    /// A signed entity; `micalg` as the sender spells it.
    pub fn entity(&self, content: &[u8], shape: Signing, micalg: &str) -> Vec<u8> {
        let base64 = match shape {
            Signing::Opaque(encoding) => {
                return smime("signed-data", &self.sign(content, Some(encoding)));
            }
            Signing::Detached { base64 } => base64,
        };
        let signature = self.sign(content, None);
        let kind = "Content-Type: application/pkcs7-signature; name=\"smime.p7s\"";
        let part = if base64 {
            entity(&[kind, "Content-Transfer-Encoding: base64"], &base64_lines(&signature))
        } else {
            entity(&[kind], &signature)
        };
        super::mime::multipart(
            &format!("multipart/signed; protocol=\"application/pkcs7-signature\"; micalg={micalg}"),
            "----=_Part_7_42.1",
            &[content, &part],
        )
    }
}

/// A CompressedData's ContentInfo.
pub fn compress(content: &[u8], encoding: Encoding) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    compressed(&encoder.finish().unwrap(), encoding)
}

/// Around an already deflated content.
pub fn compressed(deflated: &[u8], encoding: Encoding) -> Vec<u8> {
    let algorithm = seq(&[&oid(ids::ZLIB)]);
    let string = encoding.open(0xa0, &encoding.string(4, deflated));
    let content = encoding.open(0x30, &[oid(ids::DATA), string].concat());
    let fields = [int(0), algorithm, content].concat();
    content_info(encoding, ids::COMPRESSED_DATA, &encoding.open(0x30, &fields))
}

pub fn compressed_entity(content: &[u8], encoding: Encoding) -> Vec<u8> {
    smime("compressed-data", &compress(content, encoding))
}

pub fn content_info(encoding: Encoding, id: &[u8], content: &[u8]) -> Vec<u8> {
    encoding.open(0x30, &[oid(id), encoding.open(0xa0, content)].concat())
}

pub fn smime(kind: &str, cms: &[u8]) -> Vec<u8> {
    let kind =
        format!("Content-Type: application/pkcs7-mime; smime-type={kind}; name=\"smime.p7m\"");
    entity(&[&kind, "Content-Transfer-Encoding: binary"], cms)
}

/// Lines of 64 with CRLF.
pub fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let text = openssl::base64::encode_block(bytes);
    text.as_bytes().chunks(64).flat_map(|line| [line, b"\r\n"].concat()).collect()
}

fn identifier(certificate: &X509, by_key_identifier: bool) -> Vec<u8> {
    if by_key_identifier {
        return tlv(0x80, certificate.subject_key_id().unwrap().as_slice());
    }
    let mut serial = certificate.serial_number().to_bn().unwrap().to_vec();
    if serial[0] & 0x80 != 0 {
        serial.insert(0, 0);
    }
    seq(&[&certificate.issuer_name().to_der().unwrap(), &tlv(2, &serial)])
}

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

fn md(digest: Digest) -> &'static MdRef {
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
