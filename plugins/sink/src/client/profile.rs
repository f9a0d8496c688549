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
use openssl::{sha::Sha256, ssl::SslConnector};

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
    by_key: DashMap<(Option<Digest>, Guard), Arc<Profile>>,
    /// With the system's roots, which nearly all webhooks use.
    roots: SslConnector,
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
        Ok(Self { names, by_key: DashMap::new(), roots })
    }

    /// Returns the pool for this trust, identity and guard.
    pub(super) async fn of(&self, tls: &Tls, guard: &Guard) -> Result<Arc<Profile>, TlsFilesError> {
        let key = (digest(tls), guard.clone());
        if let Some(known) = self.by_key.get(&key) {
            known.used.store(now(), Ordering::Relaxed);
            return Ok(known.clone());
        }
        let connector = match key.0 {
            None => self.roots.clone(),
            Some(_) => {
                // OpenSSL reads the system's roots here, which takes milliseconds.
                let files = tls.clone();
                let made = tokio::task::spawn_blocking(move || tls::connector(&files)).await;
                made.unwrap_or_else(|error| Err(TlsFilesError::OpenSsl(error.to_string())))?
            }
        };
        self.forget_unused();
        Ok(self.by_key.entry(key).or_insert_with(|| self.make(guard, connector)).clone())
    }

    fn forget_unused(&self) {
        if self.by_key.len() >= Self::MANY {
            let forget_after = i64::try_from(Self::FORGET_AFTER.as_millis()).unwrap_or(i64::MAX);
            let before = now().saturating_sub(forget_after);
            self.by_key.retain(|_, profile| profile.used.load(Ordering::Relaxed) >= before);
        }
    }

    fn make(&self, guard: &Guard, tls: SslConnector) -> Arc<Profile> {
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
