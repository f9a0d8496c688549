//! RecipientInfos: which of them is ours, and the content key that it holds.

use openssl::pkey::Id;
use subtle::{Choice, ConditionallySelectable};

use super::{key_agreement::Agreement, key_transport};
use crate::{
    Keyring, StationKey,
    ber::{
        Tag, oid,
        read::{Element, Reader},
    },
    fault::Fault,
    keys::Identifier,
    state::DecodeFlow,
};

/// One way to the content key.
enum Recipient<'a> {
    Transport {
        identifier: Identifier,
        algorithm: Element<'a>,
        encrypted: &'a [u8],
    },
    Agreement {
        identifier: Identifier,
        shared: std::rc::Rc<Result<Agreement<'a>, Fault>>,
        encrypted: &'a [u8],
    },
}

/// Recipients of one message that are looked at.
const MAX_RECIPIENTS: usize = 256;

/// The first recipient that is one of ours.
pub(super) struct OwnRecipient<'a, 'k> {
    recipient: Recipient<'a>,
    /// The key that it names; several, where their certificates have one issuer and serial number.
    keys: Vec<&'k StationKey>,
}

/// Keys of one name that are tried.
const MAX_KEYS: usize = 8;

// === impl OwnRecipient ===

impl<'a, 'k> OwnRecipient<'a, 'k> {
    pub(super) fn find(set: &'a [u8], keyring: &'k Keyring) -> Result<Self, Fault> {
        let mut recipients = parse(set)?;
        let suitable = |recipient: &Recipient<'_>, is_exact: bool| -> Vec<&'k StationKey> {
            let identifier = recipient.identifier();
            // An issuer that was spelled anew on the way still leaves the serial number.
            let is_named = |key: &StationKey| match is_exact {
                true => identifier.names(&key.certificate),
                false => identifier.has_issuer(),
            };
            let keys = keyring.keys_like(identifier).filter(|key| recipient.suits(key));
            keys.filter(|key| is_named(key)).take(MAX_KEYS).collect()
        };
        for is_exact in [true, false] {
            for at in 0..recipients.len() {
                let keys = suitable(&recipients[at], is_exact);
                if !keys.is_empty() {
                    return Ok(Self { recipient: recipients.swap_remove(at), keys });
                }
            }
        }
        Err(Fault::NoRecipient)
    }

    /// Opens the content key; says which of our keys did it. With several keys all of them are tried,
    /// whichever fits, so that the time says nothing of it.
    pub(super) fn open(
        &self,
        length: usize,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<(Vec<u8>, &'k StationKey), Fault> {
        let mut secret = key_transport::random(length)?;
        let (mut which, mut is_open) = (0u8, Choice::from(0));
        for (at, key) in (0u8..).zip(&self.keys) {
            flow.begin_private_operation()?;
            let (candidate, opens) = self.recipient.open(key, length)?;
            let is_taken = opens & !is_open;
            key_transport::select(&mut secret, &candidate, is_taken);
            which.conditional_assign(&at, is_taken);
            is_open |= opens;
        }
        let key = self.keys.get(usize::from(which)).ok_or(Fault::NoRecipient)?;
        Ok((secret, key))
    }
}

fn parse(set: &[u8]) -> Result<Vec<Recipient<'_>>, Fault> {
    let mut recipients = Vec::new();
    let mut inside = Reader::new(set).expect(Tag::SET)?.inside();
    while let Some(info) = inside.next()? {
        if recipients.len() >= MAX_RECIPIENTS {
            return Err(Fault::Limit { what: "recipients", limit: MAX_RECIPIENTS as u64 });
        }
        if info.tag == Tag::SEQUENCE {
            recipients.push(transport(info)?);
        } else if info.tag.is_context(1) {
            agreement(info, &mut recipients)?;
        }
    }
    Ok(recipients)
}

fn transport(info: Element<'_>) -> Result<Recipient<'_>, Fault> {
    let mut fields = info.inside();
    fields.expect(Tag::INTEGER)?;
    let identifier = Identifier::parse(fields.any()?)?;
    let algorithm = fields.expect(Tag::SEQUENCE)?;
    let encrypted = fields.expect(Tag::OCTET_STRING)?.content;
    Ok(Recipient::Transport { identifier, algorithm, encrypted })
}

fn agreement<'a>(info: Element<'a>, recipients: &mut Vec<Recipient<'a>>) -> Result<(), Fault> {
    let mut fields = info.inside();
    fields.expect(Tag::INTEGER)?;
    let originator = fields.any()?;
    let material = fields.context(1)?;
    let algorithm = fields.expect(Tag::SEQUENCE)?;
    // An unknown agreement matters only if it is for us.
    let shared = std::rc::Rc::new(Agreement::parse(originator, material, algorithm));
    let mut keys = fields.expect(Tag::SEQUENCE)?.inside();
    while let Some(key) = keys.next()? {
        let mut fields = key.inside();
        let identifier = Identifier::parse(fields.any()?)?;
        let encrypted = fields.expect(Tag::OCTET_STRING)?.content;
        if recipients.len() < MAX_RECIPIENTS {
            let shared = shared.clone();
            recipients.push(Recipient::Agreement { identifier, shared, encrypted });
        }
    }
    Ok(())
}

// === impl Recipient ===

impl Recipient<'_> {
    fn identifier(&self) -> &Identifier {
        match self {
            Self::Transport { identifier, .. } | Self::Agreement { identifier, .. } => identifier,
        }
    }

    fn suits(&self, key: &StationKey) -> bool {
        match self {
            Self::Transport { .. } => key.private_key.id() == Id::RSA,
            Self::Agreement { .. } => key.private_key.id() == Id::EC,
        }
    }

    /// The content key, or as many other bytes where it does not open.
    fn open(&self, key: &StationKey, length: usize) -> Result<(Vec<u8>, Choice), Fault> {
        match self {
            Self::Transport { algorithm, encrypted, .. } => {
                let (id, parameters) = algorithm.algorithm()?;
                match id {
                    oid::RSA => key_transport::pkcs1(&key.private_key, encrypted, length),
                    oid::RSA_OAEP => {
                        key_transport::oaep(&key.private_key, encrypted, parameters, length)
                    }
                    _ => Err(Fault::Algorithm { what: "key transport", oid: oid::dotted(id) }),
                }
            }
            Self::Agreement { shared, encrypted, .. } => {
                let shared = shared.as_ref().as_ref().map_err(Fault::clone)?;
                match shared.open(&key.private_key, encrypted) {
                    Some(secret) if secret.len() == length => Ok((secret, Choice::from(1))),
                    _ => Ok((key_transport::random(length)?, Choice::from(0))),
                }
            }
        }
    }
}
