//! What of a verdict is kept where there is no room for all that comes with it.
//!
//! Its exchange is open in the store, and nobody else knows what became of it: the verdict itself is
//! always kept. Left out, as far as there is no room, are the payloads of further events (a partner's
//! MDN may be large), then whole further events and notes, and the ends of long texts, for a partner
//! writes some of them.

use as2hook_store::{Payload, Settlement, Write};
use as2hook_webhooks::Verdict;

use super::operation::{Operation, settlement as bytes_of, write as bytes_of_write};

/// What was left out of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shed {
    /// Anything at all.
    pub(super) any: bool,
    /// Events that nobody is told of.
    pub(super) events: u64,
}

/// The characters that are left of a text.
const TEXT: usize = 512;
/// The errors that are left of a verdict.
const ERRORS: usize = 4;

/// Makes an operation fit into `room` bytes, or as small as it can be.
pub(super) fn fit(operation: &mut Operation, room: usize) -> Shed {
    let mut shed = Shed::default();
    if operation.bytes() <= room {
        return shed;
    }
    let Operation::Settle(settlement, further) = operation else { return shed };
    shed.any = true;
    if bytes_of(settlement) > room {
        shorten(settlement);
    }
    let mut left = room.saturating_sub(bytes_of(settlement));
    further.retain_mut(|write| {
        if bytes_of_write(write) > left
            && let Write::Publish(event, _) = write
        {
            event.payload = Payload::None;
        }
        let rest = left.checked_sub(bytes_of_write(write));
        left = rest.unwrap_or(left);
        shed.events += u64::from(rest.is_none() && !matches!(write, Write::Note(_)));
        rest.is_some()
    });
    shed
}

/// Cuts off what is long in a verdict. What it says of the exchange stays.
fn shorten(settlement: &mut Settlement) {
    let Ok(mut verdict) = serde_json::from_slice::<Verdict>(&settlement.verdict) else { return };
    verdict.errors.truncate(ERRORS);
    let texts = verdict.errors.iter_mut().map(|error| &mut error.message);
    for text in texts.chain(verdict.send_error.as_mut().map(|error| &mut error.message)) {
        *text = text.chars().take(TEXT).collect();
    }
    if let Ok(short) = serde_json::to_vec(&verdict) {
        settlement.verdict = short;
    }
}
