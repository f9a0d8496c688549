//! What an exchange came to, for its log line.

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_event::{Event, EventKind, Verdict};

/// What an exchange came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeOutcome {
    /// The event that comes of it.
    pub event: EventKind,
    /// What became of the signature of its message or MDN. `None`: it was not decoded.
    pub signature: Option<SignatureStatus>,
    /// The codes of its processing errors, in their order.
    pub codes: Vec<ErrorCode>,
}

/// Takes an exchange's outcome, exactly once. Dropped, it takes `None`: no event came of the exchange, or what
/// came of it is not known yet.
pub struct OutcomeReport(Option<Box<dyn FnOnce(Option<ExchangeOutcome>) + Send + Sync>>);

// === impl ExchangeOutcome ===

impl ExchangeOutcome {
    /// Of an event as it was recorded, and the verdict that is added to it.
    pub(super) fn of(event: &Event, verdict: &Verdict) -> Self {
        let codes = event.processing_errors().chain(&verdict.errors).map(|error| error.code);
        Self {
            event: verdict.kind,
            signature: event.decoded.as_ref().and_then(|decoded| decoded.signature_status),
            codes: codes.collect(),
        }
    }
}

// === impl OutcomeReport ===

impl OutcomeReport {
    /// `report` must not block.
    pub fn new(report: impl FnOnce(Option<ExchangeOutcome>) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(report)))
    }

    /// Nothing is to be reported.
    pub fn none() -> Self {
        Self(None)
    }

    pub(super) fn report(mut self, outcome: ExchangeOutcome) {
        if let Some(report) = self.0.take() {
            report(Some(outcome));
        }
    }
}

impl Drop for OutcomeReport {
    fn drop(&mut self) {
        if let Some(report) = self.0.take() {
            report(None);
        }
    }
}
