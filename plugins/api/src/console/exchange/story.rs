//! What an exchange came to, in words for a person who knows nothing of AS2: the heading, and how far it got.

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_event::{Direction, Event, EventKind, Stage};
use as2hook_store::DeliveryState;

use super::{
    super::components::{RouteStop, Tone},
    webhooks::delivered_sentence,
};
use crate::{deliveries::DeliveryDetail, event_detail::is_mdn};

/// All that is known of an exchange.
pub(super) struct ExchangeFacts<'a> {
    pub(super) event: &'a Event,
    /// Whether its outcome is not known yet.
    pub(super) open: bool,
    /// The receipt of this message, where one is kept; it may refuse the message.
    pub(super) receipt: Option<&'a Event>,
    /// Whether a later event says that the message failed.
    pub(super) is_taken_back: bool,
    /// Whether its receipt did not come in time.
    pub(super) overdue: bool,
    pub(super) deliveries: &'a [DeliveryDetail],
}

// === impl ExchangeFacts ===

impl ExchangeFacts<'_> {
    /// Returns the partner's AS2 id, or words that stand for it.
    pub(super) fn partner(&self) -> &str {
        self.event.partner.as_deref().unwrap_or("the partner")
    }

    pub(super) fn has_error(&self, code: ErrorCode) -> bool {
        self.event.processing_errors().any(|error| error.code == code)
    }

    /// Returns the text of the first error of this code.
    pub(super) fn error(&self, code: ErrorCode) -> Option<&str> {
        let mut errors = self.event.processing_errors().filter(|error| error.code == code);
        errors.next().map(|error| error.message.as_str())
    }

    pub(super) fn signature(&self) -> Option<SignatureStatus> {
        self.event.decoded.as_ref()?.signature_status
    }

    /// Whether the sender asks for a receipt, and whether it is to come on a connection of its own.
    pub(super) fn asks_for_receipt(&self) -> Option<bool> {
        let headers = &self.event.headers;
        headers.get("Disposition-Notification-To")?;
        let url = headers.get("Receipt-Delivery-Option");
        Some(url.is_some_and(|url| !url.trim_ascii().is_empty()))
    }

    /// Returns the receipt that confirms the message.
    pub(super) fn confirmation(&self) -> Option<&Event> {
        self.receipt.filter(|receipt| !refuses(receipt))
    }

    /// Returns the receipt that refuses the message, or confirms another content.
    pub(super) fn refusal(&self) -> Option<&Event> {
        self.receipt.filter(|receipt| refuses(receipt))
    }

    pub(super) fn in_state(&self, state: DeliveryState) -> impl Iterator<Item = &DeliveryDetail> {
        self.deliveries.iter().filter(move |one| one.status == state.as_str())
    }

    /// Returns the conclusion: what became of the message, and which webhooks have it.
    pub(super) fn heading(&self) -> String {
        let outcome = if self.open { self.open_sentence() } else { self.outcome() };
        match delivered_sentence(self) {
            Some(delivered) if !self.open => format!("{outcome} {delivered}"),
            _ => outcome,
        }
    }

    fn open_sentence(&self) -> String {
        match self.event.direction {
            Direction::Inbound => "Your AS2 server has not responded yet.".to_owned(),
            Direction::Outbound => format!("{} has not responded yet.", self.partner()),
        }
    }

    pub(super) fn outcome(&self) -> String {
        let partner = self.partner();
        match self.event.kind {
            EventKind::MessageReceived => self.received(),
            EventKind::MessageDuplicate => format!("{partner} sent this message before."),
            EventKind::MessageRejected => match self.stage() {
                Some(Stage::Http) => "Your AS2 server did not take the message.".to_owned(),
                _ => "The message did not reach your AS2 server.".to_owned(),
            },
            EventKind::MessageSent if self.refusal().is_some() => self.sent_in_vain(),
            EventKind::MessageSent if self.is_taken_back => {
                format!("{partner} did not confirm the message.")
            }
            EventKind::MessageSent => match (self.asks_for_receipt(), self.receipt, self.overdue) {
                (_, Some(_), _) | (Some(false), ..) => {
                    format!("{partner} has the message, and confirmed it.")
                }
                (Some(true), None, true) => {
                    format!("The message was sent. The receipt of {partner} is overdue.")
                }
                (Some(true), None, false) => {
                    format!("The message was sent. {partner} has not confirmed it yet.")
                }
                _ => format!("{partner} has the message."),
            },
            EventKind::SendError => self.not_sent(),
            EventKind::MdnReceived => self.receipt_outcome(&format!("{partner} confirmed")),
            EventKind::MdnSent => self.receipt_outcome("Your AS2 server confirmed"),
            EventKind::MdnOverdue => format!("The receipt of {partner} did not come in time."),
            _ => super::system::sentence(self.event),
        }
    }

    /// A receipt says so.
    fn sent_in_vain(&self) -> String {
        let partner = self.partner();
        match self.refusal().is_some_and(says_no) {
            true => format!("{partner} has the message, and refused it."),
            false => format!("{partner} confirmed another content than was sent."),
        }
    }

    fn received(&self) -> String {
        let partner = self.partner();
        if self.has_error(ErrorCode::OutcomeUnknown) {
            return "It is not known whether your AS2 server has the message.".to_owned();
        }
        let refused = self.has_error(ErrorCode::Receiver) || self.refusal().is_some();
        if self.has_error(ErrorCode::Decryption) {
            return match refused {
                true => format!(
                    "The message could not be opened. {partner} has a receipt that says so."
                ),
                false => "The message could not be opened here.".to_owned(),
            };
        }
        if refused {
            return "The message arrived, but your AS2 server refused it.".to_owned();
        }
        match self.signature() {
            Some(SignatureStatus::Invalid) => {
                "The message arrived, but its signature is not valid.".to_owned()
            }
            Some(SignatureStatus::OtherCertificate) => {
                format!(
                    "The message arrived, but {partner} did not sign it with a known certificate."
                )
            }
            _ => "The message arrived safely.".to_owned(),
        }
    }

    fn not_sent(&self) -> String {
        let partner = self.partner();
        let status = self.event.send_error.as_ref().and_then(|error| error.http_status);
        match self.stage() {
            Some(Stage::Connect) => {
                format!("The message was not sent: there is no connection to {partner}.")
            }
            Some(Stage::Tls) => {
                format!("The message was not sent: no secure connection to {partner} is possible.")
            }
            Some(Stage::Timeout) => format!("{partner} did not respond in time."),
            Some(Stage::Http) => match status {
                Some(status) => format!("{partner} refused the message with status {status}."),
                None => format!("{partner} did not respond as a web server does."),
            },
            Some(Stage::Mdn) => format!("{partner} did not confirm the message."),
            Some(Stage::Signature) => format!("The receipt of {partner} cannot be trusted."),
            Some(Stage::Mic) => format!("{partner} confirmed another content than was sent."),
            Some(Stage::Unknown) | None => {
                format!("It is not known whether {partner} has the message.")
            }
        }
    }

    fn receipt_outcome(&self, confirmed: &str) -> String {
        let mdn = self.event.decoded.as_ref().and_then(|decoded| decoded.mdn.as_ref());
        match mdn {
            Some(mdn) if mdn.error => {
                confirmed.replace(" confirmed", " sent a receipt that refuses a message.")
            }
            Some(_) if self.has_error(ErrorCode::Signature) => {
                "A receipt came that cannot be trusted.".to_owned()
            }
            Some(_) if self.event.mic_matches == Some(false) => {
                format!("{confirmed} another content than was sent.")
            }
            Some(_) => format!("{confirmed} a message."),
            None => "A receipt passed that could not be read.".to_owned(),
        }
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.event.send_error.as_ref().map(|error| error.stage)
    }

    /// Returns the stops of its way. Events of the gateway itself have none.
    pub(super) fn route(&self) -> Vec<RouteStop<'_>> {
        let event = self.event;
        let stop = stop_at;
        let webhooks = super::webhooks::stop(self);
        let what = if is_mdn(event.kind) { "the receipt" } else { "it" };
        let (tone, text) = self.looked_at();
        let gateway = stop(tone, "This gateway", &text);
        match event.kind {
            EventKind::MessageReceived
            | EventKind::MessageDuplicate
            | EventKind::MessageRejected => {
                let (tone, text) = self.at_server();
                vec![
                    stop(Tone::Ok, self.partner(), "sent it"),
                    gateway,
                    stop(tone, "Your AS2 server", &text),
                    webhooks,
                ]
            }
            EventKind::MdnReceived if event.extra.get("mdnMode") != Some(&"sync".into()) => vec![
                stop(Tone::Ok, self.partner(), "sent the receipt"),
                gateway,
                stop(Tone::Ok, "Your AS2 server", "took it"),
                webhooks,
            ],
            EventKind::MdnReceived => vec![
                stop(Tone::Ok, self.partner(), "responded with the receipt"),
                gateway,
                stop(Tone::Ok, "Your AS2 server", "has it"),
                webhooks,
            ],
            EventKind::MessageSent | EventKind::SendError | EventKind::MdnSent => {
                let (tone, text) = self.at_partner();
                vec![
                    stop(Tone::Ok, "Your AS2 server", &format!("sent {what}")),
                    gateway,
                    stop(tone, self.partner(), &text),
                    webhooks,
                ]
            }
            _ => Vec::new(),
        }
    }

    fn looked_at(&self) -> (Tone, String) {
        let Some(decoded) = &self.event.decoded else {
            return (Tone::Off, "passed it on unopened".to_owned());
        };
        if self.event.direction == Direction::Outbound && !is_mdn(self.event.kind) {
            return (Tone::Ok, "passed it on".to_owned());
        }
        let opened = match decoded.encrypted {
            Some(true) if decoded.decrypted_with.is_some() => "opened it",
            _ => "looked at it",
        };
        let errors = [ErrorCode::Decryption, ErrorCode::Decompression, ErrorCode::Parse];
        if self.has_error(ErrorCode::Decryption) {
            return (Tone::Bad, "has no key for it".to_owned());
        }
        if errors.into_iter().any(|code| self.has_error(code)) {
            return (Tone::Bad, "could not read it".to_owned());
        }
        match decoded.signature_status {
            Some(SignatureStatus::Valid) => (Tone::Ok, format!("{opened}; signature valid")),
            Some(SignatureStatus::Unsigned) => (Tone::Ok, format!("{opened}; not signed")),
            Some(SignatureStatus::Invalid) => (Tone::Bad, format!("{opened}; signature not valid")),
            Some(SignatureStatus::OtherCertificate) => {
                (Tone::Bad, format!("{opened}; signed by another certificate"))
            }
            Some(SignatureStatus::UnknownCertificate | SignatureStatus::Unsupported) | None => {
                (Tone::Wait, format!("{opened}; signature not checked"))
            }
        }
    }

    fn at_server(&self) -> (Tone, String) {
        if self.open {
            return (Tone::Wait, "has not responded yet".to_owned());
        }
        match (self.event.kind, &self.event.send_error) {
            (EventKind::MessageRejected, Some(error)) => (Tone::Bad, failed_at(error)),
            _ if self.has_error(ErrorCode::OutcomeUnknown) => {
                (Tone::Wait, "it is not known whether it has it".to_owned())
            }
            _ if self.has_error(ErrorCode::Receiver) || self.refusal().is_some() => {
                (Tone::Bad, "took it, and sent a receipt that refuses it".to_owned())
            }
            (EventKind::MessageDuplicate, _) => (Tone::Ok, "took it again".to_owned()),
            _ => (Tone::Ok, "took it".to_owned()),
        }
    }

    fn at_partner(&self) -> (Tone, String) {
        if self.open {
            return (Tone::Wait, "has not responded yet".to_owned());
        }
        match &self.event.send_error {
            Some(error) => (Tone::Bad, failed_at(error)),
            None if is_mdn(self.event.kind) => (Tone::Ok, "has the receipt".to_owned()),
            None if self.refusal().is_some_and(says_no) => (Tone::Bad, "refused it".to_owned()),
            None if self.refusal().is_some() => (Tone::Bad, "confirmed another content".to_owned()),
            None if self.is_taken_back => (Tone::Bad, "did not confirm it".to_owned()),
            None => match (self.asks_for_receipt(), self.receipt, self.overdue) {
                (_, Some(_), _) | (Some(false), ..) => {
                    (Tone::Ok, "has it, and confirmed it".to_owned())
                }
                (Some(true), None, true) => (Tone::Bad, "did not confirm it in time".to_owned()),
                (Some(true), None, false) => (Tone::Wait, "has it; receipt awaited".to_owned()),
                _ => (Tone::Ok, "has it".to_owned()),
            },
        }
    }
}

