//! The exchange that a viewer has open: the stream says when it has changed, and the page shows it then.

use std::time::{Duration, Instant};

use as2hook_as2::hex;
use as2hook_event::Event;
use as2hook_store::{Filter, StoreError};
use openssl::sha::sha256;

use crate::{caller::Caller, error::ApiError, event_detail, gateway::ApiState};

/// How often it is looked at.
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// The most deliveries and related events that are looked at.
const LOOKED_AT: usize = 200;

/// An exchange whose page is open.
pub(super) struct WatchedExchange {
    event: Event,
    last: String,
    due: Instant,
}

// === impl WatchedExchange ===

impl WatchedExchange {
    /// Finds it, as the caller may see it.
    pub(super) async fn find(api: &ApiState, caller: &Caller, id: &str) -> Result<Self, ApiError> {
        let (event, _) = event_detail::find(api, caller, id).await?;
        Ok(Self { event, last: String::new(), due: Instant::now() })
    }

    /// Returns the digest of what it has come to, if that is not the one of the last call. Looks once in [`PAUSE`].
    pub(super) async fn changed(&mut self, api: &ApiState) -> Option<String> {
        if Instant::now() < self.due {
            return None;
        }
        self.due = Instant::now() + PAUSE;
        // While the store does not respond, nothing is known to have changed.
        let now = digest(api, &self.event).await.ok()?;
        if now == self.last {
            return None;
        }
        self.last.clone_from(&now);
        Some(now)
    }
}

/// Returns a digest of all that an exchange's page shows and that may change.
pub(super) async fn digest(api: &ApiState, event: &Event) -> Result<String, StoreError> {
    let site = || Filter { site: Some(event.site.clone()), ..Filter::default() };
    let own = Filter { event: Some(event.id), ..site() };
    let rows = api.store.events(&own, None, 1).await?.rows;
    let outcome = rows.first().map(|row| (row.open, row.kind.clone(), row.errors.clone()));
    let deliveries = api.store.deliveries(&own, None, LOOKED_AT).await?.rows;
    let deliveries: Vec<_> =
        deliveries.iter().map(|row| (row.id, row.state, row.attempts, row.due)).collect();
    let mut others = Vec::new();
    if let Some(id) = event.headers.text("Message-ID") {
        let of_partner = || Filter { partner: event.partner.clone(), ..site() };
        let message = Filter { message_id: Some(id.to_string()), ..of_partner() };
        let receipts = Filter { about: Some(id.into_owned()), ..of_partner() };
        for filter in [message, receipts] {
            let rows = api.store.events(&filter, None, LOOKED_AT).await?.rows;
            others.extend(rows.iter().map(|row| (row.id, row.open)));
        }
    }
    let all = format!("{outcome:?} {deliveries:?} {others:?}");
    Ok(hex::encode(&sha256(all.as_bytes())[..8]))
}
