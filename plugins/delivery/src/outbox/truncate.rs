//! Truncates a verdict when there is no room for all that comes with it.
//!
//! Its exchange is open in the store, and only this process knows the outcome: the verdict itself
//! is always kept, and so is the content of an exchange that was decoded late, because it decided
//! the deliveries. Left out, as far as necessary, are payloads in memory (a partner's MDN may be
//! large), then whole further events and notes, and the ends of long texts, which may come from a
//! partner.

use as2hook_event::Verdict;
use as2hook_store::{Payload, Settlement, Write};

use super::operation::{Operation, row, settlement as bytes_of, write as bytes_of_write};

/// What was left out of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Truncation {
    /// Anything at all.
    pub(super) any: bool,
    /// Events that are not reported.
    pub(super) events: u64,
}

/// The characters that remain of a text.
const TEXT: usize = 512;
/// The errors that remain in a verdict.
const ERRORS: usize = 4;

/// Truncates an operation to `room` bytes, or to its minimum.
pub(super) fn fit(operation: &mut Operation, room: usize) -> Truncation {
    let mut truncation = Truncation::default();
    if operation.bytes() <= room {
        return truncation;
    }
    let Operation::Settle(settlement, further) = operation else { return truncation };
    truncation.any = true;
    if bytes_of(settlement) > room {
        shorten(settlement);
    }
    let mut left = room.saturating_sub(bytes_of(settlement));
    let mut lost_payload = false;
    further.retain_mut(|write| {
        if bytes_of_write(write) > left
            && let Write::Publish(event, _) = write
        {
            event.payload = Payload::None;
        }
        if let Write::Replace(event) = write {
            if row(event, &[]) > left && event.payload.in_memory() > 0 {
                event.payload = Payload::None;
                lost_payload = true;
            }
            left = left.saturating_sub(row(event, &[]));
            return true;
        }
        let rest = left.checked_sub(bytes_of_write(write));
        left = rest.unwrap_or(left);
        truncation.events += u64::from(rest.is_none() && !matches!(write, Write::Record(_)));
        rest.is_some()
    });
    if lost_payload {
        change(settlement, Verdict::lose_payload);
    }
    truncation
}

/// Truncates long texts of a verdict. Its meaning stays.
fn shorten(settlement: &mut Settlement) {
    change(settlement, |verdict| {
        verdict.errors.truncate(ERRORS);
        let texts = verdict.errors.iter_mut().map(|error| &mut error.message);
        for text in texts.chain(verdict.send_error.as_mut().map(|error| &mut error.message)) {
            *text = text.chars().take(TEXT).collect();
        }
    });
}

fn change(settlement: &mut Settlement, edit: impl FnOnce(&mut Verdict)) {
    let Ok(mut verdict) = serde_json::from_slice::<Verdict>(&settlement.verdict) else { return };
    edit(&mut verdict);
    if let Ok(short) = serde_json::to_vec(&verdict) {
        settlement.verdict = short;
    }
}
