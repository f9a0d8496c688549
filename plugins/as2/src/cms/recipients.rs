//! RecipientInfos: which of them is ours, and the content key that it holds.

use openssl::pkey::Id;

use super::{key_agreement::Agreement, key_transport};
use crate::{
    Keyring, StationKey,
    ber::{
        Tag, oid,
        read::{Element, Reader},
    },
    fault::Fault,
    keys::Identifier,
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

/// Opens the content key by the first recipient that is one of ours; tells which of our keys it was.
pub(super) fn open<'k>(
    set: &[u8],
    keyring: &'k Keyring,
    length: usize,
) -> Result<(Vec<u8>, &'k StationKey), Fault> {
    let recipients = parse(set)?;
    let exact = |id: &Identifier, key: &StationKey| id.names(&key.certificate);
    // An issuer that was spelled anew on the way still leaves the serial number.
    let by_serial = |id: &Identifier, key: &StationKey| id.has_serial_of(&key.certificate);
    for matches in [&exact as &dyn Fn(&Identifier, &StationKey) -> bool, &by_serial] {
        for recipient in &recipients {
            let identifier = recipient.identifier();
            let ours =
                keyring.keys().iter().find(|key| recipient.suits(key) && matches(identifier, key));
            if let Some(key) = ours {
                return recipient.open(key, length).map(|secret| (secret, key));
            }
        }
    }
    Err(Fault::NoRecipient)
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

    fn open(&self, key: &StationKey, length: usize) -> Result<Vec<u8>, Fault> {
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
                    Some(secret) if secret.len() == length => Ok(secret),
                    _ => key_transport::random(length),
                }
            }
        }
    }
}
