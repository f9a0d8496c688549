//! All that comes of an exchange when it is over: its own event, the MDN in its response, what an MDN
//! says of an earlier message, and what is to be remembered. It is written down in one commit.

use std::time::Duration;

use as2hook_as2::{Decoded, ErrorCode, Mdn, MicComparison, ProcessingError};
use as2hook_delivery::{Outbox, OutboxError, StoreWait, Target, writes};
use as2hook_event::{Direction, Event, EventKind, SendError, Stage, Verdict};
use as2hook_store::{Filter, Payload, Record, Write};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    receipt::{MdnExpectation, MdnMode, MdnRequest},
    records::{Group, SENT, TAKEN, message_id, refuse_seen, remember_seen, seen_before, seen_key},
    response::{MdnDecode, ResponseHead},
    routes::Routes,
    sent::{AttemptOutcome, Sent, SentState},
    verdict,
};

/// See the module.
pub(crate) struct Conclusion {
    /// What becomes of the exchange's own event.
    pub(crate) verdict: Verdict,
    /// The MDN in its response.
    pub(crate) mdn: Option<(Event, Payload, Vec<Target>)>,
    /// What else there is.
    pub(crate) further: Vec<Write>,
    /// Where it had to wait for the store: held until it is written down.
    pub(crate) wait: Option<StoreWait>,
}

/// Where earlier messages are looked up.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) outbox: &'a Outbox,
    pub(crate) if_under_way: IfUnderWay,
}

/// What an MDN does that takes a message back whose exchange is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfUnderWay {
    /// It waits: [`NotYet::UnderWay`].
    Wait,
    /// It leaves the message to another MDN that waits.
    LeaveMessage,
    /// It waits no longer: what supersedes the message may come before it.
    TakeBack,
}

/// How long an MDN that takes a message back waits for the end of that message's exchange.
pub(crate) const UNDER_WAY: Duration = Duration::from_secs(600);

/// Why an exchange cannot be judged yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotYet {
    /// What it has to look up is not known.
    #[error(transparent)]
    Store(#[from] OutboxError),
    /// The message that its MDN takes back is still under way: what supersedes it comes behind it.
    #[error("the exchange of the message {0} is not over")]
    UnderWay(Uuid),
}

// === impl Conclusion ===

impl Conclusion {
    /// Judges an exchange; the MDN is that in its response. `None`: it is no event. Without a
    /// `lookup` nothing is looked up.
    ///
    /// # Errors
    /// [`NotYet`], when it is to be tried again later.
    pub(crate) async fn reach(
        event: &Event,
        response: Option<&ResponseHead>,
        decode: MdnDecode,
        error: Option<SendError>,
        routes: &Routes,
        lookup: Option<Lookup<'_>>,
    ) -> Result<Option<Self>, NotYet> {
        let message_id = message_id(event);
        let expected = MdnExpectation {
            signed: MdnRequest::of(&event.headers).signed,
            has_certificates: routes.has_certificates,
            accepts_unsigned: routes.accepts_unsigned_mdns(),
            message_id: message_id.as_deref(),
            mics: event.decoded.as_ref().map_or(&[], |decoded| &decoded.mics),
        };
        let judged = verdict::judge(event, response, &decode, error, &expected);
        let Some(mut verdict) = judged else { return Ok(None) };
        let MdnDecode { mdn, entity, errors, .. } = decode;
        verdict.errors.extend(errors);
        let early = mdn.as_ref().filter(|mdn| expected.came_early(mdn)).is_some();
        let mut conclusion = Self { verdict, mdn: None, further: Vec::new(), wait: None };
        if let (Some(head), Some(mdn)) = (response, mdn.clone()) {
            conclusion.add_mdn_event(event, head, entity, mdn, &expected, routes);
        }
        if let Some(lookup) = lookup {
            conclusion.look_up(event, mdn, early, routes, lookup).await?;
        }
        conclusion.verdict.bound();
        Ok(Some(conclusion))
    }

