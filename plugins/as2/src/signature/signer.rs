//! One signer of a signature, judged by the certificates that may be its own (RFC 5652 section 5.3).

use openssl::x509::X509;

use super::{Embedded, check, judgement::Judgement};
use crate::{
    ProcessingError, SignatureStatus,
    ber::{
        Tag, oid,
        read::{Element, Reader},
    },
    digest::{Digest, Sums},
    fault::Fault,
    keys::{self, Identifier},
    state::DecodeFlow,
};

/// A SignerInfo.
#[derive(PartialEq, Eq)]
pub(crate) struct SignerInfo {
    identifier: Identifier,
    digest_oid: Vec<u8>,
    /// The signed attributes as a SET, in the order they came in and in that of DER if it is another:
    /// some senders sign the one, some the other. Empty: the content itself is signed.
    attributes: Vec<Vec<u8>>,
    algorithm: check::SignatureAlgorithm,
    signature: Vec<u8>,
}

// === impl SignerInfo ===

impl SignerInfo {
    pub(super) fn parse(info: Element<'_>) -> Result<Self, Fault> {
        let mut fields = info.inside();
        fields.expect(Tag::INTEGER)?;
        let identifier = Identifier::parse(fields.any()?)?;
        let (digest_oid, _) = fields.expect(Tag::SEQUENCE)?.algorithm()?;
        let attributes = fields.context(0)?.map(|a| check::attributes(a.content));
        let (algorithm, parameters) = fields.expect(Tag::SEQUENCE)?.algorithm()?;
        let algorithm = check::SignatureAlgorithm::parse(algorithm, parameters)?;
        let signature = fields.expect(Tag::OCTET_STRING)?.content.to_vec();
        Ok(Self {
            identifier,
            digest_oid: digest_oid.to_vec(),
            attributes: attributes.unwrap_or_default(),
            algorithm,
            signature,
        })
    }

    /// Whether it digests or signs by an algorithm that is not known.
    pub(super) fn is_unknown(&self) -> bool {
        Digest::from_oid(&self.digest_oid).is_none() || self.algorithm.unknown().is_some()
    }

