//! What an attempt's end means for its webhook.

use std::{cmp::Reverse, time::Duration};

use tokio::{
    task::{Id, JoinError},
    time::Instant,
};

use super::{super::attempt::Ended, Lane, PANIC_WAIT};
use crate::time::{after, now};

/// Retries that a lane remembers; the dispatcher's poll knows all.
const RETRIES_MAX: usize = 1024;

// === impl Lane ===

impl Lane {
    pub(super) async fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let ended = match ended {
            Ok((id, ended)) => {
                self.made.remove(&id);
                ended
            }
            Err(error) => {
                // A bug, or a cut-off: either way the attempt did not end, so it is made again.
                self.vitals(|vitals| vitals.cut_off());
                let due = if error.is_panic() { after(now(), PANIC_WAIT) } else { now() };
                if let Some(delivery) = self.made.remove(&error.id()) {
                    self.release(delivery, due).await;
                }
                return;
            }
        };
        let (gone, retry) = (ended.gone, ended.retry);
        let failed = ended.sign.error.is_some();
        self.vitals(|vitals| vitals.ended(ended.sign));
        if let Some(at) = retry
            && self.retries.len() < RETRIES_MAX
        {
            self.retries.push(Reverse(at));
        }
        if gone {
            self.disable("the endpoint answered 410 Gone".to_owned()).await;
        } else if failed {
            self.failed().await;
        }
        if self.vitals(|vitals| vitals.failing_to_write()) {
            let mut state = self.vitals(|vitals| vitals.state(&self.webhook));
            if let (None, Some(rule)) = (&state.disabled, &self.rule) {
                state.fingerprint = rule.fingerprint();
            }
            self.shared.note(self.shared.store.set_webhook_state(state).await);
        }
    }

    async fn failed(&mut self) {
        let own = self.rule.as_ref().and_then(|rule| rule.endpoint.disable_after);
        let long = own.unwrap_or(self.shared.options.disable_after);
        if self.vitals(|vitals| vitals.fails_for(long)) {
            self.disable(format!("nothing but failures for {}", in_words(long))).await;
        } else if self.vitals(|vitals| vitals.keeps_failing()) {
            self.not_before = Instant::now() + self.vitals(|vitals| vitals.pace());
        }
    }
}

/// A time in the unit that suits it.
fn in_words(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 60.0 => format!("{short:.1} seconds"),
        minutes if minutes < 3_600.0 => format!("{:.1} minutes", minutes / 60.0),
        hours if hours < 86_400.0 => format!("{:.1} hours", hours / 3_600.0),
        days => format!("{:.1} days", days / 86_400.0),
    }
}