    /// Judges an exchange that a terminated process left open. Its outcome is unknown; what its MDN says of a
    /// message holds all the same. The record of a message stays as it is: a receipt may still come.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub(crate) async fn of_adopted(
        event: &Event,
        routes: &Routes,
        lookup: Lookup<'_>,
    ) -> Result<Self, NotYet> {
        let verdict = Verdict::unknown(event.direction, event.kind);
        let mut conclusion = Self { verdict, mdn: None, further: Vec::new(), wait: None };
        if matches!(event.kind, EventKind::MdnReceived | EventKind::MdnSent) {
            conclusion.look_up(event, None, false, routes, lookup).await?;
        }
        conclusion.verdict.bound();
        Ok(conclusion)
    }

    /// What earlier messages make of it, and it of them. `early`: the MDN that was to come later is in the
    /// response.
    async fn look_up(
        &mut self,
        event: &Event,
        mdn: Option<Decoded>,
        early: bool,
        routes: &Routes,
        lookup: Lookup<'_>,
    ) -> Result<(), NotYet> {
        let outbox = lookup.outbox;
        match (event.direction, event.kind) {
            (Direction::Inbound, EventKind::MdnReceived) => {
                self.match_mdn(event, routes, lookup).await?;
            }
            (Direction::Inbound, EventKind::MessageReceived) => {
                let negative = mdn.and_then(|mdn| mdn.mdn).is_some_and(|mdn: Mdn| mdn.error);
                self.find_duplicate(event, negative, routes, outbox).await;
            }
            (Direction::Outbound, EventKind::MessageSent) => {
                self.record_attempt(event, early, routes, outbox).await?;
            }
            (Direction::Outbound, EventKind::MdnSent) => {
                self.match_own_mdn(event, routes, outbox).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The MDN in a response is an event of its own.
    fn add_mdn_event(
        &mut self,
        event: &Event,
        head: &ResponseHead,
        entity: Option<Bytes>,
        mdn: Decoded,
        expected: &MdnExpectation<'_>,
        routes: &Routes,
    ) {
        let kind = match event.direction {
            Direction::Inbound => EventKind::MdnSent,
            Direction::Outbound => EventKind::MdnReceived,
        };
        let distrust = match event.direction {
            // Our own receiver needs no trust.
            Direction::Inbound => None,
            Direction::Outbound => expected.distrust(&mdn),
        };
        let (mic_matches, form) = mic_outcome(expected, &mdn);
        let mut extra = about(event.id, true);
        extra.extend(form);
        let mdn_event = Event {
            id: Uuid::now_v7(),
            kind,
            occurred_at: Timestamp::now(),
            headers: head.headers.clone(),
            errors: distrust.into_iter().collect(),
            mic_matches,
            decoded: Some(mdn),
            send_error: None,
            supersedes: None,
            extra,
            ..event.clone()
        };
        let targets = routes.targets_beside(&mdn_event, event);
        if targets.is_empty() {
            return;
        }
        let raw = entity.filter(|_| routes.wants_payload_of(&mdn_event));
        let payload = raw.map_or(Payload::None, Payload::Inline);
        self.mdn = Some((mdn_event, payload, targets));
    }

    /// An MDN that came on its own is matched with the message that it is about.
    async fn match_mdn(
        &mut self,
        event: &Event,
        routes: &Routes,
        Lookup { outbox, if_under_way }: Lookup<'_>,
    ) -> Result<(), NotYet> {
        let Some(decoded) = &event.decoded else { return Ok(()) };
        let original = decoded.mdn.as_ref().and_then(|mdn| mdn.original_message_id.as_deref());
        let found = match original {
            Some(original) => Sent::find(SENT, routes, original, outbox).await?,
            None => None,
        };
        self.verdict.extra.insert("messageKnown".to_owned(), json!(found.is_some()));
        let Some((sent, record)) = found else { return Ok(()) };
        let expected = self.compare_with(&sent, decoded);
        if !expected.trusts(decoded) {
            self.verdict.errors.extend(expected.distrust(decoded));
            return Ok(());
        }
        let refusal = expected.refusal(decoded);
        if refusal.is_some()
            && if_under_way != IfUnderWay::TakeBack
            && is_under_way(sent.event, outbox).await?
        {
            return match if_under_way {
                IfUnderWay::LeaveMessage => Ok(()),
                _ => Err(NotYet::UnderWay(sent.event)),
            };
        }
        self.settle_message(sent, &record, refusal, event, (routes, outbox)).await
    }

    /// Our receiver's asynchronous MDN is held against the message that it is about.
    async fn match_own_mdn(
        &mut self,
        event: &Event,
        routes: &Routes,
        outbox: &Outbox,
    ) -> Result<(), NotYet> {
        let Some(decoded) = &event.decoded else { return Ok(()) };
        let original = decoded.mdn.as_ref().and_then(|mdn| mdn.original_message_id.as_deref());
        let Some(original) = original else { return Ok(()) };
        let found = Sent::find(TAKEN, routes, original, outbox).await?;
        let Some((taken, record)) = found else { return Ok(()) };
        let expected = self.compare_with(&taken, decoded);
        let refusal = expected.refusal(decoded);
        if refusal.is_some() {
            // It was not taken after all: when it comes again it is no duplicate.
            let refused = if let Some(key) = taken.seen.clone() {
                let found =
                    outbox.current_records(std::slice::from_ref(&key)).await?.pop().flatten();
                refuse_seen(key, taken.event, routes.rules.config.duplicate_window, found.as_ref())
            } else {
                // Its content is not known before it is decoded.
                Some(taken.becomes(SentState::Refused, &record))
            };
            self.further.extend(refused.map(Write::Record));
        }
        if let Some(refusal) = refusal.filter(|refusal| refusal.stage == Stage::Mic) {
            let error = ProcessingError::new(ErrorCode::Receiver, refusal.message);
            self.verdict.errors.push(error);
        }
        Ok(())
    }

    /// Says which message an MDN is about, and how its MIC stands.
    fn compare_with<'a>(&mut self, message: &'a Sent, mdn: &Decoded) -> MdnExpectation<'a> {
        self.verdict.extra.extend(about(message.event, false));
        let expected = message.expected();
        let (mic_matches, form) = mic_outcome(&expected, mdn);
        self.verdict.mic_matches = mic_matches;
        self.verdict.extra.extend(form);
        expected
    }

    /// A receipt that counts changes how its message stands.
    async fn settle_message(
        &mut self,
        sent: Sent,
        record: &Record,
        refusal: Option<SendError>,
        event: &Event,
        (routes, outbox): (&Routes, &Outbox),
    ) -> Result<(), NotYet> {
        let (state, refusal) = match (sent.state, refusal) {
            // It was reported that the message failed.
            (SentState::Failed | SentState::Refused, _) => return Ok(()),
            (_, None) => (SentState::Accepted, None),
            (_, Some(refusal)) => (SentState::Refused, Some(refusal)),
        };
        let message = sent.clone();
        let change = sent.becomes(state, record);
        let Some(refusal) = refusal else {
            self.further.push(Write::Record(change));
            return Ok(());
        };
        let failure = Event {
            site: event.site.clone(),
            partner: event.partner.clone(),
            station: event.station.clone(),
            partner_type: event.partner_type,
            peer: event.peer,
            headers: message.headers(outbox).await?,
            send_error: Some(refusal),
            supersedes: Some(message.event),
            ..Event::new(EventKind::SendError)
        };
        let targets = routes.targets(&failure);
        let once = writes::once(change, &failure, &targets).map_err(OutboxError::from)?;
        self.further.push(once);
        Ok(())
    }

    /// A message that the receiver took is held against those that it took before. In any doubt it is
    /// reported as received, so that waits for no store.
    async fn find_duplicate(
        &mut self,
        event: &Event,
        negative: bool,
        routes: &Routes,
        outbox: &Outbox,
    ) {
        if self.verdict.kind != EventKind::MessageReceived {
            return;
        }
        let Some(key) = seen_key(event, &Group::of(routes, event)) else { return };
        let (found, first) = seen_before(&key, event, routes, outbox).await.unwrap_or_default();
        if let Some(first) = first {
            self.verdict.kind = EventKind::MessageDuplicate;
            self.verdict.extra.insert("duplicateOf".to_owned(), json!(first));
        } else if !negative
            && self.verdict.errors.is_empty()
            && !Sent::is_refused(routes, event, outbox).await.unwrap_or_default()
        {
            let window = routes.rules.config.duplicate_window;
            self.further.extend(remember_seen(key, event, window, found).map(Write::Record));
        }
    }

    /// Of a message that failed no receipt is waited for, unless another attempt was sent; and none of one whose
    /// receipt came early.
    async fn record_attempt(
        &mut self,
        event: &Event,
        early: bool,
        routes: &Routes,
        outbox: &Outbox,
    ) -> Result<(), OutboxError> {
        let outcome = match (self.verdict.kind == EventKind::MessageSent, early) {
            (true, true) => AttemptOutcome::Accepted,
            (true, false) => AttemptOutcome::Sent,
            (false, _) => AttemptOutcome::Failed,
        };
        // A message that was sent, and waits for no receipt, costs no look.
        if outcome != AttemptOutcome::Failed
            && MdnRequest::of(&event.headers).when != MdnMode::Later
        {
            return Ok(());
        }
        let change = Sent::after_attempt(event, outcome, routes, outbox).await?;
        self.further.extend(change.map(Write::Record));
        Ok(())
    }
}

/// Whether the outcome of this exchange is not known yet.
async fn is_under_way(event: Uuid, outbox: &Outbox) -> Result<bool, OutboxError> {
    let filter = Filter { event: Some(event), ..Filter::default() };
    Ok(outbox.events(&filter, 1).await?.first().is_some_and(|row| row.open))
}

/// What an MDN's JSON says of the exchange of its message.
fn about(message: Uuid, synchronous: bool) -> Map<String, Value> {
    let mode = if synchronous { "sync" } else { "async" };
    let pairs = [("messageEventId", json!(message)), ("mdnMode", json!(mode))];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `micMatches` of an MDN, and `micForm` where it matches.
fn mic_outcome(
    expected: &MdnExpectation<'_>,
    mdn: &Decoded,
) -> (Option<bool>, Option<(String, Value)>) {
    match expected.compare_mic(mdn) {
        MicComparison::Same(form) => (Some(true), Some(("micForm".to_owned(), json!(form)))),
        MicComparison::Different => (Some(false), None),
        MicComparison::Unknown => (None, None),
    }
}
