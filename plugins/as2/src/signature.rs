//! Judges CMS signatures by the sender's configured certificates (RFC 5652 section 5).

mod check;

use crate::{
    ErrorCode, ProcessingError, SignatureStatus,
    ber::{
        Tag, oid,
        read::{Element, Reader, definite},
    },
    digest::{Digest, Sums},
    fault::Fault,
    keys::Identifier,
    mic,
    state::{Facts, Flow},
};

/// How a signature stands.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) status: SignatureStatus,
    /// Serial of the signer's certificate, lower-case hex.
    pub(crate) signer: Option<String>,
    pub(crate) digest: Option<Digest>,
    /// The digest's value that the MIC is made of has canonical line ends.
    is_canonical: bool,
    /// Why it is not valid.
    reason: Option<&'static str>,
}

/// The right to tell the message's signature: the outermost signature has it.
pub(crate) struct Claim {
    is_outermost: bool,
    tells_mic: bool,
}

/// The parts of a SignedData that follow or stand around its content.
#[derive(Default)]
pub(crate) struct Signatures {
    /// The certificates' DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) signers: Vec<Signer>,
}

/// A SignerInfo.
pub(crate) struct Signer {
    identifier: Identifier,
    digest_oid: Vec<u8>,
    /// Content of the attributes' SET.
    attributes: Option<Vec<u8>>,
    algorithm: check::Algorithm,
    signature: Vec<u8>,
}

/// Signers of one message that are looked at.
const MAX_SIGNERS: usize = 8;
/// Certificates of one message that are looked at.
const MAX_CERTIFICATES: usize = 32;

// === impl Claim ===

impl Claim {
    pub(crate) fn take(flow: &mut Flow<'_>) -> Self {
        let facts: &mut Facts = &mut flow.state.facts;
        let claim = Self { is_outermost: !facts.signed, tells_mic: !facts.mic_claimed };
        facts.signed = true;
        facts.mic_claimed = true;
        claim
    }

    /// The digests to run: those announced, the two usual ones where nothing known is, and the one
    /// that the receipt is to have. Each costs a pass over all bytes.
    pub(crate) fn wanted(&self, announced: &[Digest], flow: &Flow<'_>) -> Vec<Digest> {
        let usual = if announced.is_empty() { &[Digest::Sha256, Digest::Sha1][..] } else { &[] };
        let asked = flow.state.requested_mic.filter(|_| self.tells_mic);
        announced.iter().chain(usual).copied().chain(asked).collect()
    }

    /// Judges; `None`: the signature cannot be read.
    pub(crate) fn settle_by(
        &self,
        signatures: Option<&Signatures>,
        sums: &Sums,
        flow: &mut Flow<'_>,
    ) {
        let judgement = match signatures {
            Some(signatures) => signatures.judge(sums, flow),
            None => Judgement::invalid("the signature cannot be read"),
        };
        if let Some(reason) = judgement.reason {
            flow.state.add_error(ProcessingError::new(ErrorCode::Signature, reason));
        }
        if self.tells_mic
            && let Some(digest) = flow.state.requested_mic.or(judgement.digest)
        {
            flow.state.facts.mic = sums.by(digest).map(|sum| {
                let canonical = sum.canonical.filter(|_| judgement.is_canonical);
                mic::format(digest, &canonical.unwrap_or(sum.raw))
            });
        }
        if self.is_outermost {
            flow.state.facts.judgement = Some(judgement);
        }
    }
}

// === impl Judgement ===

impl Judgement {
    fn invalid(reason: &'static str) -> Self {
        Self {
            status: SignatureStatus::Invalid,
            signer: None,
            digest: None,
            is_canonical: false,
            reason: Some(reason),
        }
    }
}

// === impl Signatures ===

impl Signatures {
    /// From a whole ContentInfo.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let bytes = definite(bytes)?;
        let mut info = Reader::new(&bytes).expect(Tag::SEQUENCE)?.inside();
        if info.expect(Tag::OID)?.content != oid::SIGNED_DATA {
            return Err(Fault::Malformed("the signature is no SignedData"));
        }
        let mut fields = info.any()?.inside().expect(Tag::SEQUENCE)?.inside();
        fields.expect(Tag::INTEGER)?;
        fields.expect(Tag::SET)?;
        fields.expect(Tag::SEQUENCE)?;
        let mut signatures = Self::default();
        if let Some(certificates) = fields.context(0)? {
            signatures.add_certificates(certificates)?;
        }
        fields.context(1)?;
        signatures.add_signers(fields.expect(Tag::SET)?)?;
        Ok(signatures)
    }

    pub(crate) fn add_certificates(&mut self, set: Element<'_>) -> Result<(), Fault> {
        let mut inside = set.inside();
        while let Some(certificate) = inside.next()? {
            if certificate.tag == Tag::SEQUENCE && self.certificates.len() < MAX_CERTIFICATES {
                self.certificates.push(certificate.raw.to_vec());
            }
        }
        Ok(())
    }

    pub(crate) fn add_signers(&mut self, set: Element<'_>) -> Result<(), Fault> {
        let mut inside = set.inside();
        while let Some(signer) = inside.next()? {
            if self.signers.len() < MAX_SIGNERS {
                self.signers.push(Signer::parse(signer)?);
            }
        }
        Ok(())
    }

    /// The best that any of the signers gives.
    fn judge(&self, sums: &Sums, flow: &Flow<'_>) -> Judgement {
        let rank = |judgement: &Judgement| match judgement.status {
            SignatureStatus::Valid => 0,
            SignatureStatus::OtherCertificate => 1,
            SignatureStatus::UnknownCertificate => 2,
            SignatureStatus::Invalid | SignatureStatus::Unsigned => 3,
        };
        let judged = self.signers.iter().map(|signer| signer.judge(self, sums, flow));
        judged.min_by_key(rank).unwrap_or_else(|| Judgement::invalid("the signature has no signer"))
    }
}

