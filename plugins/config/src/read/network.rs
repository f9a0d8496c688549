//! Addresses, URLs and networks.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::Uri;

use super::Value;

/// A range of IP addresses: `10.0.0.0/8`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many bits of it count.
    pub prefix: u8,
}

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
    pub(crate) fn network(&self) -> Option<Network> {
        match self.text()?.parse() {
            Ok(network) => Some(network),
            Err(BadNetwork::Form) => {
                self.wrong("must be a network such as \"10.0.0.0/8\" or \"fd00::/8\"")
            }
            Err(BadNetwork::HostBits(network)) => {
                self.wrong(format!("has bits behind its prefix; did you mean \"{network}\"?"))
            }
        }
    }
}

// === impl Network ===

impl Network {
    /// Whether an address lies in it. An IPv4 address that came mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(_), address @ IpAddr::V4(_)) | (IpAddr::V6(_), address @ IpAddr::V6(_)) => {
                Self::of(address, self.prefix).address == self.address
            }
            _ => false,
        }
    }

    /// The network of this length that an address lies in.
    fn of(address: IpAddr, prefix: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, prefix }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Neither an address nor CIDR.
    #[error("not a network in CIDR form")]
    Form,
    /// Bits are set behind the prefix; what was meant may be this.
    #[error("bits are set behind the prefix of {0}")]
    HostBits(Network),
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadNetwork::Form)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            // `parse` would take a sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or(BadNetwork::Form)?
            }
            Some(_) => return Err(BadNetwork::Form),
        };
        let network = Self::of(address, prefix);
        if network.address == address { Ok(network) } else { Err(BadNetwork::HostBits(network)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let ten = network("10.0.0.0/8");
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(ten.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!ten.contains("::1".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(network("::/0").contains("2001:db8::1".parse().unwrap()));
        assert!(network("fd00::/8").contains("fdab::1".parse().unwrap()));
        assert!(!network("fd00::/8").contains("fe80::1".parse().unwrap()));
        assert!(network("192.0.2.7").contains("192.0.2.7".parse().unwrap()));
        assert_eq!(network("192.0.2.7").to_string(), "192.0.2.7/32");
    }

    #[test]
    fn what_is_no_network() {
        for wrong in ["", "10/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "a/8"] {
            assert_eq!(wrong.parse::<Network>(), Err(BadNetwork::Form), "{wrong}");
        }
        let meant = network("10.0.0.0/8");
        assert_eq!("10.1.0.0/8".parse::<Network>(), Err(BadNetwork::HostBits(meant)));
    }
}
