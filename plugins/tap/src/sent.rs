//! What was sent, remembered until its receipt has come: an asynchronous MDN finds its message by our
//! id, the partner's id and the Message-ID, whichever gateway of the store it reaches.

use std::time::Duration;

use as2hook_as2::{Headers, MessageMic, MicForm};
use as2hook_delivery::{Outbox, OutboxError};
use as2hook_event::{Event, EventKind, clock};
use as2hook_store::{Before, Filter, Record, RecordChange};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    receipt::{MdnExpectation, MdnMode, MdnRequest},
    records::{Group, SENT, TAKEN, key, message_id, seen_key},
    routes::{Parties, Routes},
};

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    /// The event of its exchange.
    pub event: Uuid,
    /// When it was sent.
    pub at: Timestamp,
    /// The tenant.
    pub site: String,
    /// AS2 id of the remote side.
    pub partner: String,
    /// AS2 id of our side.
    pub station: String,
    /// As it is kept.
    pub message_id: String,
    /// The usual one of `mics`. Versions that know no others compare it.
    mic: Option<String>,
    /// Where they could be seen: not in what is encrypted for the partner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mics: Vec<MessageMic>,
    /// Whether a signed receipt was asked for.
    pub signed: bool,
    /// When an asynchronous receipt is overdue.
    pub deadline: Option<Timestamp>,
    /// How it stands.
    pub state: SentState,
    /// Of a message to us: the key of its record for the detection of duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// How a sent message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SentState {
    /// No receipt that counts has come on a connection of its own.
    Sent,
    /// Its exchange failed.
    Failed,
    /// A positive receipt that counts came.
    Accepted,
    /// A negative receipt that counts came, or one of another MIC; that was reported.
    Refused,
    /// It was reported that none came in time.
    Overdue,
}

/// What became of one attempt to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    Failed,
    Sent,
    /// It was sent, and its receipt came in the response.
    Accepted,
}

// === impl Sent ===

impl Sent {
    /// What is to be remembered of a message on its way out. `None`: it has no Message-ID. Without an
    /// `mdn_deadline` nothing is ever overdue.
    pub(crate) fn of(event: &Event, mdn_deadline: Option<Duration>) -> Option<Self> {
        let wish = MdnRequest::of(&event.headers);
        let deadline = mdn_deadline.filter(|_| wish.when == MdnMode::Later);
        let deadline = deadline.map(|wait| clock::timestamp(clock::after(clock::now(), wait)));
        Some(Self {
            event: event.id,
            at: event.occurred_at,
            site: event.site.clone(),
            partner: event.partner.clone()?,
            station: event.station.clone()?,
            message_id: message_id(event)?,
            mic: event.decoded.as_ref().and_then(|decoded| decoded.mic.clone()),
            mics: event.decoded.as_ref().map(|decoded| decoded.mics.clone()).unwrap_or_default(),
            signed: wish.signed,
            deadline,
            state: SentState::Sent,
            seen: None,
        })
    }

    /// Out of the store.
    pub(crate) fn read(record: &Record) -> Option<Self> {
        let mut sent: Self = serde_json::from_slice(&record.body).ok()?;
        if sent.mics.is_empty() {
            // Versions that know one MIC did not keep its form: signed messages have this one.
            let form = MicForm::Entity;
            let known = |mic: &String| MessageMic { form, mic: mic.clone(), unoffered: true };
            sent.mics = sent.mic.iter().map(known).collect();
        }
        Some(sent)
    }

    /// What is to be remembered of a message on its way in. `None`: our receiver's MDN comes in the
    /// response, or not at all.
    pub(crate) fn taken(event: &Event, routes: &Routes) -> Option<RecordChange> {
        if MdnRequest::of(&event.headers).when != MdnMode::Later {
            return None;
        }
        let group = Group::of(routes, event);
        let seen = seen_key(event, &group);
        let taken = Self { seen, ..Self::of(event, None)? };
        Some(taken.written(TAKEN, &group, routes))
    }

    /// Whether our receiver's MDN refused this message before it was decoded.
    pub(crate) async fn is_refused(
        routes: &Routes,
        event: &Event,
        outbox: &Outbox,
    ) -> Result<bool, OutboxError> {
        let Some(id) = message_id(event) else { return Ok(false) };
        if MdnRequest::of(&event.headers).when != MdnMode::Later {
            return Ok(false);
        }
        // Before the decode its group was another one.
        let found = outbox.records(&Self::keys(TAKEN, routes, &id)).await?;
        let mut taken = found.iter().flatten().filter_map(Self::read);
        Ok(taken.any(|taken| taken.event == event.id && taken.state == SentState::Refused))
    }

