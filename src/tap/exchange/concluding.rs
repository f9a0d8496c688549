//! The exchange is over: what it came to is worked out beside the traffic, and written down.

use std::sync::{Arc, atomic::Ordering};

use as2hook_as2::Decoded;
use as2hook_delivery::{Further, Target};
use as2hook_store::Payload;
use as2hook_webhooks::{Direction, Event, EventKind, SendError};
use uuid::Uuid;

use super::{
    super::{Shared, conclusion::Conclusion, decoding::Feed, head::Parties},
    Active, Request,
};

/// Counts an exchange until its verdict is written down.
pub(super) struct Concluding(Arc<Shared>);

impl Active {
    /// Where anybody is told in order, the exchange is written down in the order of the answers.
    pub(super) fn take_turn(&mut self) {
        if self.turn.is_none() && self.routes.wants_order() {
            let Parties { partner, station, .. } = &self.parties;
            self.turn = Some(self.shared.turns.take(partner, station));
        }
    }

    /// Works out what it came to, once its turn has come.
    pub(super) async fn conclude(mut self: Box<Self>, error: Option<SendError>) {
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
}

// === impl Concluding ===

impl Concluding {
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
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
