//! The keys of what is remembered of messages, and the groups in which its number is limited.

use std::fmt;

use as2hook_as2::hex;
use as2hook_event::{Event, bounds};
use as2hook_store::Record;
use openssl::sha::Sha256;

use super::{receipt::comparable_id, routes::Routes};

/// What the keys of records about sent messages begin with.
pub(super) const SENT: &str = "sent:";

/// What the keys of records about messages to us begin with: for our own receiver's asynchronous MDN.
pub(super) const TAKEN: &str = "took:";

/// What the keys of records begin with that tell duplicates.
pub(super) const SEEN: &str = "seen:";

/// So many records of one [`Group`] are kept, those that expire last.
pub(super) const MOST: u64 = 100_000;

/// Digits of a [`Group`]: with the prefix of a key they are what the store counts by.
const GROUP_DIGITS: usize = Record::GROUP as usize - SENT.len();

// Keys of all kinds begin alike, or the store would count parts of groups, or of several together.
const _: () = assert!(TAKEN.len() == SENT.len() && SEEN.len() == SENT.len());

/// Records whose number is limited together: those of one partner and station. What is not proven to be
/// a partner's pushes nothing out that is, and names that the config does not know share one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group(String);

// === impl Group ===

impl Group {
    /// Where the record of an exchange is counted.
    pub(super) fn of(routes: &Routes, event: &Event) -> Self {
        let [verified, unverified, unknown] = Self::all(routes);
        match (routes.is_known().0, routes.is_unverified(event)) {
            (false, _) => unknown,
            (true, true) => unverified,
            (true, false) => verified,
        }
    }

    /// Where a record of these parties may be, the likeliest first: the config may have been another.
    pub(super) fn all(routes: &Routes) -> [Self; 3] {
        let (partner, station) = routes.parties();
        // A name of no station is the sender's choice: it must not make groups of its own.
        let station = if routes.is_known().1 { station } else { "" };
        let group = |parts: [&str; 3]| Self(digest(parts.into_iter())[..GROUP_DIGITS].to_owned());
        [
            group(["verified", partner, station]),
            group(["unverified", partner, station]),
            group(["", "", ""]),
        ]
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a message of these parties is found.
pub(super) fn key(
    kind: &str,
    group: &Group,
    station: &str,
    partner: &str,
    message_id: &str,
) -> String {
    let id = bounds::message_id(message_id.trim());
    format!("{kind}{group}:{}", digest([station, partner, &comparable_id(&id)].into_iter()))
}

/// SHA-256 over these texts, which keeps them apart whatever they hold; in hexadecimal.
pub(super) fn digest<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(&(part.len() as u64).to_be_bytes());
        sum.update(part.as_bytes());
    }
    hex::encode(&sum.finish())
}

/// The Message-ID of a message's event.
pub(super) fn message_id(event: &Event) -> Option<String> {
    let decoded = event.decoded.as_ref().and_then(|decoded| decoded.as2_message_id.clone());
    let header = || event.headers.text("Message-ID").map(|id| id.trim().to_owned());
    decoded.or_else(header).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_message_id_does_not_depend_on_blanks() {
        let group = Group(String::new());
        let key = |id: &str| key(SENT, &group, "US", "ACME", id);
        assert_eq!(key("<a b@c>"), key("<a\r\n b@c>"));
        assert_eq!(key("<a b@c>"), key("ab@c"));
        // As it was written before.
        assert_eq!(key("<a@c>"), format!("sent::{}", digest(["US", "ACME", "a@c"].into_iter())));
        assert_ne!(key("<a@c>"), key("<b@c>"));
    }
}