    /// How its signature stands towards the sender's certificates.
    pub(super) fn judge(
        &self,
        embedded: &mut Embedded<'_>,
        sums: &Sums,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<Judgement, Fault> {
        let signer = self.identifier.serial_hex();
        let Some(digest) = Digest::from_oid(&self.digest_oid) else {
            let by_algorithm = Judgement::by_algorithm("digest", &oid::dotted(&self.digest_oid));
            return Ok(Judgement { signer, ..by_algorithm });
        };
        let found = |reason| Judgement {
            signer: signer.clone(),
            digest: Some(digest),
            ..Judgement::invalid(reason)
        };
        let Some(sum) = sums.by(digest) else {
            let reason = ProcessingError::from(&sums.missing(digest));
            let digest = Some(digest);
            return Ok(Judgement { signer, digest, ..Judgement::unsupported(reason) });
        };
        if self.attributes.is_empty() && sums.is_like_attributes() {
            // A signature over attributes would verify as one over such a content: any holder of a
            // signed message of this sender could make this one of it.
            return Ok(found(
                "the signed content is a set of signed attributes, which proves nothing",
            ));
        }
        let candidates = [(false, Some(&sum.raw)), (true, sum.canonical.as_ref())];
        let mut judged = None;
        for (is_canonical, value) in candidates {
            let Some(value) = value else { continue };
            if !self.attributes.is_empty() && !self.announces(value) {
                continue;
            }
            let (status, by) = self.judge_by_certificates(embedded, digest, value, flow)?;
            let is_verified = by.is_some();
            if judged.is_none() || is_verified {
                judged = Some((status, by, is_canonical));
            }
            if is_verified {
                break;
            }
        }
        let Some((status, by, is_canonical)) = judged else {
            return Ok(found("the content is not what was signed"));
        };
        if by.is_none()
            && let Some(id) = self.algorithm.unknown()
        {
            let by_algorithm = Judgement::by_algorithm("signature", id);
            return Ok(Judgement { signer, digest: Some(digest), ..by_algorithm });
        }
        let reasons = match status {
            SignatureStatus::Invalid => found("the signature is wrong").reasons,
            SignatureStatus::OtherCertificate => {
                found("the signature is by another certificate than the partner's").reasons
            }
            _ => Vec::new(),
        };
        Ok(Judgement { status, signer: by.or(signer), digest: Some(digest), is_canonical, reasons })
    }

    /// Whether the signed attributes have this message digest.
    fn announces(&self, value: &[u8]) -> bool {
        let Some(Ok(set)) = self.attributes.first().map(|set| Reader::new(set).expect(Tag::SET))
        else {
            return false;
        };
        let mut attributes = set.inside();
        while let Ok(Some(attribute)) = attributes.next() {
            let mut inside = attribute.inside();
            let is_digest = inside.any().is_ok_and(|id| id.content == oid::MESSAGE_DIGEST);
            if is_digest {
                let announced = inside.any().and_then(|set| set.inside().any());
                return announced.is_ok_and(|a| openssl_eq(a.content, value));
            }
        }
        false
    }

    /// Tries each certificate once. The serial number comes with a status only when one verifies. A
    /// limit that keeps one of the sender's own from being tried is an error, or any limit when the
    /// sender has none; a limit met with another certificate says nothing about the sender's own.
    fn judge_by_certificates(
        &self,
        embedded: &mut Embedded<'_>,
        digest: Digest,
        value: &[u8],
        flow: &mut DecodeFlow<'_>,
    ) -> Result<(SignatureStatus, Option<String>), Fault> {
        let keyring = flow.state.keyring.clone();
        let sender = flow.state.sender.clone();
        let own = keyring.certificates(&sender);
        let mut tried: Vec<X509> = Vec::new();
        let (mut own_over, mut other_over) = (None, None);
        let mut verifies = |certificate: &X509,
                            weight: Result<(), Fault>,
                            over: &mut Option<Fault>,
                            flow: &mut DecodeFlow<'_>| {
            if tried.contains(certificate) {
                return Ok(false);
            }
            tried.push(certificate.clone());
            let attributes = self.attributes.as_slice();
            let signature = &self.signature;
            let verified = weight.and_then(|()| {
                self.algorithm.verifies(certificate, digest, value, attributes, signature, flow)
            });
            match verified {
                Err(fault) if !flow.state.is_stopped() => {
                    over.get_or_insert(fault);
                    Ok(false)
                }
                verified => verified,
            }
        };
        // Those that the signature names come first; a renewed certificate may keep its key.
        let (named, others): (Vec<_>, Vec<_>) =
            own.iter().partition(|certificate| self.identifier.names(certificate));
        for certificate in named.iter().chain(&others) {
            if verifies(certificate, keyring.weigh(certificate), &mut own_over, flow)? {
                return Ok((SignatureStatus::Valid, crate::keys::serial_hex(certificate)));
            }
        }
        let mut is_known = !named.is_empty();
        for (id, certificate) in keyring.named_by(&self.identifier) {
            if id == sender {
                continue;
            }
            is_known = true;
            if verifies(certificate, keyring.weigh(certificate), &mut other_over, flow)? {
                return Ok((
                    SignatureStatus::OtherCertificate,
                    crate::keys::serial_hex(certificate),
                ));
            }
        }
        for certificate in embedded.parsed(flow) {
            if !self.identifier.names(certificate) {
                continue;
            }
            let weight = keys::weigh(certificate);
            is_known |= weight.is_ok();
            if verifies(certificate, weight, &mut other_over, flow)? {
                // For a sender without any configured certificate an embedded one proves nothing.
                let status = if own.is_empty() {
                    SignatureStatus::UnknownCertificate
                } else {
                    SignatureStatus::OtherCertificate
                };
                return Ok((status, crate::keys::serial_hex(certificate)));
            }
        }
        if own.is_empty() {
            let status = match is_known {
                true => SignatureStatus::Invalid,
                false => SignatureStatus::UnknownCertificate,
            };
            return other_over.map_or(Ok((status, None)), Err);
        }
        if let Some(fault) = own_over {
            return Err(fault);
        }
        embedded.over = embedded.over.take().or(other_over);
        let status =
            if is_known { SignatureStatus::Invalid } else { SignatureStatus::OtherCertificate };
        Ok((status, None))
    }
}

fn openssl_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && openssl::memcmp::eq(a, b)
}
