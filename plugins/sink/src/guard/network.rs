//! A network in CIDR notation.

use std::{fmt, net::IpAddr, str::FromStr};

/// Addresses that share their first bits, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address in front of the slash.
    #[error("\"{0}\" is not a network: write an address and a prefix length, such as 10.0.0.0/8")]
    Address(String),
    /// A prefix longer than the address.
    #[error("\"{text}\": the prefix length must be at most {max}")]
    Prefix {
        /// The text as written.
        text: String,
        /// The number of bits of such an address.
        max: u8,
    },
    /// Bits after the prefix are set: most likely a mistake.
    #[error("\"{text}\": the network of that length begins at {network}")]
    HostBits {
        /// The text as written.
        text: String,
        /// The network that was probably meant.
        network: IpNetwork,
    },
}

// === impl IpNetwork ===

impl IpNetwork {
    /// Whether the address is in this network. An IPv4 network contains no IPv6 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, mine) = bits(self.address);
        let (width, theirs) = bits_of_same_family(self.address, address);
        width == bits && (mine ^ theirs) & mask(bits, self.prefix) == 0
    }
}

impl FromStr for IpNetwork {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NetworkError::Address(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let (width, value) = bits(address);
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| bad())?,
            None => width,
        };
        if prefix > width {
            return Err(NetworkError::Prefix { text: text.to_owned(), max: width });
        }
        let first = value & mask(width, prefix);
        if first != value {
            let network = Self { address: address_of(width, first), prefix };
            return Err(NetworkError::HostBits { text: text.to_owned(), network });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Returns the number of bits of an address, and the address as a number.
fn bits(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    }
}

/// Like [`bits`], but 0 bits for an address of the other family.
fn bits_of_same_family(network: IpAddr, address: IpAddr) -> (u8, u128) {
    if network.is_ipv4() == address.is_ipv4() { bits(address) } else { (0, 0) }
}

fn mask(width: u8, prefix: u8) -> u128 {
    let all = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
    let free = u32::from(width - prefix);
    all & all.checked_shl(free).unwrap_or(0)
}

fn address_of(width: u8, value: u128) -> IpAddr {
    match (width, u32::try_from(value)) {
        (32, Ok(v4)) => IpAddr::V4(v4.into()),
        _ => IpAddr::V6(value.into()),
    }
}
