//! Traces and spans of an event: functions of its id.

use openssl::sha::Sha256;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use uuid::Uuid;

/// The trace of an event.
pub(super) struct EventTrace {
    event: Uuid,
    pub(super) id: TraceId,
    /// The span of the exchange that the event came of.
    pub(super) exchange: SpanId,
}

// === impl EventTrace ===

impl EventTrace {
    /// A digest, since samplers take the last bytes of an id for random ones; those of a UUID begin alike.
    pub(super) fn of(event: Uuid) -> Self {
        let [a, b, c, _] = digest(event, b"exchange");
        let id = (u128::from(a) << 64) | u128::from(b);
        Self { event, id: TraceId::from(id), exchange: SpanId::from(c) }
    }

    /// The span of an attempt of a delivery of the event.
    pub(super) fn attempt(&self, delivery: i64, number: u32) -> SpanId {
        let what = [b"attempt".as_slice(), &delivery.to_be_bytes(), &number.to_be_bytes()];
        let [first, ..] = digest(self.event, &what.concat());
        SpanId::from(first)
    }

    /// Whether it is sampled, of so many: the same in every process.
    pub(super) fn flags(&self, ratio: f64) -> TraceFlags {
        let bytes = self.id.to_bytes();
        // As other samplers of a ratio do: the last 56 bits (W3C Trace Context, level 2).
        let random = bytes[9..].iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        #[expect(clippy::cast_precision_loss, reason = "a share of 2^56")]
        let share = random as f64 / (1_u64 << 56) as f64;
        if share < ratio { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED }
    }
}

fn digest(event: Uuid, what: &[u8]) -> [u64; 4] {
    let mut digest = Sha256::new();
    digest.update(b"as2hook trace\n");
    digest.update(event.as_bytes());
    digest.update(what);
    let digest = digest.finish();
    let mut parts = digest
        .chunks_exact(8)
        .map(|part| part.iter().fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte)));
    // An id of zeros is none.
    [0; 4].map(|_: u64| parts.next().unwrap_or_default().max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_the_same_everywhere_and_differ_by_event_delivery_and_attempt() {
        let event = Uuid::from_u128(7);
        assert_eq!(EventTrace::of(event).id, EventTrace::of(event).id);
        let mut spans = HashSet::new();
        for event in [event, Uuid::from_u128(8)] {
            let trace = EventTrace::of(event);
            assert!(spans.insert(trace.exchange));
            for (delivery, number) in [(1, 1), (1, 2), (2, 1)] {
                assert!(spans.insert(trace.attempt(delivery, number)));
            }
        }
    }

    #[test]
    fn ratio_samples_about_that_share_of_the_events() {
        let sampled = |ratio| {
            let events = (0..4000).map(|_| EventTrace::of(Uuid::now_v7()));
            events.filter(|trace| trace.flags(ratio).is_sampled()).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 4000));
        let quarter = sampled(0.25);
        assert!((800..1200).contains(&quarter), "{quarter}");
    }
}
