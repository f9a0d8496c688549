//! The address of the database and its TLS settings: `postgres://user:password@host/database` with
//! the parameters of libpq, including `sslmode=verify-ca|verify-full`, `sslrootcert`, `sslcert` and
//! `sslkey`.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{SslConnector, SslMethod, SslVerifyMode},
    x509::X509,
};
use percent_encoding::percent_decode_str;
use postgres_openssl::{MakeTlsConnector, TlsStream};
use tokio::time::Instant;
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{Host, SslMode},
};

use super::PostgresStore;
use crate::store::StoreError;

/// The parsed address of a database. It contains the password and has no `Debug`.
#[derive(Clone)]
pub(super) struct DatabaseAddress {
    /// One for each host, so that a host that hangs does not use up the whole time limit.
    hosts: Vec<Config>,
    /// The host that last worked, which is tried first.
    good: Arc<AtomicUsize>,
    tls: MakeTlsConnector,
    connect: Duration,
}

/// A client, and the connection that must be polled for it.
pub(super) type Connected = (Client, Connection<Socket, TlsStream<Socket>>);

/// Why no connection was made.
pub(super) enum ConnectFailure {
    /// The error of the last host or of its system.
    Failed(tokio_postgres::Error),
    /// No host responded in time.
    Slow,
}

/// What the server's certificate must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CertificateTrust {
    /// Nothing: encrypted, to any server.
    Any,
    /// That a trusted authority signed it.
    Signed,
    /// Also that it belongs to this host.
    Named,
}

/// The files in TLS parameters, which tokio-postgres does not handle, by parameter.
type TlsFiles = HashMap<&'static str, String>;

/// A file that a parameter names.
struct TlsFile<'a> {
    parameter: &'static str,
    path: &'a str,
    bytes: Vec<u8>,
}

const ROOT: &str = "sslrootcert";
const CERTIFICATE: &str = "sslcert";
const KEY: &str = "sslkey";
const TLS_FILES: [&str; 3] = [ROOT, CERTIFICATE, KEY];

// === impl PostgresStore ===

impl PostgresStore {
    /// Checks a URL as [`Self::connect`] does, with the files that it names. Does not connect.
    ///
    /// # Errors
    /// [`StoreError::Address`], without anything that may be a password.
    pub fn check_address(url: &str) -> Result<(), StoreError> {
        DatabaseAddress::parse(url, Duration::ZERO).map(drop)
    }
}

// === impl DatabaseAddress ===

