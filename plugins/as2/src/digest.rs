//! Digests: their spellings on the wire, and running several of them over the same bytes.

mod mask;
mod running;

use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    md::{Md, MdRef},
    nid::Nid,
};

use self::running::RunningDigest;
use crate::{Warning, ber::oid, fault::Fault};

/// A digest that a signature or a MIC may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// `md5`, broken; for old partners.
    Md5,
    /// `sha-1`, broken; still common.
    Sha1,
    /// `sha-224`.
    Sha224,
    /// `sha-256`.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
    /// `sha3-224`; mendelson offers SHA-3.
    Sha3_224,
    /// `sha3-256`.
    Sha3_256,
    /// `sha3-384`.
    Sha3_384,
    /// `sha3-512`.
    Sha3_512,
}

/// Several digests over one stream, raw and, where it may matter, with line ends made CRLF.
pub(crate) struct Digests {
    raw: Vec<Running>,
    /// Begins as a copy of `raw` at the first bare LF; before that both are the same.
    canonical: Option<Vec<Running>>,
    canonicalise: bool,
    after_cr: bool,
    /// The beginning, as long as it is all there is: a `micalg` that lies costs nothing then.
    kept: Option<Vec<u8>>,
    /// Digests that join in once that is too long to be kept.
    spare: Vec<Digest>,
    announced: Vec<Digest>,
    /// The first bytes.
    first: Vec<u8>,
    scratch: Vec<u8>,
}

/// A finished [`Digests`].
pub(crate) struct Sums {
    sums: Vec<Sum>,
    announced: Vec<Digest>,
    kept: Option<Vec<u8>>,
    first: Vec<u8>,
    canonicalise: bool,
}

/// One digest's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) digest: Digest,
    pub(crate) raw: Vec<u8>,
    /// `None`: the same as `raw`, or not looked at.
    pub(crate) canonical: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Running {
    digest: Digest,
    sum: RunningDigest,
}

/// How much of a signed part is kept to digest it again when `micalg` announced another algorithm
/// than the signature has.
const KEPT: usize = 1024 * 1024;
/// Bytes that show whether the content could be read as signed attributes.
const FIRST: usize = 16;

// === impl Digest ===

impl Digest {
    /// Every digest.
    pub const ALL: [Self; 10] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    /// Reads `micalg` and MIC spellings: `sha256`, `SHA-256`, `rsa-sha1`, `"sha-1"`, `sha2-256`,
    /// `SHA384withRSA`, `sha1 (a comment)`.
    pub fn from_name(name: &str) -> Option<Self> {
        let plain: String = name
            .chars()
            .take_while(|&c| c != '(')
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let plain = plain.split("with").next().unwrap_or_default();
        let plain =
            ["rsa", "ecdsa", "dsa"].iter().find_map(|key| plain.strip_prefix(key)).unwrap_or(plain);
        Some(match plain {
            "md5" => Self::Md5,
            "sha" | "sha1" | "sha160" => Self::Sha1,
            "sha224" | "sha2224" => Self::Sha224,
            "sha256" | "sha2256" => Self::Sha256,
            "sha384" | "sha2384" => Self::Sha384,
            "sha512" | "sha2512" => Self::Sha512,
            "sha3224" => Self::Sha3_224,
            "sha3256" => Self::Sha3_256,
            "sha3384" => Self::Sha3_384,
            "sha3512" => Self::Sha3_512,
            _ => return None,
        })
    }

    /// By a digest's object identifier, or by that of a signature algorithm that implies one.
    pub(crate) fn from_oid(id: &[u8]) -> Option<Self> {
        Some(match id {
            oid::MD5 | oid::MD5_WITH_RSA => Self::Md5,
            oid::SHA1 | oid::SHA1_WITH_RSA | oid::SHA1_WITH_RSA_OIW | oid::ECDSA_WITH_SHA1 => {
                Self::Sha1
            }
            oid::SHA224 | oid::SHA224_WITH_RSA | oid::ECDSA_WITH_SHA224 => Self::Sha224,
            oid::SHA256 | oid::SHA256_WITH_RSA | oid::ECDSA_WITH_SHA256 => Self::Sha256,
            oid::SHA384 | oid::SHA384_WITH_RSA | oid::ECDSA_WITH_SHA384 => Self::Sha384,
            oid::SHA512 | oid::SHA512_WITH_RSA | oid::ECDSA_WITH_SHA512 => Self::Sha512,
            oid::SHA3_224 | oid::SHA3_224_WITH_RSA | oid::ECDSA_WITH_SHA3_224 => Self::Sha3_224,
            oid::SHA3_256 | oid::SHA3_256_WITH_RSA | oid::ECDSA_WITH_SHA3_256 => Self::Sha3_256,
            oid::SHA3_384 | oid::SHA3_384_WITH_RSA | oid::ECDSA_WITH_SHA3_384 => Self::Sha3_384,
            oid::SHA3_512 | oid::SHA3_512_WITH_RSA | oid::ECDSA_WITH_SHA3_512 => Self::Sha3_512,
            _ => return None,
        })
    }

