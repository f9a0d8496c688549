//! What becomes of exchanges that a terminated process left open, judged by the configuration in force.

use std::sync::Arc;

use as2hook_delivery::{Adoption, Outbox, OutboxError};
use as2hook_event::{Event, Verdict, clock};
use as2hook_store::Write;
use async_trait::async_trait;

use super::{
    TapHost,
    conclusion::{Conclusion, IfUnderWay, Lookup, NotYet, UNDER_WAY},
    routes::{Parties, Routes},
};

/// Matches the MDNs among adopted exchanges with their messages.
#[derive(Debug)]
pub struct AdoptedExchanges {
    host: Arc<dyn TapHost>,
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
