//! An exchange as a row of the overview, which the stream sends too.

use as2hook_store::{DeliveryState, EventRow, EventTally, Filter, StoreError};
use maud::{Markup, html};

use super::{
    components::{Tone, chip, mark},
    phrases::{bare, preposition, result_of},
    times::time,
};
use crate::{caller::Caller, gateway::ApiState, test_delivery::is_test};

/// The newest exchanges of a site, with how many webhooks have them.
pub(crate) struct NewestRows {
    /// Newest first.
    pub(crate) rows: Vec<EventRow>,
    pub(crate) tallies: Vec<EventTally>,
}

/// The most reads for them.
const READS: usize = 5;

impl NewestRows {
    /// Reads them as a caller sees them.
    pub(crate) async fn read(
        api: &ApiState,
        caller: &Caller,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let site = Some(caller.site().to_owned());
        let filter = Filter { site, exchanges: true, ..Filter::default() };
        let (mut rows, mut cursor) = (Vec::new(), None);
        // Tests stand between them.
        for _ in 0..READS {
            let page = api.store.events(&filter, cursor, 3 * limit).await?;
            rows.extend(page.rows.into_iter().filter(|row| !is_test(row)));
            cursor = page.next;
            if rows.len() >= limit || cursor.is_none() {
                break;
            }
        }
        rows.truncate(limit);
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let tallies = api.store.tally_events(&ids).await?;
        Ok(Self { rows, tallies })
    }
}

/// Returns an exchange as a row. `is_new`: it is lit up for a moment.
pub(crate) fn live_row(row: &EventRow, tallies: &[EventTally], is_new: bool) -> Markup {
    let (tone, result) = result_of(row);
    let id = row.message_id.as_deref().map(bare);
    let name = row.file_name.as_deref().or(id).unwrap_or("–");
    html! {
        tr role="row" class=[is_new.then_some("new")] data-id=(row.id) {
            td.nowrap role="cell" {
                a href={ "/console/exchanges/" (row.id) } { (time(row.occurred_at)) }
            }
            td.end role="cell" { (chip(tone, &result)) }
            td.lead role="cell" {
                div.cut { (preposition(&row.kind)) " " b { (row.partner.as_deref().unwrap_or("–")) } }
            }
            td.sub.row role="cell" { div.cut { (name) } }
            td.drop role="cell" { (delivered(row, tallies)) }
        }
    }
}

/// Returns how many webhooks have an event.
pub(crate) fn delivered(row: &EventRow, tallies: &[EventTally]) -> Markup {
    let own = tallies.iter().filter(|tally| tally.event == row.id);
    match delivered_of(own.map(|tally| (tally.state, tally.count))) {
        Some((made, all, tone)) => mark(tone, &format!("{made} of {all}")),
        None => html! { "–" },
    }
}

/// Returns how many deliveries are made, of how many, and how the worst of them stands.
fn delivered_of(states: impl Iterator<Item = (DeliveryState, u64)>) -> Option<(u64, u64, Tone)> {
    let states: Vec<_> = states.filter(|(of, _)| *of != DeliveryState::Cancelled).collect();
    let count =
        |state| -> u64 { states.iter().filter(|(of, _)| *of == state).map(|it| it.1).sum() };
    let all = states.iter().map(|(_, n)| n).sum();
    let made = count(DeliveryState::Delivered);
    let tone = if count(DeliveryState::Dead) + count(DeliveryState::Orphaned) > 0 {
        Tone::Bad
    } else if count(DeliveryState::Held) > 0 {
        Tone::Held
    } else if made < all {
        Tone::Wait
    } else {
        Tone::Ok
    };
    (all > 0).then_some((made, all, tone))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_shows_its_worst_delivery() {
        use DeliveryState::{Cancelled, Dead, Delivered, Held, Pending};
        for (states, shown) in [
            ([].as_slice(), None),
            (&[(Cancelled, 2)], None),
            (&[(Delivered, 1), (Cancelled, 1)], Some((1, 1, Tone::Ok))),
            (&[(Delivered, 1), (Pending, 2)], Some((1, 3, Tone::Wait))),
            (&[(Held, 1), (Pending, 1)], Some((0, 2, Tone::Held))),
            (&[(Held, 1), (Dead, 1), (Delivered, 1)], Some((1, 3, Tone::Bad))),
        ] {
            assert_eq!(delivered_of(states.iter().copied()), shown);
        }
    }
}
