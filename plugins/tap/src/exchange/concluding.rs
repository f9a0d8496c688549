//! The exchange is over: what it came to is worked out beside the traffic, and written down.

use as2hook_as2::{Decoded, ErrorCode, ProcessingError};
use as2hook_delivery::{OutboxError, Recorded, StoreWait, Target, writes};
use as2hook_event::{Direction, Event, EventKind, SendError, Verdict};
use as2hook_store::{Payload, Record, Write};
use bytes::Bytes;
use uuid::Uuid;

use super::{
    super::{
        conclusion::{Conclusion, IfUnderWay, Lookup, NotYet},
        decoding::{DecodeHandle, DecodeLimits, DecodeOutcome},
        keeping::PayloadKeeper,
        receipt::{MdnMode, MdnRequest},
        records::message_id,
        response::{self, MdnDecode, ResponseBody},
        routes::Parties,
        waits::NextLook,
    },
    Active, ExchangeOutcome, LateDecode, RequestProgress,
};

/// An exchange that stays open in the store: the process that adopts it judges it.
struct LeftOpen;

/// A response is decoded in pieces of so many bytes.
const PIECE: usize = 64 * 1024;

/// Memory of a verdict that waits for the store, beside what it holds.
const WAITING: usize = 4096;

impl Active {
    /// Where a webhook has an order, the exchange is written down in the order of the responses.
    pub(super) fn take_turn(&mut self) {
        if self.turn.is_none() && self.routes.wants_order() {
            let Parties { partner, station } = &self.routes.parties;
            let is_late = matches!(self.request, RequestProgress::Late(_));
            let is_unverified = match &self.request {
                RequestProgress::Recorded(event) => self.routes.is_unverified(event),
                _ => self.routes.is_unverified_yet(self.head.direction),
            };
            let turns = &self.shared.turns;
            self.turn = Some(turns.take(partner, station, is_unverified, is_late));
            if is_unverified && !matches!(self.request, RequestProgress::Recorded(_)) {
                self.undecided = Some(turns.take_undecided(partner, station, is_late));
            }
        }
    }

    /// Waits for its turn in the order that it belongs to, now that it is known what it is.
    async fn come(&mut self, event: &Event) {
        if let Some(mut other) = self.undecided.take() {
            if let Some(turn) = &mut self.turn
                && !self.routes.is_unverified(event)
            {
                std::mem::swap(turn, &mut other);
            }
            // Those behind it wait on for those before it.
            self.shared.runtime.spawn(async move { other.come().await });
        }
        if let Some(turn) = &mut self.turn {
            turn.come().await;
        }
    }

    /// Works out what it came to, once its turn has come.
    pub(super) async fn conclude(mut self: Box<Self>, error: Option<SendError>) {
        match std::mem::replace(&mut self.request, RequestProgress::Unwanted) {
            RequestProgress::Recorded(event) => {
                self.come(&event).await;
                self.settle(*event, None, error).await;
            }
            RequestProgress::Late(decode) => self.settle_late(decode, error).await,
            RequestProgress::Ahead(feed, record) => {
                let decode = self.cut_off(feed, record);
                self.settle_late(decode, error).await;
            }
            RequestProgress::Passing(feed) => self.conclude_early(feed, error).await,
            RequestProgress::Unwanted => {
                if let Some(turn) = &mut self.turn {
                    turn.come().await;
                }
            }
        }
    }

    /// Waits for a late decode, and settles its exchange.
    async fn settle_late(&mut self, decode: LateDecode, error: Option<SendError>) {
        let (outcome, record) = decode.finish().await;
        let (mut event, _, payload) = self.decoded(outcome);
        let payload = self.kept(&mut event, payload);
        self.come(&event).await;
        self.settle(event, Some((payload, record)), error).await;
    }

    /// Adds the response's verdict to what was written down. `late`: what came of the request since then.
    async fn settle(
        &mut self,
        event: Event,
        late: Option<(Payload, Option<Record>)>,
        error: Option<SendError>,
    ) {
        let file = late.as_ref().map(|(payload, _)| payload.clone());
        let Ok(conclusion) = self.judge(&event, file.as_ref(), error).await else { return };
        let targets = conclusion.as_ref().map(|c| self.routes.targets_when(&event, &c.verdict));
        let (Some(Conclusion { verdict, further, wait: _wait, .. }), Some(targets)) =
            (conclusion, targets)
        else {
            return self.forget(event.id, file).await;
        };
        self.observe(&event, Some(&verdict), &further);
        // An event about its MDN, overdue or negative, takes its Subject from this one.
        let is_awaited = event.kind == EventKind::MessageSent
            && MdnRequest::of(&event.headers).when == MdnMode::Later;
        if targets.is_empty() && further.is_empty() && !is_awaited {
            // There is nothing to deliver, so nothing of it is kept: its payload may be large.
            return self.forget(event.id, file).await;
        }
        match self.settled(&event, &verdict, &targets, late, further) {
            Ok(writes) => {
                if self.shared.outbox.write(writes).await == Recorded::Dropped {
                    self.remove(file);
                }
            }
            Err(error) => {
                tracing::error!(%error, event = %event.id, "A verdict was not stored.");
                self.remove(file);
            }
        }
    }