/// Whether a receipt says that the message was not accepted.
pub(super) fn says_no(receipt: &Event) -> bool {
    let mdn = receipt.decoded.as_ref().and_then(|decoded| decoded.mdn.as_ref());
    mdn.is_some_and(|mdn| mdn.error)
}

fn refuses(receipt: &Event) -> bool {
    says_no(receipt) || receipt.mic_matches == Some(false)
}

fn stop_at<'a>(tone: Tone, name: &'a str, text: &str) -> RouteStop<'a> {
    RouteStop { tone, name, text: text.to_owned() }
}

/// Returns where an exchange failed, in a few words.
fn failed_at(error: &as2hook_event::SendError) -> String {
    match (error.stage, error.http_status) {
        (Stage::Connect, _) => "could not be reached".to_owned(),
        (Stage::Tls, _) => "no secure connection is possible".to_owned(),
        (Stage::Timeout, _) => "did not respond in time".to_owned(),
        (Stage::Http, Some(status)) => format!("responded with status {status}"),
        (Stage::Http, None) => "did not respond as a web server does".to_owned(),
        (Stage::Mdn, _) => "did not confirm it".to_owned(),
        (Stage::Signature, _) => "sent a receipt that cannot be trusted".to_owned(),
        (Stage::Mic, _) => "confirmed another content".to_owned(),
        (Stage::Unknown, _) => "it is not known whether it has it".to_owned(),
    }
}
