//! What the admin API asks of the gateway.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use as2hook_config_api::{
    Control, LastReload, Mistake, Reloaded, Scope, Status, StoreStatus, Token, Tokens,
};
use as2hook_delivery::Outbox;
use as2hook_store::{Counts, DeliveryState, Store};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{net::TcpStream, time::timeout};

use crate::{config, gateway::InFlight, reload::Reloader, snapshot::Live};

/// For a connection to our own listener.
const KNOCK: Duration = Duration::from_secs(1);

/// The running gateway, as the API sees it.
pub struct Gateway {
    /// The snapshot in force.
    pub live: Arc<Live>,
    /// Reloads it.
    pub reloader: Arc<Reloader>,
    /// Where events and deliveries are.
    pub store: Arc<dyn Store>,
    /// The way into the store.
    pub outbox: Outbox,
    /// Exchanges under way.
    pub in_flight: InFlight,
}

#[async_trait]
impl Control for Gateway {
    fn tokens(&self) -> Tokens {
        let snapshot = self.live.load();
        Tokens {
            all: snapshot.config.api.tokens.iter().map(token).collect(),
            default_site: snapshot.config.site.clone(),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Vec<Mistake>> {
        match self.reloader.reload().await {
            Ok(done) => Ok(done),
            Err(mistakes) => Err(mistakes.iter().map(mistake).collect()),
        }
    }

    async fn status(&self) -> Status {
        let snapshot = self.live.load();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            webhooks: snapshot.rules.len(),
            in_flight: self.in_flight.count(),
            last_reload: self.last_reload(),
            store: self.store_status().await,
        }
    }

    async fn unready(&self) -> Vec<String> {
        let health = self.outbox.health();
        let mut reasons = Vec::new();
        let listen = self.live.load().config.listen.clone();
        for (name, address) in listen.addresses().filter(|(name, _)| *name != "admin") {
            if !accepts(address).await {
                reasons
                    .push(format!("The {name} listener does not accept connections on {address}."));
            }
        }
        if let Some(since) = health.failing_since {
            let since = rfc3339(since).unwrap_or_default();
            let error = health.last_error.unwrap_or_default();
            reasons.push(format!("The store fails since {since}: {error}."));
        }
        if health.held > 0 {
            reasons.push(format!("{} events wait in memory for the store.", health.held));
        }
        reasons
    }
}

impl Gateway {
    fn last_reload(&self) -> LastReload {
        self.reloader.last()
    }

    async fn store_status(&self) -> StoreStatus {
        let health = self.outbox.health();
        let counts = self.store.counts().await;
        let error = counts.as_ref().err().map(ToString::to_string).or(health.last_error.clone());
        let counts = counts.unwrap_or_default();
        StoreStatus {
            ok: health.is_healthy() && error.is_none(),
            error: if health.is_healthy() { None } else { error },
            queue_depth: count(&counts, DeliveryState::Pending)
                + count(&counts, DeliveryState::Claimed),
            dead: count(&counts, DeliveryState::Dead),
            open_exchanges: counts.open,
            oldest_undelivered: counts.oldest_undelivered.and_then(rfc3339),
            held_in_memory: health.held,
        }
    }
}

/// Whether a connection to our own listener comes about.
async fn accepts(listener: SocketAddr) -> bool {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let connect = TcpStream::connect((ip, listener.port()));
    matches!(timeout(KNOCK, connect).await, Ok(Ok(_)))
}

fn count(counts: &Counts, state: DeliveryState) -> u64 {
    counts.deliveries.iter().filter(|(of, _)| *of == state).map(|(_, n)| n).sum()
}

fn rfc3339(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}

fn token(token: &config::Token) -> Token {
    let scope = |scope: &config::Scope| match scope {
        config::Scope::Read => Scope::Read,
        config::Scope::Write => Scope::Write,
        config::Scope::Admin => Scope::Admin,
    };
    Token {
        name: token.name.clone(),
        digest: token.sha256,
        scopes: token.scopes.iter().map(scope).collect(),
        site: token.site.clone(),
    }
}

fn mistake(mistake: &config::Mistake) -> Mistake {
    Mistake {
        file: mistake.file.display().to_string(),
        line: mistake.line,
        column: mistake.column,
        path: mistake.path.clone(),
        message: mistake.message.clone(),
    }
}
