//! The mathematics of one signature, by OpenSSL's primitives.

use openssl::{
    error::ErrorStack,
    pkey::{Id, PKeyRef, Public},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::{RsaPssSaltlen, Verifier},
    x509::X509,
};

use crate::{
    ber::{
        Tag, oid,
        read::{self, Reader},
    },
    digest::Digest,
    fault::Fault,
    state::DecodeFlow,
};

/// A signature algorithm with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    /// RSASSA-PSS.
    Pss { digest: Digest, mask: Digest, salt: u32 },
    /// What the key's type says; a digest that the algorithm's identifier implies, and that identifier
    /// where it is not known: the key's type may tell enough nevertheless.
    Plain { implied: Option<Digest>, unknown: Option<String> },
}

/// Bytes of a certificate that came with a message.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// A certificate from its DER, if it is one, and if its key is on a named curve or on none: OpenSSL
/// computes with the curve that a certificate brings along as soon as it parses it.
pub(crate) fn certificate(der: &[u8]) -> Option<X509> {
    let is_fit = der.len() <= MAX_CERTIFICATE && has_plain_key(der).unwrap_or(false);
    if is_fit { X509::from_der(der).ok() } else { None }
}

/// Whether the key of a certificate has no parameters of an elliptic curve but its name.
fn has_plain_key(der: &[u8]) -> Result<bool, Fault> {
    let mut fields =
        Reader::new(der).expect(Tag::SEQUENCE)?.inside().expect(Tag::SEQUENCE)?.inside();
    fields.context(0)?;
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        fields.any()?;
    }
    let (id, parameters) =
        fields.expect(Tag::SEQUENCE)?.inside().expect(Tag::SEQUENCE)?.algorithm()?;
    Ok(id != oid::EC_PUBLIC_KEY || parameters.is_some_and(|p| p.tag == Tag::OID))
}

/// The signed attributes as a SET, in the order they came in and in that of DER if it is another.
pub(crate) fn attributes(content: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![read::encode(Tag::SET.octet, content)];
    let sorted = read::encode(Tag::SET.octet, &sort(content));
    if sorted != forms[0] {
        forms.push(sorted);
    }
    forms
}

// === impl SignatureAlgorithm ===

impl SignatureAlgorithm {
    pub(crate) fn parse(id: &[u8], parameters: Option<read::Element<'_>>) -> Result<Self, Fault> {
        if id != oid::RSA_PSS {
            let implied = Digest::from_oid(id);
            let is_known = implied.is_some() || oid::SIGNATURE_KEYS.contains(&id);
            return Ok(Self::Plain { implied, unknown: (!is_known).then(|| oid::dotted(id)) });
        }
        let mut salt = 20;
        let Some(parameters) = parameters.filter(|p| p.tag == Tag::SEQUENCE) else {
            return Ok(Self::Pss { digest: Digest::Sha1, mask: Digest::Sha1, salt });
        };
        let malformed = Fault::Malformed("the signature's PSS parameters are not supported");
        let mut fields = parameters.inside();
        let (digest, mask) = Digest::with_mask(&mut fields, "PSS digest")?;
        let mask = mask
            .ok_or_else(|| Fault::Algorithm { what: "PSS digest", oid: oid::dotted(oid::MGF1) })?;
        if let Some(length) = fields.context(2)? {
            salt =
                length.inside().any()?.small_integer().filter(|&s| s <= 1024).ok_or(malformed)?;
        }
        Ok(Self::Pss { digest, mask, salt })
    }

    /// Its identifier, where that is not known.
    pub(crate) fn unknown(&self) -> Option<&str> {
        match self {
            Self::Plain { unknown, .. } => unknown.as_deref(),
            Self::Pss { .. } => None,
        }
    }

    /// Whether the signature is right; whatever goes wrong on the way makes it wrong. `attributes`:
    /// their forms; none where the content itself is signed.
    ///
    /// # Errors
    /// The message has had its number of verifications.
    pub(crate) fn verifies(
        &self,
        certificate: &X509,
        digest: Digest,
        content: &[u8],
        attributes: &[Vec<u8>],
        signature: &[u8],
        flow: &mut DecodeFlow<'_>,
    ) -> Result<bool, Fault> {
        let Ok(key) = certificate.public_key() else { return Ok(false) };
        let implied = match self {
            Self::Plain { implied, .. } => *implied,
            Self::Pss { digest, .. } => Some(*digest),
        };
        let implied = implied.filter(|&implied| implied != digest);
        let mut forms: Vec<(Option<&[u8]>, Digest)> =
            attributes.iter().map(|set| (Some(set.as_slice()), digest)).collect();
        match attributes.first() {
            Some(set) => forms.extend(implied.map(|implied| (Some(set.as_slice()), implied))),
            None => forms.push((None, digest)),
        }
        for (attributes, hash) in forms {
            flow.begin_verification()?;
            if self.verify(&key, hash, content, attributes, signature).unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn verify(
        &self,
        key: &PKeyRef<Public>,
        hash: Digest,
        content: &[u8],
        attributes: Option<&[u8]>,
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        if matches!(key.id(), Id::ED25519 | Id::ED448) {
            // These sign the message itself, which only the attributes have at hand (RFC 8419).
            let Some(attributes) = attributes else { return Ok(false) };
            return Verifier::new_without_digest(key)?.verify_oneshot(signature, attributes);
        }
        let value = match attributes {
            Some(attributes) => hash.of(attributes)?,
            None => content.to_vec(),
        };
        let mut context = PkeyCtx::new(key)?;
        context.verify_init()?;
        match self {
            &Self::Pss { mask, salt, .. } => {
                context.set_rsa_padding(Padding::PKCS1_PSS)?;
                context.set_signature_md(hash.md())?;
                let salt = i32::try_from(salt).unwrap_or(i32::MAX);
                context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt))?;
                context.set_rsa_mgf1_md(mask.md())?;
            }
            Self::Plain { .. } => {
                if key.id() == Id::RSA {
                    context.set_rsa_padding(Padding::PKCS1)?;
                }
                context.set_signature_md(hash.md())?;
            }
        }
        context.verify(&value, signature)
    }
}

/// The elements of a SET OF in DER's order.
fn sort(content: &[u8]) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut reader = Reader::new(content);
    while let Ok(Some(element)) = reader.next() {
        elements.push(element.raw);
    }
    elements.sort_unstable();
    elements.concat()
}
