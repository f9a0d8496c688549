//! Exchanges that wait for one another.
//!
//! The results of exchanges are recorded in an order, for webhooks with `order: partner`. The store
//! makes the deliveries in that order (`order.rs` of the store). A verdict is worked out beside the
//! traffic: a partner that sends its next message at once could have that one written down first. Each
//! exchange takes its turn when its response's head has come, which is before the partner can have the
//! response, and waits for those of its pair that came before it.
//!
//! An MDN that takes a message back may be faster than the end of the message's exchange, and waits for it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use dashmap::{DashMap, mapref::entry::Entry};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{conclusion::UNDER_WAY, decoding};

/// For those before it. A response's body that takes longer holds up no other pair's webhook.
const PATIENCE: Duration = Duration::from_secs(5);

/// For those before it whose decode is late: longer than a decode may stand still.
const LATE_PATIENCE: Duration = decoding::LONGEST.saturating_add(Duration::from_secs(60));

/// For those before it whose decode is late and that may be forgeries.
const UNDECIDED_PATIENCE: Duration = Duration::from_secs(30);

/// The last places in the order, for each partner and station.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartnerOrder(Arc<DashMap<String, Last>>);

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
pub(crate) struct OrderSlot {
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
    pub(crate) fn take(
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
    pub(crate) fn take_undecided(&self, partner: &str, station: &str, is_late: bool) -> OrderSlot {
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
    pub(crate) async fn come(&mut self) {
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

/// How often an MDN looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The messages that an MDN waits for. One waits for each: a partner that holds its response open can post
/// any number of them.
pub(crate) struct MessageWaits {
    messages: Mutex<HashSet<Uuid>>,
    is_over: watch::Sender<bool>,
}

/// What comes next for an MDN that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextLook {
    LookAgain,
    /// The wait took as long as it may.
    TooLate,
    /// This process is to terminate.
    Terminating,
}

/// The wait of one MDN.
pub(crate) struct MessageWait {
    waits: Arc<MessageWaits>,
    message: Uuid,
    deadline: Instant,
}

// === impl MessageWaits ===

impl Default for MessageWaits {
    fn default() -> Self {
        Self { messages: Mutex::default(), is_over: watch::Sender::new(false) }
    }
}

impl MessageWaits {
    /// Begins to wait for the end of this message's exchange. `None`: another MDN waits for it.
    pub(crate) fn begin(self: &Arc<Self>, message: Uuid) -> Option<MessageWait> {
        let deadline = Instant::now() + UNDER_WAY;
        let is_first = self.messages.lock().insert(message);
        is_first.then(|| MessageWait { waits: self.clone(), message, deadline })
    }

    /// How many MDNs wait.
    pub(crate) fn count(&self) -> usize {
        self.messages.lock().len()
    }

    /// Ends all waits, and those that begin from now on.
    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }
}

// === impl MessageWait ===

impl MessageWait {
    /// Waits until it is time to look again, or the wait is over.
    pub(crate) async fn next(&self) -> NextLook {
        let mut is_over = self.waits.is_over.subscribe();
        match timeout(LOOK_EVERY, is_over.wait_for(|is_over| *is_over)).await {
            Ok(_) => NextLook::Terminating,
            Err(_) if Instant::now() < self.deadline => NextLook::LookAgain,
            Err(_) => NextLook::TooLate,
        }
    }
}

impl Drop for MessageWait {
    fn drop(&mut self) {
        self.waits.messages.lock().remove(&self.message);
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

    #[tokio::test(start_paused = true)]
    async fn one_mdn_waits_for_a_message_until_the_deadline_or_the_end_of_all_waits() {
        let waits = Arc::new(MessageWaits::default());
        let message = Uuid::now_v7();
        let wait = waits.begin(message).unwrap();
        assert!(waits.begin(message).is_none(), "another one waits");
        assert!(waits.begin(Uuid::now_v7()).is_some(), "of another message");
        let mut looks = 0;
        while wait.next().await == NextLook::LookAgain {
            looks += 1;
        }
        assert_eq!(wait.next().await, NextLook::TooLate);
        assert!((500..=600).contains(&looks), "{looks} looks");
        drop(wait);
        let wait = waits.begin(message).unwrap();
        waits.end();
        assert_eq!(wait.next().await, NextLook::Terminating);
    }
}
