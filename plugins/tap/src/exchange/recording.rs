//! The request is complete: what it is, written down before its last byte goes on.

use std::{mem, time::Duration};

use as2hook_as2::{ContentKind, Decoded, ErrorCode, Headers, ProcessingError};
use as2hook_delivery::{OutboxError, Recorded, writes};
use as2hook_event::{Direction, Event, EventKind, Verdict};
use as2hook_store::{Before, Payload, Record, RecordChange, StoreError, Write};
use bytes::Bytes;
use tokio::{task::JoinSet, time::timeout};

use super::{
    super::{
        decoding::{DecodeHandle, DecodeOutcome, Finishing, Lost},
        routes::outcomes,
        sent::Sent,
    },
    Active, LateDecode, Refused, RequestProgress,
};

/// How long the last bytes of a body wait for the decode, before they go on and it goes on beside them.
const IN_TIME: Duration = Duration::from_secs(5);

/// How long they wait where the message is refused when its payload is not kept by then.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

/// Code 1400 of an exchange whose process ended before it was decoded.
const PENDING: &str = "The gateway stopped before it had decoded the message";

impl Active {
    /// Writes the exchange down as far as it is known: everything but the response. `last`: the last bytes
    /// of its body.
    pub(super) async fn record(&mut self, last: Bytes) -> Result<(), Refused> {
        let RequestProgress::Passing(feed) =
            mem::replace(&mut self.request, RequestProgress::Unwanted)
        else {
            return Ok(());
        };
        let mut decode = feed.finish(last, true);
        // Where nothing may be lost, the message does not go on before its payload is durable.
        let is_kept = self.routes.wants_raw && self.head.direction == Direction::Inbound
            || self.routes.keeps_all;
        let must_keep = is_kept && self.shared.outbox.refuses();
        let patience = if must_keep { KEPT_WITHIN } else { IN_TIME };
        let outcome = match timeout(patience, &mut decode).await {
            Err(_) | Ok(Err(Lost::Stuck)) if must_keep => {
                return Err(Refused(OutboxError::PayloadSlow(KEPT_WITHIN)));
            }
            Err(_) => return self.record_pending(decode).await,
            Ok(outcome) => outcome,
        };
        let (mut event, json, payload) = self.decoded(outcome);
        // The event says it when its payload is not kept, so its JSON form is another one then.
        let json = json.filter(|_| payload.is_ok());
        let outbox = &self.shared.outbox;
        let payload = match payload {
            Err(error) if outbox.refuses() => return Err(Refused(error.into())),
            payload => self.kept(&mut event, payload),
        };
        let wanted = outcomes(event.kind).iter().any(|&kind| self.routes.wants(kind));
        if !wanted {
            self.payloads.remove(&payload);
            return Ok(());
        }
        self.open(&event, json, payload, self.record_of(&event)).await?;
        self.request = RequestProgress::Recorded(Box::new(event));
        Ok(())
    }

    /// Records an exchange whose decode is late: the traffic goes on, and the content follows. It is delivered
    /// as not decoded only if this process ends before that.
    async fn record_pending(&mut self, decode: Finishing) -> Result<(), Refused> {
        self.shared.host.late_decode();
        tracing::info!(exchange = %self.id, "A message is still being decoded; its webhooks wait for it.");
        let task = self.spawn(decode);
        let record = self.open_pending().await?;
        self.request = RequestProgress::Late(LateDecode { task, record });
        Ok(())
    }

    /// Records an exchange whose response comes before the end of its request: the other side may take it
    /// for accepted from then on. The content follows.
    pub(super) async fn record_ahead(&mut self) -> Result<(), Refused> {
        match mem::replace(&mut self.request, RequestProgress::Unwanted) {
            RequestProgress::Passing(feed) => {
                let record = self.open_pending().await?;
                self.request = RequestProgress::Ahead(feed, record);
            }
            other => self.request = other,
        }
        Ok(())
    }

    /// The request is complete, and recorded since its response came. `last`: the last bytes of its body.
    pub(super) fn complete(&mut self, last: Bytes) {
        match mem::replace(&mut self.request, RequestProgress::Unwanted) {
            RequestProgress::Ahead(feed, record) => {
                let task = self.spawn(feed.finish(last, true));
                self.request = RequestProgress::Late(LateDecode { task, record });
            }
            other => self.request = other,
        }
    }

    /// The decode of a request that was recorded, and is cut off here.
    pub(super) fn cut_off(&self, feed: DecodeHandle, record: Option<Record>) -> LateDecode {
        LateDecode { task: self.spawn(feed.finish(Bytes::new(), false)), record }
    }

    fn spawn(&self, decode: Finishing) -> JoinSet<Result<DecodeOutcome, Lost>> {
        let mut task = JoinSet::new();
        task.spawn_on(decode, &self.shared.runtime);
        task
    }

