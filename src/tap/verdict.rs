//! What an answer makes of a recorded exchange.

use as2hook_as2::{Decoded, Decoder, ErrorCode, Kind, ProcessingError};
use as2hook_webhooks::{Direction, Event, EventKind, SendError, Stage, Verdict};

use super::AnswerHead;
use crate::snapshot::Snapshot;

/// What comes of an exchange.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// An event.
    Event(Verdict),
    /// None: a partner's MDN that our receiver did not take.
    Nothing,
}

/// The kinds that a recorded exchange can still become.
pub(super) fn outcomes(event: &Event) -> impl Iterator<Item = EventKind> {
    let other = match event.kind {
        EventKind::MessageReceived => Some(EventKind::MessageRejected),
        EventKind::MessageSent => Some(EventKind::SendError),
        _ => None,
    };
    std::iter::once(event.kind).chain(other)
}

/// Judges an exchange by its answer: the answer's head and body, or the error that stood in its way.
pub(super) fn judge(
    event: &Event,
    answer: Option<(&AnswerHead, &[u8])>,
    error: Option<SendError>,
    snapshot: &Snapshot,
) -> Outcome {
    let is_mdn = matches!(event.kind, EventKind::MdnReceived | EventKind::MdnSent);
    match (answer, error) {
        (Some((head, body)), _) if head.is_success() => {
            let mut verdict = Verdict::of(event.kind);
            if event.direction == Direction::Inbound && !is_mdn {
                verdict.errors.extend(receiver_error(head, body, snapshot));
            }
            Outcome::Event(verdict)
        }
        (Some(_), _) | (None, Some(_)) if is_mdn => Outcome::Nothing,
        (Some((head, _)), _) => Outcome::Event(failed(event, http_error(head))),
        (None, Some(error)) => Outcome::Event(failed(event, error)),
        (None, None) => Outcome::Event(Verdict::unknown(event.direction, event.kind)),
    }
}

fn failed(event: &Event, error: SendError) -> Verdict {
    let kind = match event.direction {
        Direction::Inbound => EventKind::MessageRejected,
        Direction::Outbound => EventKind::SendError,
    };
    Verdict { send_error: Some(error), ..Verdict::of(kind) }
}

fn http_error(head: &AnswerHead) -> SendError {
    SendError {
        stage: Stage::Http,
        http_status: Some(head.status),
        message: format!("The receiver answered HTTP {}", head.status),
    }
}

/// Code 1200 when the receiver's own MDN, synchronous in its answer, is negative.
fn receiver_error(head: &AnswerHead, body: &[u8], snapshot: &Snapshot) -> Option<ProcessingError> {
    let mdn = synchronous_mdn(head, body, snapshot)?.mdn?;
    let disposition = mdn.disposition.unwrap_or_else(|| "no disposition".to_owned());
    mdn.error.then(|| ProcessingError::new(ErrorCode::Receiver, disposition))
}

/// The MDN in an answer, when there is one.
fn synchronous_mdn(head: &AnswerHead, body: &[u8], snapshot: &Snapshot) -> Option<Decoded> {
    if body.is_empty() || body.len() > super::exchange::ANSWER_MAX {
        return None;
    }
    let mut decoder = Decoder::new(
        &head.headers,
        snapshot.config.keyring.clone(),
        snapshot.config.decode_options(),
    );
    decoder.push(body, &mut ());
    let decoded = decoder.finish(true, &mut ());
    (decoded.kind == Kind::Mdn).then_some(decoded)
}
