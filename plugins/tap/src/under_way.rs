//! Waits for the end of a message's exchange, which an MDN that takes the message back may be faster than.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::conclusion::UNDER_WAY;

/// How often an MDN looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The messages that an MDN waits for. One waits for each: a partner that holds its response open can post
/// any number of them.
pub(super) struct MessageWaits {
    messages: Mutex<HashSet<Uuid>>,
    is_over: watch::Sender<bool>,
}

/// What comes next for an MDN that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    LookAgain,
    /// The wait took as long as it may.
    TooLate,
    /// This process is to terminate.
    Terminating,
}

/// The wait of one MDN.
pub(super) struct MessageWait {
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
    pub(super) fn begin(self: &Arc<Self>, message: Uuid) -> Option<MessageWait> {
        let deadline = Instant::now() + UNDER_WAY;
        let is_first = self.messages.lock().insert(message);
        is_first.then(|| MessageWait { waits: self.clone(), message, deadline })
    }

    /// How many MDNs wait.
    pub(super) fn count(&self) -> usize {
        self.messages.lock().len()
    }

    /// Ends all waits, and those that begin from now on.
    pub(super) fn end(&self) {
        self.is_over.send_replace(true);
    }
}

// === impl MessageWait ===

impl MessageWait {
    /// Waits until it is time to look again, or the wait is over.
    pub(super) async fn next(&self) -> Next {
        let mut is_over = self.waits.is_over.subscribe();
        match timeout(LOOK_EVERY, is_over.wait_for(|is_over| *is_over)).await {
            Ok(_) => Next::Terminating,
            Err(_) if Instant::now() < self.deadline => Next::LookAgain,
            Err(_) => Next::TooLate,
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
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_mdn_waits_for_a_message_until_the_deadline_or_the_end_of_all_waits() {
        let waits = Arc::new(MessageWaits::default());
        let message = Uuid::now_v7();
        let wait = waits.begin(message).unwrap();
        assert!(waits.begin(message).is_none(), "another one waits");
        assert!(waits.begin(Uuid::now_v7()).is_some(), "of another message");
        let mut looks = 0;
        while wait.next().await == Next::LookAgain {
            looks += 1;
        }
        assert_eq!(wait.next().await, Next::TooLate);
        assert!((500..=600).contains(&looks), "{looks} looks");
        drop(wait);
        let wait = waits.begin(message).unwrap();
        waits.end();
        assert_eq!(wait.next().await, Next::Terminating);
    }
}
