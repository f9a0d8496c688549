//! Judges CMS signatures by the sender's configured certificates (RFC 5652 section 5).

pub(crate) mod check;
pub(crate) mod judgement;
mod signer;

use openssl::x509::X509;

use self::{judgement::Judgement, signer::SignerInfo};
use crate::{
    MessageMic, MicForm, ProcessingError, SignatureStatus, Warning,
    ber::{
        Tag, oid,
        read::{Element, Reader, definite},
    },
    digest::{Digest, Digests, Sums},
    fault::Fault,
    mic,
    state::{DecodeFlow, Facts},
};

/// The right to tell the message's signature: the outermost signature has it.
pub(crate) struct Claim {
    is_outermost: bool,
    tells_mic: bool,
}

/// The parts of a SignedData that follow or stand around its content.
#[derive(Default)]
pub(crate) struct SignedData {
    /// The certificates' DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// Those that cannot be read among them: they must not hide the others.
    pub(crate) signers: Vec<Result<SignerInfo, Fault>>,
}

/// The certificates that came with a signature, parsed once they are needed.
struct Embedded<'a> {
    all: &'a [Vec<u8>],
    parsed: Option<Vec<X509>>,
    /// The first limit that kept a certificate from being tried which is not the sender's.
    over: Option<Fault>,
}

/// Signers of one signature that are looked at.
const MAX_SIGNERS: usize = 8;
/// Certificates of one signature that are looked at.
const MAX_CERTIFICATES: usize = 32;
/// Digests that a signature may announce; each is a pass over all bytes.
const MAX_DIGESTS: usize = 4;
/// What signatures are made with, the most usual first.
const USUAL: [Digest; 4] = [Digest::Sha256, Digest::Sha1, Digest::Sha384, Digest::Sha512];

// === impl Claim ===

impl Claim {
    pub(crate) fn take(flow: &mut DecodeFlow<'_>) -> Self {
        let facts: &mut Facts = &mut flow.state.facts;
        let claim = Self { is_outermost: !facts.signed, tells_mic: !facts.mic_claimed };
        facts.signed = true;
        facts.mic_claimed = true;
        claim
    }

    /// The digests to run: those announced, those that the receipt may have, and the usual ones in case
    /// that the announcement lies, since the signature that decides comes last. Each costs a pass over
    /// all bytes: so the beginning of the outermost signed content is kept, and the usual ones run
    /// beyond that only; further inside, where the copies would add up, they run from the beginning.
    /// `is_odd`: nothing is announced, or something unknown.
    pub(crate) fn digests(
        &self,
        mut announced: Vec<Digest>,
        is_odd: bool,
        canonicalise: bool,
        flow: &DecodeFlow<'_>,
    ) -> Digests {
        announced.truncate(MAX_DIGESTS);
        let usual = if is_odd || announced.is_empty() { &USUAL[..] } else { &USUAL[..2] };
        let mut wanted = announced.clone();
        if self.tells_mic {
            wanted.extend(&flow.state.requested_mics);
        }
        if self.is_outermost {
            let digests = Digests::new(wanted, canonicalise).announced(announced);
            return digests.keeping(usual.to_vec());
        }
        wanted.extend(usual);
        Digests::new(wanted, canonicalise).announced(announced)
    }

