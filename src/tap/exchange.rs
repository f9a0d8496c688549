//! One exchange from its head to its end.
//!
//! # Layout
//! - `recording`: the request is complete: what it is, written down before its last byte goes on
//! - `concluding`: the exchange is over: what it came to, worked out beside the traffic

mod concluding;
mod recording;

use std::{net::IpAddr, sync::Arc};

use as2hook_as2::{ErrorCode, ProcessingError};
use as2hook_delivery::OutboxError;
use as2hook_store::{Payload, Payloads, StoreError};
use as2hook_webhooks::{Direction, Event, SendError};
use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use self::concluding::Concluding;
use super::{
    AnswerHead, RequestHead, Shared, decoding::Feed, head::Parties, keeping::Keeper,
    receipt::ANSWER_MAX, routes::Routes, turns::Turn,
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

    /// The payload that the event goes on with; one that could not be kept is told by the event.
    fn kept(&self, event: &mut Event, payload: Result<Payload, StoreError>) -> Payload {
        payload.unwrap_or_else(|_| {
            let text = "The payload could not be kept; see the gateway's log";
            event.errors.push(ProcessingError::new(ErrorCode::Limit, text));
            Payload::None
        })
    }
}
