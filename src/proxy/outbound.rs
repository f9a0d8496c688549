//! The outbound listener: our AS2 server's requests go to the partners of the config, and to no other
//! server.
//!
//! A request names its partner in one of three ways: by its path `/out/<AS2 id>`; by an absolute-form
//! target, as an HTTP proxy setting sends it, that is the `url` or one of the `mdn_urls` of a partner;
//! or by `AS2-To`. Only the request's target and `Host` are rewritten.

use std::{net::SocketAddr, sync::Arc};

use as2hook_as2::Headers;
use http::{Method, Uri, header, uri::Authority};
use percent_encoding::percent_decode;
use pingora::{
    Error, ErrorType, Result,
    http::RequestHeader,
    protocols::Digest,
    upstreams::peer::{HttpPeer, Peer as _},
    utils::tls::CertKey,
};
use tokio::time::timeout;

use super::{
    lookups::Lookups,
    upstream::{self, LOOKUP},
};
use crate::front::rejection::Rejection;
use as2hook_config::{Config, Partner};

/// Where one exchange goes.
pub(super) struct PartnerRoute {
    partner: Partner,
    url: Uri,
}

/// Where this request goes.
pub(super) fn route(request: &RequestHeader, config: &Config) -> Result<PartnerRoute, Rejection> {
    let listener = config.listen.outbound.as_ref();
    judge_client(request, listener.map_or(&[], |listener| &listener.hosts))?;
    let (partner, url) = destination(request, config)?;
    Ok(PartnerRoute { partner: partner.clone(), url: url.clone() })
}

// === impl PartnerRoute ===

impl PartnerRoute {
    /// The addresses of the partner's name.
    pub(super) async fn resolve(&self, lookups: &Lookups) -> Result<Vec<SocketAddr>, Rejection> {
        let host = upstream::host(&self.url).to_owned();
        match timeout(LOOKUP, lookups.look_up(&host, upstream::port(&self.url))).await {
            Ok(Ok(found)) if found.is_empty() => {
                let reason = "it has no address".to_owned();
                Err(Rejection::Unresolved { host, reason })
            }
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Rejection::Unresolved { host, reason: error.to_string() }),
            Err(_) => Err(Rejection::Unresolving { host }),
        }
    }

    /// A connection to the partner's URL.
    pub(super) fn peer(&self, address: SocketAddr) -> HttpPeer {
        let (host, partner) = (upstream::host(&self.url), &self.partner);
        let mut peer = upstream::peer(address, upstream::is_tls(&self.url), host, partner.timeout);
        let Some(tls) = &partner.tls else { return peer };
        if let Some((chain, key)) = tls.client() {
            peer.client_cert_key = Some(Arc::new(CertKey::new(chain.to_vec(), key.clone())));
        }
        if let Some(options) = peer.get_mut_peer_options() {
            if !tls.ca.is_empty() {
                options.ca = Some(Arc::new(tls.ca.to_vec().into_boxed_slice()));
            } else if !tls.pinned.is_empty() {
                // The very certificate is known: who issued it does not matter.
                options.verify_cert = false;
                options.verify_hostname = false;
            }
        }
        peer
    }

    /// Holds the certificate that was shown against the pinned ones, if there are any.
    pub(super) fn check_pin(&self, digest: Option<&Digest>) -> Result<()> {
        let Some(tls) = self.partner.tls.as_ref().filter(|tls| !tls.pinned.is_empty()) else {
            return Ok(());
        };
        let shown = upstream::certificate(digest).and_then(|shown| shown.to_der().ok());
        let pinned = tls.pinned.iter().filter_map(|pinned| pinned.to_der().ok());
        if upstream::is_tls(&self.url) && !pinned.map(Some).any(|pinned| pinned == shown) {
            let text = "the partner shows another certificate than the one pinned for it";
            return Err(Error::explain(ErrorType::InvalidCert, text).into_up());
        }
        Ok(())
    }

    pub(super) fn rewrite(&self, request: &mut RequestHeader) -> Result<()> {
        let target = self.url.path_and_query().map_or("/", |target| target.as_str());
        request.set_raw_path(target.as_bytes())?;
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        request.insert_header(header::HOST, authority)?;
        // Meant for the proxy that we are.
        request.remove_header(&header::PROXY_AUTHORIZATION);
        // A kept connection that turned stale would cost an exchange.
        request.insert_header(header::CONNECTION, "close")
    }
}

