//! `listen`: where the gateway is called.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use as2hook_event::SecretString;

use super::{
    keys::{self, CertificateFile, Certificates, PrivateKey, PrivateKeyFile},
    section::Section,
    setting::{Address, List, Maybe, PassphraseFile, Secret, Setting, Table, setting},
    value::Value,
};

/// The listeners. Their addresses, and whether they speak TLS, are fixed while the gateway runs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Partners call it to reach the AS2 server. Default `0.0.0.0:8080`.
    #[serde(with = "Inbound")]
    pub inbound: Listener,
    /// The AS2 server calls it to reach partners. Default: it does not run.
    #[serde(with = "Maybe::<Table<Listener>>")]
    pub outbound: Option<Listener>,
    /// Config API, admin API and metrics. Default `127.0.0.1:8081`.
    #[serde(with = "Admin")]
    pub admin: Listener,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port.
    #[serde(with = "Address")]
    pub address: SocketAddr,
    /// Default: plain HTTP.
    #[serde(with = "Maybe::<Table<ServerTls>>", default)]
    pub tls: Option<ServerTls>,
    /// What `Host` may name, without a port; of the outbound listener alone. Default: anything.
    #[serde(with = "List::<HostName>", default)]
    pub hosts: Vec<String>,
}

/// What a TLS listener shows, and asks for. Reloads with the rest.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Our certificate, and those between it and the root: PEM. Never empty.
    #[serde(rename = "certificate", with = "CertificateFile")]
    pub chain: Certificates,
    /// Its key: PEM.
    #[serde(with = "PrivateKeyFile")]
    pub private_key: PrivateKey,
    /// Of a key that is encrypted.
    #[serde(with = "Maybe::<Secret>", default)]
    passphrase: Option<SecretString>,
    /// The file of the passphrase.
    #[serde(with = "Maybe::<PassphraseFile>", default)]
    passphrase_file: Option<PathBuf>,
    /// With any, a client must show a certificate that one of these issued.
    #[serde(with = "CertificateFile", default, skip_serializing_if = "<[_]>::is_empty")]
    pub client_ca: Certificates,
}

const INBOUND: &str = "0.0.0.0:8080";
const ADMIN: &str = "127.0.0.1:8081";

setting!(
    /// A listener with a default address.
    Inbound: Listener,
    |value| own_listener(value, INBOUND),
    Listener::clone,
    { "type": "object", "properties": { "address": { "type": "string", "default": INBOUND }, "tls": { "$ref": "#/definitions/ServerTls" } }, "additionalProperties": false }
);
setting!(
    /// As [`Inbound`].
    Admin: Listener,
    |value| own_listener(value, ADMIN),
    Listener::clone,
    { "type": "object", "properties": { "address": { "type": "string", "default": ADMIN }, "tls": { "$ref": "#/definitions/ServerTls" } }, "additionalProperties": false }
);

setting!(
    /// A name or an address, as `Host` has it before its port.
    HostName: String,
    |value| {
        let text = value.text()?;
        match text.parse::<http::uri::Authority>() {
            Ok(authority) if authority.host() == text => Some(text),
            _ => value.wrong("must be a host's name or address, without a port"),
        }
    },
    String::as_str,
    { "type": "string", "minLength": 1 }
);

fn own_listener(value: &Value, address: &str) -> Option<Listener> {
    for entry in value.entries()?.iter().filter(|entry| &*entry.key == "hosts") {
        value.unknown_key(entry, &["address", "tls"]);
    }
    value.with_default("address", address)?.section()
}

// === impl Listen ===

impl Section for Listen {
    fn judge(&mut self, table: &Value) -> Option<()> {
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        for (name, address) in self.addresses() {
            let same = |(_, other): &&(&str, SocketAddr)| *other == address && address.port() != 0;
            if let Some((other, _)) = taken.iter().find(same) {
                let place = table.get(name).unwrap_or_else(|| table.clone());
                place.wrong::<()>(format!("`{other}` has this address already: {address}"));
            }
            taken.push((name, address));
        }
        Some(())
    }
}

impl Listen {
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
        let listener = |host: [u8; 4], port| Listener {
            address: SocketAddr::from((host, port)),
            tls: None,
            hosts: Vec::new(),
        };
        Self {
            inbound: listener([0, 0, 0, 0], 8080),
            outbound: None,
            admin: listener([127, 0, 0, 1], 8081),
        }
    }
}

impl Section for Listener {}

impl Section for ServerTls {
    fn judge(&mut self, table: &Value) -> Option<()> {
        keys::judge_identity(table, &self.chain, &self.private_key)
    }
}
