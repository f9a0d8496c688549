//! The built gateway: a folder of config written for it, its process, and what can be done to it.

mod cli;
mod config;
mod running;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use cli::{Ran, as2hook, as2hook_with};
pub use config::{Partner, Rule};
pub use running::{Process, Running, wait_until};

use crate::endpoint::Endpoint;
use crate::pki::{self, Identity};
use config::Config;

/// How long a start may take, on a machine that does much else.
const START: Duration = Duration::from_secs(120);

/// A gateway that is not yet running.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    folder: Option<PathBuf>,
    config: Config,
    environment: Vec<(String, String)>,
}

/// Why a gateway did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder could not be written, or the binary not be run.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the gateway ended ({status}) before it was ready; its log:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// All that it wrote.
        log: String,
    },
    /// It ran, but `/readyz` did not respond with 200 in time.
    #[error("the gateway was not ready within {within:?}: {last}; its log:\n{log}")]
    NotReady {
        /// How long it was waited for.
        within: Duration,
        /// The last response, or why there was none.
        last: String,
        /// All that it wrote.
        log: String,
    },
}

// === impl Gateway ===

impl Gateway {
    /// The binary beside this test or example, and a config with an inbound and an admin listener on
    /// free ports.
    pub fn new() -> Self {
        let config = Config::new(free_address(), free_address());
        Self { binary: built_binary(), folder: None, config, environment: Vec::new() }
    }

    /// Another binary, such as `env!("CARGO_BIN_EXE_as2hook")`.
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = binary.into();
        self
    }

    /// Works in this folder and leaves it behind. A temporary one by default.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Where the admin listener is to be.
    pub fn admin_at(mut self, address: SocketAddr) -> Self {
        self.config.admin = address;
        self
    }

    /// Runs the outbound listener too.
    pub fn outbound(mut self) -> Self {
        self.config.outbound = Some(free_address());
        self
    }

    /// The inbound listener speaks TLS as [`pki::server()`], and asks for client certificates of
    /// [`pki::authority()`] where `mutual`.
    pub fn inbound_tls(mut self, mutual: bool) -> Self {
        self.config.inbound_tls = Some(mutual);
        self
    }

    /// The AS2 server behind it.
    pub fn receiver(self, receiver: &Endpoint) -> Self {
        let url = receiver.url("");
        let this = self.receiver_url(&url);
        if url.starts_with("https") { this.receiver_set("ca", "keys/authority.crt") } else { this }
    }

    /// The AS2 server behind it, by its URL.
    pub fn receiver_url(mut self, url: &str) -> Self {
        self.config.receiver.push(("url".to_owned(), config::quoted(url)));
        self
    }

    /// A key of the `receiver` section, its value as YAML.
    pub fn receiver_set(mut self, key: &str, yaml: &str) -> Self {
        self.config.receiver.push((key.to_owned(), yaml.to_owned()));
        self
    }

    /// A station with this key. Called again for the same id, one more key.
    pub fn station(mut self, as2_id: &str, identity: &'static Identity) -> Self {
        let certificate = format!("keys/{}.crt", identity.name);
        let key = format!("keys/{}.key", identity.name);
        self.config.identities.push(identity);
        self.config.station(as2_id, certificate, key);
        self
    }

    /// A station with a key from files.
    pub fn station_files(mut self, as2_id: &str, certificate: &Path, key: &Path) -> Self {
        let text = |path: &Path| path.display().to_string();
        self.config.station(as2_id, text(certificate), text(key));
        self
    }

    /// A partner with this certificate.
    pub fn partner(mut self, as2_id: &str, identity: &'static Identity) -> Self {
        self.config.identities.push(identity);
        self.partner_with(as2_id, |partner| {
            partner.certificate(Path::new(&format!("keys/{}.crt", identity.name)))
        })
    }

    /// A partner, in detail.
    pub fn partner_with(
        mut self,
        as2_id: &str,
        configure: impl FnOnce(Partner) -> Partner,
    ) -> Self {
        let number = 123 + self.config.partners.len();
        self.config.partners.push(configure(Partner::new(number, as2_id)));
        self
    }

    /// A webhook rule.
    pub fn rule(mut self, name: &str, configure: impl FnOnce(Rule) -> Rule) -> Self {
        self.config.rules.push(configure(Rule::new(name)));
        self
    }

    /// A top-level key of the config, its value as YAML.
    pub fn set(mut self, key: &str, yaml: &str) -> Self {
        self.config.settings.push((key.to_owned(), yaml.to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes the folder, starts the binary, and waits until `/readyz` responds with 200.
    pub fn start(self) -> Result<Running, StartError> {
        let mut running = self.prepare()?;
        running.start()?;
        Ok(running)
    }

    /// Writes the folder alone. [`Running::start`] does the rest.
    pub fn prepare(self) -> Result<Running, StartError> {
        let (folder, temporary) = match self.folder {
            Some(folder) => (folder, None),
            None => {
                let temporary = tempfile::Builder::new().prefix("as2hook-").tempdir();
                let temporary = temporary.map_err(failed("a temporary folder"))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        write_folder(&folder, &self.config).map_err(failed(&format!("{}", folder.display())))?;
        let config = Arc::new(self.config);
        Ok(Running::new(self.binary, folder, temporary, config, self.environment))
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

/// The `as2hook` binary of the build that this executable is from.
pub fn built_binary() -> PathBuf {
    if let Some(given) = std::env::var_os("CARGO_BIN_EXE_as2hook") {
        return given.into();
    }
    let here = std::env::current_exe().expect("a running program has a path");
    // target/<profile>/{deps,examples}/<this one>
    here.ancestors().nth(2).map(|profile| profile.join("as2hook")).unwrap_or_default()
}

/// A free port of 127.0.0.1, below the range that outgoing connections take theirs from. It is this
/// process's own until it ends, also when its listener has closed: it is not given a second time.
pub fn free_address() -> SocketAddr {
    // UDP's ports are not needed here: holding one reserves TCP's of the same number.
    static GIVEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("no thread panics while it holds this");
    for _ in 0..1000 {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(10_240..32_768)));
        let Ok(own) = UdpSocket::bind(address) else { continue };
        if TcpListener::bind(address).is_ok() {
            given.push(own);
            return address;
        }
    }
    panic!("a thousand ports tried, and none is free");
}

fn write_folder(folder: &Path, config: &Config) -> io::Result<()> {
    let keys = folder.join("keys");
    fs::create_dir_all(&keys)?;
    fs::create_dir_all(folder.join("data"))?;
    for identity in &config.identities {
        identity.write(&keys)?;
    }
    for identity in [pki::authority(), pki::server(), pki::client()] {
        identity.write(&keys)?;
    }
    fs::write(folder.join("as2hook.yaml"), config.gateway_yaml())?;
    fs::write(folder.join("webhooks.yaml"), config::rules_yaml(&config.rules))
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests;
