//! What cannot change while the gateway runs. A reload that changes it is refused, with its place.

use std::path::Path;

use as2hook_event::SecretString;

use super::{
    Config, ConfigDiagnostic, StoreLocation, diagnostic::Position, listen::Listener, value::Value,
};

/// Each such setting: its path, where it or what should hold it stands, and its value for comparison. The
/// store's URL may hold a password.
#[derive(Debug, Default)]
pub(super) struct Fixed(Vec<(&'static str, Position, SecretString)>);

// === impl Fixed ===

impl Fixed {
    pub(super) fn of(root: &Value, config: &Config) -> Self {
        let listener = |listener: Option<&Listener>| match listener {
            None => "does not run".to_owned(),
            Some(l) if l.tls.is_some() => format!("{} with TLS", l.address),
            Some(l) => l.address.to_string(),
        };
        let store = match &config.store {
            StoreLocation::Postgres(url) => url.expose().to_owned(),
            sqlite @ StoreLocation::Sqlite(_) => sqlite.to_string(),
        };
        let settings = [
            ("listen.inbound", listener(Some(&config.listen.inbound))),
            ("listen.outbound", listener(config.listen.outbound.as_ref())),
            ("listen.admin", listener(Some(&config.listen.admin))),
            ("store", store),
            ("payloads", config.payloads.to_string()),
            ("payloads_allow_http", config.payloads_allow_http.to_string()),
            ("secret_key_file", config.secret_key_file.display().to_string()),
            ("on_store_failure", format!("{:?}", config.on_store_failure)),
        ];
        // Of what is not there, the place of what should hold it.
        let place = |path: &str| {
            let found = path.split('.').scan(root.clone(), |value, key| {
                *value = value.get(key)?;
                Some(value.at())
            });
            found.last().unwrap_or(Position::START)
        };
        Self(settings.map(|(path, value)| (path, place(path), SecretString::from(value))).into())
    }

    /// Says something about one of these settings at its place.
    pub(super) fn mistake(&self, path: &str, what: &str, file: &Path) -> Option<ConfigDiagnostic> {
        let (path, at, _) = self.0.iter().find(|(other, ..)| *other == path)?;
        Some(ConfigDiagnostic::new(file, *at, path, what))
    }

    pub(super) fn differences(&self, new: &Self, file: &Path) -> Vec<ConfigDiagnostic> {
        const REFUSED: &str = "cannot change while the gateway runs; restart it, or put back what \
                               stood here";
        let pairs = self.0.iter().zip(&new.0).filter(|((.., old), (.., new))| old != new);
        pairs.map(|(_, (path, at, _))| ConfigDiagnostic::new(file, *at, path, REFUSED)).collect()
    }
}
