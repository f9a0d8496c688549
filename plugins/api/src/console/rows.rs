//! An exchange as a row: in the overview's live table, in the list of exchanges, and in the stream.

use as2hook_delivery::writes;
use as2hook_event::{Event, EventKind};
use as2hook_store::{DeliveryState, EventRow, Filter, StoreError};
use maud::{Markup, html};

use super::{
    components::{Tone, chip, mark},
    times::time,
};
use crate::{caller::Caller, gateway::ApiState};

/// The most deliveries of one exchange that a row counts.
const DELIVERIES: usize = 100;

/// An exchange in a list.
pub(crate) struct ExchangeRow {
    pub(crate) event: EventRow,
    /// What came of it, in a few words.
    pub(crate) tone: Tone,
    pub(crate) result: String,
    pub(crate) subject: Option<String>,
    pub(crate) file: Option<String>,
    /// Bytes of its attachments.
    pub(crate) size: Option<u64>,
    /// Deliveries that are made, of how many, and how the worst of them stands.
    pub(crate) delivered: Option<(usize, usize, Tone)>,
}

// === impl ExchangeRow ===

impl ExchangeRow {
    /// Completes a row of the store. An event that cannot be read any more is shown as far as its row says.
    pub(crate) async fn read(
        api: &ApiState,
        caller: &Caller,
        row: EventRow,
    ) -> Result<Self, StoreError> {
        let stored = api.store.event(row.id).await?;
        let event = stored.as_ref().and_then(|stored| writes::read(stored).ok());
        let filter = Filter {
            site: Some(caller.site().to_owned()),
            event: Some(row.id),
            ..Filter::default()
        };
        let deliveries = api.store.deliveries(&filter, None, DELIVERIES).await?.rows;
        let states: Vec<_> = deliveries.iter().map(|delivery| delivery.state).collect();
        let (tone, result) = outcome(&row, event.as_ref());
        let decoded = event.as_ref().and_then(|event| event.decoded.as_ref());
        let attachments = decoded.map_or([].as_slice(), |decoded| &decoded.attachments);
        let subject = event.as_ref().and_then(|event| event.headers.text("Subject"));
        Ok(Self {
            tone,
            result,
            subject: subject.map(|subject| subject.into_owned()).filter(|text| !text.is_empty()),
            file: attachments.iter().find_map(|attachment| attachment.name.clone()),
            size: (!attachments.is_empty())
                .then(|| attachments.iter().map(|attachment| attachment.size).sum()),
            delivered: delivered(&states),
            event: row,
        })
    }

    /// Returns the path of its page.
    pub(crate) fn path(&self) -> String {
        format!("/console/exchanges/{}", self.event.id)
    }

    /// Returns it as a row of the overview. `is_new`: it is lit up for a moment.
    pub(crate) fn live_row(&self, is_new: bool) -> Markup {
        html! {
            tr role="row" class=[is_new.then_some("new")] data-id=(self.event.id) {
                td.nowrap role="cell" { a href=(self.path()) { (time(self.event.occurred_at)) } }
                td.end role="cell" { (chip(self.tone, &self.result)) }
                td.lead.nowrap role="cell" { (self.partner()) }
                td.sub role="cell" { div.cut { (self.subject.as_deref().unwrap_or("–")) } }
                td.sub.end role="cell" { div.cut { (self.file.as_deref().unwrap_or("–")) } }
                td.drop role="cell" { (self.delivered()) }
            }
        }
    }

    /// Returns its direction and partner, such as "from ACME".
    pub(crate) fn partner(&self) -> Markup {
        let partner = self.event.partner.as_deref().unwrap_or("–");
        html! { (direction(&self.event.kind)) " " b { (partner) } }
    }

    /// Returns how many webhooks have it.
    pub(crate) fn delivered(&self) -> Markup {
        match self.delivered {
            Some((made, all, tone)) => mark(tone, &format!("{made} of {all}")),
            None => html! { "–" },
        }
    }
}

/// Whether an event of this kind is of an exchange with a partner, and not of a webhook or a certificate.
pub(crate) fn is_exchange(kind: &str) -> bool {
    kind.starts_with("message.") || kind.starts_with("mdn.") || kind == "send.error"
}

fn direction(kind: &str) -> &'static str {
    match kind {
        "message.sent" | "send.error" | "mdn.sent" => "to",
        "mdn.overdue" => "of",
        _ => "from",
    }
}

/// Returns what came of an exchange, as people say it.
fn outcome(row: &EventRow, event: Option<&Event>) -> (Tone, String) {
    if row.open {
        return (Tone::Wait, "Under way".to_owned());
    }
    let error = event.and_then(|event| event.processing_errors().next());
    let Ok(kind) = row.kind.parse::<EventKind>() else { return (Tone::Off, row.kind.clone()) };
    if let Some(error) = error
        && matches!(kind, EventKind::MessageReceived | EventKind::MdnReceived)
    {
        let code = error.code.number();
        let tone = if matches!(code, 900 | 1400) { Tone::Wait } else { Tone::Bad };
        return (tone, format!("{code} {}", error_words(code)));
    }
    let (tone, text) = match kind {
        EventKind::MessageReceived => (Tone::Ok, "Received"),
        EventKind::MessageSent => (Tone::Ok, "Sent"),
        EventKind::MdnReceived => (Tone::Ok, "Receipt came"),
        EventKind::MdnSent => (Tone::Ok, "Receipt sent"),
        EventKind::MdnOverdue => (Tone::Bad, "Receipt overdue"),
        EventKind::MessageDuplicate => (Tone::Off, "Duplicate"),
        EventKind::MessageRejected => (Tone::Bad, "Refused by your server"),
        EventKind::SendError => (Tone::Bad, "Not sent"),
        _ => (Tone::Off, kind.as_str()),
    };
    (tone, text.to_owned())
}

/// Returns a processing error's code in two or three words.
pub(crate) const fn error_words(code: u16) -> &'static str {
    match code {
        800 => "Not decrypted",
        900 => "Signature not trusted",
        1000 => "Not decompressed",
        1100 => "Not readable",
        1200 => "Negative receipt",
        1300 => "Over a limit",
        1400 => "Not opened",
        1500 => "Outcome unknown",
        _ => "Error",
    }
}

fn delivered(states: &[DeliveryState]) -> Option<(usize, usize, Tone)> {
    let counted: Vec<_> =
        states.iter().filter(|state| **state != DeliveryState::Cancelled).collect();
    let made = counted.iter().filter(|state| ***state == DeliveryState::Delivered).count();
    let has = |tone: DeliveryState| counted.iter().any(|state| **state == tone);
    let tone = if has(DeliveryState::Dead) || has(DeliveryState::Orphaned) {
        Tone::Bad
    } else if has(DeliveryState::Held) {
        Tone::Held
    } else if made < counted.len() {
        Tone::Wait
    } else {
        Tone::Ok
    };
    (!counted.is_empty()).then_some((made, counted.len(), tone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_shows_its_worst_delivery() {
        use DeliveryState::{Cancelled, Dead, Delivered, Held, Pending};
        for (states, shown) in [
            ([].as_slice(), None),
            (&[Cancelled], None),
            (&[Delivered, Cancelled], Some((1, 1, Tone::Ok))),
            (&[Delivered, Pending], Some((1, 2, Tone::Wait))),
            (&[Held, Pending], Some((0, 2, Tone::Held))),
            (&[Held, Dead, Delivered], Some((1, 3, Tone::Bad))),
        ] {
            assert_eq!(delivered(states), shown);
        }
    }
}
