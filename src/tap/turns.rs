//! The order in which what came of exchanges is written down, for webhooks with `order: partner`.
//!
//! A verdict is worked out beside the traffic: a partner that sends its next message at once could have
//! that one written down first. Each exchange takes its turn when its answer's head has come, which is
//! before the partner can have the answer, and waits for those of its pair that came before it.

use std::{sync::Arc, time::Duration};

use dashmap::{DashMap, mapref::entry::Entry};
use tokio::{sync::watch, time::timeout};

/// For those before it. An answer's body that takes longer holds up nobody else's webhook.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who comes next, for each partner and station.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<DashMap<String, watch::Receiver<()>>>);

/// A place in the order; the next one's turn comes when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    pair: String,
    before: Option<watch::Receiver<()>>,
    /// Closed by the drop: that is all that those behind wait for.
    done: watch::Sender<()>,
}

// === impl Turns ===

impl Turns {
    /// The last place among those of this pair.
    pub(super) fn take(&self, partner: &str, station: &str) -> Turn {
        // Both are values of header fields, which hold no line end.
        let pair = format!("{partner}\n{station}");
        let (done, behind) = watch::channel(());
        let before = self.0.insert(pair.clone(), behind);
        Turn { turns: self.clone(), pair, before, done }
    }
}

// === impl Turn ===

impl Turn {
    /// Waits for those before it, at most 5 s.
    pub(super) async fn come(&mut self) {
        if let Some(mut before) = self.before.take() {
            // Nothing is ever sent: it ends when the one before is dropped.
            let _ = timeout(PATIENCE, before.changed()).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The last of a pair leaves nothing behind.
        if let Entry::Occupied(last) = self.turns.0.entry(std::mem::take(&mut self.pair))
            && last.get().same_channel(&self.done.subscribe())
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
        let turns = Turns::default();
        let first = turns.take("ACME", "US");
        let mut second = turns.take("ACME", "US");
        let mut other = turns.take("BOLT", "US");
        other.come().await;
        assert!(timeout(PATIENCE / 2, second.come()).await.is_err());
        let mut third = turns.take("ACME", "US");
        drop(first);
        drop(second);
        timeout(Duration::from_millis(1), third.come()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let turns = Turns::default();
        let _first = turns.take("ACME", "US");
        turns.take("ACME", "US").come().await;
    }

    #[test]
    fn nothing_stays_behind() {
        let turns = Turns::default();
        let (first, second) = (turns.take("ACME", "US"), turns.take("ACME", "US"));
        drop(first);
        assert_eq!(turns.0.len(), 1);
        drop(second);
        assert!(turns.0.is_empty());
    }
}