// === impl Signer ===

impl Signer {
    fn parse(info: Element<'_>) -> Result<Self, Fault> {
        let mut fields = info.inside();
        fields.expect(Tag::INTEGER)?;
        let identifier = Identifier::parse(fields.any()?)?;
        let (digest_oid, _) = fields.expect(Tag::SEQUENCE)?.algorithm()?;
        let attributes = fields.context(0)?.map(|a| a.content.to_vec());
        let (algorithm, parameters) = fields.expect(Tag::SEQUENCE)?.algorithm()?;
        let algorithm = check::Algorithm::parse(algorithm, parameters)?;
        let signature = fields.expect(Tag::OCTET_STRING)?.content.to_vec();
        Ok(Self { identifier, digest_oid: digest_oid.to_vec(), attributes, algorithm, signature })
    }

    fn judge(&self, all: &Signatures, sums: &Sums, flow: &Flow<'_>) -> Judgement {
        let signer = self.identifier.serial_hex();
        let Some(digest) = Digest::from_oid(&self.digest_oid) else {
            let reason = "the signature's digest algorithm is not supported";
            return Judgement { signer, ..Judgement::invalid(reason) };
        };
        let found = Judgement { signer, digest: Some(digest), ..Judgement::invalid("") };
        let Some(sum) = sums.by(digest) else {
            let reason = "the signature's digest is another than its micalg announces";
            return Judgement { reason: Some(reason), ..found };
        };
        let canonical = sum.canonical.as_deref();
        let candidates = [(false, Some(sum.raw.as_slice())), (true, canonical)];
        let mut judged = None;
        for (is_canonical, value) in candidates {
            let Some(value) = value else { continue };
            if self.attributes.is_some() && !self.announces(value) {
                continue;
            }
            let (status, signer) = self.judge_by_certificates(all, digest, value, flow);
            let better = judged.is_none() || status == SignatureStatus::Valid;
            if better && (status != SignatureStatus::Invalid || judged.is_none()) {
                judged = Some((status, signer, is_canonical));
            }
            if status != SignatureStatus::Invalid {
                break;
            }
        }
        let Some((status, by, is_canonical)) = judged else {
            let reason = "the content is not what was signed";
            return Judgement { reason: Some(reason), ..found };
        };
        let reason = match status {
            SignatureStatus::Invalid => Some("the signature is wrong"),
            SignatureStatus::OtherCertificate => {
                Some("the signature is by another certificate than the partner's")
            }
            _ => None,
        };
        Judgement {
            status,
            signer: by.or(found.signer),
            digest: found.digest,
            is_canonical,
            reason,
        }
    }

    /// Whether the signed attributes have this message digest.
    fn announces(&self, value: &[u8]) -> bool {
        let mut attributes = Reader::new(self.attributes.as_deref().unwrap_or_default());
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

    fn judge_by_certificates(
        &self,
        all: &Signatures,
        digest: Digest,
        value: &[u8],
        flow: &Flow<'_>,
    ) -> (SignatureStatus, Option<String>) {
        let keyring = &flow.state.keyring;
        let sender = &flow.state.sender;
        let own = keyring.certificates(sender);
        // Those that the signature names come first; a renewed certificate may keep its key.
        let (named, others): (Vec<_>, Vec<_>) =
            own.iter().partition(|certificate| self.identifier.names(certificate));
        for certificate in named.iter().chain(&others) {
            if self.verifies(certificate, digest, value) {
                let serial = crate::keys::serial_hex(certificate);
                return (SignatureStatus::Valid, serial);
            }
        }
        let of_others = keyring.named_by(&self.identifier).filter(|(id, _)| *id != sender);
        let of_others = of_others.map(|(_, certificate)| (true, certificate.clone()));
        let embedded = all.certificates.iter().filter_map(|der| check::certificate(der));
        let embedded = embedded.filter(|c| self.identifier.names(c)).map(|c| (false, c));
        let mut is_known = !named.is_empty();
        for (is_configured, certificate) in of_others.chain(embedded) {
            is_known = true;
            if self.verifies(&certificate, digest, value) {
                // For a sender without any configured certificate an embedded one proves nothing.
                let status = if own.is_empty() && !is_configured {
                    SignatureStatus::UnknownCertificate
                } else {
                    SignatureStatus::OtherCertificate
                };
                return (status, crate::keys::serial_hex(&certificate));
            }
        }
        let status =
            if is_known { SignatureStatus::Invalid } else { SignatureStatus::UnknownCertificate };
        (status, None)
    }

    fn verifies(&self, certificate: &openssl::x509::X509, digest: Digest, value: &[u8]) -> bool {
        let attributes = self.attributes.as_deref();
        self.algorithm.verifies(certificate, digest, value, attributes, &self.signature)
    }
}

fn openssl_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && openssl::memcmp::eq(a, b)
}
