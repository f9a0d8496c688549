//! Resolves names by the system's resolver configuration and hosts file, within one time limit.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::RecordType,
};
use tokio::{
    fs,
    time::{Instant, timeout},
};

use crate::guard::literal;

/// The files that configure the system's resolver.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// The shortest time between two checks of the files.
const EVERY: Duration = Duration::from_secs(1);

/// Finds addresses. Clones share one cache.
#[derive(Clone)]
pub(super) struct NameResolver {
    resolver: Arc<ArcSwap<Result<TokioResolver, String>>>,
    /// `None`: the resolver does not come from files.
    files: Option<Arc<tokio::sync::Mutex<ResolverFiles>>>,
}

/// The files as they were when the resolver was built.
struct ResolverFiles {
    contents: [Vec<u8>; 2],
    read: Instant,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("there is no such name")]
    NotFound,
    #[error("no name server answered within {} s", NameResolver::BUDGET.as_secs())]
    TimedOut,
    #[error("{0}")]
    Failed(String),
}

// === impl NameResolver ===

impl NameResolver {
    /// The limit of a whole lookup: several servers, both families, every search domain.
    pub(super) const BUDGET: Duration = Duration::from_secs(5);

    /// Uses `/etc/resolv.conf`, or the hosts file alone if it is missing. Both are read again when
    /// they change.
    pub(super) async fn of_system() -> Self {
        let files = ResolverFiles { contents: ResolverFiles::read().await, read: Instant::now() };
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "No resolver configuration; only the hosts file is used.");
            let none = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            TokioResolver::builder_with_config(none, TokioRuntimeProvider::default())
        });
        let files = Some(Arc::new(tokio::sync::Mutex::new(files)));
        Self { files, ..Self::new(build(builder)) }
    }

    fn new(resolver: Result<TokioResolver, String>) -> Self {
        let resolver = Arc::new(ArcSwap::from_pointee(resolver));
        Self { resolver, files: None }
    }

    /// Uses one name server alone; `cache_size` limits the cached names.
    #[cfg(test)]
    pub(super) fn of_server(server: std::net::SocketAddr, cache_size: u64) -> Self {
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        tune(builder.options_mut());
        builder.options_mut().cache_size = cache_size;
        Self::new(builder.build().map_err(|error| error.to_string()))
    }

    /// Returns the addresses of a host, in the order in which to try them.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NameError> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let lookup = async {
            self.follow_files().await;
            let resolver = self.resolver.load_full();
            let resolver = (*resolver).as_ref().map_err(|e| NameError::Failed(e.clone()))?;
            Ok(resolver.lookup_ip(host).await)
        };
        match timeout(Self::BUDGET, lookup)
            .await
            .map_or(Ok(Err(NetError::Timeout)), |found| found)?
        {
            Ok(found) => Ok(found.iter().collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Err(NameError::NotFound),
            Err(NetError::Timeout) => Err(NameError::TimedOut),
            Err(error) => Err(NameError::Failed(error.to_string())),
        }
    }

    /// Drops a host from the cache after a failed connection, so that the next attempt resolves it
    /// again.
    pub(super) fn forget(&self, host: &str) {
        if let Ok(resolver) = &**self.resolver.load() {
            for kind in [RecordType::A, RecordType::AAAA] {
                resolver.clear_lookup_cache(host, kind);
            }
        }
    }

    /// Builds a new resolver when the files have changed. Without it, a name server with a new
    /// address would not be found until a restart.
    async fn follow_files(&self) {
        // Another lookup is checking the files already.
        let Some(mut files) = self.files.as_ref().and_then(|files| files.try_lock().ok()) else {
            return;
        };
        if files.read.elapsed() < EVERY {
            return;
        }
        files.read = Instant::now();
        let contents = ResolverFiles::read().await;
        if contents == files.contents {
            return;
        }
        files.contents = contents;
        let made = TokioResolver::builder_tokio().map_err(|error| error.to_string());
        match made.and_then(build) {
            Ok(resolver) => {
                self.resolver.store(Arc::new(Ok(resolver)));
                tracing::info!(
                    "/etc/resolv.conf or /etc/hosts has changed: names are resolved by it."
                );
            }
            // The file may be half written.
            Err(error) => tracing::warn!(
                error,
                "/etc/resolv.conf has changed and cannot be used; names are resolved as before."
            ),
        }
    }
}

// === impl ResolverFiles ===

impl ResolverFiles {
    async fn read() -> [Vec<u8>; 2] {
        // A missing file counts as empty.
        let [resolv_conf, hosts] = FILES.map(async |file| fs::read(file).await.unwrap_or_default());
        [resolv_conf.await, hosts.await]
    }
}

fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, String> {
    tune(builder.options_mut());
    builder.build().map_err(|error| error.to_string())
}

fn tune(options: &mut ResolverOpts) {
    options.use_hosts_file = ResolveHosts::Always;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 4096;
    // Short limits, so that a moved endpoint or a new name is found soon.
    options.positive_max_ttl = Some(Duration::from_secs(300));
    options.negative_max_ttl = Some(Duration::from_secs(5));
}
