//! Addresses, networks and URLs.

use std::net::SocketAddr;

use http::Uri;
use ipnet::IpNet;

use crate::value::Value;

setting!(
    /// An IP address with a port.
    Address: SocketAddr,
    |value| {
        const WRONG: &str =
            "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";
        value.text()?.parse().ok().or_else(|| value.wrong(WRONG))
    },
    SocketAddr::to_string,
    { "type": "string", "pattern": r":\d+$|\$\{" }
);

setting!(
    /// A network in CIDR form, or one address.
    Network: IpNet,
    |value| {
        let text = value.text()?;
        match text.parse::<IpNet>().or_else(|_| text.parse().map(std::net::IpAddr::into)) {
            Ok(network) if network.trunc() == network => Some(network),
            Ok(network) => {
                let meant = network.trunc();
                value.wrong(format!("has bits behind its prefix; did you mean \"{meant}\"?"))
            }
            Err(_) => value.wrong("must be a network such as \"10.0.0.0/8\" or \"fd00::/8\""),
        }
    },
    IpNet::to_string,
    { "type": "string", "pattern": r"[.:]|\$\{" }
);

setting!(
    /// An http or https URL with a host. Its query is never shown: it may hold a token.
    Url: Uri,
    |value| url(value, "must not hold a user or password"),
    show_url,
    { "type": "string", "pattern": r"^https?://|\$\{" }
);

setting!(
    /// As [`Url`], of a webhook: it has headers of its own.
    WebhookUrl: Uri,
    |value| url(value, "must not hold a user or password; give them in a header"),
    show_url,
    { "type": "string", "pattern": r"^https?://|\$\{" }
);

fn url(value: &Value, user: &str) -> Option<Uri> {
    let text = value.text()?;
    if text.contains('#') {
        return value.wrong("must not have a fragment (`#…`); it would not be sent");
    }
    let Ok(url) = text.parse::<Uri>() else {
        return value.wrong("must be a URL such as \"https://example.com/path\"");
    };
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return value.wrong("must be a whole URL, beginning with http:// or https://");
    };
    if !matches!(scheme, "http" | "https") {
        return value.wrong("must begin with http:// or https://");
    }
    if authority.as_str().contains('@') {
        return value.wrong(user);
    }
    if authority.host().is_empty() || authority.host() == "[]" {
        return value.wrong("must name a host");
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or("");
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return value.wrong("must have a port from 1 to 65535, or none");
    }
    Some(url)
}

fn show_url(url: &Uri) -> String {
    let url = url.to_string();
    match url.split_once('?') {
        Some((base, _)) => format!("{base}?***"),
        None => url,
    }
}
