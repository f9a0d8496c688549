//! Where the database is, and how far TLS is to be trusted: `postgres://user:password@host/database`
//! with the parameters that libpq knows, `sslmode=verify-ca|verify-full`, `sslrootcert`, `sslcert` and
//! `sslkey` among them.

use std::{
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

/// A database's address, ready to connect to. It has the password inside and no `Debug`.
#[derive(Clone)]
pub(super) struct Address {
    /// One for each host: a host that hangs must not take all the time that there is.
    hosts: Vec<Config>,
    /// The host that was found in order last, which is tried first.
    good: Arc<AtomicUsize>,
    tls: MakeTlsConnector,
    connect: Duration,
}

/// A client, and what has to be driven for it to hear anything.
pub(super) type Connected = (Client, Connection<Socket, TlsStream<Socket>>);

/// Why there is no connection.
pub(super) enum Unconnected {
    /// What the last host, or its system, said.
    Failed(tokio_postgres::Error),
    /// None said anything in time.
    Slow,
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

// === impl PostgresStore ===

impl PostgresStore {
    /// Judges a URL as [`Self::connect`] does, with the files that it names. No database is asked.
    ///
    /// # Errors
    /// [`StoreError::Address`], with no word of what may be a password.
    pub fn check_address(url: &str) -> Result<(), StoreError> {
        Address::parse(url, Duration::ZERO).map(drop)
    }
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
        let query = rest.join("&");
        let mut hosts = Vec::new();
        for base in each_host(base, &query) {
            let mut config: Config =
                format!("{base}?{query}").parse().map_err(|_| not_understood())?;
            // An `@` that stands in a password ends it here: its rest would be asked of the network.
            let torn = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
            if config.get_hosts().iter().any(torn) {
                return Err(not_understood());
            }
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
                .keepalives_idle(Duration::from_secs(15))
                .keepalives_interval(Duration::from_secs(5))
                .keepalives_retries(3);
            if config.get_application_name().is_none() {
                config.application_name("as2hook");
            }
            hosts.push(config);
        }
        let tls = connector(trust.unwrap_or(Trust::Any), &files)?;
        Ok(Self { hosts, good: Arc::default(), tls, connect })
    }

    /// Connects to the first host that is what it is to be, beginning with the one that was last time.
    pub(super) async fn connect(&self) -> Result<Connected, Unconnected> {
        let deadline = Instant::now() + self.connect;
        let first = self.good.load(Ordering::Relaxed);
        let mut failed = Unconnected::Slow;
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
                Ok(Err(error)) => failed = Unconnected::Failed(error),
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// How long connecting takes at most, and a first question.
    pub(super) fn patience(&self) -> Duration {
        self.connect * 5 / 4
    }

    /// The same, under a name that ends in this, for whoever looks at the server's connections.
    pub(super) fn named(mut self, what: &str) -> Self {
        for host in &mut self.hosts {
            let name = host.get_application_name().unwrap_or_default();
            let name = format!("{name} {what}");
            host.application_name(name);
        }
        self
    }
}

/// The URL once for each host that it names. Where its parameters name some too, they stay together.
fn each_host(base: &str, query: &str) -> Vec<String> {
    let together = || vec![base.to_owned()];
    if query.split('&').any(|parameter| parameter.starts_with("host")) {
        return together();
    }
    let Some((scheme, rest)) = base.split_once("://") else { return together() };
    // In the order of whoever reads the rest: a password may have a `/` or a comma.
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

/// Says nothing of what stands in it: where a password has an `@` and a `?` unescaped, its
/// rest is an option's name.
fn not_understood() -> StoreError {
    let expected = "it must be as in postgres://user:password@host:port/database?sslmode=require, with \
        options that are known; in a password write ? as %3F, / as %2F, @ as %40, # as %23 and % as %25";
    StoreError::Address(expected.to_owned())
}

fn connector(trust: Trust, files: &Files) -> Result<MakeTlsConnector, StoreError> {
    let openssl =
        |error| StoreError::Address(format!("TLS cannot be set up: {}", in_short(&error)));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(openssl)?;
    builder.set_verify(match trust {
        Trust::Any => SslVerifyMode::NONE,
        Trust::Signed | Trust::Named => SslVerifyMode::PEER,
    });
    if let Some(path) = &files.root {
        let file = TlsFile::read("sslrootcert", path)?;
        file.certificates()?;
        builder.set_ca_file(path).map_err(|error| file.not_taken(&error))?;
    }
    if let Some(path) = &files.certificate {
        let file = TlsFile::read("sslcert", path)?;
        file.certificates()?;
        builder.set_certificate_chain_file(path).map_err(|error| file.not_taken(&error))?;
    }
    if let Some(path) = &files.key {
        let file = TlsFile::read("sslkey", path)?;
        // With a callback: without one OpenSSL asks on the terminal.
        let key = PKey::private_key_from_pem_callback(&file.bytes, |_| Ok(0))
            .map_err(|_| file.wrong("holds no private key (PEM), or one with a passphrase"))?;
        builder
            .set_private_key(&key)
            .and_then(|()| builder.check_private_key())
            .map_err(|_| file.wrong("is not the key of the certificate in sslcert"))?;
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

/// A file that a parameter names.
struct TlsFile<'a> {
    parameter: &'static str,
    path: &'a str,
    bytes: Vec<u8>,
}

// === impl TlsFile ===

impl<'a> TlsFile<'a> {
    fn read(parameter: &'static str, path: &'a str) -> Result<Self, StoreError> {
        let mut file = Self { parameter, path, bytes: Vec::new() };
        match fs::read(path) {
            Ok(bytes) => file.bytes = bytes,
            Err(error) => return Err(file.wrong(&format!("cannot be read: {error}"))),
        }
        Ok(file)
    }

    fn certificates(&self) -> Result<(), StoreError> {
        match X509::stack_from_pem(&self.bytes) {
            Ok(found) if !found.is_empty() => Ok(()),
            _ => Err(self.wrong("holds no certificate (PEM)")),
        }
    }

    fn not_taken(&self, error: &ErrorStack) -> StoreError {
        self.wrong(&format!("is not taken by OpenSSL: {}", in_short(error)))
    }

    fn wrong(&self, what: &str) -> StoreError {
        // Quoted: escapes in the URL may stand for anything.
        StoreError::Address(format!("its {} {:?} {what}", self.parameter, self.path))
    }
}

/// What OpenSSL says last, without where in its sources it says so.
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

    fn parse(url: &str) -> Result<Address, StoreError> {
        Address::parse(url, Duration::from_secs(1))
    }

    #[test]
    fn several_hosts_and_what_they_are_to_be() {
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
    fn libpqs_words_for_trust_are_known() {
        let address = parse("postgres://me@one/db?sslmode=verify-full&application_name=x").unwrap();
        assert_eq!(address.hosts[0].get_ssl_mode(), SslMode::Require);
        let named = address.named("(y)");
        assert_eq!(named.hosts[0].get_application_name(), Some("x (y)"));
        let missing = parse("postgres://me@one/db?sslmode=verify-ca&sslrootcert=/not/there");
        assert!(matches!(missing.err().unwrap(), StoreError::Address(_)));
    }

    #[test]
    fn a_password_is_all_that_stands_before_the_host() {
        let address = parse("postgres://me:a,b/c#d@one,two/db").unwrap();
        assert_eq!(address.hosts.len(), 2);
        for (host, name) in address.hosts.iter().zip(["one", "two"]) {
            assert_eq!(host.get_hosts(), [Host::Tcp(name.to_owned())]);
            assert_eq!(host.get_password(), Some(&b"a,b/c#d"[..]));
        }
    }

    #[test]
    fn what_is_wrong_with_a_tls_file_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.pem");
        let shown = file.to_str().unwrap();
        let told = |parameters: &str| {
            let url = format!("postgres://me:hunter2@one/db?{parameters}");
            PostgresStore::check_address(&url).unwrap_err().to_string()
        };
        let says = |parameter: &str, what: &str| {
            format!("the store's address is not understood: its {parameter} {shown:?} {what}")
        };
        let missing = says("sslrootcert", "cannot be read: No such file or directory (os error 2)");
        assert_eq!(told(&format!("sslmode=verify-full&sslrootcert={shown}")), missing);
        fs::write(&file, "nonsense").unwrap();
        for (parameter, what) in [
            ("sslrootcert", "holds no certificate (PEM)"),
            ("sslcert", "holds no certificate (PEM)"),
            ("sslkey", "holds no private key (PEM), or one with a passphrase"),
        ] {
            assert_eq!(told(&format!("{parameter}={shown}")), says(parameter, what));
        }
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let sealed = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"x").unwrap();
        fs::write(&file, sealed).unwrap();
        let what = "holds no private key (PEM), or one with a passphrase";
        assert_eq!(told(&format!("sslkey={shown}")), says("sslkey", what));
        fs::write(&file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let what = "is not the key of the certificate in sslcert";
        assert_eq!(told(&format!("sslkey={shown}")), says("sslkey", what));
    }

    #[test]
    fn no_mistake_repeats_the_password() {
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