    /// The name in results: `sha-256`, as RFC 8551 section 3.5.3.2 spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
            Self::Sha3_224 => "sha3-224",
            Self::Sha3_256 => "sha3-256",
            Self::Sha3_384 => "sha3-384",
            Self::Sha3_512 => "sha3-512",
        }
    }

    /// Bytes of its value.
    pub(crate) fn length(self) -> usize {
        self.message_digest().size()
    }

    /// Digests a short value at once.
    pub(crate) fn of(self, bytes: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        openssl::hash::hash(self.message_digest(), bytes).map(|sum| sum.to_vec())
    }

    pub(crate) fn message_digest(self) -> MessageDigest {
        MessageDigest::from_nid(self.nid()).expect("OpenSSL is built with each of these digests")
    }

    pub(crate) fn md(self) -> &'static MdRef {
        Md::from_nid(self.nid()).expect("OpenSSL is built with each of these digests")
    }

    fn nid(self) -> Nid {
        match self {
            Self::Md5 => Nid::MD5,
            Self::Sha1 => Nid::SHA1,
            Self::Sha224 => Nid::SHA224,
            Self::Sha256 => Nid::SHA256,
            Self::Sha384 => Nid::SHA384,
            Self::Sha512 => Nid::SHA512,
            Self::Sha3_224 => Nid::SHA3_224,
            Self::Sha3_256 => Nid::SHA3_256,
            Self::Sha3_384 => Nid::SHA3_384,
            Self::Sha3_512 => Nid::SHA3_512,
        }
    }
}

// === impl Digests ===

impl Digests {
    /// Keeps the beginning; `spare` digests join in once it is longer than [`KEPT`].
    pub(crate) fn keeping(self, spare: Vec<Digest>) -> Self {
        Self { kept: Some(Vec::new()), spare, ..self }
    }

    /// Says which were announced.
    pub(crate) fn announced(self, announced: Vec<Digest>) -> Self {
        Self { announced, ..self }
    }

