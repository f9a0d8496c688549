//! The gateways that share a store: each reports now and then that it lives and which rules it has, and
//! reads the reports of the others.
//!
//! Gateways with different rules notify different webhooks of what comes in. While they do, none puts
//! aside deliveries of a webhook that it does not know (`Directory::is_agreed`): another may know it.
//!
//! The store gives each content that comes into force at a start or a reload a generation. Of the gateways
//! that live, only those with the newest one move deliveries (`Directory::is_newest`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_event::clock::now;
use as2hook_store::{GatewayReport, Store, StoreError};
use openssl::{hash::MessageDigest, pkcs5::pbkdf2_hmac, x509::X509};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::tap::TapRules;
use as2hook_config::Config;

/// How often a gateway says that it lives.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(5);

/// So long after a gateway's last report the others count as terminated.
const ALIVE: Duration = Duration::from_millis(GatewayReport::ALIVE_MS.unsigned_abs());

/// What this gateway says of itself, and what it heard of the others.
#[derive(Debug)]
pub struct PeerGateways {
    id: Uuid,
    host: String,
    started_at: i64,
    heard: Mutex<PeerReports>,
    newest: watch::Sender<bool>,
    /// Whether this gateway has gone; held while a report is written.
    gone: tokio::sync::Mutex<bool>,
}

#[derive(Debug, Default)]
struct PeerReports {
    /// The hash of our rules, with the snapshot that it is of.
    rules: (u64, String),
    /// What the store orders them by; 0 until it said so.
    generation: i64,
    /// `None`: nothing was heard yet, or not for long.
    others: Option<Others>,
    /// When the last look went well.
    looked: Option<Instant>,
    /// Until then others that live may not have been able to report.
    uncertain_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Others {
    alive: usize,
    /// Of these, with other rules than ours.
    at_odds: usize,
    /// Of these, with newer rules than ours.
    newer: usize,
}

// === impl PeerGateways ===

impl Default for PeerGateways {
    /// Alone, as far as is known.
    fn default() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            id: Uuid::now_v7(),
            host: host.trim().to_owned(),
            started_at: now(),
            heard: Mutex::default(),
            newest: watch::Sender::new(false),
            gone: tokio::sync::Mutex::new(false),
        }
    }
}

impl PeerGateways {
    /// This gateway's id, made anew at each start.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The name of this machine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The hash of the rules in force here; empty until the first report.
    pub fn rules(&self) -> String {
        self.heard.lock().rules.1.clone()
    }

    /// How many gateways live, and how many of them have other rules. Until something was heard of them
    /// none is known to live, and one is taken to have other rules: nothing is agreed yet.
    pub fn count(&self) -> (usize, usize) {
        self.heard.lock().others.map_or((0, 1), |others| (others.alive, others.at_odds))
    }

    /// Whether no gateway that lives has newer rules; not before anything was heard of them.
    pub fn is_newest(&self) -> bool {
        *self.newest.borrow()
    }

    /// Changes with [`Self::is_newest`].
    pub fn newest(&self) -> watch::Receiver<bool> {
        self.newest.subscribe()
    }

    /// The generation of the rules in force here; 0 until the store gave one.
    fn generation(&self) -> i64 {
        self.heard.lock().generation
    }

    /// Says that this gateway is gone; it says nothing more.
    pub async fn leave(&self, store: &dyn Store) {
        let mut gone = self.gone.lock().await;
        *gone = true;
        let report = GatewayReport { seen_at: 0, ..self.report() };
        if let Err(error) = store.report(report).await {
            tracing::debug!(%error, "The end could not be reported to the other gateways.");
        }
    }