    /// What the record becomes by the outcome of one attempt, that of `event`. Outcomes are merged by rank,
    /// in whichever order they come: a receipt counts for more than that it was sent, and that for more than
    /// a failure. `None`: the record stays as it is.
    pub(crate) async fn after_attempt(
        event: &Event,
        outcome: AttemptOutcome,
        routes: &Routes,
        outbox: &Outbox,
    ) -> Result<Option<RecordChange>, OutboxError> {
        let deadline = routes.mdn_deadline();
        let Some(attempt) = Self::of(event, deadline) else { return Ok(None) };
        let found = Self::find(SENT, routes, &attempt.message_id, outbox).await?;
        let (found, before) = match found {
            Some((found, record)) => (Some(found), Before::Body(record.body)),
            None => (None, Before::Absent),
        };
        let is_own = found.as_ref().is_none_or(|found| found.event == event.id);
        let state = found.map_or(SentState::Sent, |found| found.state);
        let becomes = match (outcome, is_own, state) {
            (
                AttemptOutcome::Accepted,
                _,
                SentState::Sent | SentState::Failed | SentState::Overdue,
            ) => Self { state: SentState::Accepted, ..attempt },
            (AttemptOutcome::Sent, false, SentState::Failed) => attempt,
            (AttemptOutcome::Failed, true, SentState::Sent | SentState::Overdue) => {
                match attempt.not_failed_before(deadline, outbox).await? {
                    Some(other) if state == SentState::Sent => other,
                    Some(_) => return Ok(None),
                    None => Self { state: SentState::Failed, ..attempt },
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(RecordChange { before, ..becomes.change(routes, event) }))
    }

    /// The newest other attempt of this message that was sent, or is still under way.
    async fn not_failed_before(
        &self,
        mdn_deadline: Option<Duration>,
        outbox: &Outbox,
    ) -> Result<Option<Self>, OutboxError> {
        let filter = Filter {
            kind: Some(EventKind::MessageSent.as_str().to_owned()),
            partner: Some(self.partner.clone()),
            station: Some(self.station.clone()),
            message_id: Some(self.message_id.clone()),
            ..Filter::default()
        };
        let others = outbox.events(&filter, 2).await?;
        let other = others.into_iter().find(|other| other.id != self.event);
        Ok(other.map(|other| {
            let at = clock::timestamp(other.occurred_at);
            let deadline = mdn_deadline.filter(|_| self.deadline.is_some());
            let deadline =
                deadline.map(|wait| clock::timestamp(clock::after(other.occurred_at, wait)));
            Self { event: other.id, at, deadline, ..self.clone() }
        }))
    }

    /// What a receipt is held against.
    pub(crate) fn expected(&self) -> MdnExpectation<'_> {
        let message_id = Some(self.message_id.as_str());
        // What counts in a response matters to no MDN on a connection of its own.
        let (has_certificates, accepts_unsigned) = (true, false);
        let signed = self.signed;
        MdnExpectation { signed, has_certificates, accepts_unsigned, message_id, mics: &self.mics }
    }

    /// To be written whatever there is.
    pub(crate) fn change(&self, routes: &Routes, event: &Event) -> RecordChange {
        self.written(SENT, &Group::of(routes, event), routes)
    }

    /// As it stands now, written only over what `found` was.
    pub(crate) fn becomes(mut self, state: SentState, found: &Record) -> RecordChange {
        self.state = state;
        let record = Record { body: self.body(), due: None, ..found.clone() };
        RecordChange { record, before: Before::Body(found.body.clone()) }
    }

    /// The headers that an event about it has. Its Subject stands in the event of its exchange alone.
    ///
    /// # Errors
    /// When the store cannot say in time.
    pub(crate) async fn headers(&self, outbox: &Outbox) -> Result<Headers, OutboxError> {
        let mut headers = Headers::new();
        headers.push("AS2-From", self.station.as_str());
        headers.push("AS2-To", self.partner.as_str());
        headers.push("Message-ID", self.message_id.as_str());
        let event = outbox.event(self.event).await?;
        if let Some(subject) = event.as_ref().and_then(|event| event.headers.get("Subject")) {
            headers.push("Subject", subject);
        }
        Ok(headers)
    }

    /// The message of these parties that an MDN is about. `kind`: what the key of its record begins with.
    pub(crate) async fn find(
        kind: &str,
        routes: &Routes,
        message_id: &str,
        outbox: &Outbox,
    ) -> Result<Option<(Self, Record)>, OutboxError> {
        let found = outbox.current_records(&Self::keys(kind, routes, message_id)).await?;
        let first = found.into_iter().flatten().next();
        Ok(first.and_then(|record| Some((Self::read(&record)?, record))))
    }

    /// Where a message of these parties may be.
    fn keys(kind: &str, routes: &Routes, message_id: &str) -> [String; 3] {
        let Parties { partner, station } = &routes.parties;
        Group::all(routes).map(|group| key(kind, &group, station, partner, message_id))
    }

    fn written(&self, kind: &str, group: &Group, routes: &Routes) -> RecordChange {
        let due = self.deadline.filter(|_| self.state == SentState::Sent);
        let due = due.map(Timestamp::as_millisecond);
        // MDNs that come later are of an unknown message.
        let kept = clock::after(clock::now(), routes.rules.config.retention.events);
        let record = Record {
            key: key(kind, group, &self.station, &self.partner, &self.message_id),
            body: self.body(),
            due,
            // Not before it is overdue.
            expires: due.map_or(kept, |due| kept.max(due.saturating_add(1))),
        };
        RecordChange { record, before: Before::Any }
    }

    fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with string keys has a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_a_version_with_one_mic_is_read() {
        let body = br#"{"event":"0172b7f0-5a00-7000-8000-000000000001",
            "at":"2020-06-15T08:18:56Z","site":"","partner":"ACME","station":"US",
            "messageId":"<1@us>","mic":"AAAA, sha-256","signed":true,"deadline":null,
            "state":"sent"}"#;
        let record = Record { key: String::new(), body: body.to_vec(), due: None, expires: 0 };
        let sent = Sent::read(&record).unwrap();
        let mic = "AAAA, sha-256".to_owned();
        let own = MessageMic { form: MicForm::Entity, mic: mic.clone(), unoffered: true };
        assert_eq!(sent.mics, [own]);
        // Such a version reads its own field in what is written now.
        let written: serde_json::Value = serde_json::from_slice(&sent.body()).unwrap();
        assert_eq!(written["mic"], mic);
    }
}