    /// The verdict, behind a content that was decoded late, and before all else.
    fn settled(
        &self,
        event: &Event,
        verdict: &Verdict,
        targets: &[Target],
        late: Option<(Payload, Option<Record>)>,
        further: Vec<Write>,
    ) -> Result<Vec<Write>, serde_json::Error> {
        let mut all = vec![writes::settle(event.id, verdict, targets)?];
        if let Some((payload, record)) = late {
            all.insert(0, writes::replace(event, payload)?);
            // A verdict that says more of the message stands for the record.
            let change = self.late_record(event, record).filter(|change| {
                let key = &change.record.key;
                let same =
                    |other: &Write| matches!(other, Write::Record(it) if it.record.key == *key);
                !further.iter().any(same)
            });
            all.extend(change.map(Write::Record));
        }
        all.extend(further);
        Ok(all)
    }

    /// Forgets an exchange, with a payload that is not written down with it.
    async fn forget(&self, event: Uuid, payload: Option<Payload>) {
        // Held in memory or written: either way it is forgotten.
        let _ = self.shared.outbox.write(vec![Write::Discard(event)]).await;
        self.remove(payload);
    }

    fn remove(&self, payload: Option<Payload>) {
        if let Some(payload) = payload {
            self.payloads.remove(&payload);
        }
    }

    /// The exchange was over before the whole request had passed. Inbound an event comes of it only
    /// when the receiver responded, or could not be reached: else the partner went away. Outbound each
    /// attempt is reported.
    async fn conclude_early(&mut self, feed: DecodeHandle, error: Option<SendError>) {
        let inbound = self.head.direction == Direction::Inbound;
        if inbound && self.response.is_none() && error.is_none() {
            return;
        }
        let (mut event, _, payload) = self.decoded(feed.finish(Bytes::new(), false).await);
        let payload = self.kept(&mut event, payload);
        self.come(&event).await;
        if self.response.is_none()
            && let Some(decoded) = &mut event.decoded
        {
            forget_body(decoded);
        }
        let Ok(Some(conclusion)) = self.judge(&event, Some(&payload), error).await else {
            self.payloads.remove(&payload);
            return;
        };
        let Conclusion { verdict, further, wait: _wait, .. } = conclusion;
        event.settle(verdict);
        let targets = self.routes.targets(&event);
        self.observe(&event, None, &further);
        self.publish(&event, payload, targets).await;
        for mdn in further.into_iter().filter(|write| matches!(write, Write::Publish(..))) {
            self.shared.outbox.write(vec![mdn]).await;
        }
    }

    /// Counts what the exchange came to, by its verdict where the event has not got it yet.
    fn observe(&self, event: &Event, verdict: Option<&Verdict>, further: &[Write]) {
        let host = &self.shared.host;
        crate::host::concluded(&**host, event, verdict);
        for further in further {
            if let Write::Publish(event, _) = further
                && let Ok(kind) = event.kind.parse()
            {
                host.event(event.id, &event.site, kind);
            }
        }
    }

    async fn publish(&self, event: &Event, payload: Payload, targets: Vec<Target>) {
        if targets.is_empty() {
            return self.payloads.remove(&payload);
        }
        if let Some(published) = published(event, payload, &targets) {
            self.shared.outbox.write(vec![published]).await;
        }
    }

    /// The MDN in the response to a message, decoded as its message was: within the same budget, and in turn.
    async fn mdn_in_response(&self, event: &Event) -> MdnDecode {
        let is_mdn = matches!(event.kind, EventKind::MdnReceived | EventKind::MdnSent);
        let (Some(head), body) = (&self.response, self.response_body.bytes()) else {
            return MdnDecode::default();
        };
        if is_mdn || body.is_empty() {
            let unread = self.response_body.unread().filter(|_| !is_mdn);
            return MdnDecode { unread, ..MdnDecode::default() };
        }
        let Parties { partner, station } = &self.routes.parties;
        let headers = match event.direction {
            Direction::Inbound => response::headers_of(head, station, partner),
            Direction::Outbound => response::headers_of(head, partner, station),
        };
        let config = &self.routes.rules.config;
        let limits = DecodeLimits::of(config, &self.shared.memory);
        // It is sealed for the event that goes on with it.
        let keeper = PayloadKeeper::nothing(self.payloads.sealing(false), event.id);
        let keeper =
            if self.routes.wants_raw || self.routes.keeps_all { keeper.mdn() } else { keeper };
        let mut feed = self.shared.decoding.feed(&headers, config.keyring.clone(), keeper, limits);
        if event.direction == Direction::Inbound {
            feed.trust();
        }
        let (pieces, last) = body.split_at(body.len().saturating_sub(1) / PIECE * PIECE);
        for piece in pieces.chunks(PIECE) {
            feed.push(Bytes::copy_from_slice(piece)).await;
        }
        match feed.finish(Bytes::copy_from_slice(last), true).await {
            Ok(DecodeOutcome { decoded, payload }) => {
                let entity = match payload {
                    Ok(Payload::Inline(bytes)) => Some(bytes),
                    _ => None,
                };
                MdnDecode { entity, ..MdnDecode::of(head, decoded) }
            }
            Err(lost) => {
                tracing::error!(exchange = %self.id, "The MDN in a response: {lost}.");
                let error = ProcessingError::new(ErrorCode::NotDecoded, lost.to_string());
                MdnDecode { errors: vec![error], ..MdnDecode::default() }
            }
        }
    }