/// Refuses what a web page made a browser send: a page can neither leave these headers out, nor see to
/// it that `Host` is ours when its own name leads here.
fn judge_client(request: &RequestHeader, hosts: &[String]) -> Result<(), Rejection> {
    let of_browser = |name: &str| name == "origin" || name.starts_with("sec-fetch-");
    if request.headers.keys().any(|name| of_browser(name.as_str())) {
        return Err(Rejection::Browser);
    }
    // In the absolute form, and with CONNECT, the host is the partner's.
    if hosts.is_empty() || !request.raw_path().starts_with(b"/") {
        return Ok(());
    }
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.and_then(|host| host.parse::<Authority>().ok());
    let known = |name: &Authority| hosts.iter().any(|host| name.host().eq_ignore_ascii_case(host));
    if name.as_ref().is_some_and(known) { Ok(()) } else { Err(Rejection::Host) }
}

/// Whom a request is for, and the URL that it goes to.
fn destination<'a>(
    request: &RequestHeader,
    config: &'a Config,
) -> Result<(&'a Partner, &'a Uri), Rejection> {
    if request.method == Method::CONNECT {
        return Err(Rejection::Connect);
    }
    let target = request.raw_path();
    let to = as2_to(request);
    if !target.starts_with(b"/") && target != b"*" {
        return proxied(target, to.as_deref(), config).ok_or(Rejection::Foreign);
    }
    let as2_id = match named(target) {
        Some(id) => id,
        None => to.ok_or(Rejection::NoRecipient)?,
    };
    let Some(partner) = config.partner(&as2_id) else { return Err(Rejection::NoPartner(as2_id)) };
    let url = partner.url.as_ref().ok_or(Rejection::NoUrl(as2_id))?;
    Ok((partner, url))
}

/// The AS2 id in `/out/<AS2 id>`.
fn named(target: &[u8]) -> Option<String> {
    let path = target.split(|&byte| byte == b'?').next()?;
    let id = path.strip_prefix(b"/out/").filter(|id| !id.is_empty())?;
    Some(percent_decode(id).decode_utf8_lossy().into_owned())
}

fn as2_to(request: &RequestHeader) -> Option<String> {
    let mut headers = Headers::new();
    headers.push("AS2-To", request.headers.get("as2-to")?.as_bytes());
    headers.as2_name("AS2-To")
}

/// The partner that an absolute-form target belongs to; several may share one, then the addressed.
fn proxied<'a>(
    target: &[u8],
    to: Option<&str>,
    config: &'a Config,
) -> Option<(&'a Partner, &'a Uri)> {
    let target: Uri = Uri::try_from(target).ok()?;
    let mut found = config.partners.iter().filter_map(|partner| {
        let mut urls = partner.url.iter().chain(&partner.mdn_urls);
        urls.find(|url| is_same(url, &target)).map(|url| (partner, url))
    });
    let first = found.next()?;
    let addressed = |(partner, _): &(&Partner, &Uri)| Some(partner.as2_id.as_str()) == to;
    if addressed(&first) {
        return Some(first);
    }
    Some(found.find(addressed).unwrap_or(first))
}

/// Scheme and host without case, the port as given or as usual, path and query to the letter.
fn is_same(one: &Uri, other: &Uri) -> bool {
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    upstream::is_tls(one) == upstream::is_tls(other)
        && one.scheme_str().is_some()
        && matches!(other.scheme_str(), Some("http" | "https"))
        // A target with credentials matches no url.
        && !other.authority().is_some_and(|authority| authority.as_str().contains('@'))
        && host(one) == host(other)
        && upstream::port(one) == upstream::port(other)
        && one.path() == other.path()
        && one.query() == other.query()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        is_same(&one.parse().unwrap(), &other.parse().unwrap())
    }

    #[test]
    fn ids_in_paths_are_percent_decoded() {
        assert_eq!(named(b"/out/ACME").as_deref(), Some("ACME"));
        assert_eq!(named(b"/out/A%20%2f%22b%22?x=1").as_deref(), Some("A /\"b\""));
        assert_eq!(named(b"/out/50%").as_deref(), Some("50%"));
        assert_eq!(named(b"/out/%+1").as_deref(), Some("%+1"));
        assert_eq!(named(b"/out/"), None);
        assert_eq!(named(b"/outer/ACME"), None);
    }

    #[test]
    fn a_target_is_a_partners_url_or_it_is_not() {
        assert!(same("https://acme.example/as2", "HTTPS://ACME.example:443/as2"));
        assert!(same("http://acme.example", "http://acme.example/"));
        for other in [
            "http://acme.example/as2",
            "https://acme.example:444/as2",
            "https://acme.example/as2/",
            "https://acme.example/as2?x=1",
            "https://acme.example.evil.example/as2",
            "https://acme.example@evil.example/as2",
            "https://x@acme.example/as2",
        ] {
            assert!(!same("https://acme.example/as2", other), "{other}");
        }
    }
}