impl DatabaseAddress {
    /// Parses a URL. No error quotes it: it may contain a password.
    pub(super) fn parse(url: &str, connect: Duration) -> Result<Self, StoreError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut files = TlsFiles::new();
        let mut trust = None;
        let mut rest = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match (key, value) {
                ("sslmode", "verify-ca") => trust = Some(CertificateTrust::Signed),
                ("sslmode", "verify-full") => trust = Some(CertificateTrust::Named),
                _ => match TLS_FILES.into_iter().find(|known| *known == key) {
                    Some(key) => {
                        let path = percent_decode_str(value).decode_utf8_lossy().into_owned();
                        files.insert(key, path);
                    }
                    None => rest.push(parameter),
                },
            }
        }
        let query = rest.join("&");
        let mut hosts = Vec::new();
        for base in each_host(base, &query) {
            let mut config: Config =
                format!("{base}?{query}").parse().map_err(|_| not_understood())?;
            // An unescaped `@` in a password ends it here, and its rest would be resolved as a host
            // name.
            let torn = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
            if config.get_hosts().iter().any(torn) {
                return Err(not_understood());
            }
            if config.get_hosts().is_empty() {
                return Err(StoreError::Address("it names no host".to_owned()));
            }
            if trust.is_some() {
                config.ssl_mode(SslMode::Require);
            } else if files.contains_key(ROOT) && config.get_ssl_mode() == SslMode::Require {
                // As libpq does.
                trust = Some(CertificateTrust::Signed);
            }
            config
                .keepalives_idle(Duration::from_secs(15))
                .keepalives_interval(Duration::from_secs(5))
                .keepalives_retries(3);
            if config.get_application_name().is_none() {
                config.application_name("as2hook");
            }
            hosts.push(config);
        }
        let tls = connector(trust.unwrap_or(CertificateTrust::Any), &files)?;
        Ok(Self { hosts, good: Arc::default(), tls, connect })
    }

    /// Connects to the first suitable host, beginning with the last one that worked.
    pub(super) async fn connect(&self) -> Result<Connected, ConnectFailure> {
        let deadline = Instant::now() + self.connect;
        let first = self.good.load(Ordering::Relaxed);
        let mut failed = ConnectFailure::Slow;
        for n in 0..self.hosts.len() {
            let host = (first + n) % self.hosts.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let hosts_left = u32::try_from(self.hosts.len() - n).unwrap_or(u32::MAX);
            let attempt = self.hosts[host].connect(self.tls.clone());
            match tokio::time::timeout(left / hosts_left, attempt).await {
                Ok(Ok(connected)) => {
                    self.good.store(host, Ordering::Relaxed);
                    return Ok(connected);
                }
                Ok(Err(error)) => failed = ConnectFailure::Failed(error),
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// Returns the limit for connecting and a first query.
    pub(super) fn connect_limit(&self) -> Duration {
        self.connect * 5 / 4
    }

    /// Appends this to the application name, to identify the connection on the server.
    pub(super) fn named(mut self, what: &str) -> Self {
        for host in &mut self.hosts {
            let name = host.get_application_name().unwrap_or_default();
            let name = format!("{name} {what}");
            host.application_name(name);
        }
        self
    }
}

/// Returns the URL once for each host in it. Hosts in its parameters stay together.
fn each_host(base: &str, query: &str) -> Vec<String> {
    let together = || vec![base.to_owned()];
    if query.split('&').any(|parameter| parameter.starts_with("host")) {
        return together();
    }
    let Some((scheme, rest)) = base.split_once("://") else { return together() };
    // In the order of libpq and tokio-postgres: a password may contain `/` or a comma.
    let (user, rest) = match rest.split_once('@') {
        Some((user, rest)) => (format!("{user}@"), rest),
        None => (String::new(), rest),
    };
    let (hosts, path) = match rest.split_once('/') {
        Some((hosts, path)) => (hosts, format!("/{path}")),
        None => (rest, String::new()),
    };
    hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}")).collect()
}

/// Quotes nothing of the URL: with an unescaped `@` and `?` in a password, its rest becomes the
/// name of an option.
fn not_understood() -> StoreError {
    let expected = "it must be as in postgres://user:password@host:port/database?sslmode=require, with \
        options that are known; in a password write ? as %3F, / as %2F, @ as %40, # as %23 and % as %25";
    StoreError::Address(expected.to_owned())
}

fn connector(trust: CertificateTrust, files: &TlsFiles) -> Result<MakeTlsConnector, StoreError> {
    let openssl =
        |error| StoreError::Address(format!("TLS cannot be set up: {}", in_short(&error)));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(openssl)?;
    builder.set_verify(match trust {
        CertificateTrust::Any => SslVerifyMode::NONE,
        CertificateTrust::Signed | CertificateTrust::Named => SslVerifyMode::PEER,
    });
    if let Some(file) = TlsFile::read(files, ROOT)? {
        file.check_certificates()?;
        builder.set_ca_file(file.path).map_err(|error| file.not_taken(&error))?;
    }
    if let Some(file) = TlsFile::read(files, CERTIFICATE)? {
        file.check_certificates()?;
        builder.set_certificate_chain_file(file.path).map_err(|error| file.not_taken(&error))?;
    }
    if let Some(file) = TlsFile::read(files, KEY)? {
        // With a callback: without one OpenSSL prompts on the terminal.
        let key = PKey::private_key_from_pem_callback(&file.bytes, |_| Ok(0))
            .map_err(|_| file.wrong("holds no private key (PEM), or one with a passphrase"))?;
        builder
            .set_private_key(&key)
            .and_then(|()| builder.check_private_key())
            .map_err(|_| file.wrong("is not the key of the certificate in sslcert"))?;
    }
    let mut tls = MakeTlsConnector::new(builder.build());
    if trust != CertificateTrust::Named {
        tls.set_callback(|connection, _| {
            connection.set_verify_hostname(false);
            Ok(())
        });
    }
    Ok(tls)
}

// === impl TlsFile ===

impl<'a> TlsFile<'a> {
    /// Reads the file of a parameter, if there is one.
    fn read(files: &'a TlsFiles, parameter: &'static str) -> Result<Option<Self>, StoreError> {
        let Some(path) = files.get(parameter) else { return Ok(None) };
        let mut file = Self { parameter, path, bytes: Vec::new() };
        file.bytes =
            fs::read(path).map_err(|error| file.wrong(&format!("cannot be read: {error}")))?;
        Ok(Some(file))
    }

    fn check_certificates(&self) -> Result<(), StoreError> {
        match X509::stack_from_pem(&self.bytes) {
            Ok(found) if !found.is_empty() => Ok(()),
            _ => Err(self.wrong("holds no certificate (PEM)")),
        }
    }

    fn not_taken(&self, error: &ErrorStack) -> StoreError {
        self.wrong(&format!("is not taken by OpenSSL: {}", in_short(error)))
    }

    fn wrong(&self, what: &str) -> StoreError {
        // Quoted: escapes in the URL may produce any character.
        StoreError::Address(format!("its {} {:?} {what}", self.parameter, self.path))
    }
}

/// Returns OpenSSL's last reason, without the position in its sources.
fn in_short(error: &ErrorStack) -> &'static str {
    error.errors().last().and_then(|error| error.reason()).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use openssl::{
        ec::{EcGroup, EcKey},
        nid::Nid,
        symm::Cipher,
    };

    use super::*;

    fn parse(url: &str) -> Result<DatabaseAddress, StoreError> {
        DatabaseAddress::parse(url, Duration::from_secs(1))
    }

    #[test]
    fn several_hosts_and_target_session_attrs_are_parsed() {
        let address =
            parse("postgres://me:p%40ss@one,two:5433/db?target_session_attrs=read-write").unwrap();
        assert_eq!(address.hosts.len(), 2);
        for (host, port) in address.hosts.iter().zip([5432, 5433]) {
            assert_eq!((host.get_hosts().len(), host.get_password()), (1, Some(&b"p@ss"[..])));
            assert!(matches!(host.get_ports(), [] | [_]));
            assert_eq!(host.get_ports().first().copied().unwrap_or(5432), port);
            assert_eq!(host.get_ssl_mode(), SslMode::Prefer);
        }
        let addresses = parse("postgres://me@one,two/db?hostaddr=127.0.0.1,127.0.0.2").unwrap();
        assert_eq!(addresses.hosts.len(), 1);
    }

    #[test]
    fn sslmode_values_of_libpq_are_parsed() {
        let address = parse("postgres://me@one/db?sslmode=verify-full&application_name=x").unwrap();
        assert_eq!(address.hosts[0].get_ssl_mode(), SslMode::Require);
        let named = address.named("(y)");
        assert_eq!(named.hosts[0].get_application_name(), Some("x (y)"));
        let missing = parse("postgres://me@one/db?sslmode=verify-ca&sslrootcert=/not/there");
        assert!(matches!(missing.err().unwrap(), StoreError::Address(_)));
    }

    #[test]
    fn password_extends_to_the_last_at_sign_before_the_host() {
        let address = parse("postgres://me:a,b/c#d@one,two/db").unwrap();
        assert_eq!(address.hosts.len(), 2);
        for (host, name) in address.hosts.iter().zip(["one", "two"]) {
            assert_eq!(host.get_hosts(), [Host::Tcp(name.to_owned())]);
            assert_eq!(host.get_password(), Some(&b"a,b/c#d"[..]));
        }
    }

    #[test]
    fn invalid_tls_file_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.pem");
        let shown = file.to_str().unwrap();
        let message = |parameters: &str| {
            let url = format!("postgres://me:hunter2@one/db?{parameters}");
            PostgresStore::check_address(&url).unwrap_err().to_string()
        };
        let says = |parameter: &str, what: &str| {
            format!("the store's address is not understood: its {parameter} {shown:?} {what}")
        };
        let missing = says("sslrootcert", "cannot be read: No such file or directory (os error 2)");
        assert_eq!(message(&format!("sslmode=verify-full&sslrootcert={shown}")), missing);
        fs::write(&file, "nonsense").unwrap();
        for (parameter, what) in [
            ("sslrootcert", "holds no certificate (PEM)"),
            ("sslcert", "holds no certificate (PEM)"),
            ("sslkey", "holds no private key (PEM), or one with a passphrase"),
        ] {
            assert_eq!(message(&format!("{parameter}={shown}")), says(parameter, what));
        }
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let sealed = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"x").unwrap();
        fs::write(&file, sealed).unwrap();
        let what = "holds no private key (PEM), or one with a passphrase";
        assert_eq!(message(&format!("sslkey={shown}")), says("sslkey", what));
        fs::write(&file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let what = "is not the key of the certificate in sslcert";
        assert_eq!(message(&format!("sslkey={shown}")), says("sslkey", what));
    }

    #[test]
    fn address_errors_do_not_contain_the_password() {
        for url in [
            "postgres://me:hunter2@one/db?sslmode=sometimes",
            "postgres://me:hunter2@one:port/db",
            "postgres://me:hunter2@one/db?nonsense=hunter2",
            "postgres://me:hunter2",
            "postgres://me:p@x?hunter2=1@one/db",
            "postgres://me:p@hunter2@one/db",
            "postgres://me:p@hunter2@one,two/db",
            "mysql://me:hunter2@one/db",
        ] {
            let error = parse(url).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
