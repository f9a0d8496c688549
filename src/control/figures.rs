//! What metrics look up for each scrape.

use std::time::Duration;

use as2hook_delivery::HealthState;
use as2hook_store::clock;
use openssl::x509::X509Ref;

use super::RunningGateway;
use crate::{observe::Look, timers};
use as2hook_config::Config;

// === impl RunningGateway ===

impl RunningGateway {
    pub(super) async fn look(&self) -> Look {
        let snapshot = self.live.load();
        let health = self.outbox.health();
        let counts = self.store.counts().await;
        let readable = counts.is_ok();
        let counts = counts.unwrap_or_default();
        let now = clock::now();
        let oldest = counts.oldest_undelivered.map_or(0, |then| now.saturating_sub(then));
        let in_service = |health_state: &HealthState| {
            !matches!(health_state, HealthState::Disabled { .. } | HealthState::Orphaned)
        };
        let healths = self.dispatcher.healths();
        Look {
            queue: counts.deliveries.iter().map(|(state, n)| (state.as_str(), *n)).collect(),
            oldest: Duration::from_millis(u64::try_from(oldest).unwrap_or(0)),
            held_events: health.held,
            held_bytes: health.held_bytes,
            dropped: health.dropped,
            store_up: readable && health.failing_since.is_none(),
            payloads_up: self.payloads.health().failing_since.is_none(),
            round_trips: self.store.round_trips(),
            in_flight: self.in_flight.count(),
            memory: self.memory.used(),
            generation: snapshot.generation,
            certificates: certificates(&snapshot.config),
            gateways: self.live.peers().count(),
            webhooks: healths
                .into_iter()
                .map(|h| (h.webhook, in_service(&h.health_state)))
                .collect(),
        }
    }
}

/// Whose certificates there are, and the seconds until each expires.
fn certificates(config: &Config) -> Vec<(String, String, i64)> {
    let stations = config
        .stations
        .iter()
        .flat_map(|station| station.keys.iter().map(|key| (&station.as2_id, &*key.certificate)));
    let partners = config.partners.iter().flat_map(|partner| {
        partner.certificates.iter().map(|certificate| (&partner.as2_id, &**certificate))
    });
    let expiry = |(owner, certificate): (&String, &X509Ref)| {
        let serial = certificate.serial_number().to_bn().ok()?.to_hex_str().ok()?.to_string();
        let left = timers::expiry(certificate)? - clock::now().div_euclid(1000);
        Some((owner.clone(), serial, left))
    };
    stations.chain(partners).filter_map(expiry).collect()
}
