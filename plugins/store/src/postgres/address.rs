//! Where the database is, and how far TLS is to be trusted: `postgres://user:password@host/database`
//! with the parameters that libpq knows, `sslmode=verify-ca|verify-full`, `sslrootcert`, `sslcert` and
//! `sslkey` among them.

use std::time::Duration;

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use percent_encoding::percent_decode_str;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::{Config, config::SslMode};

use crate::store::StoreError;

/// A database's address, ready to connect to. It has the password inside and no `Debug`.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeTlsConnector,
}

/// What the server's certificate has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Nothing: encrypted, to whomever.
    Any,
    /// That an authority we trust signed it.
    Signed,
    /// That, and that it is this host's.
    Named,
}

/// The parameters of TLS that tokio-postgres leaves to us.
#[derive(Default)]
struct Files {
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

// === impl Address ===

impl Address {
    /// Reads a URL. No error repeats it: a password may stand in it.
    pub(super) fn parse(url: &str, connect: Duration) -> Result<Self, StoreError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut files = Files::default();
        let mut trust = None;
        let mut rest = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let decoded = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match key {
                "sslmode" if value == "verify-ca" => trust = Some(Trust::Signed),
                "sslmode" if value == "verify-full" => trust = Some(Trust::Named),
                "sslrootcert" => files.root = Some(decoded()),
                "sslcert" => files.certificate = Some(decoded()),
                "sslkey" => files.key = Some(decoded()),
                _ => rest.push(parameter),
            }
        }
        let url = format!("{base}?{}", rest.join("&"));
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            StoreError::Address(format!("{error}{}", cause.unwrap_or_default()))
        })?;
        if config.get_hosts().is_empty() {
            return Err(StoreError::Address("it names no host".to_owned()));
        }
        if trust.is_some() {
            config.ssl_mode(SslMode::Require);
        } else if files.root.is_some() && config.get_ssl_mode() == SslMode::Require {
            // As libpq has it.
            trust = Some(Trust::Signed);
        }
        config
            .connect_timeout(config.get_connect_timeout().copied().unwrap_or(connect))
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("as2hook");
        }
        let tls = connector(trust.unwrap_or(Trust::Any), &files)
            .map_err(|error| StoreError::Address(format!("its TLS files: {error}")))?;
        Ok(Self { config, tls })
    }
}

fn connector(trust: Trust, files: &Files) -> Result<MakeTlsConnector, openssl::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_verify(match trust {
        Trust::Any => SslVerifyMode::NONE,
        Trust::Signed | Trust::Named => SslVerifyMode::PEER,
    });
    if let Some(root) = &files.root {
        builder.set_ca_file(root)?;
    }
    if let Some(certificate) = &files.certificate {
        builder.set_certificate_chain_file(certificate)?;
    }
    if let Some(key) = &files.key {
        builder.set_private_key_file(key, SslFiletype::PEM)?;
        builder.check_private_key()?;
    }
    let mut tls = MakeTlsConnector::new(builder.build());
    if trust != Trust::Named {
        tls.set_callback(|connection, _| {
            connection.set_verify_hostname(false);
            Ok(())
        });
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, StoreError> {
        Address::parse(url, Duration::from_secs(1))
    }

    #[test]
    fn several_hosts_and_what_they_are_to_be() {
        let address =
            parse("postgres://me:p%40ss@one,two:5433/db?target_session_attrs=read-write").unwrap();
        assert_eq!(address.config.get_hosts().len(), 2);
        assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(address.config.get_ssl_mode(), SslMode::Prefer);
    }

    #[test]
    fn libpqs_words_for_trust_are_known() {
        let address = parse("postgres://me@one/db?sslmode=verify-full&application_name=x").unwrap();
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(address.config.get_application_name(), Some("x"));
        let missing = parse("postgres://me@one/db?sslmode=verify-ca&sslrootcert=/not/there");
        assert!(matches!(missing.err().unwrap(), StoreError::Address(_)));
    }

    #[test]
    fn no_mistake_repeats_the_password() {
        for url in [
            "postgres://me:hunter2@one/db?sslmode=sometimes",
            "postgres://me:hunter2@one:port/db",
            "postgres://me:hunter2@one/db?nonsense=hunter2",
            "postgres://me:hunter2",
            "mysql://me:hunter2@one/db",
        ] {
            let error = parse(url).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
