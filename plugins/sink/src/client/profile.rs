//! One pool of connections for each TLS profile and guard.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use as2hook_event::Tls;
use dashmap::DashMap;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use openssl::sha::Sha256;

use super::{
    body::OutgoingBody,
    connector::EndpointConnector,
    resolve::NameResolver,
    tls::{self, TlsFilesError},
};
use as2hook_event::clock::now;

use crate::guard::Guard;

/// The pools in use.
pub(super) struct Profiles {
    names: NameResolver,
    /// Pools with the system's roots, which nearly all webhooks use.
    plain: DashMap<Guard, Arc<Profile>>,
    special: DashMap<(Digest, Guard), Arc<Profile>>,
    roots: openssl::ssl::SslConnector,
}

/// The clients of one profile.
pub(super) struct Profile {
    /// Keeps connections.
    pub(super) pooled: Client<EndpointConnector, OutgoingBody>,
    /// Opens a new connection for each request.
    pub(super) fresh: Client<EndpointConnector, OutgoingBody>,
    used: AtomicI64,
}

/// SHA-256 of the three PEM files.
type Digest = [u8; 32];

// === impl Profiles ===

impl Profiles {
    /// The most idle connections to one host: many webhooks may point at it, each with its own
    /// concurrency.
    const IDLE_PER_HOST: usize = 256;
    /// Shorter than the usual idle timeout of servers (60 s and more), so that the client closes
    /// first.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
    /// Largest head of a response.
    const HEAD_MAX: usize = 64 * 1024;
    /// Above this number, profiles unused for [`Self::FORGET_AFTER`] are dropped: reloads with new
    /// certificates leave old ones behind.
    const MANY: usize = 64;
    const FORGET_AFTER: Duration = Duration::from_secs(600);

    pub(super) fn new(names: NameResolver) -> Result<Self, TlsFilesError> {
        let roots = tls::connector(&Tls::default())?;
        Ok(Self { names, plain: DashMap::new(), special: DashMap::new(), roots })
    }

    /// Returns the pool for this trust, identity and guard.
    pub(super) async fn of(&self, tls: &Tls, guard: &Guard) -> Result<Arc<Profile>, TlsFilesError> {
        let Some(digest) = digest(tls) else {
            if let Some(known) = self.plain.get(guard) {
                known.used.store(now(), Ordering::Relaxed);
                return Ok(known.clone());
            }
            forget_unused(&self.plain);
            let made = self.plain.entry(guard.clone());
            return Ok(made.or_insert_with(|| self.make(guard, self.roots.clone())).clone());
        };
        let key = (digest, guard.clone());
        if let Some(known) = self.special.get(&key) {
            known.used.store(now(), Ordering::Relaxed);
            return Ok(known.clone());
        }
        // OpenSSL reads the system's roots here, which takes milliseconds.
        let files = tls.clone();
        let connector = tokio::task::spawn_blocking(move || tls::connector(&files)).await;
        let connector =
            connector.unwrap_or_else(|error| Err(TlsFilesError::OpenSsl(error.to_string())))?;
        forget_unused(&self.special);
        Ok(self.special.entry(key).or_insert_with(|| self.make(guard, connector)).clone())
    }

    fn make(&self, guard: &Guard, tls: openssl::ssl::SslConnector) -> Arc<Profile> {
        let connector = EndpointConnector::new(self.names.clone(), guard.clone(), tls);
        let client = |idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(Self::IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle)
                .http1_max_buf_size(Self::HEAD_MAX)
                .http1_title_case_headers(true)
                .build(connector.clone())
        };
        let (pooled, fresh) = (client(Self::IDLE_PER_HOST), client(0));
        Arc::new(Profile { pooled, fresh, used: AtomicI64::new(now()) })
    }
}

fn forget_unused<K: Eq + std::hash::Hash>(profiles: &DashMap<K, Arc<Profile>>) {
    if profiles.len() >= Profiles::MANY {
        let forget_after = i64::try_from(Profiles::FORGET_AFTER.as_millis()).unwrap_or(i64::MAX);
        let before = now().saturating_sub(forget_after);
        profiles.retain(|_, profile| profile.used.load(Ordering::Relaxed) >= before);
    }
}

/// Returns a digest that identifies the TLS files. `None`: there are none.
fn digest(tls: &Tls) -> Option<Digest> {
    let files = [&tls.ca, &tls.client_certificate, &tls.client_key];
    if files.iter().all(|file| file.is_none()) {
        return None;
    }
    let mut digest = Sha256::new();
    for file in files {
        let length = file.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64);
        digest.update(&length.to_be_bytes());
        digest.update(file.as_deref().unwrap_or_default());
    }
    Some(digest.finish())
}
