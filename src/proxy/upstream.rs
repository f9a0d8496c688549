//! Connections to the other side: how long each step may take, and whom they trust.

use std::{
    any::Any,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use openssl::x509::{X509, X509Ref};
use pingora::{
    Error, ErrorType, Result,
    protocols::Digest,
    tls::ssl::SslRef,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Peer as _},
};

/// For the addresses of a name.
pub(super) const LOOKUP: Duration = Duration::from_secs(5);

/// Connect and TLS handshake together.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// A fresh connection under our time-outs. `response`: the longest wait between two pieces of a response.
/// Certificates are verified against the system's roots.
pub(super) fn peer(address: SocketAddr, tls: bool, host: &str, response: Duration) -> HttpPeer {
    let mut peer = HttpPeer::new(address, tls, host.to_owned());
    if let Some(options) = peer.get_mut_peer_options() {
        options.connection_timeout = Some(CONNECT);
        options.total_connection_timeout = Some(CONNECT);
        options.read_timeout = Some(response);
        options.idle_timeout = Some(Duration::ZERO);
        options.verify_cert = true;
        // Pingora compares names alone; an address is compared by `check_address`.
        options.verify_hostname = host.parse::<IpAddr>().is_err();
        options.upstream_tls_handshake_complete_hook = Some(Arc::new(shown));
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    }
    peer
}

/// Whether the other side provably did not get the request: not even its head was sent whole.
///
/// Once the head is sent, neither a connection that ends without a response nor a write that fails shows
/// that nothing was read: the other side may have acted on the request (RFC 9110 section 9.2.2).
pub(super) fn is_unsent(error: &Error) -> bool {
    // Pingora says it nowhere else. Said otherwise, nothing is sent twice.
    let context = error.context.as_ref().map_or("", |context| context.as_str());
    *error.etype() == ErrorType::WriteError
        && matches!(context, "while writing request headers" | "flushing request header")
}

/// Whether the connection was closed or broken before a byte of a response came on it.
pub(crate) fn has_no_response(error: &Error) -> bool {
    match error.etype() {
        ErrorType::WriteError => true,
        ErrorType::ConnectionClosed | ErrorType::ReadError => {
            let context = error.context.as_ref().map_or("", |context| context.as_str());
            context.ends_with("headers, bytes already read: 0")
        }
        _ => false,
    }
}

/// The certificate that the other side showed.
pub(super) fn certificate(digest: Option<&Digest>) -> Option<&X509> {
    digest?.ssl_digest.as_ref()?.extension.get()
}

/// Where a certificate has to be for an IP address, holds it against the one that was shown.
///
/// # Errors
/// When it is for others.
pub(super) fn check_address(peer: &HttpPeer, digest: Option<&Digest>) -> Result<()> {
    if !peer.tls() || !peer.verify_cert() {
        return Ok(());
    }
    let Ok(address) = peer.sni().parse::<IpAddr>() else { return Ok(()) };
    if certificate(digest).is_some_and(|shown| is_for(shown, address)) {
        return Ok(());
    }
    let text = format!("the certificate is not for {address}");
    Err(Error::explain(ErrorType::InvalidCert, text).into_up())
}

/// Whether a URL is https.
pub(super) fn is_tls(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

/// A URL's host; IPv6 without its brackets.
pub(super) fn host(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// A URL's port, as given or as usual.
pub(super) fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if is_tls(url) { 443 } else { 80 })
}

/// Keeps the certificate for [`certificate`].
fn shown(ssl: &SslRef) -> Option<Arc<dyn Any + Send + Sync>> {
    ssl.peer_certificate().map(|shown| Arc::new(shown) as Arc<dyn Any + Send + Sync>)
}

/// RFC 9110 section 4.3.5: an IP address is compared with the addresses of subjectAltName alone.
fn is_for(certificate: &X509Ref, address: IpAddr) -> bool {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let names = certificate.subject_alt_names();
    names.iter().flatten().any(|name| name.ipaddress() == Some(&octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_that_ends_behind_a_part_of_a_response_has_a_response() {
        assert!(has_no_response(&Error::new(ErrorType::WriteError)));
        let read = |kind, bytes: usize| {
            Error::explain(
                kind,
                format!("while reading response headers, bytes already read: {bytes}"),
            )
        };
        assert!(has_no_response(&read(ErrorType::ConnectionClosed, 0)));
        assert!(has_no_response(&read(ErrorType::ReadError, 0)));
        assert!(!has_no_response(&read(ErrorType::ConnectionClosed, 10)));
        assert!(!has_no_response(&read(ErrorType::InvalidHTTPHeader, 0)));
        assert!(!has_no_response(&Error::new(ErrorType::ReadTimedout)));
    }

    #[test]
    fn request_is_unsent_only_when_its_head_could_not_be_written() {
        let because = |kind, context: &'static str| {
            let cause = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            Error::because(kind, context, cause).into_up()
        };
        assert!(is_unsent(&because(ErrorType::WriteError, "while writing request headers")));
        assert!(is_unsent(&because(ErrorType::WriteError, "flushing request header")));
        for (kind, context) in [
            (ErrorType::WriteError, "while writing body"),
            (ErrorType::WriteError, "flushing body"),
            (ErrorType::WriteTimedout, "while writing request headers (timeout)"),
            (ErrorType::ReadError, "while reading response headers, bytes already read: 0"),
            (ErrorType::ConnectionClosed, "while reading response headers, bytes already read: 0"),
        ] {
            assert!(!is_unsent(&because(kind.clone(), context)), "{kind:?} {context}");
        }
        assert!(!is_unsent(&Error::new(ErrorType::WriteError)));
    }
}
