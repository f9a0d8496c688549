//! Whose keys open an envelope, and whose certificates judge a signature.

use std::{collections::HashMap, fmt};

use openssl::{
    hash::{MessageDigest, hash},
    pkey::{Id, PKey, Private},
    x509::{X509, X509Name, X509Ref},
};

use crate::{
    ber::{
        Tag,
        read::{Element, Reader},
    },
    fault::Fault,
    serial,
};

/// The keys of one configuration, shared by every message that is decoded under it.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Vec<StationKey>,
    /// Where in `keys` they stand, by serial number and by key identifier: a message may name hundreds
    /// of recipients.
    named_keys: HashMap<Vec<u8>, Vec<usize>>,
    certificates: HashMap<String, Vec<X509>>,
    /// The same by serial number and by key identifier, with the AS2 ids: a signature by an unknown
    /// certificate must not cost a search through all partners.
    named: HashMap<Vec<u8>, Vec<(String, X509)>>,
    /// Those that are too slow to compute with, and why: none, as a rule.
    slow: Vec<(X509, Fault)>,
}

/// A certificate of ours with its private key.
#[derive(Clone)]
pub struct StationKey {
    /// Recipients are told apart by its issuer, serial and SubjectKeyIdentifier.
    pub certificate: X509,
    /// RSA or EC.
    pub private_key: PKey<Private>,
}

/// Names a certificate, as recipients and signers do in CMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identifier {
    /// By its issuer's DER and its serial number's content octets.
    IssuerSerial { issuer: Vec<u8>, serial: Vec<u8> },
    /// By its SubjectKeyIdentifier.
    KeyIdentifier(Vec<u8>),
}

// === impl Keyring ===

impl Keyring {
    /// No keys: layers that need one are reported as not decoded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key that may open envelopes; it is picked by recipient identifier, not by trial.
    pub fn add_key(&mut self, key: StationKey) {
        for name in names(&key.certificate) {
            self.named_keys.entry(name).or_default().push(self.keys.len());
        }
        self.keys.push(key);
    }

    /// Adds a certificate that this AS2 id signs with. Several stand side by side during a rollover.
    pub fn add_certificate(&mut self, as2_id: impl Into<String>, certificate: X509) {
        let as2_id = as2_id.into();
        if let Err(fault) = weigh(&certificate) {
            self.slow.push((certificate.clone(), fault));
        }
        for name in names(&certificate) {
            let entry = (as2_id.clone(), certificate.clone());
            self.named.entry(name).or_default().push(entry);
        }
        self.certificates.entry(as2_id).or_default().push(certificate);
    }

    /// The keys, in the order they were added.
    pub fn keys(&self) -> &[StationKey] {
        &self.keys
    }

    /// The certificates configured for this AS2 id.
    pub fn certificates(&self, as2_id: &str) -> &[X509] {
        self.certificates.get(as2_id).map_or(&[], Vec::as_slice)
    }

    /// Every configured certificate with the AS2 id it belongs to.
    pub fn all_certificates(&self) -> impl Iterator<Item = (&str, &X509)> {
        self.certificates.iter().flat_map(|(id, all)| all.iter().map(move |c| (id.as_str(), c)))
    }

    /// Whether computing with a configured certificate is bounded.
    pub(crate) fn weigh(&self, certificate: &X509) -> Result<(), Fault> {
        let slow = self.slow.iter().find(|(slow, _)| slow == certificate);
        slow.map_or(Ok(()), |(_, fault)| Err(fault.clone()))
    }

    /// Every configured certificate that this names, with the AS2 id it belongs to.
    pub(crate) fn named_by(&self, identifier: &Identifier) -> impl Iterator<Item = (&str, &X509)> {
        let found = self.named.get(identifier.name()).into_iter().flatten();
        found.filter(|(_, c)| identifier.names(c)).map(|(id, c)| (id.as_str(), c))
    }

    /// The keys whose certificate has the serial number or the key identifier that this names,
    /// whatever issuer it names.
    pub(crate) fn keys_like(&self, identifier: &Identifier) -> impl Iterator<Item = &StationKey> {
        let found = self.named_keys.get(identifier.name()).into_iter().flatten();
        found.filter_map(|&at| self.keys.get(at))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.keys.len())
            .field("certificates", &self.certificates.len())
            .finish()
    }
}

// === impl Identifier ===

impl Identifier {
    /// From IssuerAndSerialNumber, or from a context tag 0 around a key identifier.
    pub(crate) fn parse(element: Element<'_>) -> Result<Self, Fault> {
        if element.tag == Tag::SEQUENCE {
            let mut inside = element.inside();
            let issuer = inside.expect(Tag::SEQUENCE)?.raw.to_vec();
            let serial = inside.expect(Tag::INTEGER)?.content.to_vec();
            return Ok(Self::IssuerSerial { issuer, serial });
        }
        if !element.tag.is_context(0) {
            return Err(Fault::Malformed("a certificate is named in an unknown way"));
        }
        // Explicitly tagged by some, or within a RecipientKeyIdentifier.
        let mut content = element.content;
        if element.tag.is_constructed() {
            content = Reader::new(content).expect(Tag::OCTET_STRING)?.content;
        }
        Ok(Self::KeyIdentifier(content.to_vec()))
    }

