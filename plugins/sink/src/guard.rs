//! Decides which addresses a webhook may point at.
//!
//! A rule in YAML is written by the operator and may point anywhere: an ERP on a private network is
//! the usual case. The author of a webhook set over the API may have no access to that network, so
//! [`Guard::public`] restricts it to the public internet and to the networks in
//! `api.allow_networks`. The check happens at connect time, on the address that is connected to, so
//! that a name that resolves differently between check and use gains nothing.

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use as2hook_event::Endpoint;
use http::Uri;
use ipnet::IpNet;

/// Decides about addresses. Equal guards decide alike, so connections are shared between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Every address.
    Open,
    /// Public addresses, and these networks.
    Public(Arc<[IpNet]>),
}

// === impl Guard ===

impl Guard {
    /// Returns the guard of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        endpoint.networks.clone().map_or(Self::Open, Self::Public)
    }

    /// Creates the guard of webhooks set over the API.
    pub fn public(allow: impl IntoIterator<Item = IpNet>) -> Self {
        Self::Public(allow.into_iter().collect())
    }

    /// Whether a webhook may connect to this address.
    pub fn admits(&self, address: IpAddr) -> bool {
        let Self::Public(allow) = self else { return true };
        let address = carried(address);
        allow.iter().any(|network| network.contains(&address)) || is_public(address)
    }

    /// Whether a URL may be configured. False when its host is `localhost` or an address that is
    /// not admitted, in any spelling. A name is checked when it is connected to.
    pub fn admits_url(&self, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default();
        match literal(host).or_else(|| spelled(host).map(IpAddr::V4)) {
            Some(address) => self.admits(address),
            None => {
                let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                let local = name == "localhost" || name.ends_with(".localhost");
                !local || self.admits(Ipv4Addr::LOCALHOST.into())
            }
        }
    }
}

/// Parses an address from a URL's host, with or without brackets. `None`: the host is a name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Parses the older spellings of an IPv4 address (`127.1`, `0x7f000001`, `2130706433`,
/// `0177.0.0.1`). The client does not connect by those, but a system resolver may.
fn spelled(host: &str) -> Option<Ipv4Addr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    let free = 4u32.checked_sub(u32::try_from(leading.len()).ok()?)?;
    if free == 0 || leading.iter().any(|part| *part > 255) || *last >= 1u64 << (8 * free) {
        return None;
    }
    let high = leading.iter().fold(0, |sum, part| sum << 8 | part) << (8 * free);
    u32::try_from(high | last).ok().map(Ipv4Addr::from)
}

/// Parses a number in decimal, octal (`0…`) or hexadecimal (`0x…`).
fn number(text: &str) -> Option<u64> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, text.strip_prefix('0')) {
        (Some(""), _) => return Some(0),
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    // `from_str_radix` would accept a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// Returns the IPv4 address that an IPv6 address embeds: a packet to such an address goes to the
/// embedded one.
fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let low = |high: u16, low: u16| {
        let [p, q] = high.to_be_bytes();
        let [r, s] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(p, q, r, s))
    };
    match (a, b, c, d, e, f) {
        // IPv4-mapped (RFC 4291 section 2.5.5.2).
        (0, 0, 0, 0, 0, 0xffff) => low(g, h),
        // IPv4-translated (RFC 2765).
        (0, 0, 0, 0, 0xffff, 0) => low(g, h),
        // IPv4-compatible (RFC 4291 section 2.5.5.1), except :: and ::1.
        (0, 0, 0, 0, 0, 0) if !(g == 0 && h <= 1) => low(g, h),
        // NAT64 (RFC 6052).
        (0x64, 0xff9b, 0, 0, 0, 0) => low(g, h),
        // 6to4 (RFC 3056).
        (0x2002, ..) => low(b, c),
        _ => address,
    }
}

/// Whether an address is on the public internet: not in the IANA special-purpose registries, or
/// globally reachable there.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        // This network, private, loopback.
        [0 | 10 | 127, ..]
        // Shared between a carrier and its customers (RFC 6598).
        | [100, 64..=127, ..]
        // Link-local, which includes cloud metadata services.
        | [169, 254, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        // IETF protocol assignments, documentation, 6to4 relays, benchmarking.
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        // Multicast, reserved, broadcast.
        | [224..=255, ..]
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only 2000::/3 is global unicast: this excludes ::, ::1, fc00::/7, fe80::/10, fec0::/10,
    // ff00::/8, 100::/64, 64:ff9b:1::/48 and 5f00::/16.
    let global_unicast = segments[0] & 0xe000 == 0x2000;
    let special = match segments {
        // IETF protocol assignments, including Teredo and ORCHID.
        [0x2001, second, ..] if second < 0x200 => true,
        // Documentation.
        [0x2001, 0xdb8, ..] => true,
        [0x3fff, second, ..] if second < 0x1000 => true,
        _ => false,
    };
    global_unicast && !special
}
