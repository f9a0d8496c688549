//! Names to addresses: the system's resolver configuration and hosts file, within one time.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
};
use tokio::time::timeout;

use crate::guard::literal;

/// Finds addresses. Clones share one cache.
#[derive(Clone)]
pub(super) struct Names {
    resolver: Arc<Result<TokioResolver, String>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("there is no such name")]
    NotFound,
    #[error("no name server answered within {} s", Names::BUDGET.as_secs())]
    TimedOut,
    #[error("{0}")]
    Failed(String),
}

// === impl Names ===

impl Names {
    /// A whole lookup takes no longer: several servers, both families, every search domain.
    const BUDGET: Duration = Duration::from_secs(5);

    /// By `/etc/resolv.conf`; without one, by the hosts file alone.
    pub(super) fn of_system() -> Self {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "No resolver configuration; only the hosts file is used.");
            let none = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            TokioResolver::builder_with_config(none, TokioRuntimeProvider::default())
        });
        tune(builder.options_mut());
        let resolver = builder.build();
        Self { resolver: Arc::new(resolver.map_err(|error| error.to_string())) }
    }

    /// By one name server alone, whatever it answers; nothing is remembered.
    #[cfg(test)]
    pub(super) fn of_server(server: std::net::SocketAddr) -> Self {
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        tune(builder.options_mut());
        builder.options_mut().cache_size = 0;
        Self { resolver: Arc::new(builder.build().map_err(|error| error.to_string())) }
    }

    /// The addresses of a host, in the order they are to be tried.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NameError> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let resolver = self.resolver.as_ref().as_ref().map_err(|e| NameError::Failed(e.clone()))?;
        match timeout(Self::BUDGET, resolver.lookup_ip(host)).await {
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => Err(NameError::NotFound),
            Ok(Err(NetError::Timeout)) | Err(_) => Err(NameError::TimedOut),
            Ok(Err(error)) => Err(NameError::Failed(error.to_string())),
        }
    }
}

fn tune(options: &mut ResolverOpts) {
    options.use_hosts_file = ResolveHosts::Always;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 4096;
    // An endpoint that moved, or a name that was made just now, is found soon.
    options.positive_max_ttl = Some(Duration::from_secs(300));
    options.negative_max_ttl = Some(Duration::from_secs(5));
}