    /// The serial number or the key identifier.
    fn name(&self) -> &[u8] {
        match self {
            Self::IssuerSerial { serial, .. } => serial::significant(serial),
            Self::KeyIdentifier(id) => id,
        }
    }

    /// The serial number, where it is named.
    pub(crate) fn serial_hex(&self) -> Option<String> {
        match self {
            Self::IssuerSerial { serial, .. } => Some(serial::hex(serial)),
            Self::KeyIdentifier(_) => None,
        }
    }

    /// Whether it names this certificate.
    pub(crate) fn names(&self, certificate: &X509Ref) -> bool {
        match self {
            Self::KeyIdentifier(id) => key_identifiers(certificate).any(|own| own == *id),
            Self::IssuerSerial { issuer, serial } => {
                serial::of(certificate)
                    .is_some_and(|own| serial::significant(&own) == serial::significant(serial))
                    && is_issuer(certificate, issuer)
            }
        }
    }

    /// Whether it names an issuer, whose name may be encoded anew on the way.
    pub(crate) fn has_issuer(&self) -> bool {
        matches!(self, Self::IssuerSerial { .. })
    }
}

/// What a certificate may be found by: its serial number and its key identifiers.
fn names(certificate: &X509Ref) -> impl Iterator<Item = Vec<u8>> {
    let serial = serial::of(certificate).map(|serial| serial::significant(&serial).to_vec());
    serial.into_iter().chain(key_identifiers(certificate))
}

/// The serial number in lower-case hex.
pub(crate) fn serial_hex(certificate: &X509Ref) -> Option<String> {
    serial::of(certificate).map(|serial| serial::hex(&serial))
}

/// The certificate's own key identifier, or else the ones that others compute for it: SHA-1 of the
/// key's bits (RFC 5280 section 4.2.1.2).
fn key_identifiers(certificate: &X509Ref) -> impl Iterator<Item = Vec<u8>> {
    let own = certificate.subject_key_id().map(|id| id.as_slice().to_vec());
    let computed = || {
        let info = certificate.public_key().ok()?.public_key_to_der().ok()?;
        let mut fields = Reader::new(&info).expect(Tag::SEQUENCE).ok()?.inside();
        fields.expect(Tag::SEQUENCE).ok()?;
        let bits = fields.any().ok()?.content.get(1..)?;
        hash(MessageDigest::sha1(), bits).ok().map(|sum| sum.to_vec())
    };
    let computed = if own.is_none() { computed() } else { None };
    own.into_iter().chain(computed)
}

/// Bytes of an issuer's name that is compared as a name.
const MAX_NAME: usize = 4096;

/// Byte for byte, or as names compare: case, blanks and string types aside.
fn is_issuer(certificate: &X509Ref, issuer: &[u8]) -> bool {
    let own = certificate.issuer_name();
    own.to_der().is_ok_and(|der| der == issuer)
        || issuer.len() <= MAX_NAME
            && X509Name::from_der(issuer)
                .is_ok_and(|name| own.try_cmp(&name).is_ok_and(std::cmp::Ordering::is_eq))
}

/// Bits of an RSA modulus.
const MAX_MODULUS: i32 = 16_384;
/// Bits of a DSA modulus.
const MAX_DSA_MODULUS: i32 = 4096;
/// Bits of an RSA key's public exponent: with a longer one a verification takes seconds.
const MAX_EXPONENT: i32 = 64;
const UNREADABLE: Fault = Fault::Malformed("a signer's key cannot be read");

/// Whether computing with the key of this certificate is bounded. It costs as much as a verification,
/// so it is asked once for each certificate.
pub(crate) fn weigh(certificate: &X509) -> Result<(), Fault> {
    let key = certificate.public_key().map_err(|_| UNREADABLE)?;
    let (what, limit, bits) = match key.id() {
        Id::RSA | Id::RSA_PSS => {
            let rsa = key.rsa().map_err(|_| UNREADABLE)?;
            if rsa.e().num_bits() > MAX_EXPONENT {
                let limit = MAX_EXPONENT.unsigned_abs().into();
                return Err(Fault::Limit { what: "bits of an RSA public exponent", limit });
            }
            ("bits of an RSA modulus", MAX_MODULUS, rsa.n().num_bits())
        }
        Id::DSA => {
            let dsa = key.dsa().map_err(|_| UNREADABLE)?;
            ("bits of a DSA modulus", MAX_DSA_MODULUS, dsa.p().num_bits())
        }
        _ => return Ok(()),
    };
    if bits > limit {
        Err(Fault::Limit { what, limit: limit.unsigned_abs().into() })
    } else {
        Ok(())
    }
}
