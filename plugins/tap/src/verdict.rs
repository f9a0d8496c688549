//! What a response makes of a recorded exchange.

use as2hook_as2::{Decoded, ErrorCode, ProcessingError};
use as2hook_event::{Direction, Event, EventKind, SendError, Stage, Verdict};

use super::{
    receipt::{MdnExpectation, MdnMode, MdnRequest},
    response::{MdnDecode, ResponseHead},
};

/// Judges an exchange by its response, and by the error that stood in its way. `None`: it is no event, a
/// partner's MDN that our receiver did not take.
pub(crate) fn judge(
    event: &Event,
    response: Option<&ResponseHead>,
    decode: &MdnDecode,
    error: Option<SendError>,
    expected: &MdnExpectation<'_>,
) -> Option<Verdict> {
    let is_mdn = matches!(event.kind, EventKind::MdnReceived | EventKind::MdnSent);
    let (failure, other_side) = match event.direction {
        Direction::Inbound => (EventKind::MessageRejected, "receiver"),
        Direction::Outbound => (EventKind::SendError, "partner"),
    };
    let failed = |error| Verdict { send_error: Some(error), ..Verdict::of(failure) };
    Some(match (event.direction, response, error) {
        (Direction::Inbound, Some(head), _) if head.is_success() => {
            let mdn = decode.mdn.as_ref().filter(|_| !is_mdn);
            let errors = mdn.and_then(|mdn| refused(mdn, expected)).into_iter().collect();
            Verdict { errors, ..Verdict::of(event.kind) }
        }
        (Direction::Inbound, Some(_), _) | (Direction::Inbound, None, Some(_)) if is_mdn => {
            return None;
        }
        (Direction::Outbound, Some(head), _) if head.is_success() && is_mdn => {
            Verdict::of(event.kind)
        }
        (Direction::Outbound, Some(head), error) if head.is_success() => {
            let objection = objection(event, head, decode, error, expected);
            objection.map_or_else(|| Verdict::of(event.kind), failed)
        }
        (_, Some(head), _) => failed(SendError {
            stage: Stage::Http,
            http_status: Some(head.status),
            message: format!("The {other_side} responded HTTP {}", head.status),
        }),
        (_, None, Some(error)) => failed(error),
        (direction, None, None) => Verdict::unknown(direction, event.kind),
    })
}

/// Why a message that got a 2xx response did not arrive as it should: by the MDN that was to be in the
/// response, or that is there although it was to come later.
fn objection(
    event: &Event,
    head: &ResponseHead,
    decode: &MdnDecode,
    error: Option<SendError>,
    expected: &MdnExpectation<'_>,
) -> Option<SendError> {
    match (MdnRequest::of(&event.headers).when, &decode.mdn) {
        (MdnMode::InResponse, _) => {}
        (MdnMode::Later, Some(mdn)) if expected.came_early(mdn) => {}
        (MdnMode::Never | MdnMode::Later, _) => return None,
    }
    if let Some(error) = error {
        // It broke off within the response.
        return Some(SendError { http_status: Some(head.status), ..error });
    }
    let Some(mdn) = &decode.mdn else {
        let message = match decode.doubt() {
            Some(why) => format!("{why}: whether it has the MDN that was asked for is not known"),
            None => "The response has no MDN, although one was asked for".to_owned(),
        };
        let http_status = Some(head.status);
        return Some(SendError { stage: Stage::Mdn, http_status, message });
    };
    let objection = expected.objection(mdn)?;
    Some(SendError { http_status: Some(head.status), ..objection })
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
