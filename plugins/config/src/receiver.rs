//! `receiver`: the AS2 server behind the gateway.

use std::fmt;

use http::Uri;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    keys::{CertificateFile, Certificates},
    section::Section,
    setting::{List, Network, Setting, Switch, Table, Url, Word, setting, yes},
    value::Value,
};

/// The AS2 server that inbound traffic goes to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Scheme, host and port: one, or several for failover, tried in this order. A request keeps its own
    /// path.
    #[serde(rename = "url", with = "Origins")]
    pub origins: Vec<Origin>,
    /// Where requests of some paths go instead; the longest path wins. Default: none.
    #[serde(with = "List::<Table<ReceiverRoute>>", default)]
    pub routes: Vec<ReceiverRoute>,
    /// Whether connections to it are used again. Default: off, so that a stale one never costs a
    /// partner a 502.
    #[serde(with = "Switch", default)]
    pub keepalive: bool,
    /// What becomes of `X-Forwarded-For`. append: the caller's address is added; off: it goes on as it came.
    #[serde(with = "Word::<Forwarded>", default)]
    pub forwarded: Forwarded,
    /// The peers whose `X-Forwarded-For` is trusted. Default: none.
    #[serde(with = "List::<Network>", default)]
    pub trusted_proxies: Vec<IpNet>,
    /// A PEM file, trusted beside nothing else. Default: the system's roots.
    #[serde(with = "Certificates", default, skip_serializing_if = "<[_]>::is_empty")]
    pub ca: CertificateFile,
    /// Whether its certificate is checked.
    #[serde(with = "Switch", default = "yes")]
    pub verify: bool,
}

/// Where requests of one path, and of those below it, go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiverRoute {
    /// Begins with `/` and does not end with one. Unique among the routes.
    #[serde(with = "RoutePath")]
    pub path: String,
    /// As the receiver's.
    #[serde(rename = "url", with = "Origins")]
    pub origins: Vec<Origin>,
}

/// A server's scheme, host and port. The request's own path goes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// https.
    pub tls: bool,
    /// A name or an IP address, IPv6 without its brackets.
    pub host: String,
    /// As given, else 80 or 443.
    pub port: u16,
}

/// What becomes of `X-Forwarded-For` towards the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarded {
    /// The caller's address is added.
    #[default]
    Append,
    /// It goes on as it came.
    Off,
}

setting!(
    /// One [`Origin`], or several.
    Origins: Vec<Origin>,
    |value| {
        let values = value.one_or_more()?;
        if values.is_empty() {
            return value.wrong("needs one URL at least");
        }
        let mut origins = Vec::new();
        for value in values {
            match Origin::read(&value) {
                Some(origin) if origins.contains(&origin) => {
                    value.wrong::<()>("this URL is given twice");
                }
                origin => origins.extend(origin),
            }
        }
        (!origins.is_empty()).then_some(origins)
    },
    |origins: &Vec<Origin>| origins.iter().map(Origin::to_string).collect::<Vec<_>>(),
    { "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }] }
);

// === impl Receiver ===

impl Section for Receiver {
    const EXAMPLE: &'static str = "{ url: \"http://127.0.0.1:10080\" }";

    fn judge(&mut self, table: &Value) -> Option<()> {
        let tls = self.all_origins().any(|origin| origin.tls);
        if let (Some(ca), false) = (table.get("ca"), tls) {
            ca.warn("is of no use: no url of the receiver is https");
        }
        if let (Some(verify), true, false) = (table.get("verify"), tls, self.verify) {
            verify.warn("anyone on the way to the receiver can take its place");
        }
        let same = |path: &str| format!("the path {path:?} is given twice");
        if let Some(routes) = table.get("routes") {
            routes.judge_unique(|route| RoutePath::read(&route.get("path")?), |path| same(path));
        }
        Some(())
    }
}

impl Receiver {
    /// Those of `url` and of all routes.
    pub fn all_origins(&self) -> impl Iterator<Item = &Origin> {
        self.origins.iter().chain(self.routes.iter().flat_map(|route| &route.origins))
    }
}

// === impl ReceiverRoute ===

impl Section for ReceiverRoute {}

impl ReceiverRoute {
    /// Whether requests of this path go here: it is the route's path, or one below it. `/mdn` is not above
    /// `/mdnx`. A path with dot segments goes to no route: the receiver may resolve them to another path.
    pub fn matches(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.path);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            && !path.split('/').any(is_dot_segment)
    }
}

/// RFC 3986 section 3.3, also where the dots are percent-encoded.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

// === impl Origin ===

impl Origin {
    /// What a `Host` header calls it.
    pub fn authority(&self) -> String {
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    fn read(value: &Value) -> Option<Self> {
        let url: Uri = Url::read(value)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return value.wrong("must end behind the host: a request keeps its own path");
        }
        let tls = url.scheme_str() == Some("https");
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { tls, host, port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

setting!(
    /// A path as it stands in a request line. A slash at its end makes no other path of it.
    RoutePath: String,
    |value| {
        let text = value.text()?;
        if !text.starts_with('/') {
            return value.wrong("must begin with /, such as \"/mdn\"");
        }
        if text.contains(['?', '#']) {
            return value.wrong("must be a path alone: a query or a fragment is not compared");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return value.wrong("must be percent-encoded: it is compared as it stands in a request");
        }
        match text.trim_end_matches('/') {
            "" => value.wrong("is every path: that is what `url` beside `routes` is for"),
            path => Some(path.to_owned()),
        }
    },
    String::as_str,
    { "type": "string", "pattern": r"^/|\$\{" }
);