    /// Records the exchange before its content is known. Returns what is remembered of it.
    async fn open_pending(&self) -> Result<Option<Record>, Refused> {
        let error = ProcessingError::new(ErrorCode::NotDecoded, PENDING);
        let (event, json) = self.event(self.head.headers.clone(), None, vec![error]);
        let change = self.record_of(&event);
        let record = change.as_ref().map(|change| change.record.clone());
        self.open(&event, json, Payload::None, change).await?;
        Ok(record)
    }

    /// What is to be remembered of the exchange before its response: an asynchronous MDN may be faster.
    fn record_of(&self, event: &Event) -> Option<RecordChange> {
        match event.kind {
            EventKind::MessageSent => {
                let sent = Sent::of(event, self.routes.mdn_deadline());
                sent.map(|sent| sent.change(&self.routes, event))
            }
            EventKind::MessageReceived => Sent::taken(event, &self.routes),
            _ => None,
        }
    }

    /// What is to be remembered once a late decode is done, in the place of what was before it.
    pub(super) fn late_record(&self, event: &Event, found: Option<Record>) -> Option<RecordChange> {
        let mut change = self.record_of(event)?;
        if let Some(found) = found
            && found.key == change.record.key
        {
            // An MDN that was faster has changed the record: its change stays.
            change.before = Before::Body(found.body);
        }
        Some(change)
    }

    async fn open(
        &self,
        event: &Event,
        json: Option<Vec<u8>>,
        payload: Payload,
        change: Option<RecordChange>,
    ) -> Result<(), Refused> {
        let unknown = Verdict::unknown(event.direction, event.kind);
        let if_unknown = self.routes.targets_when(event, &unknown);
        let file = payload.clone();
        let recorded = async {
            let open = match json {
                Some(json) => writes::open_bounded(event, json, payload, &if_unknown),
                None => writes::open(event, payload, &if_unknown)?,
            };
            let mut all = vec![open];
            let places = Some(self.routes.places(event)).filter(|places| !places.is_empty());
            all.extend(places.map(|places| Write::Reserve(event.id, places)));
            all.extend(change.map(Write::Record));
            self.shared.outbox.open(all).await
        };
        match recorded.await {
            // Held in memory: the traffic goes on, as the configuration says.
            Ok(Recorded::Durable | Recorded::Held) => {}
            Ok(Recorded::Dropped) => self.payloads.remove(&file),
            Err(error) => {
                self.payloads.remove(&file);
                return Err(Refused(error));
            }
        }
        Ok(())
    }

    /// The exchange's event as far as its request says, with its JSON form, and the payload that goes with
    /// it. The event takes the headers.
    pub(super) fn decoded(
        &mut self,
        outcome: Result<DecodeOutcome, Lost>,
    ) -> (Event, Option<Vec<u8>>, Result<Payload, StoreError>) {
        let mut errors = Vec::new();
        let (decoded, payload) = match outcome {
            Ok(outcome) => (Some(outcome.decoded), outcome.payload),
            Err(lost) => {
                tracing::error!(exchange = %self.id, "{lost}.");
                errors.push(ProcessingError::new(ErrorCode::NotDecoded, lost.to_string()));
                (None, Ok(Payload::None))
            }
        };
        let headers = mem::take(&mut self.head.headers);
        let (event, json) = self.event(headers, decoded, errors);
        self.shared.host.decoded(&event);
        (event, json, payload)
    }

    fn event(
        &self,
        headers: Headers,
        mut decoded: Option<Decoded>,
        errors: Vec<ProcessingError>,
    ) -> (Event, Option<Vec<u8>>) {
        let kind = match (self.head.direction, decoded.as_ref().map(|d| d.kind)) {
            (Direction::Inbound, Some(ContentKind::Mdn)) => EventKind::MdnReceived,
            (Direction::Inbound, _) => EventKind::MessageReceived,
            (Direction::Outbound, Some(ContentKind::Mdn)) => EventKind::MdnSent,
            (Direction::Outbound, _) => EventKind::MessageSent,
        };
        if self.head.direction == Direction::Outbound
            && let Some(decoded) = &mut decoded
        {
            forgive_encryption(decoded);
        }
        let mut event = Event {
            id: self.id,
            occurred_at: self.began,
            direction: self.head.direction,
            site: self.routes.site.clone(),
            partner: Some(self.routes.parties.partner.clone()),
            station: Some(self.routes.parties.station.clone()),
            partner_type: self.routes.partner_type,
            peer: self.head.peer,
            headers,
            decoded,
            errors,
            ..Event::new(kind)
        };
        // What has no JSON form is an error where it is stored.
        let json = event.bound().ok();
        (event, json)
    }
}

/// What we encrypt for a partner only the partner can open: that is no error.
fn forgive_encryption(decoded: &mut Decoded) {
    if decoded.encrypted == Some(true) {
        let closed = [ErrorCode::Decryption, ErrorCode::NotDecoded];
        decoded.errors.retain(|error| !closed.contains(&error.code));
    }
}
