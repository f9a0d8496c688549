//! One exchange from its head to its end.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

use as2hook_as2::{Decoded, ErrorCode, Kind, ProcessingError};
use as2hook_delivery::{Further, OutboxError, Recorded, Target};
use as2hook_store::{Payload, Payloads, StoreError};
use as2hook_webhooks::{Direction, Event, EventKind, SendError, Verdict};
use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    AnswerHead, RequestHead, Shared, conclusion::Conclusion, decoding::Feed, head::Parties,
    keeping::Keeper, receipt::ANSWER_MAX, routes::Routes, sent::Sent, turns::Turn, verdict,
};
use crate::memory::Share;

/// Memory of one message in decode, with the piece at work: as measured (`docs/reliability.md`), and
/// most of it the first MiB of a signed part, which is kept until its signature is there.
const DECODING: u64 = 1536 * 1024;

/// Of its payload and of the MDN that it may be, while they are not in a file.
const PAYLOADS: u64 = 2 * Payload::INLINE_MAX as u64;

/// One exchange that passes. Made by [`super::Tap::begin`].
///
/// Dropped before [`Exchange::end`], a recorded exchange is told as "outcome unknown".
pub struct Exchange {
    active: Option<Box<Active>>,
    share: Option<Share>,
}

/// The event could not be written down, and the configuration says to refuse traffic then
/// (`on_store_failure: refuse`). The receiver has not got the whole message.
#[derive(Debug, thiserror::Error)]
#[error("the notification cannot be written down")]
pub struct Refused(#[source] pub OutboxError);

struct Active {
    shared: Arc<Shared>,
    /// As the config of its beginning says: sealed or not.
    payloads: Payloads,
    id: Uuid,
    began: Timestamp,
    head: RequestHead,
    parties: Parties,
    routes: Routes,
    request: Request,
    answer: Option<AnswerHead>,
    answer_body: Vec<u8>,
    turn: Option<Turn>,
}

/// How far the request has come.
enum Request {
    /// Its body is on the way.
    Passing(Feed),
    /// It is complete, and written down.
    Recorded(Box<Event>),
    /// It is complete, and nobody wants to know.
    Unwanted,
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn begin(shared: &Arc<Shared>, head: RequestHead) -> Self {
        Self { active: Active::begin(shared, head).map(Box::new), share: None }
    }

    /// The id of the event that comes of it, for logs. `None`: no event does.
    pub fn id(&self) -> Option<Uuid> {
        self.active.as_ref().map(|active| active.id)
    }

    /// The memory in bytes that it may take at the most, besides the pieces that wait for the decoder.
    pub fn memory(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| match active.routes.wants_raw() {
            false => DECODING,
            true => DECODING + PAYLOADS,
        })
    }

    /// Where the request goes, once that is known: the partner's address of an outbound exchange.
    pub fn reaches(&mut self, partner: IpAddr) {
        if let Some(active) = &mut self.active {
            active.head.peer = Some(partner);
        }
    }

    /// The next piece of the request's body. With `end` it returns when the exchange is durably
    /// written down: only then may the receiver get the last bytes.
    ///
    /// # Errors
    /// [`Refused`] when it cannot be written down and traffic is to be refused then.
    pub async fn request(&mut self, bytes: Bytes, end: bool) -> Result<(), Refused> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if let Request::Passing(feed) = &mut active.request {
            if !bytes.is_empty() {
                feed.push(bytes).await;
            }
            if end {
                active.record().await?;
            }
        }
        Ok(())
    }

    /// The answer's head. Interim answers (1xx) are passed over.
    pub fn answer_head(&mut self, head: AnswerHead) {
        if let Some(active) = &mut self.active
            && head.status >= 200
        {
            active.answer = Some(head);
            active.take_turn();
        }
    }

    /// The next piece of the answer's body.
    pub fn answer(&mut self, bytes: &[u8]) {
        if let Some(active) = &mut self.active
            && active.answer_body.len() <= ANSWER_MAX
        {
            let room = ANSWER_MAX + 1 - active.answer_body.len();
            active.answer_body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Keeps the memory that it is counted for until its verdict is written down.
    pub fn hold(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// The exchange is over: the verdict is worked out and written down beside the traffic.
    pub fn end(mut self) {
        self.conclude(None);
    }

    /// The exchange failed: before an answer came, or before all of it had come.
    pub fn fail(mut self, error: SendError) {
        self.conclude(Some(error));
    }

    fn conclude(&mut self, error: Option<SendError>) {
        let share = self.share.take();
        if let Some(mut active) = self.active.take() {
            active.take_turn();
            let shared = active.shared.clone();
            let concluding = Concluding::begin(&shared);
            shared.runtime.spawn(async move {
                active.conclude(error).await;
                drop((share, concluding));
            });
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.conclude(None);
    }
}

// === impl Active ===

impl Active {
    fn begin(shared: &Arc<Shared>, head: RequestHead) -> Option<Self> {
        let parties = head.parties()?;
        let snapshot = shared.live.load();
        let routes = Routes::new(snapshot.clone(), &parties, head.direction);
        if !routes.wants_any() {
            return None;
        }
        let id = Uuid::now_v7();
        let payloads = shared.payloads.sealing(snapshot.config.encrypt_payloads);
        let keeper = Keeper::nothing(payloads.clone(), id);
        let keeper = match head.direction {
            _ if !routes.wants_raw() => keeper,
            Direction::Inbound => keeper.mdn().message(),
            // Nobody is told the attachments of what we sent ourselves.
            Direction::Outbound => keeper.mdn(),
        };
        let feed = shared.decoding.feed(
            &head.headers,
            snapshot.config.keyring.clone(),
            snapshot.config.decode_options(),
            keeper,
            (shared.memory.clone(), snapshot.config.limits.memory),
        );
        Some(Self {
            shared: shared.clone(),
            payloads,
            id,
            began: Timestamp::now(),
            head,
            parties,
            routes,
            request: Request::Passing(feed),
            answer: None,
            answer_body: Vec::new(),
            turn: None,
        })
    }

    /// Writes the exchange down as far as it is known: everything but the answer.
    async fn record(&mut self) -> Result<(), Refused> {
        let Request::Passing(feed) = std::mem::replace(&mut self.request, Request::Unwanted) else {
            return Ok(());
        };
        let (mut event, payload) = self.decode(feed, true).await;
        let outbox = &self.shared.outbox;
        let payload = match payload {
            Err(error) if outbox.refuses() => return Err(Refused(error.into())),
            payload => self.kept(&mut event, payload),
        };
        let wanted = verdict::outcomes(&event).iter().any(|&kind| self.routes.wants(kind));
        if !wanted {
            self.payloads.remove(&payload);
            return Ok(());
        }
        let unknown = Verdict::unknown(event.direction, event.kind);
        let if_unknown = self.routes.targets(unknown.kind, &event);
        // Before its answer: an asynchronous MDN may be faster.
        let note = match event.kind {
            EventKind::MessageSent => {
                let sent = Sent::of(&event, self.routes.snapshot().config.mdn_deadline);
                sent.map(|sent| sent.change())
            }
            EventKind::MessageReceived => Sent::taken(&event),
            _ => None,
        };
        let notes = note.into_iter().collect();
        let file = payload.clone();
        match outbox.open_noted(&event, payload, &if_unknown, notes).await {
            // Held in memory: the traffic goes on, as the configuration says.
            Ok(Recorded::Durable | Recorded::Held) => {}
            Ok(Recorded::Dropped) => self.payloads.remove(&file),
            Err(error) => {
                self.payloads.remove(&file);
                return Err(Refused(error));
            }
        }
        self.request = Request::Recorded(Box::new(event));
        Ok(())
    }

    /// Where anybody is told in order, the exchange is written down in the order of the answers.
    fn take_turn(&mut self) {
        if self.turn.is_none() && self.routes.wants_order() {
            let Parties { partner, station, .. } = &self.parties;
            self.turn = Some(self.shared.turns.take(partner, station));
        }
    }

    async fn conclude(mut self: Box<Self>, error: Option<SendError>) {
        if let Some(turn) = &mut self.turn {
            turn.come().await;
        }
        match std::mem::replace(&mut self.request, Request::Unwanted) {
            Request::Recorded(event) => self.settle(*event, error).await,
            Request::Passing(feed) => self.conclude_early(feed, error).await,
            Request::Unwanted => {}
        }
    }

    /// Adds the answer's verdict to what was written down.
    async fn settle(&self, event: Event, error: Option<SendError>) {
        let outbox = &self.shared.outbox;
        let Some(conclusion) = self.judge(&event, error).await else {
            // Held in memory or written: either way it is forgotten.
            let _ = outbox.discard(event.id).await;
            return;
        };
        let Conclusion { verdict, further } = conclusion;
        let targets = self.routes.targets(verdict.kind, &event);
        self.observe(event.id, verdict.kind, &further);
        if targets.is_empty() && further.is_empty() {
            // Nobody is told, so nothing of it is kept: its payload may be large.
            let _ = outbox.discard(event.id).await;
            return;
        }
        if let Err(error) = outbox.settle_further(event.id, &verdict, &targets, further).await {
            tracing::error!(%error, event = %event.id, "A verdict was not written down.");
        }
    }

    /// The exchange was over before the whole request had passed. Inbound an event comes of it only
    /// when the receiver answered, or could not be reached: else the partner went away. Outbound each
    /// attempt is told.
    async fn conclude_early(&self, feed: Feed, error: Option<SendError>) {
        let inbound = self.head.direction == Direction::Inbound;
        if inbound && self.answer.is_none() && error.is_none() {
            return;
        }
        let (mut event, payload) = self.decode(feed, false).await;
        let payload = self.kept(&mut event, payload);
        if self.answer.is_none()
            && let Some(decoded) = &mut event.decoded
        {
            forget_body(decoded);
        }
        let Some(conclusion) = self.judge(&event, error).await else {
            self.payloads.remove(&payload);
            return;
        };
        event.settle(conclusion.verdict);
        let targets = self.routes.targets(event.kind, &event);
        self.observe(event.id, event.kind, &conclusion.further);
        self.publish(&event, payload, targets).await;
        for further in conclusion.further {
            if let Further::Event(event, payload, targets) = further {
                self.publish(&event, payload, targets).await;
            }
        }
    }

    /// Counts what the exchange came to, for metrics.
    fn observe(&self, event: Uuid, kind: EventKind, further: &[Further]) {
        let observer = self.shared.live.observer();
        observer.event(event, kind);
        for further in further {
            if let Further::Event(event, ..) = further {
                observer.event(event.id, event.kind);
            }
        }
    }

    async fn publish(&self, event: &Event, payload: Payload, targets: Vec<Target>) {
        if targets.is_empty() {
            self.payloads.remove(&payload);
        } else if let Err(error) = self.shared.outbox.publish(event, payload, &targets).await {
            tracing::error!(%error, event = %event.id, "An event was not written down.");
        }
    }

    /// The payload that the event goes on with; one that could not be kept is told by the event.
    fn kept(&self, event: &mut Event, payload: Result<Payload, StoreError>) -> Payload {
        payload.unwrap_or_else(|_| {
            let text = "The payload could not be kept; see the gateway's log";
            event.errors.push(ProcessingError::new(ErrorCode::Limit, text));
            Payload::None
        })
    }

    async fn judge(&self, event: &Event, error: Option<SendError>) -> Option<Conclusion> {
        let answer = self.answer.as_ref().map(|head| (head, self.answer_body.as_slice()));
        let outbox = &self.shared.outbox;
        let mut conclusion = Conclusion::reach(event, answer, error, &self.routes, outbox).await?;
        for further in &mut conclusion.further {
            if let Further::Event(event, payload, _) = further
                && let Payload::Inline(bytes) = payload
            {
                let sealed = self.payloads.inline(event.id, std::mem::take(bytes));
                *payload = self.kept(event, sealed);
            }
        }
        Some(conclusion)
    }

    async fn decode(&self, feed: Feed, whole: bool) -> (Event, Result<Payload, StoreError>) {
        let mut errors = Vec::new();
        let (decoded, payload) = match feed.finish(whole).await {
            Ok(outcome) => (Some(outcome.decoded), outcome.payload),
            Err(lost) => {
                tracing::error!(exchange = %self.id, "{lost}.");
                errors.push(ProcessingError::new(ErrorCode::NotDecoded, lost.to_string()));
                (None, Ok(Payload::None))
            }
        };
        let kind = match (self.head.direction, decoded.as_ref().map(|d| d.kind)) {
            (Direction::Inbound, Some(Kind::Mdn)) => EventKind::MdnReceived,
            (Direction::Inbound, _) => EventKind::MessageReceived,
            (Direction::Outbound, Some(Kind::Mdn)) => EventKind::MdnSent,
            (Direction::Outbound, _) => EventKind::MessageSent,
        };
        let mut decoded = decoded;
        if self.head.direction == Direction::Outbound
            && let Some(decoded) = &mut decoded
        {
            forgive_encryption(decoded);
        }
        let event = Event {
            id: self.id,
            kind,
            occurred_at: self.began,
            direction: self.head.direction,
            site: self.routes.site.clone(),
            partner: Some(self.parties.partner.clone()),
            station: Some(self.parties.station.clone()),
            partner_type: self.routes.partner_type,
            peer: self.head.peer,
            headers: self.head.headers.clone(),
            decoded,
            errors,
            send_error: None,
            mic_matches: None,
            supersedes: None,
            extra: serde_json::Map::new(),
        };
        self.shared.live.observer().decoded(&event);
        (event, payload)
    }
}

/// What we encrypt for a partner only the partner can open: that is no error.
fn forgive_encryption(decoded: &mut Decoded) {
    if decoded.encrypted == Some(true) {
        let closed = [ErrorCode::Decryption, ErrorCode::NotDecoded];
        decoded.errors.retain(|error| !closed.contains(&error.code));
    }
}

/// Counts an exchange until its verdict is written down.
struct Concluding(Arc<Shared>);

// === impl Concluding ===

impl Concluding {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.concluding.fetch_add(1, Ordering::AcqRel);
        Self(shared.clone())
    }
}

impl Drop for Concluding {
    fn drop(&mut self) {
        self.0.concluding.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Nothing of the body has passed: what the decoder says of it is not known.
fn forget_body(decoded: &mut Decoded) {
    decoded.encrypted = None;
    decoded.signed = None;
    decoded.compressed = None;
    decoded.signature_verified = None;
    decoded.signature_status = None;
    decoded.errors.clear();
}
