//! Where log lines go: stderr, as text or JSON (`AS2HOOK_LOG_FORMAT=json`), filtered by
//! `AS2HOOK_LOG` (such as `debug` or `as2hook=debug,pingora=warn`).

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

/// Without `AS2HOOK_LOG`: our own events, and of Pingora only what went wrong.
const DEFAULT: &str = "info,pingora_core=warn,pingora_proxy=warn,pingora_runtime=warn";

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
