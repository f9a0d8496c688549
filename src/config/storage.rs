//! `store` and `payloads`: where events and raw payloads are kept.

use std::{fmt, path::PathBuf};

use super::read::Value;

/// Where events and deliveries are kept. Fixed while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
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
pub enum Payloads {
    /// Files in this folder. Default `data/payloads`.
    Folder(PathBuf),
    /// `store`: in PostgreSQL, beside the events.
    Store,
    /// `s3://bucket/prefix`.
    S3(String),
}

// === impl Store ===

impl Store {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        let text = value.line()?;
        if let Some(path) = text.strip_prefix("sqlite:") {
            // `sqlite://data.db` is how others write it: there it names a host.
            if path.is_empty() || path.starts_with("//") {
                return value
                    .wrong("must name a file behind sqlite:, as in sqlite:data/as2hook.db");
            }
            return Some(Self::Sqlite(value.resolve(path)));
        }
        let address =
            text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        match address {
            Some(rest) => match PostgresUrl::host(rest) {
                Some(_) => Some(Self::Postgres(PostgresUrl(text))),
                None => value.wrong("must name a host, as in postgres://user@host/database"),
            },
            None => value.wrong("must begin with sqlite: or postgres://"),
        }
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
        let authority = behind_scheme.split(['/', '?']).next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        (!host.is_empty()).then_some(host)
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
        let host = self.0.split_once("://").and_then(|(_, rest)| Self::host(rest));
        write!(f, "postgres://{}/…", host.unwrap_or("…"))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

// === impl Payloads ===

impl Payloads {
    pub(super) fn read(value: &Value<'_>, store: &Store) -> Option<Self> {
        let text = value.line()?;
        if text == "store" {
            return match store {
                Store::Postgres(_) => Some(Self::Store),
                Store::Sqlite(_) => value.wrong(
                    "`store` keeps payloads in PostgreSQL, but `store:` names SQLite; name a \
                     folder here",
                ),
            };
        }
        if let Some(bucket) = text.strip_prefix("s3://") {
            return match bucket.split('/').next() {
                Some(name) if !name.is_empty() => Some(Self::S3(text)),
                _ => value.wrong("must name a bucket, as in s3://bucket/prefix"),
            };
        }
        if text.contains("://") {
            return value.wrong("must be a folder, `store`, or s3://bucket/prefix");
        }
        Some(Self::Folder(value.resolve(&text)))
    }
}
