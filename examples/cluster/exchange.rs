//! One attempt to send one message, and how both sides recognise it.

use std::fmt;

/// The header field that names an attempt. AS2 senders repeat the `Message-ID` when they send again, so it
/// cannot.
pub(crate) const FIELD: &str = "X-Exchange";

/// The first number of each kind of sender.
const SERVERS: u16 = 1000;
const RECEIPTS: u16 = 2000;

/// One attempt to send one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Exchange {
    pub(crate) sender: u16,
    pub(crate) number: u32,
    pub(crate) attempt: u16,
}

/// What an exchange carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cargo {
    /// A partner's message to us.
    Inbound,
    /// Our AS2 server's message to a partner.
    Outbound,
    /// A partner's asynchronous MDN.
    Mdn,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn first(cargo: Cargo, sender: u16, number: u32) -> Self {
        let sender = sender
            + match cargo {
                Cargo::Inbound => 0,
                Cargo::Outbound => SERVERS,
                Cargo::Mdn => RECEIPTS,
            };
        Self { sender, number, attempt: 1 }
    }

    pub(crate) fn next(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-');
        let sender = numbers.next()?.parse().ok()?;
        let (number, attempt) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { sender, number, attempt })
    }

    pub(crate) fn cargo(self) -> Cargo {
        match self.sender {
            ..SERVERS => Cargo::Inbound,
            SERVERS..RECEIPTS => Cargo::Outbound,
            RECEIPTS.. => Cargo::Mdn,
        }
    }

    /// The same for each attempt.
    pub(crate) fn message_id(self) -> String {
        format!("<{}-{}@cluster.test>", self.sender, self.number)
    }

    /// The first attempt of the message with this id.
    pub(crate) fn of_message(id: &str) -> Option<Self> {
        let text = id.trim_start_matches('<').split('@').next()?;
        Self::parse(&format!("{text}-1"))
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.sender, self.number, self.attempt)
    }
}
