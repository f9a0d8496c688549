//! Filters and throttles the log lines of libraries.
//!
//! At `debug` and `trace` Pingora and hyper print whole heads and bodies, with their credentials: those lines
//! are never written, whatever `AS2HOOK_LOG` says. Pingora logs each failed connection as an error, and any
//! client can cause that at any rate: such lines are throttled, and written at the level that they deserve.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context};

use super::rejection_log::RejectionLog;

/// Decides which lines of libraries are written.
#[derive(Debug, Default)]
pub(super) struct Libraries(RejectionLog);

/// What a record of the `log` crate says.
#[derive(Default)]
struct LibraryRecord {
    target: String,
    line: u32,
    message: String,
}

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

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

fn is_ours(target: &str) -> bool {
    target.starts_with("as2hook")
}
