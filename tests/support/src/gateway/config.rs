//! The config that a test's gateway gets, as YAML.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::endpoint::Endpoint;
use crate::pki::Identity;

/// The token of the config API that every test's gateway knows; all scopes.
pub(super) const TOKEN: &str = "test-token";

#[derive(Debug)]
pub(super) struct Config {
    pub(super) inbound: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) outbound: Option<SocketAddr>,
    /// Whether the inbound listener speaks TLS, and then whether it demands client certificates.
    pub(super) inbound_tls: Option<bool>,
    pub(super) receiver: Vec<(String, String)>,
    stations: Vec<(String, Vec<(String, String)>)>,
    pub(super) partners: Vec<Partner>,
    pub(super) rules: Vec<Rule>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) identities: Vec<&'static Identity>,
}

/// A partner of the config.
#[derive(Clone, Debug)]
pub struct Partner {
    fields: Vec<(String, String)>,
    certificates: Vec<String>,
}

/// A webhook rule. Values are YAML where it says so.
#[derive(Clone, Debug)]
pub struct Rule {
    fields: Vec<(String, String)>,
}

// === impl Config ===

impl Config {
    pub(super) fn new(inbound: SocketAddr, admin: SocketAddr) -> Self {
        Self {
            inbound,
            admin,
            outbound: None,
            inbound_tls: None,
            receiver: Vec::new(),
            stations: Vec::new(),
            partners: Vec::new(),
            rules: Vec::new(),
            settings: Vec::new(),
            identities: Vec::new(),
        }
    }

    pub(super) fn station(&mut self, as2_id: &str, certificate: String, key: String) {
        match self.stations.iter_mut().find(|(id, _)| id == as2_id) {
            Some((_, keys)) => keys.push((certificate, key)),
            None => self.stations.push((as2_id.to_owned(), vec![(certificate, key)])),
        }
    }

    pub(super) fn gateway_yaml(&self) -> String {
        let mut out = String::from("site: main\nlisten:\n");
        let tls = match self.inbound_tls {
            None => "",
            Some(false) => {
                ", tls: { certificate: keys/localhost.crt, private_key: keys/localhost.key }"
            }
            Some(true) => {
                ", tls: { certificate: keys/localhost.crt, private_key: keys/localhost.key, \
                 client_ca: keys/authority.crt }"
            }
        };
        line(&mut out, &format!("  inbound: {{ address: \"{}\"{tls} }}", self.inbound));
        line(&mut out, &format!("  admin: {{ address: \"{}\" }}", self.admin));
        if let Some(outbound) = self.outbound {
            line(&mut out, &format!("  outbound: {{ address: \"{outbound}\" }}"));
        }
        if !self.receiver.is_empty() {
            line(&mut out, "receiver:");
            mapping(&mut out, "  ", &self.receiver);
        }
        let own = [
            ("store", "\"sqlite:data/as2hook.db\""),
            ("payloads", "data/payloads"),
            ("secret_key_file", "data/secret.key"),
            ("webhooks", "webhooks.yaml"),
            ("drain", "5s"),
        ];
        for (key, value) in own {
            if !self.settings.iter().any(|(known, _)| known == key) {
                line(&mut out, &format!("{key}: {value}"));
            }
        }
        mapping(&mut out, "", &self.settings);
        self.stations_yaml(&mut out);
        self.partners_yaml(&mut out);
        if !self.settings.iter().any(|(key, _)| key == "api") {
            let digest = crate::http::hex(&openssl::sha::sha256(TOKEN.as_bytes()));
            line(&mut out, "api:\n  tokens:");
            line(
                &mut out,
                &format!(
                    "    - {{ name: tests, sha256: \"{digest}\", \
                     scopes: [read, write, admin], site: main }}"
                ),
            );
        }
        out
    }

    fn stations_yaml(&self, out: &mut String) {
        if !self.stations.is_empty() {
            line(out, "stations:");
        }
        for (as2_id, keys) in &self.stations {
            line(out, &format!("  - as2_id: {}\n    keys:", quoted(as2_id)));
            for (certificate, key) in keys {
                let (certificate, key) = (quoted(certificate), quoted(key));
                line(out, &format!("      - {{ certificate: {certificate}, private_key: {key} }}"));
            }
        }
    }

    fn partners_yaml(&self, out: &mut String) {
        if !self.partners.is_empty() {
            line(out, "partners:");
        }
        for partner in &self.partners {
            item(out, &partner.fields);
            if !partner.certificates.is_empty() {
                line(out, &format!("    certificates: [{}]", partner.certificates.join(", ")));
            }
        }
    }
}

// === impl Partner ===

impl Partner {
    pub(super) fn new(number: usize, as2_id: &str) -> Self {
        let fields =
            vec![("id".to_owned(), number.to_string()), ("as2_id".to_owned(), quoted(as2_id))];
        Self { fields, certificates: Vec::new() }
    }

    /// A certificate's file; relative to the gateway's folder.
    pub fn certificate(mut self, file: &Path) -> Self {
        self.certificates.push(quoted(&file.display().to_string()));
        self
    }

    /// Where the outbound listener sends messages to it.
    pub fn url(self, url: &str) -> Self {
        self.set("url", &quoted(url))
    }

    /// Any other key, its value as YAML.
    pub fn set(mut self, key: &str, yaml: &str) -> Self {
        self.fields.push((key.to_owned(), yaml.to_owned()));
        self
    }
}

// === impl Rule ===

impl Rule {
    /// A rule of this name and nothing else.
    pub fn new(name: &str) -> Self {
        Self { fields: vec![("name".to_owned(), quoted(name))] }
    }

    /// Where it delivers.
    pub fn url(self, url: impl AsRef<str>) -> Self {
        self.set("url", &quoted(url.as_ref()))
    }

    /// Delivers to this path of an endpoint, and trusts the tests' authority where that is TLS.
    pub fn to(self, sink: &Endpoint, path: &str) -> Self {
        let url = sink.url(path);
        let rule = self.url(&url);
        if url.starts_with("https") { rule.set("tls", "{ ca: keys/authority.crt }") } else { rule }
    }

    /// `headers`, `json` or `raw`.
    pub fn payload(self, payload: &str) -> Self {
        self.set("payload", payload)
    }

    /// The events it subscribes to.
    pub fn events(self, events: &[&str]) -> Self {
        let events: Vec<_> = events.iter().map(|event| quoted(event)).collect();
        self.set("events", &format!("[{}]", events.join(", ")))
    }

    /// Fires whatever other rules do.
    pub fn always(self) -> Self {
        self.set("route", "always")
    }

    /// Any key, its value as YAML; in place of what it was before.
    pub fn set(mut self, key: &str, yaml: &str) -> Self {
        self.fields.retain(|(known, _)| known != key);
        self.fields.push((key.to_owned(), yaml.to_owned()));
        self
    }
}

/// `webhooks.yaml`.
pub(super) fn rules_yaml(rules: &[Rule]) -> String {
    if rules.is_empty() {
        return "webhooks: []\n".to_owned();
    }
    let mut out = String::from("webhooks:\n");
    for rule in rules {
        item(&mut out, &rule.fields);
    }
    out
}

/// A YAML string, whatever is in it: JSON's strings are YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn item(out: &mut String, fields: &[(String, String)]) {
    for (nth, (key, value)) in fields.iter().enumerate() {
        line(out, &format!("{}{key}: {value}", if nth == 0 { "  - " } else { "    " }));
    }
}

fn mapping(out: &mut String, indent: &str, fields: &[(String, String)]) {
    for (key, value) in fields {
        line(out, &format!("{indent}{key}: {value}"));
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes every line");
}
