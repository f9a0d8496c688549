//! The request is complete: what it is, written down before its last byte goes on.

use as2hook_as2::{Decoded, ErrorCode, Kind, ProcessingError};
use as2hook_delivery::Recorded;
use as2hook_store::{Payload, StoreError};
use as2hook_webhooks::{Direction, Event, EventKind, Verdict};

use super::{
    super::{decoding::Feed, sent::Sent, verdict},
    Active, Refused, Request,
};

impl Active {
    /// Writes the exchange down as far as it is known: everything but the answer.
    pub(super) async fn record(&mut self) -> Result<(), Refused> {
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

    /// The exchange's event as far as its request tells, and the payload that goes with it.
    pub(super) async fn decode(
        &self,
        feed: Feed,
        whole: bool,
    ) -> (Event, Result<Payload, StoreError>) {
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
