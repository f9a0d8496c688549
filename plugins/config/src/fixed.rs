//! What cannot change while the gateway runs. A reload that changes it is refused, with its place.

use std::path::Path;

use as2hook_event::SecretString;

use super::{
    Config, ConfigDiagnostic, StoreLocation, listen::Listener, mistake::Position, value::Value,
};

/// Each such setting: its path, where it stands, and its value for comparison.
#[derive(Debug, Default)]
pub(super) struct Fixed(Vec<Setting>);

#[derive(Debug)]
struct Setting {
    path: &'static str,
    at: Position,
    /// The store's URL may hold a password.
    value: SecretString,
}

// === impl Fixed ===

impl Fixed {
    pub(super) fn of(table: &Value, config: &Config) -> Self {
        let place = |key| table.get(key).map(|value| value.at());
        let setting = |path, at: Option<Position>, value| Setting {
            path,
            at: at.unwrap_or(Position::START),
            value: SecretString::from(value),
        };
        let listener = |path: &'static str, listener: Option<&Listener>| {
            let within =
                table.get("listen").and_then(|listen| listen.get(&path["listen.".len()..]));
            let value = match listener {
                None => "does not run".to_owned(),
                Some(l) if l.tls.is_some() => format!("{} with TLS", l.address),
                Some(l) => l.address.to_string(),
            };
            setting(path, within.map(|value| value.at()).or_else(|| place("listen")), value)
        };
        let top = |key, value| setting(key, place(key), value);
        let store = match &config.store {
            StoreLocation::Postgres(url) => url.expose().to_owned(),
            sqlite @ StoreLocation::Sqlite(_) => sqlite.to_string(),
        };
        Self(vec![
            listener("listen.inbound", Some(&config.listen.inbound)),
            listener("listen.outbound", config.listen.outbound.as_ref()),
            listener("listen.admin", Some(&config.listen.admin)),
            top("store", store),
            top("payloads", format!("{:?}", config.payloads)),
            top("payloads_allow_http", config.payloads_allow_http.to_string()),
            top("secret_key_file", config.secret_key_file.display().to_string()),
            top("on_store_failure", format!("{:?}", config.on_store_failure)),
        ])
    }

    /// Tells something about one of these settings at its place.
    pub(super) fn mistake(&self, path: &str, what: &str, file: &Path) -> Option<ConfigDiagnostic> {
        let setting = self.0.iter().find(|setting| setting.path == path)?;
        Some(ConfigDiagnostic::new(file, setting.at, setting.path, what))
    }

    pub(super) fn differences(&self, new: &Self, file: &Path) -> Vec<ConfigDiagnostic> {
        const REFUSED: &str = "cannot change while the gateway runs; restart it, or put back what \
                               stood here";
        let pairs = self.0.iter().zip(&new.0);
        pairs
            .filter(|(old, new)| old.value != new.value)
            .map(|(_, new)| ConfigDiagnostic::new(file, new.at, new.path, REFUSED))
            .collect()
    }
}