    /// Says that this gateway lives with these rules, those of a snapshot of this generation, and hears
    /// of the others.
    ///
    /// # Errors
    /// When the store does not take it or does not say; what was heard last stays.
    pub async fn look(
        &self,
        generation: u64,
        rules: Arc<TapRules>,
        store: &dyn Store,
    ) -> Result<(), StoreError> {
        if self.heard.lock().rules.0 != generation {
            // A hundred thousand rules take a while.
            let hashed = tokio::task::spawn_blocking(move || hash_of(&rules)).await;
            let hashed = hashed.map_err(|error| StoreError::Database(error.to_string()))?;
            let mut heard = self.heard.lock();
            if heard.rules.1 != hashed {
                heard.generation = 0;
            }
            heard.rules = (generation, hashed);
        }
        {
            let gone = self.gone.lock().await;
            if *gone {
                return Ok(());
            }
            let generation = store.report(self.report()).await?;
            self.heard.lock().generation = generation;
        }
        let mut alive = store.gateways(now() - GatewayReport::ALIVE_MS).await?;
        // One that stopped cleanly has said so by a report from long ago.
        alive.retain(|gateway| gateway.seen_at > 0);
        let ours = self.rules();
        let others = alive.iter().filter(|gateway| gateway.rules != ours);
        let names: Vec<_> =
            others.map(|gateway| format!("{}/{}", gateway.host, gateway.process)).collect();
        let own = self.generation();
        let newer: Vec<_> = alive.iter().filter(|gateway| gateway.generation > own).collect();
        let others = Others { alive: alive.len(), at_odds: names.len(), newer: newer.len() };
        let (before, is_newest) = {
            let mut heard = self.heard.lock();
            let others = heard.hears_all(Instant::now()).then_some(others);
            let is_newest = others.is_some_and(|others| others.newer == 0);
            (std::mem::replace(&mut heard.others, others), is_newest)
        };
        self.newest.send_if_modified(|newest| std::mem::replace(newest, is_newest) != is_newest);
        match (before.map_or(0, |before| before.newer), newer.first()) {
            (0, Some(newest)) => tracing::warn!(
                gateway = format!("{}/{}", newest.host, newest.process),
                "Another gateway of this store has a newer configuration, which decides which deliveries are \
                 held or orphaned: reload or restart this gateway with it, or stop it."
            ),
            (1.., None) => tracing::info!("This gateway has the newest configuration."),
            _ => {}
        }
        match (before.map_or(0, |before| before.at_odds), names.len()) {
            (0, 1..) => tracing::warn!(
                gateways = names.join(", "),
                "Other gateways of this store have other rules: events follow the rules of the \
                 gateway that they come through."
            ),
            (1.., 0) => tracing::info!("All gateways of this store have the same rules again."),
            _ => {}
        }
        Ok(())
    }

    fn report(&self) -> GatewayReport {
        GatewayReport {
            id: self.id,
            host: self.host.clone(),
            process: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            seen_at: now(),
            rules: self.rules(),
            generation: self.generation(),
        }
    }
}

// === impl PeerReports ===

impl PeerReports {
    /// Notes a look that went well. Returns whether each gateway that lives was able to report: the first
    /// one to reach the store after an outage finds reports that are old, though the others live.
    fn hears_all(&mut self, now: Instant) -> bool {
        let before = self.looked.replace(now);
        let was_long =
            before.is_some_and(|before| now.duration_since(before) + 2 * REPORT_EVERY > ALIVE);
        if was_long {
            self.uncertain_until = Some(now + ALIVE);
        }
        self.uncertain_until = self.uncertain_until.filter(|until| *until > now);
        self.uncertain_until.is_none()
    }
}

/// The same for two gateways exactly when nothing differs that routing depends on: rules, partners, stations
/// and sites, and where webhooks of the config API may point. Those webhooks are the same for all gateways: the
/// store keeps them. The hash is shown, and secrets go into it: its rounds make guesses expensive.
fn hash_of(TapRules { config, rules, .. }: &TapRules) -> String {
    const ROUNDS: usize = 100_000;
    let mut prints: Vec<_> = rules.iter().map(|rule| rule.fingerprint()).collect();
    prints.extend(identities(config));
    prints.sort_unstable();
    let mut key = [0; 16];
    let made = pbkdf2_hmac(
        prints.concat().as_bytes(),
        b"as2hook rules",
        ROUNDS,
        MessageDigest::sha256(),
        &mut key,
    );
    made.map(|()| as2hook_as2::hex::encode(&key)).unwrap_or_default()
}

/// Each as a text of its own, in any order.
fn identities(config: &Config) -> Vec<String> {
    let Config { site, partners, stations, api, legacy_algorithms, .. } = config;
    let mut all = vec![format!("\nsite {site:?} legacy {legacy_algorithms}")];
    for partner in partners {
        let (id, as2_id, kind) = (partner.id, &partner.as2_id, partner.partner_type);
        let certificates = digests(partner.certificates.iter());
        let site = &partner.site;
        all.push(format!("\npartner {id:?} {as2_id:?} {kind:?} {site:?} {certificates:?}"));
    }
    for station in stations {
        let keys = digests(station.keys.iter().map(|key| &key.certificate));
        all.push(format!("\nstation {:?} {keys:?}", station.as2_id));
    }
    let networks = api.allow_networks.iter().map(ToString::to_string);
    all.extend(networks.map(|network| format!("\nnetwork {network}")));
    all
}

fn digests<'a>(certificates: impl Iterator<Item = &'a X509>) -> Vec<String> {
    let digest = |certificate: &X509| {
        Some(as2hook_as2::hex::encode(&certificate.digest(MessageDigest::sha256()).ok()?))
    };
    let mut all: Vec<_> = certificates.filter_map(digest).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_agreed_before_anything_was_heard() {
        assert_eq!(PeerGateways::default().count(), (0, 1));
    }

    #[test]
    fn nothing_is_agreed_after_an_outage_before_the_others_were_able_to_report() {
        let (mut heard, begin) = (PeerReports::default(), Instant::now());
        let mut hears = |seconds| heard.hears_all(begin + Duration::from_secs(seconds));
        assert!(hears(0) && hears(5) && hears(20), "a short outage");
        assert!(!hears(60) && !hears(65) && !hears(85));
        assert!(hears(90) && hears(95));
    }
}
