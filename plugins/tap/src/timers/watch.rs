//! Whether the clock can be believed, and what follows when it was set.

use std::sync::Arc;

use as2hook_event::clock::{self, ClockDoubt};
use as2hook_store::Store;
use jiff::SignedDuration;

/// Compares the clock with the store at the start, and says in the log when it is in doubt.
pub(super) struct ClockWatch {
    store: Arc<dyn Store>,
    /// What is in doubt, as it was said.
    said: Option<ClockDoubt>,
    /// A clock ahead may have planned deliveries: they are still to be pulled in.
    is_back: bool,
}

// === impl ClockWatch ===

impl ClockWatch {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, said: None, is_back: false }
    }

    /// Whether what cannot be undone has to wait.
    pub(super) async fn is_in_doubt(&mut self) -> bool {
        if clock::doubt() == Some(ClockDoubt::Unchecked)
            && let Ok(newest) = self.store.newest().await
        {
            clock::compare(newest);
        }
        let doubt = clock::doubt().filter(|doubt| *doubt != ClockDoubt::Unchecked);
        self.say(doubt);
        if self.is_back
            && let Ok(pulled_in) = self.store.advance_due_times(clock::now()).await
        {
            self.is_back = false;
            if pulled_in > 0 {
                tracing::warn!(
                    pulled_in,
                    "Deliveries that were planned while the clock was ahead are made due now."
                );
            }
        }
        clock::doubt().is_some()
    }

    fn say(&mut self, doubt: Option<ClockDoubt>) {
        match (self.said, doubt) {
            // A jump goes on, or is one to another time.
            (
                Some(ClockDoubt::Jump { from, to, .. }),
                Some(ClockDoubt::Jump { from: f, to: t, .. }),
            ) if !clock::is_far((to - from).saturating_sub(t - f)) => {}
            (Some(ClockDoubt::Start { .. }), Some(ClockDoubt::Start { .. })) | (None, None) => {}
            (_, Some(doubt)) => {
                if let Some(words) = in_words(doubt) {
                    match doubt {
                        // After a long rest nothing else is to be expected.
                        ClockDoubt::Start { newest, now } if newest < now => {
                            tracing::info!("{words}");
                        }
                        _ => tracing::warn!("{words}"),
                    }
                }
                self.is_back |= matches!(doubt, ClockDoubt::Start { newest, now } if now < newest);
                self.said = Some(doubt);
            }
            (Some(ClockDoubt::Jump { clock, from, to }), None) => {
                let now = clock::now();
                if now.abs_diff(to) < now.abs_diff(from) {
                    self.is_back |= to < from;
                    let now = shown(now);
                    tracing::warn!(now, "The {clock}'s clock is stable: its new time is accepted.");
                } else {
                    tracing::info!("The {clock}'s clock has returned to its former time.");
                }
                self.said = None;
            }
            (Some(_), None) => {
                tracing::info!("The clock is stable: its time is accepted.");
                self.said = None;
            }
        }
    }
}

/// A doubt as operators read it. `None`: it is over in no time.
pub fn in_words(doubt: ClockDoubt) -> Option<String> {
    let minutes = clock::STANDS.as_secs() / 60;
    let waits = "nothing is removed for its age, and no MDN is reported overdue";
    match doubt {
        ClockDoubt::Unchecked => None,
        ClockDoubt::Start { newest, now } => Some(format!(
            "The clock says {}, and the newest record of the store is of {}: {waits} for {minutes} minutes \
             after the start.",
            shown(now),
            shown(newest),
        )),
        ClockDoubt::Jump { clock, from, to } => {
            let by = SignedDuration::from_millis(to.saturating_sub(from).saturating_abs());
            let by = SignedDuration::from_secs(by.as_secs());
            let direction = if to < from { "back" } else { "ahead" };
            Some(format!(
                "The {clock}'s clock jumped {by:#} {direction}, from {} to {}: time goes on without the \
                 jump, and {waits}, until it is back or has stood for {minutes} minutes.",
                shown(from),
                shown(to),
            ))
        }
    }
}

fn shown(ms: i64) -> String {
    clock::timestamp(ms - ms.rem_euclid(1000)).to_string()
}
