//! The mathematics of one signature, by OpenSSL's primitives.

use openssl::{
    error::ErrorStack,
    pkey::Id,
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::{RsaPssSaltlen, Verifier},
    x509::X509,
};

use crate::{
    ber::{Tag, oid, read},
    digest::Digest,
    fault::Fault,
};

/// A signature algorithm with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PSS.
    Pss { digest: Digest, mask: Digest, salt: u32 },
    /// What the key's type says; a digest that the algorithm's identifier implies.
    Plain { implied: Option<Digest> },
}

/// A certificate from its DER, if it is one.
pub(crate) fn certificate(der: &[u8]) -> Option<X509> {
    X509::from_der(der).ok()
}

// === impl Algorithm ===

impl Algorithm {
    pub(crate) fn parse(id: &[u8], parameters: Option<read::Element<'_>>) -> Result<Self, Fault> {
        if id != oid::RSA_PSS {
            return Ok(Self::Plain { implied: Digest::from_oid(id) });
        }
        let (mut digest, mut mask, mut salt) = (Digest::Sha1, Digest::Sha1, 20);
        let Some(parameters) = parameters.filter(|p| p.tag == Tag::SEQUENCE) else {
            return Ok(Self::Pss { digest, mask, salt });
        };
        let unsupported = Fault::Malformed("the signature's PSS parameters are not supported");
        let mut fields = parameters.inside();
        if let Some(hash) = fields.context(0)? {
            let (id, _) = hash.inside().expect(Tag::SEQUENCE)?.algorithm()?;
            digest = Digest::from_oid(id).ok_or_else(|| unsupported.clone())?;
        }
        if let Some(generator) = fields.context(1)? {
            let (_, hash) = generator.inside().expect(Tag::SEQUENCE)?.algorithm()?;
            let (id, _) = hash.ok_or_else(|| unsupported.clone())?.algorithm()?;
            mask = Digest::from_oid(id).ok_or_else(|| unsupported.clone())?;
        }
        if let Some(length) = fields.context(2)? {
            salt =
                length.inside().any()?.small_integer().filter(|&s| s <= 1024).ok_or(unsupported)?;
        }
        Ok(Self::Pss { digest, mask, salt })
    }

    /// Whether the signature is right; whatever goes wrong on the way makes it wrong.
    pub(crate) fn verifies(
        &self,
        certificate: &X509,
        digest: Digest,
        content: &[u8],
        attributes: Option<&[u8]>,
        signature: &[u8],
    ) -> bool {
        // DER first; then the order as it came, which some senders sign.
        let sorted = attributes.map(|a| read::encode(Tag::SET.octet, &sort(a)));
        let as_sent = attributes.map(|a| read::encode(Tag::SET.octet, a));
        let sent_differs = as_sent != sorted;
        let implied = match self {
            Self::Plain { implied } => implied.filter(|&i| i != digest),
            Self::Pss { digest: own, .. } => Some(*own).filter(|own| *own != digest),
        };
        let by = |attributes: Option<&[u8]>, hash: Digest| {
            self.verify(certificate, hash, content, attributes, signature).unwrap_or(false)
        };
        by(as_sent.as_deref(), digest)
            || (sent_differs && by(sorted.as_deref(), digest))
            || (attributes.is_some() && implied.is_some_and(|hash| by(as_sent.as_deref(), hash)))
    }

    fn verify(
        &self,
        certificate: &X509,
        hash: Digest,
        content: &[u8],
        attributes: Option<&[u8]>,
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        let key = certificate.public_key()?;
        if matches!(key.id(), Id::ED25519 | Id::ED448) {
            // These sign the message itself, which only the attributes have at hand (RFC 8419).
            let Some(attributes) = attributes else { return Ok(false) };
            return Verifier::new_without_digest(&key)?.verify_oneshot(signature, attributes);
        }
        let value = match attributes {
            Some(attributes) => hash.of(attributes)?,
            None => content.to_vec(),
        };
        let mut context = PkeyCtx::new(&key)?;
        context.verify_init()?;
        match *self {
            Self::Pss { mask, salt, .. } => {
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
    let mut reader = read::Reader::new(content);
    while let Ok(Some(element)) = reader.next() {
        elements.push(element.raw);
    }
    elements.sort_unstable();
    elements.concat()
}
