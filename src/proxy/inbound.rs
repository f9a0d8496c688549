//! The inbound listener: partners' requests go to the AS2 server, with the address of the partner in
//! `X-Forwarded-For`.

use std::net::IpAddr;

use http::{HeaderMap, header};
use pingora::{Result, http::RequestHeader, proxy::Session};

use super::receivers::PathRoute;
use as2hook_config::{Forwarded, Receiver};
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "X-Forwarded-For";

/// The partner's address, as far as the request says.
pub(super) fn partner(session: &Session, trusted: &[IpNet]) -> Option<IpAddr> {
    forwarded_for(direct(session), &session.req_header().headers, trusted)
}

/// Makes the request that goes on out of the one that came.
pub(super) fn rewrite(
    route: &PathRoute,
    config: &Receiver,
    session: &Session,
    request: &mut RequestHeader,
) -> Result<()> {
    if config.forwarded == Forwarded::Append
        && let Some(direct) = direct(session)
    {
        append(request, direct)?;
    }
    // HTTP/1.0 needs no Host, but it goes on as HTTP/1.1, which does.
    if !request.headers.contains_key(header::HOST)
        && let Some(authority) = route.authority()
    {
        request.insert_header(header::HOST, authority)?;
    }
    if !config.keepalive {
        request.insert_header(header::CONNECTION, "close")?;
    }
    Ok(())
}

fn direct(session: &Session) -> Option<IpAddr> {
    Some(session.client_addr()?.as_inet()?.ip())
}

/// The partner's address: the connection's, or, behind proxies that are trusted, the last address in
/// `X-Forwarded-For` that is not one of theirs.
fn forwarded_for(direct: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut partner = direct?.to_canonical();
    let trusts =
        |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let values: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    let hops = values.iter().rev().filter_map(|value| value.to_str().ok());
    for hop in hops.flat_map(|value| value.rsplit(',')) {
        if !trusts(partner) {
            break;
        }
        let Ok(address) = hop.trim().parse() else { break };
        partner = address;
    }
    Some(partner)
}

/// Adds the connection's address behind what is there.
fn append(request: &mut RequestHeader, direct: IpAddr) -> Result<()> {
    let before: Vec<_> =
        request.headers.get_all(X_FORWARDED_FOR).iter().map(|v| v.as_bytes().to_vec()).collect();
    let mut value = before.join(&b", "[..]);
    if !value.is_empty() {
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(direct.to_canonical().to_string().as_bytes());
    request.insert_header(X_FORWARDED_FOR, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(direct: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|cidr| cidr.parse().unwrap()).collect();
        forwarded_for(Some(direct.parse().unwrap()), &headers, &trusted).unwrap().to_string()
    }

    #[test]
    fn no_proxy_is_trusted_by_default() {
        assert_eq!(judge("192.0.2.1", &["198.51.100.7"], &[]), "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_names_the_partner() {
        assert_eq!(judge("10.0.0.1", &["198.51.100.7"], &["10.0.0.0/8"]), "198.51.100.7");
        let forged = ["1.1.1.1, 198.51.100.7", "10.0.0.2"];
        assert_eq!(judge("10.0.0.1", &forged, &["10.0.0.0/8"]), "198.51.100.7");
    }

    #[test]
    fn rubbish_stops_the_walk() {
        assert_eq!(judge("10.0.0.1", &["1.1.1.1, unknown"], &["10.0.0.0/8"]), "10.0.0.1");
    }
}
