//! `api`: who may ask, and where webhooks made over the API may point.

use std::{collections::HashMap, fmt};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    section::{Section, words},
    setting::{Identifier, Line, List, Network, Setting, Sha256, Table, Word, distinct, setting},
    value::Value,
};

/// The config API and the admin API.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Who may ask. Default: none, so that no request is allowed.
    #[serde(with = "List::<Table<TokenConfig>>")]
    pub tokens: Vec<TokenConfig>,
    /// Private networks that webhooks made over the API may point at all the same. Default: none.
    #[serde(with = "List::<Network>")]
    pub allow_networks: Vec<IpNet>,
    /// Names by which browsers reach the console, without a port, besides IP addresses and `localhost`. Other
    /// names are refused, since any page's name can be made to point here. Default: none.
    #[serde(with = "List::<HostName>")]
    pub hosts: Vec<String>,
    /// Of the config API's messages. Default: Spanish, as `docs/api.md` has them.
    #[serde(with = "Word::<ApiLanguage>")]
    pub language: ApiLanguage,
}

/// A bearer token, known by its digest alone.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// For logs. Unique.
    #[serde(with = "Line")]
    pub name: String,
    /// SHA-256 of the token, as `as2hook hash-token` prints it. Unique.
    #[serde(with = "Sha256")]
    pub sha256: [u8; 32],
    /// What it may do. read: look; write: configure and test; admin: the admin API.
    #[serde(with = "Scopes")]
    pub scopes: Vec<TokenScope>,
    /// The tenant whose events and partners it sees. Default: the gateway's.
    #[serde(with = "Identifier", default, skip_serializing_if = "String::is_empty")]
    pub site: String,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// `get` and `logs`, and to look at the admin API.
    Read,
    /// `configure` and `test`.
    Write,
    /// To change things by the admin API.
    Admin,
}

/// Of the config API's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ApiLanguage {
    /// The words of the config API's contract.
    #[default]
    #[serde(rename = "es")]
    Spanish,
    /// English.
    #[serde(rename = "en")]
    English,
}

setting!(
    /// A host's name, without a port. It is compared in lower case.
    HostName: String,
    |value| {
        let name = value.line()?;
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.len() > 253 || !name.bytes().all(is_legal) {
            return value.wrong("must be the name of a host alone, such as \"as2.example\"");
        }
        Some(name.to_ascii_lowercase())
    },
    String::as_str,
    { "type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[A-Za-z0-9._-]+$" }
);

setting!(
    /// Some of [`TokenScope`], never none.
    Scopes: Vec<TokenScope>,
    |value| {
        let least = "needs one scope at least: read, write or admin";
        distinct::<Word<TokenScope>>(value, least, "this scope is given twice")
    },
    Vec::clone,
    { "type": "array", "minItems": 1, "items": { "enum": words::<TokenScope>() } }
);

// === impl Api ===

impl Section for Api {
    fn judge(&mut self, table: &Value) -> Option<()> {
        let Some(tokens) = table.get("tokens") else { return Some(()) };
        let name = |token: &Value| Line::read(&token.get("name")?);
        tokens.judge_unique(name, |name| format!("another token has the name {name:?} already"));
        let mut seen = HashMap::new();
        for token in &self.tokens {
            seen.entry(token.sha256).or_insert(&token.name);
        }
        tokens.judge_unique(
            |token| Sha256::read(&token.get("sha256")?),
            |digest| {
                format!("this is the same token as {:?}", seen.get(digest).map_or("", |name| name))
            },
        );
        Some(())
    }
}

// === impl TokenConfig ===

impl Section for TokenConfig {}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}