    /// Judges the exchange, once all that it has to look up is known. `payload`: what is held with it, and
    /// not recorded yet. `None`: it is no event.
    async fn judge(
        &mut self,
        event: &Event,
        payload: Option<&Payload>,
        error: Option<SendError>,
    ) -> Result<Option<Conclusion>, LeftOpen> {
        let mdn = match &error {
            None => self.mdn_in_response(event).await,
            Some(_) => MdnDecode::default(),
        };
        self.response_body = ResponseBody::default();
        let (mut wait, mut message_wait, mut looks) = (None::<StoreWait>, None, true);
        let (mut if_under_way, mut is_last_look) = (IfUnderWay::Wait, false);
        let mut conclusion = loop {
            let response = self.response.as_ref();
            let lookup = looks.then_some(Lookup { outbox: &self.shared.outbox, if_under_way });
            let reached = Conclusion::reach(
                event,
                response,
                mdn.clone(),
                error.clone(),
                &self.routes,
                lookup,
            );
            match reached.await {
                Ok(Some(conclusion)) => break conclusion,
                Ok(None) => return Ok(None),
                Err(NotYet::UnderWay(_)) if is_last_look => return Err(LeftOpen),
                Err(NotYet::UnderWay(message)) => {
                    // The partner decides how long it takes: no bound of others is used up by it.
                    wait = None;
                    self.report = None;
                    if message_wait.is_none() {
                        message_wait = self.shared.message_waits.begin(message);
                    }
                    let Some(message_wait) = &message_wait else {
                        if_under_way = IfUnderWay::LeaveMessage;
                        continue;
                    };
                    self.share = None;
                    if_under_way = match message_wait.next().await {
                        NextLook::LookAgain => IfUnderWay::Wait,
                        NextLook::Terminating if payload.is_none() => {
                            is_last_look = true;
                            IfUnderWay::Wait
                        }
                        NextLook::Terminating | NextLook::TooLate => IfUnderWay::TakeBack,
                    };
                }
                Err(NotYet::Store(OutboxError::Store(error))) if !error.may_pass() => {
                    self.give_up_look_up(event, &error);
                    looks = false;
                }
                Err(NotYet::Store(error)) => {
                    tracing::debug!(exchange = %self.id, %error, "A verdict waits for the store.");
                    if wait.is_none() {
                        let entity = mdn.entity.as_ref().map_or(0, Bytes::len);
                        wait = self.wait_for_store(event, payload, entity);
                    }
                    looks = match &mut wait {
                        Some(wait) => wait.store_is_back().await,
                        None => false,
                    };
                    if !looks && wait.is_some() {
                        self.give_up_look_up(event, &error);
                    }
                }
            }
        };
        conclusion.wait = wait;
        if let Some(report) = self.report.take() {
            report.report(ExchangeOutcome::of(event, &conclusion.verdict));
        }
        if let Some((mut mdn, mut payload, targets)) = conclusion.mdn.take() {
            if let Payload::Inline(bytes) = payload {
                let sealed = self.payloads.inline(mdn.id, bytes);
                payload = self.kept(&mut mdn, sealed);
            }
            conclusion.further.splice(0..0, published(&mdn, payload, &targets));
        }
        Ok(Some(conclusion))
    }

    /// Says that its verdict is written down without what earlier messages make of it.
    fn give_up_look_up(&self, event: &Event, error: &dyn std::fmt::Display) {
        let mdn = event.decoded.as_ref().and_then(|decoded| decoded.mdn.as_ref());
        let original = mdn.and_then(|mdn| mdn.original_message_id.clone());
        let message_id = original.or_else(|| message_id(event)).unwrap_or_default();
        tracing::error!(
            exchange = %self.id,
            event = %event.id,
            message_id,
            %error,
            "The store could not look a message up: the event about it is reported without it. Check the \
             store's integrity."
        );
    }

    /// From now on its memory counts with what waits for the store, and no longer with the traffic's.
    /// `entity`: bytes of the MDN in its response.
    fn wait_for_store(
        &mut self,
        event: &Event,
        payload: Option<&Payload>,
        entity: usize,
    ) -> Option<StoreWait> {
        let body = serde_json::to_vec(event).map_or(0, |json| json.len());
        let payload = payload.map_or(0, Payload::in_memory);
        let bytes = WAITING + body + payload + entity;
        self.share = None;
        self.report = None;
        self.shared.outbox.wait_for_store(event.id, bytes)
    }
}

fn published(event: &Event, payload: Payload, targets: &[Target]) -> Option<Write> {
    let published = writes::publish(event, payload, targets);
    published
        .inspect_err(|error| tracing::error!(%error, event = %event.id, "An event was not stored."))
        .ok()
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
