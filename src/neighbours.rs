//! The gateways that share a store: each says now and then that it lives and which rules it has, and
//! hears it of the others.
//!
//! Gateways with different rules tell different webhooks of what comes in. While they do, none puts
//! aside deliveries of a webhook that it does not know (`Directory::is_agreed`): another may know it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use as2hook_store::{GatewayReport, Store, StoreError};
use as2hook_webhooks::RuleSet;
use jiff::Timestamp;
use openssl::{hash::MessageDigest, pkcs5::pbkdf2_hmac};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use crate::snapshot::Live;

/// How often a gateway says that it lives.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// One that said nothing for so long, in milliseconds, is taken for gone.
const ALIVE_MS: i64 = 30_000;

/// What this gateway says of itself, and what it heard of the others.
#[derive(Debug)]
pub struct Neighbours {
    id: Uuid,
    host: String,
    started_at: i64,
    heard: Mutex<Heard>,
    /// Whether this gateway has gone; held while something is said.
    gone: tokio::sync::Mutex<bool>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The hash of our rules, with the generation that it is of.
    rules: (u64, String),
    /// `None`: nothing was heard yet.
    others: Option<Others>,
}

#[derive(Clone, Copy, Debug)]
struct Others {
    alive: usize,
    /// Of these, with other rules than ours.
    at_odds: usize,
}

// === impl Neighbours ===

impl Neighbours {
    /// Alone, as far as is known.
    pub fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            id: Uuid::now_v7(),
            host: host.trim().to_owned(),
            started_at: now(),
            heard: Mutex::default(),
            gone: tokio::sync::Mutex::new(false),
        }
    }

    /// This gateway's id, made anew at each start.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The hash of the rules in force here; empty until the first report.
    pub fn rules(&self) -> String {
        self.heard().rules.1.clone()
    }

    /// How many gateways live, and how many of them have other rules. Until something was heard of them
    /// none is known to live, and one is taken to have other rules: nothing is agreed yet.
    pub fn count(&self) -> (usize, usize) {
        self.heard().others.map_or((0, 1), |others| (others.alive, others.at_odds))
    }

    /// Those that live, this one included.
    ///
    /// # Errors
    /// When the store does not say.
    pub async fn alive(&self, store: &dyn Store) -> Result<Vec<GatewayReport>, StoreError> {
        let mut alive = store.gateways(now() - ALIVE_MS).await?;
        // One that stopped cleanly has said so by a report from long ago.
        alive.retain(|gateway| gateway.seen_at > 0);
        Ok(alive)
    }

    /// Says that this gateway is gone; it says nothing more.
    pub async fn leave(&self, store: &dyn Store) {
        let mut gone = self.gone.lock().await;
        *gone = true;
        let report = GatewayReport { seen_at: 0, ..self.report() };
        if let Err(error) = store.report(report).await {
            tracing::debug!(%error, "The other gateways were not told of the end.");
        }
    }

    /// Says that this gateway lives, and hears of the others.
    ///
    /// # Errors
    /// When the store does not take it or does not say; what was heard last stays.
    pub async fn look(&self, live: &Live, store: &dyn Store) -> Result<(), StoreError> {
        let snapshot = live.load();
        if self.heard().rules.0 != snapshot.generation {
            let (generation, rules) = (snapshot.generation, snapshot.rules.clone());
            // A hundred thousand rules take a while.
            let hashed = tokio::task::spawn_blocking(move || hash(&rules)).await;
            let hashed = hashed.map_err(|error| StoreError::Database(error.to_string()))?;
            self.heard().rules = (generation, hashed);
        }
        {
            let gone = self.gone.lock().await;
            if *gone {
                return Ok(());
            }
            store.report(self.report()).await?;
        }
        let alive = self.alive(store).await?;
        let ours = self.rules();
        let others = alive.iter().filter(|gateway| gateway.rules != ours);
        let names: Vec<_> =
            others.map(|gateway| format!("{}/{}", gateway.host, gateway.process)).collect();
        let before = {
            let others = Others { alive: alive.len(), at_odds: names.len() };
            self.heard().others.replace(others).map_or(0, |before| before.at_odds)
        };
        match (before, names.len()) {
            (0, 1..) => tracing::warn!(
                gateways = names.join(", "),
                "Other gateways of this store have other rules: events are told by the rules of the \
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
        }
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self::new()
    }
}

/// Says and hears it for ever: every few seconds, and at once when other rules are in force.
pub(crate) async fn run(
    live: std::sync::Arc<Live>,
    store: std::sync::Arc<dyn Store>,
    mut generation: watch::Receiver<u64>,
) {
    loop {
        if let Err(error) = live.neighbours().look(&live, &*store).await {
            tracing::debug!(%error, "The other gateways could not be heard of.");
        }
        tokio::select! {
            () = sleep(REPORT_EVERY) => {}
            Ok(()) = generation.changed() => {}
        }
    }
}

/// The same for two sets of rules exactly when no rule differs. It is shown, and secrets went into it:
/// so it is made dear enough that nobody tries many of them.
fn hash(rules: &RuleSet) -> String {
    const ROUNDS: usize = 100_000;
    let mut prints: Vec<_> = rules.iter().map(|rule| rule.fingerprint()).collect();
    prints.sort_unstable();
    let mut key = [0; 16];
    let made = pbkdf2_hmac(
        prints.concat().as_bytes(),
        b"as2hook rules",
        ROUNDS,
        MessageDigest::sha256(),
        &mut key,
    );
    made.map(|()| crate::config::hex(&key)).unwrap_or_default()
}

/// The time, in milliseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_agreed_before_anything_was_heard() {
        assert_eq!(Neighbours::new().count(), (0, 1));
    }
}
