//! Where log lines go: stderr, as text or JSON (`AS2HOOK_LOG_FORMAT=json`), filtered by
//! `AS2HOOK_LOG` (such as `debug` or `as2hook=debug,pingora=warn`).

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

/// Without `AS2HOOK_LOG`: our own events, and of Pingora only what went wrong. PostgreSQL's notices say
/// that what is there is not made again, and each connection that breaks off says what the store says
/// once.
const DEFAULT: &str = "info,pingora_core=warn,pingora_proxy=warn,pingora_runtime=warn,\
    tokio_postgres=warn,deadpool=error";

/// Starts logging. Call once.
pub fn start() {
    let filter = EnvFilter::try_from_env("AS2HOOK_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let ansi = std::io::stderr().is_terminal();
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    if std::env::var("AS2HOOK_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_target(false).init();
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_store_is_told_of_by_us_alone() {
        let filtered = tracing_subscriber::registry().with(EnvFilter::new(DEFAULT));
        tracing::subscriber::with_default(filtered, || {
            // The targets that these crates log by.
            assert!(!enabled!(target: "tokio_postgres::connection", Level::INFO));
            assert!(enabled!(target: "tokio_postgres::connection", Level::WARN));
            assert!(!enabled!(target: "deadpool.postgres", Level::WARN));
            assert!(enabled!(target: "deadpool.postgres", Level::ERROR));
            assert!(enabled!(target: "as2hook_store::postgres", Level::INFO));
        });
    }
}