    /// Judges; `None`: the signature cannot be read. Returns whether it is over this content,
    /// whatever certificate it is by.
    pub(crate) fn settle_by(
        &self,
        signatures: Option<&SignedData>,
        sums: &Sums,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<bool, Fault> {
        let judgement = match signatures {
            Some(signatures) => signatures.judge(sums, flow)?,
            None => Judgement::invalid("the signature cannot be read"),
        };
        for reason in &judgement.reasons {
            flow.state.add_error(reason.clone());
        }
        if self.tells_mic {
            let own_mic = |digest: Digest| {
                let sum = sums.by(digest)?;
                let canonical = sum.canonical.filter(|_| judgement.is_canonical);
                Some(mic::format(digest, &canonical.unwrap_or(sum.raw)))
            };
            let requested = &flow.state.requested_mics;
            let mut algorithms = requested.clone();
            let habitual: &[Digest] = if flow.state.wants_mdn { &mic::HABITUAL } else { &[] };
            // Those cost no further pass over a large content: they ran in case that its `micalg` lies.
            for &digest in judgement.digest.iter().chain(habitual) {
                if !algorithms.contains(&digest) {
                    algorithms.push(digest);
                }
            }
            let usual = algorithms.first().copied();
            let form = MicForm::Entity;
            let mics = algorithms.into_iter().filter_map(|digest| {
                let unoffered = !requested.contains(&digest);
                Some((digest, MessageMic { form, mic: own_mic(digest)?, unoffered }))
            });
            let mics: Vec<_> = mics.collect();
            let usual = mics.iter().find(|(digest, _)| Some(*digest) == usual);
            let usual = usual.map(|(_, own)| own.mic.clone());
            let facts = &mut flow.state.facts;
            facts.mic = usual;
            facts.mics = mics.into_iter().map(|(_, own)| own).collect();
        }
        let is_sound =
            !matches!(judgement.status, SignatureStatus::Invalid | SignatureStatus::Unsupported);
        if is_sound && let Some(warning) = judgement.digest.and_then(|by| sums.unannounced(by)) {
            flow.state.facts.warn(warning);
        }
        if self.is_outermost {
            flow.state.facts.judgement = Some(judgement);
        }
        Ok(is_sound)
    }
}

// === impl SignedData ===

impl SignedData {
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
            if self.certificates.len() >= MAX_CERTIFICATES {
                break;
            }
            let is_new = self.certificates.iter().all(|other| other != certificate.raw);
            if certificate.tag == Tag::SEQUENCE && is_new {
                self.certificates.push(certificate.raw.to_vec());
            }
        }
        Ok(())
    }

    pub(crate) fn add_signers(&mut self, set: Element<'_>) -> Result<(), Fault> {
        let mut inside = set.inside();
        while let Some(signer) = inside.next()? {
            if self.signers.len() >= MAX_SIGNERS {
                break;
            }
            let signer = SignerInfo::parse(signer);
            if !self.signers.contains(&signer) {
                self.signers.push(signer);
            }
        }
        Ok(())
    }

    /// The best that any of the signers gives.
    fn judge(&self, sums: &Sums, flow: &mut DecodeFlow<'_>) -> Result<Judgement, Fault> {
        let has_own = !flow.state.keyring.certificates(&flow.state.sender).is_empty();
        let rank = |judgement: &Judgement| match judgement.status {
            SignatureStatus::Valid => 0,
            SignatureStatus::OtherCertificate => 1,
            // A forger decides how much there is to verify: it must not hide a wrong signature.
            SignatureStatus::Unsupported if has_own => 4,
            SignatureStatus::UnknownCertificate | SignatureStatus::Unsupported => 2,
            SignatureStatus::Invalid | SignatureStatus::Unsigned => 3,
        };
        let mut embedded = Embedded { all: &self.certificates, parsed: None, over: None };
        let mut limit = None;
        let mut best: Option<Judgement> = None;
        for signer in &self.signers {
            flow.checkpoint()?;
            let signer = match signer {
                Ok(signer) => signer.judge(&mut embedded, sums, flow),
                Err(fault) => Ok(Judgement::unreadable(fault)),
            };
            let judged = match signer {
                Ok(judged) => judged,
                Err(fault) if flow.state.is_stopped() => return Err(fault),
                Err(fault) => {
                    let reason = ProcessingError::from(&fault);
                    limit.get_or_insert(fault);
                    Judgement::unsupported(reason)
                }
            };
            if judged.status == SignatureStatus::Valid {
                let is_unreadable = |other: &Result<SignerInfo, _>| {
                    other.as_ref().map_or(true, SignerInfo::is_unknown)
                };
                if self.signers.iter().any(is_unreadable) {
                    flow.state.facts.warn(Warning::unreadable_signer());
                }
                return Ok(judged);
            }
            if best.as_ref().is_none_or(|best| rank(&judged) < rank(best)) {
                best = Some(judged);
            }
        }
        let mut best = best.unwrap_or_else(|| Judgement::invalid("the signature has no signer"));
        if best.status != SignatureStatus::Unsupported {
            best.reasons.extend(limit.or(embedded.over).map(|fault| ProcessingError::from(&fault)));
        }
        Ok(best)
    }
}

// === impl Embedded ===

impl Embedded<'_> {
    fn parsed(&mut self, flow: &mut DecodeFlow<'_>) -> &[X509] {
        self.parsed.get_or_insert_with(|| {
            let admitted = self.all.iter().take_while(|_| flow.state.admit_certificate());
            admitted.filter_map(|der| check::certificate(der)).collect()
        })
    }
}
