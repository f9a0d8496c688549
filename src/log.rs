//! Where log lines go: stderr, as text or JSON (`AS2HOOK_LOG_FORMAT=json`), filtered by
//! `AS2HOOK_LOG` (such as `debug` or `as2hook=debug,pingora=warn`).
//!
//! At `debug` and `trace` Pingora and hyper print whole heads and bodies, with their credentials: those lines
//! are never written, whatever `AS2HOOK_LOG` says. Pingora logs each failed connection as an error, and any
//! client can cause that at any rate: such lines are throttled, and written at the level that they deserve.
//!
//! # Layout
//! - `line`: escapes, shortens and redacts each line
//! - `queue`: writes them on a thread of its own
//! - `rejection_log`: lines that any client can cause, throttled by kind

mod line;
mod queue;
mod rejection_log;

use std::{
    env,
    ffi::OsString,
    fmt::{Debug, Display},
    io::{self, IsTerminal as _},
    panic, thread,
    time::Duration,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter, Layer, fmt,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use self::{line::Lines, queue::QUEUE};
pub(crate) use self::{line::is_control_or_direction, rejection_log::RejectionLog};

/// Without `AS2HOOK_LOG`: our own events, and of Pingora only what went wrong. PostgreSQL's notices say
/// that what is there is not made again, and each connection that breaks off says what the store says
/// once.
const DEFAULT: &str = "info,pingora_core=warn,pingora_proxy=warn,pingora_runtime=warn,\
    tokio_postgres=warn,deadpool=error";

/// How long a process that ends waits for its last lines to be read.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Decides which lines of libraries are written.
#[derive(Debug, Default)]
struct Libraries(RejectionLog);

/// What a record of the `log` crate says.
#[derive(Default)]
struct LibraryRecord {
    target: String,
    line: u32,
    message: String,
}

/// Starts logging. Call once, and `flush` before the process ends.
///
/// # Errors
/// When there is no thread to be had, or the environment asks for what cannot be.
pub fn start() -> io::Result<()> {
    let filter = filter(env::var_os("AS2HOOK_LOG"))?;
    let ansi = std::io::stderr().is_terminal();
    let json = is_json(env::var_os("AS2HOOK_LOG_FORMAT"))?;
    QUEUE.start(json)?;
    let lines = Lines { json, ansi: ansi && !json };
    let format = fmt::layer().with_writer(lines).with_ansi(lines.ansi);
    let all = tracing_subscriber::registry().with(filter).with(Libraries::default());
    match json {
        true => all.with(format.json().flatten_event(true)).init(),
        false => all.with(format.with_target(false)).init(),
    }
    // The standard library's hook writes to stderr itself, and a thread with traffic may panic.
    panic::set_hook(Box::new(|panicked| {
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        tracing::error!(thread = name, "This is a defect of as2hook, please report it: {panicked}");
        if name == "main" {
            flush();
        }
    }));
    Ok(())
}

fn is_json(format: Option<OsString>) -> io::Result<bool> {
    match format.unwrap_or_default().to_str() {
        Some("" | "text") => Ok(false),
        Some("json") => Ok(true),
        _ => Err(io::Error::other("AS2HOOK_LOG_FORMAT must be text (the default) or json")),
    }
}

fn filter(directives: Option<OsString>) -> io::Result<EnvFilter> {
    let directives = directives.unwrap_or_default();
    match directives.to_str() {
        Some("") => Ok(EnvFilter::new(DEFAULT)),
        text => text.and_then(|text| EnvFilter::try_new(text).ok()).ok_or_else(|| {
            io::Error::other(
                "AS2HOOK_LOG must be error, warn, info, debug or trace, for single targets as in \
                 info,as2hook=debug",
            )
        }),
    }
}

/// Writes a line as it is, behind those that were logged before.
pub(crate) fn print(line: impl Display) {
    QUEUE.push(format!("{line}\n").as_bytes());
}

/// Waits for the lines so far to be written, for two seconds at most.
pub(crate) fn flush() {
    QUEUE.flush(LAST_LINES);
}

/// Lines that were never written, since the start.
pub(crate) fn dropped() -> u64 {
    QUEUE.dropped()
}

// === impl Libraries ===

impl<S: Subscriber> Layer<S> for Libraries {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_ours(metadata.target()) {
            true => Interest::always(),
            // The target of a `log` record stands in the record.
            false => Interest::sometimes(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO || is_ours(metadata.target())
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.metadata().target() != "log" {
            return true;
        }
        let mut record = LibraryRecord::default();
        event.record(&mut record);
        if !record.target.starts_with("pingora") {
            return true;
        }
        let LibraryRecord { line, message, .. } = record;
        if let Some(suppressed) = self.0.due_at(("pingora", line)) {
            tracing::warn!(suppressed, "{message}");
        }
        false
    }
}

impl Visit for LibraryRecord {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = u32::try_from(value).unwrap_or_default();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.target);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

fn is_ours(target: &str) -> bool {
    target.starts_with("as2hook")
}

#[cfg(test)]
mod tests {
    use tracing::enabled;

    use super::*;

    #[test]
    fn store_library_is_not_logged() {
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

    #[test]
    fn unknown_log_format_is_an_error_that_names_the_known_ones() {
        let format = |text: &str| is_json(Some(text.into())).map_err(|error| error.to_string());
        assert_eq!((format(""), format("text"), format("json")), (Ok(false), Ok(false), Ok(true)));
        for other in ["nonsense", "JSON"] {
            assert!(format(other).unwrap_err().ends_with("text (the default) or json"), "{other}");
        }
        assert!(!is_json(None).unwrap());
    }

    #[test]
    fn log_filter_that_cannot_be_read_is_an_error() {
        for text in ["", "debug", "as2hook=debug,pingora=warn"] {
            assert!(filter(Some(text.into())).is_ok(), "{text}");
        }
        let error = filter(Some("as2hook=loud".into())).unwrap_err();
        assert!(error.to_string().starts_with("AS2HOOK_LOG must be"), "{error}");
    }

    #[test]
    fn details_of_libraries_are_not_logged_whatever_the_filter_says() {
        let all = tracing_subscriber::registry()
            .with(EnvFilter::new("trace,pingora_proxy=trace"))
            .with(Libraries::default());
        tracing::subscriber::with_default(all, || {
            assert!(enabled!(target: "as2hook::gateway", Level::TRACE));
            assert!(!enabled!(target: "pingora_proxy::proxy_h1", Level::DEBUG));
            assert!(!enabled!(target: "hyper_util::client", Level::TRACE));
            assert!(enabled!(target: "pingora_proxy::proxy_h1", Level::INFO));
        });
    }
}
