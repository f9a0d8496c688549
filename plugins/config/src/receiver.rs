//! `receiver`: the AS2 server behind the gateway.

use std::fmt;

use ipnet::IpNet;
use openssl::x509::X509;

use super::{keys, read::Value};

/// Where inbound traffic goes.
#[derive(Clone)]
pub struct Receiver {
    /// `url`: one, or several for failover, tried in this order. Never empty.
    pub origins: Vec<Origin>,
    /// Where requests of some paths go instead. Default: none.
    pub routes: Vec<ReceiverRoute>,
    /// Whether connections to it are used again. Default: off, so that a stale one never costs a
    /// partner a 502.
    pub keepalive: bool,
    /// What becomes of `X-Forwarded-For`. Default: append.
    pub forwarded: Forwarded,
    /// The peers whose `X-Forwarded-For` is trusted. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Trusted beside nothing else. Default (empty): the system's roots.
    pub ca: Vec<X509>,
    /// Whether its certificate is checked. Default: yes.
    pub verify: bool,
}

/// Where requests of one path, and of those below it, go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverRoute {
    /// Begins with `/` and does not end with one. Unique among the routes.
    pub path: String,
    /// As [`Receiver::origins`].
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// The caller's address is added.
    #[default]
    Append,
    /// It goes on as it came.
    Off,
}

// === impl Receiver ===

impl Receiver {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        const KEYS: &[&str] =
            &["url", "routes", "keepalive", "forwarded", "trusted_proxies", "ca", "verify"];
        let table = value.table(KEYS)?;
        let forwarded = |value: &Value<'_>| {
            value.choice(&[("append", Forwarded::Append), ("off", Forwarded::Off)])
        };
        let receiver = Self {
            keepalive: table.read_or("keepalive", false, Value::switch),
            forwarded: table.read_or("forwarded", Forwarded::default(), forwarded),
            trusted_proxies: table
                .read_or("trusted_proxies", Vec::new(), |value| value.each(Value::network)),
            ca: table.read_or("ca", Vec::new(), keys::certificates),
            verify: table.read_or("verify", true, Value::switch),
            routes: table.read_or("routes", Vec::new(), ReceiverRoute::read_all),
            origins: table.need("url", Origin::read_all)?,
        };
        let tls = receiver.all_origins().any(|origin| origin.tls);
        if let (Some(ca), false) = (table.get("ca"), tls) {
            ca.warn("is of no use: no url of the receiver is https");
        }
        if let (Some(verify), true, false) = (table.get("verify"), tls, receiver.verify) {
            verify.warn("anyone on the way to the receiver can take its place");
        }
        Some(receiver)
    }

    /// Those of `url` and of all routes.
    pub fn all_origins(&self) -> impl Iterator<Item = &Origin> {
        self.origins.iter().chain(self.routes.iter().flat_map(|route| &route.origins))
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("origins", &self.origins)
            .field("routes", &self.routes)
            .field("keepalive", &self.keepalive)
            .field("forwarded", &self.forwarded)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("ca", &self.ca.len())
            .field("verify", &self.verify)
            .finish()
    }
}

// === impl ReceiverRoute ===

impl ReceiverRoute {
    /// Whether requests of this path go here: it is the route's path, or one below it. `/mdn` is not above
    /// `/mdnx`. A path with dot segments goes to no route: the receiver may resolve them to another path.
    pub fn matches(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.path);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            && !path.split('/').any(is_dot_segment)
    }

    fn read_all(value: &Value<'_>) -> Option<Vec<Self>> {
        let mut routes = Vec::<Self>::new();
        for value in value.list()? {
            let Some(route) = Self::read(&value) else { continue };
            if routes.iter().any(|other| other.path == route.path) {
                value.wrong::<()>(format!("the path {:?} is given twice", route.path));
            } else {
                routes.push(route);
            }
        }
        Some(routes)
    }

    fn read(value: &Value<'_>) -> Option<Self> {
        let table = value.table(&["path", "url"])?;
        let path = table.need("path", path);
        let origins = table.need("url", Origin::read_all);
        Some(Self { path: path?, origins: origins? })
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

    fn read_all(value: &Value<'_>) -> Option<Vec<Self>> {
        let values = value.one_or_more()?;
        if values.is_empty() {
            return value.wrong("needs one URL at least");
        }
        let mut origins = Vec::new();
        for value in values {
            let Some(origin) = Self::read(&value) else { continue };
            if origins.contains(&origin) {
                value.wrong::<()>("this URL is given twice");
            } else {
                origins.push(origin);
            }
        }
        (!origins.is_empty()).then_some(origins)
    }

    fn read(value: &Value<'_>) -> Option<Self> {
        let url = value.url()?;
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

/// A path as it stands in a request line. A slash at its end makes no other path of it.
fn path(value: &Value<'_>) -> Option<String> {
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
}
