//! All that comes of an exchange when it is over: its own event, the MDN in its answer, what an MDN
//! says of an earlier message, and what is to be remembered. It is written down in one commit.

use as2hook_as2::{Decoded, ErrorCode, Mdn, ProcessingError};
use as2hook_delivery::{Further, Outbox};
use as2hook_store::{Note, Payload};
use as2hook_webhooks::{Direction, Event, EventKind, SendError, Stage, Verdict};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use super::{
    AnswerHead,
    receipt::{self, Expected, Wish},
    routes::Routes,
    seen,
    sent::{self, Sent, State},
    verdict::{self, Answer},
};

/// See the module.
pub(super) struct Conclusion {
    /// What becomes of the exchange's own event.
    pub(super) verdict: Verdict,
    /// What else there is.
    pub(super) further: Vec<Further>,
}

// === impl Conclusion ===

impl Conclusion {
    /// Judges an exchange. `None`: it is no event.
    pub(super) async fn reach(
        event: &Event,
        answer: Option<(&AnswerHead, &[u8])>,
        error: Option<SendError>,
        routes: &Routes,
        outbox: &Outbox,
    ) -> Option<Self> {
        let message_id = sent::message_id(event);
        let expected = Expected {
            signed: Wish::of(&event.headers).signed,
            message_id: message_id.as_deref(),
            mic: event.decoded.as_ref().and_then(|decoded| decoded.mic.as_deref()),
        };
        let is_mdn = matches!(event.kind, EventKind::MdnReceived | EventKind::MdnSent);
        let whole = answer.filter(|_| !is_mdn && error.is_none());
        // It may be compressed to a thousandth, and this thread has other exchanges to end.
        let mdn = aside(|| whole.and_then(|(head, body)| mdn_in_answer(event, head, body, routes)));
        let head = answer.map(|(head, _)| Answer { head, mdn: mdn.as_ref() });
        let verdict = verdict::judge(event, head, error, &expected)?;
        let mut conclusion = Self { verdict, further: Vec::new() };
        if let (Some((head, body)), Some(mdn)) = (whole, mdn.clone()) {
            conclusion.tell_mdn(event, head, body, mdn, &expected, routes);
        }
        match (event.direction, event.kind) {
            (Direction::Inbound, EventKind::MdnReceived) => {
                conclusion.correlate(event, routes, outbox).await;
            }
            (Direction::Inbound, EventKind::MessageReceived) => {
                let negative = mdn.and_then(|mdn| mdn.mdn).is_some_and(|mdn: Mdn| mdn.error);
                conclusion.compare(event, negative, routes, outbox).await;
            }
            (Direction::Outbound, EventKind::MessageSent) => conclusion.note_failure(event, routes),
            (Direction::Outbound, EventKind::MdnSent) => conclusion.answer(event, outbox).await,
            _ => {}
        }
        Some(conclusion)
    }

    /// The MDN in an answer is an event of its own.
    fn tell_mdn(
        &mut self,
        event: &Event,
        head: &AnswerHead,
        body: &[u8],
        mdn: Decoded,
        expected: &Expected<'_>,
        routes: &Routes,
    ) {
        let kind = match event.direction {
            Direction::Inbound => EventKind::MdnSent,
            Direction::Outbound => EventKind::MdnReceived,
        };
        let distrust = match event.direction {
            // Nobody has to trust our own receiver.
            Direction::Inbound => None,
            Direction::Outbound => expected.distrust(&mdn),
        };
        let told = Event {
            id: Uuid::now_v7(),
            kind,
            occurred_at: Timestamp::now(),
            headers: head.headers.clone(),
            errors: distrust.into_iter().collect(),
            mic_matches: expected.mic_matches(&mdn),
            decoded: Some(mdn),
            send_error: None,
            supersedes: None,
            extra: about(event.id, true),
            ..event.clone()
        };
        let targets = routes.targets(kind, &told);
        if targets.is_empty() {
            return;
        }
        let raw = routes.wants_raw_of(kind) && body.len() <= Payload::INLINE_MAX;
        let payload =
            if raw { Payload::Inline(Bytes::copy_from_slice(body)) } else { Payload::None };
        self.further.push(Further::Event(told, payload, targets));
    }

    /// An MDN that came on its own is matched with the message that it is about.
    async fn correlate(&mut self, event: &Event, routes: &Routes, outbox: &Outbox) {
        let Some(decoded) = &event.decoded else { return };
        let original = decoded.mdn.as_ref().and_then(|mdn| mdn.original_message_id.as_deref());
        let (Some(original), Some(partner), Some(station)) =
            (original, &event.partner, &event.station)
        else {
            self.verdict.extra.insert("messageKnown".to_owned(), Value::Bool(false));
            return;
        };
        let note = outbox.note(&Sent::key(station, partner, original)).await;
        let found = note.and_then(|note| Some((Sent::read(&note)?, note)));
        let known = Value::Bool(found.is_some());
        self.verdict.extra.insert("messageKnown".to_owned(), known);
        let Some((sent, note)) = found else { return };
        self.verdict.extra.extend(about(sent.event, false));
        let expected = sent.expected();
        self.verdict.mic_matches = expected.mic_matches(decoded);
        if !expected.trusts(decoded) {
            self.verdict.errors.extend(expected.distrust(decoded));
            return;
        }
        let refusal = expected.refusal(decoded);
        self.take_note(sent, &note, refusal, event, routes);
    }

