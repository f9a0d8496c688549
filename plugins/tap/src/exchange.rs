//! One exchange from its head to its end.
//!
//! # Layout
//! - `recording`: the request is complete: what it is, written down before its last byte goes on
//! - `concluding`: the exchange is over: what it came to, worked out beside the traffic
//! - `report`: what it came to, for its log line

mod concluding;
mod recording;
mod report;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use as2hook_as2::{ErrorCode, Headers, ProcessingError};
use as2hook_delivery::OutboxError;
use as2hook_event::{Direction, Event, KeptAttachments, SendError, bounds};
use as2hook_store::{Payload, Payloads, Record, StoreError};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use self::report::{ExchangeOutcome, OutcomeReport};
use super::{
    TapState,
    decoding::{DECODING, DecodeHandle, DecodeLimits, DecodeOutcome, Lost},
    keeping::PayloadKeeper,
    response::{ResponseBody, ResponseHead},
    routes::{Parties, Routes},
    waits::OrderSlot,
};
use crate::memory::Share;

/// Of its payload and of the MDN that it may be, while they are not in a file.
const PAYLOADS: u64 = 2 * Payload::INLINE_MAX as u64;

/// One exchange that passes. Made by [`super::Tap::begin`].
///
/// Dropped before [`Exchange::end`], a recorded exchange is reported as "outcome unknown".
pub struct Exchange {
    active: Option<Box<Active>>,
}

/// The head of a request that passes.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Which listener it came in on.
    pub direction: Direction,
    /// The request's method.
    pub method: String,
    /// The partner's address, where it is known.
    pub peer: Option<IpAddr>,
    /// Every header as it came.
    pub headers: Headers,
}

