//! `listen`: where the gateway is called.

use std::{fmt, net::SocketAddr};

use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};

use super::{
    keys::{self, CERTIFICATE, PASSPHRASE, PASSPHRASE_FILE, PRIVATE_KEY},
    read::Value,
};

/// The listeners. Their addresses, and whether they speak TLS, are fixed while the gateway runs.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Partners call it to reach the AS2 server. Default `0.0.0.0:8080`.
    pub inbound: Listener,
    /// The AS2 server calls it to reach partners. Default: it does not run.
    pub outbound: Option<Listener>,
    /// Config API, admin API and metrics. Default `127.0.0.1:8081`.
    pub admin: Listener,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Listener {
    /// IP address and port.
    pub address: SocketAddr,
    /// Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// What `Host` may name, without a port; of the outbound listener alone. Default: anything.
    pub hosts: Vec<String>,
}

/// What a TLS listener shows, and asks for. Reloads with the rest.
#[derive(Clone)]
pub struct ServerTls {
    /// Our certificate, and those between it and the root. Never empty.
    pub chain: Vec<X509>,
    /// Its key.
    pub private_key: PKey<Private>,
    /// With any, a client must show a certificate that one of these issued.
    pub client_ca: Vec<X509>,
}

/// The keys of a listener.
const COMMON: &[&str] = &["address", "tls"];
const OUTBOUND: &[&str] = &["address", "tls", "hosts"];

const INBOUND: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

// === impl Listen ===

impl Listen {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        let table = value.table(&["inbound", "outbound", "admin"])?;
        let with_default =
            |default| move |value: &Value<'_>| Listener::read(value, Some(default), COMMON);
        let listen = Self {
            inbound: table.read_or("inbound", Listener::plain(INBOUND), with_default(INBOUND)),
            outbound: table.read("outbound", |value| Listener::read(value, None, OUTBOUND)),
            admin: table.read_or("admin", Listener::plain(ADMIN), with_default(ADMIN)),
        };
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        for (name, address) in listen.addresses() {
            let same = |(_, other): &&(&str, SocketAddr)| *other == address && address.port() != 0;
            if let Some((other, _)) = taken.iter().find(same) {
                let place = table.get(name).unwrap_or_else(|| value.clone());
                place.wrong::<()>(format!("`{other}` has this address already: {address}"));
            }
            taken.push((name, address));
        }
        Some(listen)
    }

    /// Each listener that runs: its name in the config, and its address.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let outbound = self.outbound.as_ref().map(|outbound| ("outbound", outbound.address));
        [("inbound", self.inbound.address)]
            .into_iter()
            .chain(outbound)
            .chain([("admin", self.admin.address)])
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self { inbound: Listener::plain(INBOUND), outbound: None, admin: Listener::plain(ADMIN) }
    }
}

// === impl Listener ===

impl Listener {
    fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, hosts: Vec::new() }
    }

    fn read(
        value: &Value<'_>,
        default: Option<SocketAddr>,
        keys: &'static [&'static str],
    ) -> Option<Self> {
        let table = value.table(keys)?;
        let address = match (table.get("address"), default) {
            (None, Some(default)) => Some(default),
            _ => table.need("address", Value::address),
        };
        let tls = match table.get("tls") {
            None => None,
            // With its mistakes noted, nothing goes on to run without TLS.
            Some(tls) => Some(ServerTls::read(&tls)?),
        };
        let hosts = match keys.contains(&"hosts") {
            true => table.read_or("hosts", Vec::new(), |value| value.each(host)),
            false => Vec::new(),
        };
        Some(Self { address: address?, tls, hosts })
    }
}

/// A name or an address, as `Host` has it before its port.
fn host(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    match text.parse::<http::uri::Authority>() {
        Ok(authority) if authority.host() == text => Some(text),
        _ => value.wrong("must be a host's name or address, without a port"),
    }
}

// === impl ServerTls ===

impl ServerTls {
    fn read(value: &Value<'_>) -> Option<Self> {
        let table =
            value.table(&[CERTIFICATE, PRIVATE_KEY, PASSPHRASE, PASSPHRASE_FILE, "client_ca"])?;
        let client_ca = table.read_or("client_ca", Vec::new(), keys::certificates);
        let identity = keys::identity(&table)?;
        Some(Self { chain: identity.chain, private_key: identity.private_key, client_ca })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("chain", &self.chain.len())
            .field("client_ca", &self.client_ca.len())
            .finish_non_exhaustive()
    }
}