    /// Our receiver's asynchronous MDN is held against the message that it is about.
    async fn answer(&mut self, event: &Event, outbox: &Outbox) {
        let Some(decoded) = &event.decoded else { return };
        let original = decoded.mdn.as_ref().and_then(|mdn| mdn.original_message_id.as_deref());
        let (Some(original), Some(partner), Some(station)) =
            (original, &event.partner, &event.station)
        else {
            return;
        };
        let note = outbox.note(&Sent::key_of_taken(station, partner, original)).await;
        let Some(taken) = note.as_ref().and_then(Sent::read) else { return };
        self.verdict.extra.extend(about(taken.event, false));
        self.verdict.mic_matches = taken.expected().mic_matches(decoded);
        let refusal = taken.expected().refusal(decoded);
        if let Some(refusal) = refusal.filter(|refusal| refusal.stage == Stage::Mic) {
            let error = ProcessingError::new(ErrorCode::Receiver, refusal.message);
            self.verdict.errors.push(error);
        }
    }

    /// A receipt that counts changes how its message stands.
    fn take_note(
        &mut self,
        sent: Sent,
        note: &Note,
        refusal: Option<SendError>,
        event: &Event,
        routes: &Routes,
    ) {
        let (state, refusal) = match (sent.state, refusal) {
            // It was told that the message failed.
            (State::Failed | State::Refused, _) => return,
            (_, None) => (State::Accepted, None),
            (_, Some(refusal)) => (State::Refused, Some(refusal)),
        };
        let message = sent.clone();
        let change = sent.becomes(state, note);
        let Some(refusal) = refusal else {
            self.further.push(Further::Note(change));
            return;
        };
        let told = Event {
            id: Uuid::now_v7(),
            kind: EventKind::SendError,
            occurred_at: Timestamp::now(),
            direction: Direction::Outbound,
            headers: message.headers,
            decoded: None,
            errors: Vec::new(),
            send_error: Some(refusal),
            mic_matches: None,
            supersedes: Some(message.event),
            extra: Map::new(),
            ..event.clone()
        };
        let targets = routes.targets(EventKind::SendError, &told);
        self.further.push(match targets.is_empty() {
            true => Further::Note(change),
            false => Further::Once(change, told, targets),
        });
    }

    /// A message that the receiver took is held against those that it took before.
    async fn compare(&mut self, event: &Event, negative: bool, routes: &Routes, outbox: &Outbox) {
        if self.verdict.kind != EventKind::MessageReceived {
            return;
        }
        let Some(key) = seen::key(event) else { return };
        if let Some(first) = outbox.note(&key).await {
            self.verdict.kind = EventKind::MessageDuplicate;
            let first = String::from_utf8_lossy(&first.body).into_owned();
            self.verdict.extra.insert("duplicateOf".to_owned(), Value::String(first));
        } else if !negative && self.verdict.errors.is_empty() {
            let window = routes.snapshot().config.duplicate_window;
            self.further.push(Further::Note(seen::remember(key, event, window)));
        }
    }

    /// Of a message that failed no receipt is waited for.
    fn note_failure(&mut self, event: &Event, routes: &Routes) {
        if self.verdict.kind == EventKind::SendError
            && let Some(sent) = Sent::of(event, routes.snapshot().config.mdn_deadline)
        {
            let failed = Sent { state: State::Failed, ..sent };
            self.further.push(Further::Note(failed.change()));
        }
    }
}

/// Does what may take a while; other tasks of this thread go on elsewhere, where there is an elsewhere.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn mdn_in_answer(
    event: &Event,
    head: &AnswerHead,
    body: &[u8],
    routes: &Routes,
) -> Option<Decoded> {
    let (partner, station) = (event.partner.as_deref()?, event.station.as_deref()?);
    let (from, to) = match event.direction {
        Direction::Inbound => (station, partner),
        Direction::Outbound => (partner, station),
    };
    receipt::in_answer(head, body, from, to, routes.snapshot())
}

/// What an MDN's JSON says of the exchange of its message.
fn about(message: Uuid, synchronous: bool) -> Map<String, Value> {
    let mode = if synchronous { "sync" } else { "async" };
    let pairs = [("messageEventId", json!(message)), ("mdnMode", json!(mode))];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
