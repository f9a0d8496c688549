//! `api`: who may ask, and where webhooks made over the API may point.

use std::fmt;

use as2hook_as2::hex;

use ipnet::IpNet;

use super::{read::Value, site};

/// The config API and the admin API.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// Default: none, so that no request is allowed.
    pub tokens: Vec<TokenConfig>,
    /// Private networks that webhooks made over the API may point at all the same. Default: none.
    pub allow_networks: Vec<IpNet>,
    /// Of the config API's messages. Default: Spanish, as `docs/api.md` has them.
    pub language: ApiLanguage,
}

/// A bearer token, known by its digest alone.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// For logs. Unique.
    pub name: String,
    /// SHA-256 of the token. Unique.
    pub sha256: [u8; 32],
    /// Never empty.
    pub scopes: Vec<TokenScope>,
    /// The tenant whose events and partners it sees. Default: the gateway's.
    pub site: String,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenScope {
    /// `get` and `logs`, and to look at the admin API.
    Read,
    /// `configure` and `test`.
    Write,
    /// To change things by the admin API.
    Admin,
}

/// Of the config API's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiLanguage {
    /// `es`: the words of the config API's contract.
    #[default]
    Spanish,
    /// `en`.
    English,
}

// === impl Api ===

impl Api {
    pub(super) fn read(value: &Value<'_>, default_site: &str) -> Option<Self> {
        let table = value.table(&["tokens", "allow_networks", "language"])?;
        let language = |value: &Value<'_>| {
            value.choice(&[("es", ApiLanguage::Spanish), ("en", ApiLanguage::English)])
        };
        Some(Self {
            tokens: table
                .read("tokens", |value| read_tokens(value, default_site))
                .unwrap_or_default(),
            allow_networks: table
                .read_or("allow_networks", Vec::new(), |value| value.each(Value::network)),
            language: table.read_or("language", ApiLanguage::default(), language),
        })
    }
}

fn read_tokens(value: &Value<'_>, default_site: &str) -> Option<Vec<TokenConfig>> {
    let mut tokens: Vec<TokenConfig> = Vec::new();
    for item in value.list()? {
        let Some(token) = TokenConfig::read(&item, default_site) else { continue };
        if tokens.iter().any(|other| other.name == token.name) {
            item.wrong::<()>(format!("another token has the name {:?} already", token.name));
        } else if let Some(other) = tokens.iter().find(|other| other.sha256 == token.sha256) {
            item.wrong::<()>(format!("this is the same token as {:?}", other.name));
        } else {
            tokens.push(token);
        }
    }
    Some(tokens)
}

// === impl TokenConfig ===

impl TokenConfig {
    fn read(value: &Value<'_>, default_site: &str) -> Option<Self> {
        let table = value.table(&["name", "sha256", "scopes", "site"])?;
        let name = table.need("name", Value::line);
        let sha256 = table.need("sha256", digest);
        let scopes = table.need("scopes", scopes);
        let site = table.read("site", site).unwrap_or_else(|| default_site.to_owned());
        Some(Self { name: name?, sha256: sha256?, scopes: scopes?, site })
    }
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

fn digest(value: &Value<'_>) -> Option<[u8; 32]> {
    const WRONG: &str =
        "must be 64 hexadecimal digits, as `as2hook hash-token` prints them for a token";
    let text = value.text()?;
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return value.wrong(WRONG);
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    if hex::encode(&openssl::sha::sha256(b"")) == text.to_ascii_lowercase() {
        return value.wrong("is the digest of an empty token");
    }
    Some(digest)
}

fn scopes(value: &Value<'_>) -> Option<Vec<TokenScope>> {
    let mut scopes = Vec::new();
    for item in value.list()? {
        let words = [
            ("read", TokenScope::Read),
            ("write", TokenScope::Write),
            ("admin", TokenScope::Admin),
        ];
        let scope = item.choice(&words)?;
        if scopes.contains(&scope) {
            return item.wrong("this scope is given twice");
        }
        scopes.push(scope);
    }
    if scopes.is_empty() {
        return value.wrong("needs one scope at least: read, write or admin");
    }
    Some(scopes)
}
