//! What cannot change while the gateway runs. A reload that changes it is refused, with its place.

use std::path::Path;

use super::{
    ConfigDiagnostic, Listen, PayloadLocation, StoreFailurePolicy, StoreLocation,
    listen::Listener,
    mistake::Position,
    read::{SecretString, Table},
};

/// Each such setting: its path, where it stands, and its value for comparison.
#[derive(Debug)]
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
    pub(super) fn of(
        table: &Table<'_>,
        listen: &Listen,
        store: &StoreLocation,
        (payloads, payloads_allow_http): (&PayloadLocation, bool),
        secret_key_file: &Path,
        on_store_failure: StoreFailurePolicy,
    ) -> Self {
        let place = |key| table.get(key).map(|value| value.at());
        let listener = |path: &'static str, key, listener: Option<&Listener>| {
            let within = table.get("listen").and_then(|value| value.child_at(key));
            let at = within.or_else(|| place("listen")).unwrap_or(Position::START);
            let value = match listener {
                None => "does not run".to_owned(),
                Some(l) if l.tls.is_some() => format!("{} with TLS", l.address),
                Some(l) => l.address.to_string(),
            };
            Setting { path, at, value: SecretString::from(value) }
        };
        let setting = |key: &'static str, value: String| Setting {
            path: key,
            at: place(key).unwrap_or(Position::START),
            value: SecretString::from(value),
        };
        let store = match store {
            StoreLocation::Postgres(url) => url.expose().to_owned(),
            StoreLocation::Sqlite(path) => format!("sqlite:{}", path.display()),
        };
        Self(vec![
            listener("listen.inbound", "inbound", Some(&listen.inbound)),
            listener("listen.outbound", "outbound", listen.outbound.as_ref()),
            listener("listen.admin", "admin", Some(&listen.admin)),
            setting("store", store),
            setting("payloads", format!("{payloads:?}")),
            setting("payloads_allow_http", payloads_allow_http.to_string()),
            setting("secret_key_file", secret_key_file.display().to_string()),
            setting("on_store_failure", format!("{on_store_failure:?}")),
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
