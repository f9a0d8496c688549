//! The order in which the results of exchanges are recorded, for webhooks with `order: partner`. The store
//! makes the deliveries in that order (`reorder` of either database).
//!
//! A verdict is worked out beside the traffic: a partner that sends its next message at once could have
//! that one written down first. Each exchange takes its turn when its response's head has come, which is
//! before the partner can have the response, and waits for those of its pair that came before it.

use std::{sync::Arc, time::Duration};

use dashmap::{DashMap, mapref::entry::Entry};
use tokio::{sync::watch, time::timeout};

use super::decoding;

/// For those before it. A response's body that takes longer holds up no other pair's webhook.
const PATIENCE: Duration = Duration::from_secs(5);

/// For those before it whose decode is late: longer than a decode may stand still.
const LATE_PATIENCE: Duration = decoding::LONGEST.saturating_add(Duration::from_secs(60));

/// For those before it whose decode is late and that may be forgeries.
const UNDECIDED_PATIENCE: Duration = Duration::from_secs(30);

/// Who comes next, for each partner and station.
#[derive(Clone, Debug, Default)]
pub(super) struct PartnerOrder(Arc<DashMap<String, Last>>);

/// Those of a pair that the next one waits for; each is closed when its turn is over.
#[derive(Clone, Debug)]
struct Last {
    turn: watch::Receiver<()>,
    /// The last whose decode is late, and for how long it is waited for. It waits for such before it, so it
    /// stands for all of them.
    late: Option<(watch::Receiver<()>, Duration)>,
}

/// A place in the order; the next one's turn comes when it is dropped.
#[derive(Debug)]
pub(super) struct OrderSlot {
    turns: PartnerOrder,
    pair: String,
    before: Option<Last>,
    /// Closed by the drop: that is all that those behind wait for.
    done: watch::Sender<()>,
}

// === impl PartnerOrder ===

impl PartnerOrder {
    /// Takes the last place among those of this pair. Unverified messages of a partner with certificates have
    /// an order of their own: however slowly they end, they hold up no verified one. A late decode keeps its
    /// place until it is done.
    pub(super) fn take(
        &self,
        partner: &str,
        station: &str,
        is_unverified: bool,
        is_late: bool,
    ) -> OrderSlot {
        self.last(partner, station, is_unverified, is_late.then_some(LATE_PATIENCE))
    }

    /// The last place among those that are proven to be the partner's, for one that may turn out to be.
    /// Those behind it do not wait for it for long: it may be a forgery.
    pub(super) fn take_undecided(&self, partner: &str, station: &str, is_late: bool) -> OrderSlot {
        self.last(partner, station, false, is_late.then_some(UNDECIDED_PATIENCE))
    }

    fn last(
        &self,
        partner: &str,
        station: &str,
        is_unverified: bool,
        late: Option<Duration>,
    ) -> OrderSlot {
        // Both are values of header fields, which hold no line end.
        let pair = format!("{partner}\n{station}\n{is_unverified}");
        let (done, turn) = watch::channel(());
        let mut last = Last { late: late.map(|patience| (turn.clone(), patience)), turn };
        let before = match self.0.entry(pair.clone()) {
            Entry::Occupied(mut there) => {
                last.late = last.late.or_else(|| there.get().late.clone());
                Some(there.insert(last))
            }
            Entry::Vacant(place) => {
                place.insert(last);
                None
            }
        };
        OrderSlot { turns: self.clone(), pair, before, done }
    }
}

// === impl OrderSlot ===

impl OrderSlot {
    /// Waits for those before it: at most 5 s, but for those whose decode is late.
    pub(super) async fn come(&mut self) {
        if let Some(mut before) = self.before.take() {
            // Nothing is ever sent: each ends when the turn is dropped.
            if let Some((late, patience)) = &mut before.late {
                let _ = timeout(*patience, late.changed()).await;
            }
            let _ = timeout(PATIENCE, before.turn.changed()).await;
        }
    }
}

impl Drop for OrderSlot {
    fn drop(&mut self) {
        // The last of a pair leaves nothing behind.
        if let Entry::Occupied(last) = self.turns.0.entry(std::mem::take(&mut self.pair))
            && last.get().turn.same_channel(&self.done.subscribe())
        {
            last.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_of_a_pair_come_in_their_order_and_others_do_not_wait() {
        let turns = PartnerOrder::default();
        let first = turns.take("ACME", "US", false, false);
        let mut second = turns.take("ACME", "US", false, false);
        let mut other = turns.take("BOLT", "US", false, false);
        other.come().await;
        assert!(timeout(PATIENCE / 2, second.come()).await.is_err());
        let mut third = turns.take("ACME", "US", false, false);
        drop(first);
        drop(second);
        timeout(Duration::from_millis(1), third.come()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_a_turn_ends() {
        let turns = PartnerOrder::default();
        let _first = turns.take("ACME", "US", false, false);
        turns.take("ACME", "US", false, false).come().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unverified_exchange_does_not_hold_up_a_verified_one() {
        let turns = PartnerOrder::default();
        let _forged = turns.take("ACME", "US", true, false);
        let mut verified = turns.take("ACME", "US", false, false);
        timeout(Duration::from_millis(1), verified.come()).await.unwrap();
        let mut unverified = turns.take("ACME", "US", true, false);
        assert!(timeout(PATIENCE / 2, unverified.come()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn exchange_behind_a_late_decode_waits_until_that_is_done() {
        let turns = PartnerOrder::default();
        let late = turns.take("ACME", "US", false, true);
        let mut second = turns.take("ACME", "US", false, false);
        let mut third = turns.take("ACME", "US", false, false);
        let minutes = Duration::from_secs(300);
        assert!(timeout(minutes, second.come()).await.is_err());
        assert!(timeout(minutes, third.come()).await.is_err());
        let (mut fourth, mut fifth) =
            (turns.take("ACME", "US", false, true), turns.take("ACME", "US", false, false));
        drop(late);
        // What is not late itself is waited for as ever.
        timeout(PATIENCE * 2, fourth.come()).await.unwrap();
        assert!(timeout(minutes, fifth.come()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn verified_exchange_waits_half_a_minute_for_an_undecided_one() {
        let turns = PartnerOrder::default();
        let _undecided = turns.take_undecided("ACME", "US", true);
        let mut verified = turns.take("ACME", "US", false, false);
        assert!(timeout(Duration::from_secs(29), verified.come()).await.is_err());
        let mut verified = turns.take("ACME", "US", false, false);
        timeout(Duration::from_secs(41), verified.come()).await.unwrap();
    }

    #[test]
    fn nothing_stays_behind() {
        let turns = PartnerOrder::default();
        let (first, second) =
            (turns.take("ACME", "US", false, false), turns.take("ACME", "US", false, false));
        drop(first);
        assert_eq!(turns.0.len(), 1);
        drop(second);
        assert!(turns.0.is_empty());
    }
}