    /// `canonicalise`: also digest with every bare LF as CRLF, from the first one on.
    pub(crate) fn new(wanted: impl IntoIterator<Item = Digest>, canonicalise: bool) -> Self {
        let mut raw: Vec<Running> = Vec::with_capacity(2);
        for digest in wanted {
            if raw.iter().all(|r| r.digest != digest) {
                // A digest that this OpenSSL refuses is as good as an unknown one.
                if let Ok(sum) = RunningDigest::new(digest) {
                    raw.push(Running { digest, sum });
                }
            }
        }
        Self {
            raw,
            canonical: None,
            canonicalise,
            after_cr: false,
            kept: None,
            spare: Vec::new(),
            announced: Vec::new(),
            first: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether bare LFs are to be looked for: told once the first part's header is known.
    pub(crate) fn set_canonicalise(&mut self, canonicalise: bool) {
        self.canonicalise = canonicalise;
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        let missing = FIRST - self.first.len();
        self.first.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        if !self.canonicalise {
            return update_all(&mut self.raw, bytes);
        }
        if self.canonical.is_some() {
            self.update_canonical(bytes);
            return update_all(&mut self.raw, bytes);
        }
        match first_bare_lf(bytes, self.after_cr) {
            None => update_all(&mut self.raw, bytes),
            Some(at) => {
                update_all(&mut self.raw, &bytes[..at]);
                self.canonical = Some(self.raw.clone());
                self.after_cr = false;
                self.update_canonical(&bytes[at..]);
                update_all(&mut self.raw, &bytes[at..]);
            }
        }
        self.after_cr = bytes.last().map_or(self.after_cr, |&b| b == b'\r');
    }

    pub(crate) fn finish(mut self) -> Sums {
        let mut canonical = self.canonical.take().unwrap_or_default().into_iter();
        let sums = self.raw.into_iter().filter_map(|running| {
            let raw = running.sum.finish()?;
            let canonical = canonical.next().and_then(|r| r.sum.finish()).filter(|sum| *sum != raw);
            Some(Sum { digest: running.digest, raw, canonical })
        });
        Sums {
            sums: sums.collect(),
            announced: self.announced,
            kept: self.kept,
            first: self.first,
            canonicalise: self.canonicalise,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(kept) = &mut self.kept else { return };
        if kept.len() + bytes.len() <= KEPT {
            kept.extend_from_slice(bytes);
            return;
        }
        let spare = std::mem::take(&mut self.spare);
        let new = spare.into_iter().filter(|&digest| self.raw.iter().all(|r| r.digest != digest));
        let mut late = Self::new(new, self.canonicalise);
        late.update(kept);
        self.kept = None;
        self.raw.append(&mut late.raw);
        // Both began at the same bare LF, or neither did.
        if let (Some(canonical), Some(mut late)) = (&mut self.canonical, late.canonical) {
            canonical.append(&mut late);
        }
    }

    fn update_canonical(&mut self, bytes: &[u8]) {
        let Some(canonical) = &mut self.canonical else { return };
        let mut after_cr = self.after_cr;
        for piece in bytes.chunks(16 * 1024) {
            self.scratch.clear();
            to_crlf(piece, &mut after_cr, &mut self.scratch);
            update_all(canonical, &self.scratch);
        }
        self.after_cr = after_cr;
    }
}

// === impl Sums ===

impl Sums {
    /// The values by this digest, computed late from what was kept if it was not running.
    pub(crate) fn by(&self, digest: Digest) -> Option<Sum> {
        if let Some(sum) = self.sums.iter().find(|s| s.digest == digest) {
            return Some(sum.clone());
        }
        let mut late = Digests::new([digest], self.canonicalise);
        late.update(self.kept.as_ref()?);
        late.finish().sums.into_iter().next()
    }

    /// Why there is no value by this digest.
    pub(crate) fn missing(&self, digest: Digest) -> Fault {
        let announced = self.announced_names();
        Fault::OtherDigest { used: digest.name(), announced, limit: KEPT as u64 }
    }

    /// That the signature's digest was not announced, if so.
    pub(crate) fn unannounced(&self, digest: Digest) -> Option<Warning> {
        let is_announced = self.announced.contains(&digest);
        (!is_announced).then(|| Warning::other_digest(digest, &self.announced_names()))
    }

    /// For the end of a sentence about the signature's digest.
    fn announced_names(&self) -> String {
        let names: Vec<_> = self.announced.iter().map(|digest| digest.name()).collect();
        match names.is_empty() {
            true => "no digest that is known was announced".to_owned(),
            false => format!("{} was announced", names.join(" and ")),
        }
    }

    /// Whether the content could itself be read as the signed attributes of a signature: a SET of a
    /// SEQUENCE that begins with an OBJECT IDENTIFIER, with its line ends as they are or as CRLF.
    pub(crate) fn is_like_attributes(&self) -> bool {
        let mut canonical = Vec::with_capacity(2 * FIRST);
        to_crlf(&self.first, &mut false, &mut canonical);
        let is_like = |bytes: &[u8]| {
            let inside = |tag: u8, bytes: &[u8]| match *bytes {
                [first, 0..=0x80, ..] if first == tag => Some(2),
                [first, length, ..] if first == tag => Some(2 + usize::from(length & 0x7f)),
                _ => None,
            };
            inside(0x31, bytes)
                .and_then(|at| bytes.get(at..))
                .and_then(|set| inside(0x30, set).and_then(|at| set.get(at..)))
                .is_some_and(|attribute| attribute.first() == Some(&0x06))
        };
        is_like(&self.first) || is_like(&canonical)
    }
}

fn update_all(running: &mut [Running], bytes: &[u8]) {
    for r in running {
        r.sum.update(bytes);
    }
}

fn first_bare_lf(bytes: &[u8], after_cr: bool) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes)
        .find(|&at| if at == 0 { !after_cr } else { bytes[at - 1] != b'\r' })
}

fn to_crlf(bytes: &[u8], after_cr: &mut bool, out: &mut Vec<u8>) {
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        let bare = if at == 0 { !*after_cr } else { bytes[at - 1] != b'\r' };
        if bare {
            out.extend_from_slice(&bytes[from..at]);
            out.extend_from_slice(b"\r\n");
            from = at + 1;
        }
    }
    out.extend_from_slice(&bytes[from..]);
    if let Some(&last) = bytes.last() {
        *after_cr = last == b'\r';
    }
}
