//! What a response makes of a recorded exchange; and what becomes of exchanges that a terminated process left
//! open, judged by the configuration in force.

use std::sync::Arc;

use as2hook_as2::{Decoded, ErrorCode, ProcessingError};
use as2hook_delivery::{Adoption, Outbox, OutboxError};
use as2hook_event::{Direction, Event, EventKind, SendError, Stage, Verdict, clock};
use as2hook_store::Write;
use async_trait::async_trait;

use super::{
    ResponseHead, TapHost,
    conclusion::{Conclusion, IfUnderWay, Lookup, NotYet, UNDER_WAY},
    exchange::Parties,
    receipt::{MdnExpectation, MdnMode, MdnRequest},
    routes::Routes,
};

/// Matches the MDNs among adopted exchanges with their messages.
#[derive(Debug)]
pub struct AdoptedExchanges {
    host: Arc<dyn TapHost>,
}

/// The kinds of events that an exchange can still bring about when it is recorded as this kind.
pub(crate) fn outcomes(recorded: EventKind) -> &'static [EventKind] {
    match recorded {
        EventKind::MessageReceived => &[
            EventKind::MessageReceived,
            EventKind::MessageRejected,
            EventKind::MessageDuplicate,
            EventKind::MdnSent,
        ],
        EventKind::MdnReceived => &[EventKind::MdnReceived, EventKind::SendError],
        EventKind::MdnSent => &[EventKind::MdnSent, EventKind::SendError],
        _ => &[
            EventKind::MessageSent,
            EventKind::SendError,
            EventKind::MdnReceived,
            EventKind::MdnOverdue,
        ],
    }
}

/// What is known of a response.
#[derive(Clone, Copy)]
pub(crate) struct ResponseFacts<'a> {
    /// Its status and headers.
    pub(crate) head: &'a ResponseHead,
    /// The synchronous MDN in it.
    pub(crate) mdn: Option<&'a Decoded>,
    /// Why it is not known whether there is one.
    pub(crate) doubt: Option<&'a str>,
}

/// Judges an exchange by its response, and by the error that stood in its way. `None`: it is no event, a
/// partner's MDN that our receiver did not take.
pub(crate) fn judge(
    event: &Event,
    response: Option<ResponseFacts<'_>>,
    error: Option<SendError>,
    expected: &MdnExpectation<'_>,
) -> Option<Verdict> {
    let is_mdn = matches!(event.kind, EventKind::MdnReceived | EventKind::MdnSent);
    match (event.direction, response) {
        (Direction::Inbound, Some(response)) if response.head.is_success() => {
            let mut verdict = Verdict::of(event.kind);
            if !is_mdn {
                verdict.errors.extend(response.mdn.and_then(|mdn| refused(mdn, expected)));
            }
            Some(verdict)
        }
        (Direction::Inbound, Some(_)) if is_mdn => None,
        (Direction::Inbound, None) if is_mdn && error.is_some() => None,
        (Direction::Inbound, Some(response)) => {
            Some(failed(EventKind::MessageRejected, http_error(response.head, "receiver")))
        }
        (Direction::Outbound, Some(response)) if response.head.is_success() => {
            let objection = if is_mdn { None } else { objection(event, response, error, expected) };
            Some(match objection {
                None => Verdict::of(event.kind),
                Some(error) => failed(EventKind::SendError, error),
            })
        }
        (Direction::Outbound, Some(response)) => {
            Some(failed(EventKind::SendError, http_error(response.head, "partner")))
        }
        (direction, None) => Some(match error {
            None => Verdict::unknown(direction, event.kind),
            Some(error) if direction == Direction::Inbound => {
                failed(EventKind::MessageRejected, error)
            }
            Some(error) => failed(EventKind::SendError, error),
        }),
    }
}

/// Why a message that got a 2xx response did not arrive as it should: by the MDN that was to be in the
/// response, or that is there although it was to come later.
fn objection(
    event: &Event,
    response: ResponseFacts<'_>,
    error: Option<SendError>,
    expected: &MdnExpectation<'_>,
) -> Option<SendError> {
    match (MdnRequest::of(&event.headers).when, response.mdn) {
        (MdnMode::InResponse, _) => {}
        (MdnMode::Later, Some(mdn)) if expected.came_early(mdn) => {}
        (MdnMode::Never | MdnMode::Later, _) => return None,
    }
    if let Some(error) = error {
        // It broke off within the response.
        return Some(SendError { http_status: Some(response.head.status), ..error });
    }
    let Some(mdn) = response.mdn else {
        let message = match response.doubt {
            Some(why) => format!("{why}: whether it has the MDN that was asked for is not known"),
            None => "The response has no MDN, although one was asked for".to_owned(),
        };
        let http_status = Some(response.head.status);
        return Some(SendError { stage: Stage::Mdn, http_status, message });
    };
    let objection = expected.objection(mdn)?;
    Some(SendError { http_status: Some(response.head.status), ..objection })
}

/// Code 1200 when the receiver's own MDN is negative, or of another MIC than what passed.
fn refused(mdn: &Decoded, expected: &MdnExpectation<'_>) -> Option<ProcessingError> {
    let fields = mdn.mdn.as_ref()?;
    if fields.error {
        let disposition = fields.disposition.clone();
        let disposition = disposition.unwrap_or_else(|| "no disposition".to_owned());
        return Some(ProcessingError::new(ErrorCode::Receiver, disposition));
    }
    let refusal = expected.refusal(mdn).filter(|refusal| refusal.stage == Stage::Mic)?;
    Some(ProcessingError::new(ErrorCode::Receiver, refusal.message))
}

fn failed(kind: EventKind, error: SendError) -> Verdict {
    Verdict { send_error: Some(error), ..Verdict::of(kind) }
}

fn http_error(head: &ResponseHead, who: &str) -> SendError {
    SendError {
        stage: Stage::Http,
        http_status: Some(head.status),
        message: format!("The {who} responded HTTP {}", head.status),
    }
}

// === impl AdoptedExchanges ===

impl AdoptedExchanges {
    /// Judges by the rules that are in force then.
    pub fn new(host: Arc<dyn TapHost>) -> Self {
        Self { host }
    }
}

#[async_trait]
impl Adoption for AdoptedExchanges {
    async fn judge(
        &self,
        event: &Event,
        outbox: &Outbox,
    ) -> Result<Option<(Verdict, Vec<Write>)>, OutboxError> {
        let unknown = Verdict::unknown(event.direction, event.kind);
        let (Some(partner), Some(station)) = (event.partner.clone(), event.station.clone()) else {
            return Ok(Some((unknown, Vec::new())));
        };
        let parties = Parties { partner, station };
        let routes = Routes::new(self.host.rules(), parties, event.direction);
        let waits_until = clock::after(event.occurred_at.as_millisecond(), UNDER_WAY);
        let if_under_way = match clock::now() < waits_until {
            true => IfUnderWay::Wait,
            false => IfUnderWay::TakeBack,
        };
        let lookup = Lookup { outbox, if_under_way };
        match Conclusion::of_adopted(event, &routes, lookup).await {
            Ok(Conclusion { verdict, further, .. }) => Ok(Some((verdict, further))),
            Err(NotYet::Store(error)) => Err(error),
            Err(NotYet::UnderWay(_)) => Ok(None),
        }
    }
}
