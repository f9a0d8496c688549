//! Addresses, URLs and networks.

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use ipnet::IpNet;

use super::Value;

/// What is wrong with a URL that holds a user.
const USER: &str = "must not hold a user or password";
const WEBHOOK_USER: &str = "must not hold a user or password; give them in a header";

// === impl Value ===

impl Value<'_> {
    /// An IP address with a port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self.text()?.parse() {
            Ok(address) => Some(address),
            Err(_) => self.wrong(
                "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
            ),
        }
    }

    /// An http or https URL with a host. It is never shown: its query may hold a token.
    pub(crate) fn url(&self) -> Option<Uri> {
        self.url_with(USER)
    }

    /// As [`Self::url`], of a webhook: it has headers of its own.
    pub(crate) fn webhook_url(&self) -> Option<Uri> {
        self.url_with(WEBHOOK_USER)
    }

    fn url_with(&self, user: &str) -> Option<Uri> {
        let text = self.text()?;
        if text.contains('#') {
            return self.wrong("must not have a fragment (`#…`); it would not be sent");
        }
        let Ok(url) = text.parse::<Uri>() else {
            return self.wrong("must be a URL such as \"https://example.com/path\"");
        };
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return self.wrong("must be a whole URL, beginning with http:// or https://");
        };
        if !matches!(scheme, "http" | "https") {
            return self.wrong("must begin with http:// or https://");
        }
        if authority.as_str().contains('@') {
            return self.wrong(user);
        }
        if authority.host().is_empty() || authority.host() == "[]" {
            return self.wrong("must name a host");
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or("");
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return self.wrong("must have a port from 1 to 65535, or none");
        }
        Some(url)
    }

    /// A network in CIDR form, or one address.
    pub(crate) fn network(&self) -> Option<IpNet> {
        let text = self.text()?;
        let address = |_| text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(address) {
            Ok(network) if network.trunc() == network => Some(network),
            Ok(network) => {
                let meant = network.trunc();
                self.wrong(format!("has bits behind its prefix; did you mean \"{meant}\"?"))
            }
            Err(_) => self.wrong("must be a network such as \"10.0.0.0/8\" or \"fd00::/8\""),
        }
    }
}
