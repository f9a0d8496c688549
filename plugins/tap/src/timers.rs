//! What happens by itself when time passes: MDNs are overdue, certificates expire, and what was
//! remembered long enough is forgotten.
//!
//! Each is reported once, also after restarts and by several gateways of one store: the record that it was
//! reported and the event are one commit.
//!
//! # Layout
//! - `certificates`: those that expire soon

mod certificates;

use std::{sync::Arc, time::Duration};

use as2hook_as2::Headers;
use as2hook_delivery::{Outbox, OutboxError, writes};
use as2hook_event::{
    Event, EventKind, PartnerType,
    clock::{self, ClockDoubt},
};
use as2hook_store::{Before, Prune, Record, RecordChange, Store, StoreError, Write};
use jiff::SignedDuration;
use serde_json::{Map, json};
use tokio::time::{MissedTickBehavior, interval};

pub use self::certificates::expiry;
use crate::{
    TapHost, TapRules,
    records::{MOST, SENT},
    sent::{Sent, SentState},
};
use as2hook_config::Config;

/// How often is looked whether an MDN is overdue.
const EVERY: Duration = Duration::from_secs(1);

/// When an MDN is looked at again whose overdue notice the store did not take, in milliseconds.
const PUT_OFF_MS: i64 = 60_000;

/// How often the certificates are looked at: each so many turns, and whenever the config was reloaded.
const CERTIFICATES: u64 = 3600;

/// How often what is over is forgotten, in turns.
const FORGETTING: u64 = 20;

/// Notes that one call to the store forgets.
const FORGOTTEN: usize = 10_000;

/// Notes that one turn looks at.
const AT_ONCE: usize = 200;

/// Runs until the process ends.
pub async fn run(host: Arc<dyn TapHost>, outbox: Outbox, store: Arc<dyn Store>) {
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut turn, mut known) = (0u64, None::<Arc<Config>>);
    let mut watch = ClockWatch::new(store.clone());
    loop {
        turns.tick().await;
        let rules = host.rules();
        // What goes by the time and cannot be undone waits for a clock that is believed.
        let in_doubt = watch.is_in_doubt().await;
        // An MDN that came may still wait in memory.
        if !in_doubt && outbox.is_settled() {
            report_all_overdue(&*host, &rules, &outbox).await;
        }
        let is_other = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &rules.config));
        if !in_doubt && (turn.is_multiple_of(CERTIFICATES) || is_other) {
            known = Some(rules.config.clone());
            certificates::report(&*host, &rules, &outbox).await;
        }
        if turn.is_multiple_of(FORGETTING)
            && let Err(error) = forget(&*store, in_doubt).await
        {
            tracing::debug!(%error, "What is over could not be forgotten now.");
        }
        turn += 1;
    }
}

/// Forgets what is over, unless the clock is in doubt, and what is too much: all of it, however fast it
/// comes.
async fn forget(store: &dyn Store, in_doubt: bool) -> Result<(), StoreError> {
    let all = FORGOTTEN as u64;
    while !in_doubt && store.prune(Prune::Records(clock::now()), FORGOTTEN).await? == all {}
    while store.prune(Prune::RecordsBeyond(MOST), FORGOTTEN).await? == all {}
    Ok(())
}

async fn report_all_overdue(host: &dyn TapHost, rules: &TapRules, outbox: &Outbox) {
    let due = match outbox.due_records(AT_ONCE).await {
        Ok(due) => due,
        Err(error) => {
            tracing::debug!(%error, "Overdue MDNs cannot be looked for now.");
            return;
        }
    };
    let (mut left, mut last) = (0, None);
    for record in due {
        match report_overdue(host, rules, outbox, &record).await {
            Ok(()) => continue,
            // The store takes no other either.
            Err(OutboxError::Store(error)) if error.may_pass() => {
                tracing::warn!(%error, "Overdue MDNs cannot be reported now; trying again.");
                return;
            }
            Err(error) => {
                let id = Sent::read(&record).map(|sent| sent.message_id).unwrap_or_default();
                tracing::debug!(%error, id, "An overdue MDN was put off.");
                (left, last) = (left + 1, Some(error));
            }
        }
        // Those behind it must not wait for it.
        if let Err(error) = outbox.commit(vec![put_off(record)]).await {
            tracing::warn!(%error, "An overdue MDN could not be postponed; trying again.");
            return;
        }
    }
    if let Some(error) = last {
        tracing::warn!(
            left, %error,
            "Overdue MDNs cannot be reported, since the store does not take them; trying again in a minute."
        );
    }
}

/// Postpones a record, unless it was changed meanwhile.
fn put_off(record: Record) -> Write {
    let before = Before::Body(record.body.clone());
    let due = Some(clock::now().saturating_add(PUT_OFF_MS));
    Write::Record(RecordChange { record: Record { due, ..record }, before })
}

/// Reports one that is due. A record that this version cannot read is an error: it is put off like one that
/// cannot be written.
async fn report_overdue(
    host: &dyn TapHost,
    rules: &TapRules,
    outbox: &Outbox,
    record: &Record,
) -> Result<(), OutboxError> {
    let sent = record.key.starts_with(SENT).then(|| Sent::read(record)).flatten();
    let Some(sent) = sent else {
        return Err(StoreError::Database("the record cannot be read".to_owned()).into());
    };
    let partner = rules.config.partner(&sent.partner);
    if partner.is_some_and(|partner| !partner.has_async_mdns_here()) {
        // The config was another when the message was sent. The record stays, and is due no more.
        tracing::info!(
            partner = sent.partner,
            message_id = sent.message_id,
            "No asynchronous MDN came in time, which is not reported: the partner's `async_mdn` is `elsewhere`."
        );
        let event = overdue(rules, &sent, Headers::new());
        let once = writes::once(sent.becomes(SentState::Sent, record), &event, &[])?;
        return Ok(outbox.commit(vec![once]).await?);
    }
    let event = overdue(rules, &sent, sent.headers(outbox).await?);
    let targets = rules.targets(&event);
    let once = writes::once(sent.becomes(SentState::Overdue, record), &event, &targets)?;
    outbox.commit(vec![once]).await?;
    host.event(event.id, &event.site, event.kind);
    Ok(())
}

fn overdue(rules: &TapRules, sent: &Sent, headers: Headers) -> Event {
    let mut extra = Map::new();
    extra.insert("messageEventId".to_owned(), json!(sent.event));
    extra.insert("sentAt".to_owned(), json!(sent.at));
    extra.insert("deadline".to_owned(), json!(sent.deadline));
    let partner = rules.config.partner(&sent.partner);
    Event {
        site: sent.site.clone(),
        partner: Some(sent.partner.clone()),
        station: Some(sent.station.clone()),
        partner_type: partner.map_or(PartnerType::Production, |partner| partner.partner_type),
        headers,
        extra,
        ..Event::new(EventKind::MdnOverdue)
    }
}

// === whether the clock can be believed ===

/// Compares the clock with the store at the start, and says in the log when it is in doubt.
struct ClockWatch {
    store: Arc<dyn Store>,
    /// What is in doubt, as it was said.
    said: Option<ClockDoubt>,
    /// A clock ahead may have planned deliveries: they are still to be pulled in.
    is_back: bool,
}

// === impl ClockWatch ===

impl ClockWatch {
    fn new(store: Arc<dyn Store>) -> Self {
        Self { store, said: None, is_back: false }
    }

    /// Whether what cannot be undone has to wait.
    async fn is_in_doubt(&mut self) -> bool {
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