/// The event could not be written down, and the configuration says to refuse traffic then
/// (`on_store_failure: refuse`). The receiver has not got the whole message.
#[derive(Debug, thiserror::Error)]
#[error("the notification cannot be stored")]
pub struct Refused(#[source] pub OutboxError);

struct Active {
    shared: Arc<TapState>,
    /// As the config of its beginning says: sealed or not.
    payloads: Payloads,
    id: Uuid,
    began: Timestamp,
    head: RequestHead,
    routes: Routes,
    request: RequestProgress,
    response: Option<ResponseHead>,
    response_body: ResponseBody,
    turn: Option<OrderSlot>,
    /// Among those that are proven to be the partner's, until it is known whether it belongs there.
    undecided: Option<OrderSlot>,
    /// The memory that it is counted for.
    share: Option<Share>,
    report: Option<OutcomeReport>,
}

/// How far the request has come.
enum RequestProgress {
    /// Its body is on the way.
    Passing(DecodeHandle),
    /// Its body is on the way, and it is written down: the response has come before the end of the request.
    Ahead(DecodeHandle, Option<Record>),
    /// It is complete, and written down.
    Recorded(Box<Event>),
    /// It is complete and written down, and its decode goes on.
    Late(LateDecode),
    /// It is complete, and no webhook wants it.
    Unwanted,
}

/// A decode that goes on beside the traffic. Dropped, it is given up.
struct LateDecode {
    task: JoinSet<Result<DecodeOutcome, Lost>>,
    record: Option<Record>,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn begin(shared: &Arc<TapState>, head: RequestHead) -> Self {
        Self { active: Active::begin(shared, head).map(Box::new) }
    }

    /// The id of the event that comes of it, for logs. `None`: no event does.
    pub fn id(&self) -> Option<Uuid> {
        self.active.as_ref().map(|active| active.id)
    }

    /// Whether an event comes of it if it is over now. `failed`: as [`Self::fail`] says it.
    pub fn is_recorded(&self, failed: bool) -> bool {
        self.active.as_ref().is_some_and(|active| match active.request {
            RequestProgress::Recorded(_)
            | RequestProgress::Ahead(..)
            | RequestProgress::Late(_) => true,
            RequestProgress::Passing(_) => failed || active.response.is_some(),
            RequestProgress::Unwanted => false,
        })
    }

    /// The memory in bytes that it may take at the most, besides the pieces that wait for the decoder.
    pub fn memory(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| {
            match active.routes.wants_raw || active.routes.keeps_all {
                false => DECODING,
                true => DECODING + PAYLOADS,
            }
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
        match &mut active.request {
            RequestProgress::Passing(_) if end => active.record(bytes).await?,
            RequestProgress::Ahead(..) if end => active.complete(bytes),
            RequestProgress::Passing(feed) | RequestProgress::Ahead(feed, _)
                if !bytes.is_empty() =>
            {
                feed.push(bytes).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// The response's head; interim ones (1xx) are passed over. Returns when the exchange is durably written
    /// down, also where the request is not complete: only then may the other side get the head.
    ///
    /// # Errors
    /// [`Refused`] when it cannot be written down and traffic is to be refused then.
    pub async fn response_head(&mut self, head: ResponseHead) -> Result<(), Refused> {
        if let Some(active) = &mut self.active
            && head.status >= 200
        {
            active.response = Some(head);
            active.take_turn();
            active.record_ahead().await?;
        }
        Ok(())
    }

    /// The next piece of the response's body.
    pub fn response(&mut self, bytes: &[u8]) {
        if let Some(active) = &mut self.active
            && let Some(head) = &active.response
        {
            let limit = active.routes.rules.config.limits.memory;
            active.response_body.push(head, bytes, (&active.shared.memory, limit));
        }
    }

    /// Keeps the memory that it is counted for until its verdict is written down.
    pub fn hold(&mut self, share: Share) {
        if let Some(active) = &mut self.active {
            active.share = Some(share);
        }
    }

    /// Says where its outcome is reported to: as soon as it is known, or cannot be known soon.
    pub fn report_to(&mut self, report: OutcomeReport) {
        if let Some(active) = &mut self.active {
            active.report = Some(report);
        }
    }

    /// The exchange is over: the verdict is worked out and written down beside the traffic.
    pub fn end(mut self) {
        self.conclude(None);
    }

    /// The exchange failed: before a response came, or before all of it had come.
    pub fn fail(mut self, error: SendError) {
        self.conclude(Some(error));
    }

    fn conclude(&mut self, error: Option<SendError>) {
        if let Some(mut active) = self.active.take() {
            active.take_turn();
            let shared = active.shared.clone();
            let concluding = shared.concluding.clone();
            shared.runtime.spawn(async move {
                active.conclude(error).await;
                drop(concluding);
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
    fn begin(shared: &Arc<TapState>, head: RequestHead) -> Option<Self> {
        let parties = head.parties()?;
        let routes = Routes::new(shared.host.rules(), parties, head.direction);
        if !routes.wants_any {
            return None;
        }
        let (id, config) = (Uuid::now_v7(), &routes.rules.config);
        let payloads = shared.payloads.sealing(config.encrypt_payloads);
        let keeper = PayloadKeeper::nothing(payloads.clone(), id);
        let keeper = match (routes.keeps_all, routes.wants_raw, head.direction) {
            (true, ..) => keeper.mdn().message(KeptAttachments::All),
            (false, false, _) => keeper,
            (false, true, Direction::Inbound) => keeper.mdn().message(KeptAttachments::Needed),
            // What we sent ourselves is delivered to no webhook.
            (false, true, Direction::Outbound) => keeper.mdn(),
        };
        let limits = DecodeLimits::of(config, &shared.memory);
        let keyring = config.keyring.clone();
        let feed = shared.decoding.feed(&head.headers, keyring, keeper, limits);
        Some(Self {
            shared: shared.clone(),
            payloads,
            id,
            began: Timestamp::now(),
            head,
            routes,
            request: RequestProgress::Passing(feed),
            response: None,
            response_body: ResponseBody::default(),
            turn: None,
            undecided: None,
            share: None,
            report: None,
        })
    }

    /// The payload that the event goes on with; the event says when it could not be kept.
    fn kept(&self, event: &mut Event, payload: Result<Payload, StoreError>) -> Payload {
        payload.unwrap_or_else(|_| {
            let text = "The payload could not be kept; see the gateway's log";
            event.errors.push(ProcessingError::new(ErrorCode::Limit, text));
            Payload::None
        })
    }
}

// === impl LateDecode ===

impl LateDecode {
    /// Waits for the end of the decode. With it comes what was remembered of the exchange before.
    async fn finish(mut self) -> (Result<DecodeOutcome, Lost>, Option<Record>) {
        let outcome = self.task.join_next().await;
        (outcome.and_then(Result::ok).unwrap_or(Err(Lost::Failed)), self.record)
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// Who talks to whom, when this is an AS2 request: a POST with `AS2-From` and `AS2-To`.
    pub(crate) fn parties(&self) -> Option<Parties> {
        if self.method != "POST" {
            return None;
        }
        let name = |field| Some(bounds::as2_name(&self.headers.as2_name(field)?).into_owned());
        let (from, to) = (name("AS2-From")?, name("AS2-To")?);
        Some(match self.direction {
            Direction::Inbound => Parties { partner: from, station: to },
            Direction::Outbound => Parties { partner: to, station: from },
        })
    }
}
