//! `store` and `payloads`: where events and raw payloads are kept.

use std::{fmt, path::PathBuf};

use as2hook_store::{PostgresStore, StoreError};

use super::{setting::setting, value::Value};

/// Where events and deliveries are kept. Fixed while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// `sqlite:PATH`, embedded. Default `sqlite:data/as2hook.db`.
    Sqlite(PathBuf),
    /// `postgres://…`, for several gateways.
    Postgres(PostgresUrl),
}

/// A connection string. Its password is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// Where raw payloads wait for their deliveries. Fixed while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadLocation {
    /// Files in this folder. Default `data/payloads`.
    Folder(PathBuf),
    /// `store`: in PostgreSQL, beside the events.
    Store,
    /// `s3://bucket/prefix`.
    S3(String),
}

/// Where the environment may name the endpoint of S3.
const S3_ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];

// === impl StoreLocation ===

setting!(
    StoreSetting: StoreLocation,
    StoreLocation::read,
    StoreLocation::to_string,
    { "type": "string", "pattern": r"^(sqlite:|postgres(ql)?://)|\$\{" }
);

impl StoreLocation {
    fn read(value: &Value) -> Option<Self> {
        let text = value.line()?;
        if let Some(path) = text.strip_prefix("sqlite:") {
            // `sqlite://data.db` is how others write it: there it names a host.
            if path.is_empty() || path.starts_with("//") {
                return value
                    .wrong("must name a file behind sqlite:, as in sqlite:data/as2hook.db");
            }
            return Some(Self::Sqlite(path.into()));
        }
        let address =
            text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        match address {
            Some(rest) if PostgresUrl::host(rest).is_none() => {
                value.wrong("must name a host, as in postgres://user@host/database")
            }
            Some(_) => match PostgresStore::check_address(&text) {
                Ok(()) => Some(Self::Postgres(PostgresUrl(text))),
                Err(StoreError::Address(what)) => value.wrong(what),
                Err(error) => value.wrong(error.to_string()),
            },
            None => value.wrong("must begin with sqlite: or postgres://"),
        }
    }
}

impl Default for StoreLocation {
    fn default() -> Self {
        Self::Sqlite("data/as2hook.db".into())
    }
}

// === impl PostgresUrl ===

impl PostgresUrl {
    /// All of it, password included.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What stands between the user and the path; several hosts are legal.
    fn host(behind_scheme: &str) -> Option<&str> {
        let base = behind_scheme.split('?').next()?;
        // First, since a password may have a `/`.
        let behind_user = base.rsplit_once('@').map_or(base, |(_, rest)| rest);
        let host = behind_user.split('/').next()?;
        (!host.is_empty()).then_some(host)
    }

    /// The host, unless what stands there may be part of a password that has a `?`.
    fn shown(&self) -> Option<&str> {
        let (_, rest) = self.0.split_once("://")?;
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        if query.contains('@') { None } else { Self::host(rest) }
    }
}

/// Shows the scheme and the host alone: a password may stand in the query too.
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}/…", self.shown().unwrap_or("…"))
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

// === impl PayloadLocation ===

setting!(
    PayloadsSetting: PayloadLocation,
    |value| match value.line()? {
        text if text == "store" => Some(PayloadLocation::Store),
        text => match text.strip_prefix("s3://") {
            Some(bucket) if bucket.is_empty() || bucket.starts_with('/') => {
                value.wrong("must name a bucket, as in s3://bucket/prefix")
            }
            Some(_) => Some(PayloadLocation::S3(text)),
            None if text.contains("://") => {
                value.wrong("must be a folder, `store`, or s3://bucket/prefix")
            }
            None => Some(PayloadLocation::Folder(text.into())),
        },
    },
    PayloadLocation::to_string,
    { "type": "string", "minLength": 1 }
);

impl PayloadLocation {
    /// Judges it beside the store, and the endpoint of S3 in the environment.
    pub(super) fn judge(&self, place: &Value, store: &StoreLocation, allow_http: bool) {
        let plain = |name: &&&str| {
            place.variable(name).is_some_and(|endpoint| {
                endpoint.trim_start().to_ascii_lowercase().starts_with("http://")
            })
        };
        match (self, store) {
            (Self::Store, StoreLocation::Sqlite(_)) => {
                place.wrong::<()>(
                    "`store` keeps payloads in PostgreSQL, but `store:` names SQLite; name a \
                     folder here",
                );
            }
            (Self::S3(_), _) if !allow_http => {
                if let Some(name) = S3_ENDPOINTS.iter().find(plain) {
                    place.wrong::<()>(format!(
                        "the environment variable {name} names an http:// endpoint, to which payloads \
                         and credentials would go unencrypted; use https://, or say \
                         `payloads_allow_http: true`"
                    ));
                }
            }
            _ => {}
        }
    }
}

impl Default for PayloadLocation {
    fn default() -> Self {
        Self::Folder("data/payloads".into())
    }
}

impl fmt::Display for PayloadLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Store => f.write_str("store"),
            Self::S3(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (password, shown) in [
            ("secret", "postgres://one,two:5433/…"),
            ("sec/ret", "postgres://one,two:5433/…"),
            ("sec@ret", "postgres://one,two:5433/…"),
            ("sec#ret", "postgres://one,two:5433/…"),
            ("/s@e/c@r/et", "postgres://one,two:5433/…"),
            // Where this one ends cannot be known.
            ("sec?ret", "postgres://…/…"),
            ("s/e?c@r#et", "postgres://…/…"),
        ] {
            let url =
                PostgresUrl(format!("postgres://me:{password}@one,two:5433/db?sslmode=require"));
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
        for (query, shown) in [("password=secret", "one"), ("password=sec@ret", "…")] {
            let url = PostgresUrl(format!("postgres://one/db?{query}"));
            assert_eq!(url.to_string(), format!("postgres://{shown}/…"));
        }
    }
}
