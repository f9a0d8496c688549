//! `listen`: where the gateway is called.

use std::net::SocketAddr;

use as2hook_event::SecretString;
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    keys::{self, CertificateFile, Certificates, Key, PrivateKeyFile},
    section::Section,
    setting::{Address, List, Maybe, PassphraseFile, SecretText, Setting, Table, schema, setting},
    value::{FromFile, Value},
};

/// The listeners. Their addresses, and whether they speak TLS, are fixed while the gateway runs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Partners call it to reach the AS2 server. Default `0.0.0.0:8080`.
    #[serde(with = "OwnListener::<8080>", default = "own_listener::<8080>")]
    pub inbound: Listener,
    /// The AS2 server calls it to reach partners. Default: it does not run.
    #[serde(with = "Maybe::<Table<Listener>>", default)]
    pub outbound: Option<Listener>,
    /// Config API, admin API and metrics. Default `127.0.0.1:8081`.
    #[serde(with = "OwnListener::<8081>", default = "own_listener::<8081>")]
    pub admin: Listener,
}

/// A listener.
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
    #[serde(with = "List::<HostName>", default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What a TLS listener shows, and asks for. Reloads with the rest.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Our certificate, and those between it and the root: PEM. Never empty.
    #[serde(rename = "certificate", with = "Certificates")]
    pub chain: CertificateFile,
    /// Its key: PEM.
    #[serde(with = "Key")]
    pub private_key: PrivateKeyFile,
    /// The passphrase of a key that is encrypted.
    #[serde(with = "Maybe::<SecretText>", default)]
    passphrase: Option<SecretString>,
    /// The file of the passphrase.
    #[serde(with = "Maybe::<PassphraseFile>", default)]
    passphrase_file: Option<FromFile<SecretString>>,
    /// With any, a client must show a certificate that one of these issued.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    pub client_ca: CertificateFile,
}

/// A listener whose address has a default, with this port.
struct OwnListener<const PORT: u16>;

impl<const PORT: u16> Setting for OwnListener<PORT> {
    type Value = Listener;

    fn read(value: &Value) -> Option<Listener> {
        for entry in
            value.entries_as_in(Listener::EXAMPLE)?.iter().filter(|entry| &*entry.key == "hosts")
        {
            value.unknown_key(entry, &["address", "tls"]);
        }
        let address = own_listener::<PORT>().address.to_string();
        value.with_default("address", &address)?.section()
    }

    fn shown(listener: &Listener) -> impl Serialize {
        listener
    }
}

schema!([const PORT: u16] OwnListener<PORT>, |generator| {
    let (address, tls) = (own_listener::<PORT>().address, generator.subschema_for::<ServerTls>());
    json_schema!({
        "type": "object",
        "properties": {
            "address": { "type": "string", "default": address, "description": "IP address and port." },
            "tls": { "allOf": [tls], "description": "Default: plain HTTP." }
        },
        "additionalProperties": false
    })
});

fn own_listener<const PORT: u16>() -> Listener {
    // Partners come from anywhere; the admin listener is for this machine.
    let host = if PORT == 8080 { [0, 0, 0, 0] } else { [127, 0, 0, 1] };
    Listener { address: SocketAddr::from((host, PORT)), tls: None, hosts: Vec::new() }
}

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
    String::as_str
);

/// Whether this listener has the address that is meant, and not the default for a wrong one.
pub(crate) fn is_sound(listen: &Value, name: &str) -> bool {
    listen.get(name).is_none_or(|listener| listener.is_sound())
}

// === impl Listen ===

impl Section for Listen {
    const EXAMPLE: &'static str = "{ inbound: { address: \"0.0.0.0:8080\" } }";

    fn judge(&mut self, table: &Value) -> Option<()> {
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        for (name, address) in self.addresses().filter(|(name, _)| is_sound(table, name)) {
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

impl Section for Listener {
    const EXAMPLE: &'static str = "{ address: \"127.0.0.1:8080\" }";
}

impl Section for ServerTls {
    fn judge(&mut self, table: &Value) -> Option<()> {
        keys::judge_identity(table, &self.chain, &self.private_key)
    }
}
