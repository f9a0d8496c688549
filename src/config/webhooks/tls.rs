//! A webhook's trust and identity for https.

use as2hook_webhooks::Tls;
use http::Uri;
use openssl::x509::X509;

use super::Value;
use crate::config::keys;

/// Reads the files, so that a mistake in one is found now and not by the first delivery.
pub(super) fn read(value: &Value<'_>, url: Option<&Uri>) -> Option<Tls> {
    let table = value.table(&["ca", "client_certificate", "client_key"])?;
    if url.is_some_and(|url| url.scheme_str() == Some("http")) {
        return value.wrong("is of no use: the url is http, not https");
    }
    let ca = table.read("ca", keys::certificates);
    let certificate = table.get("client_certificate");
    let key = table.get("client_key");
    match (&certificate, &key) {
        (Some(place), None) => return place.wrong("`client_key` is missing beside it"),
        (None, Some(place)) => return place.wrong("`client_certificate` is missing beside it"),
        _ => {}
    }
    let chain = certificate.as_ref().and_then(keys::certificates);
    let private_key = key.as_ref().and_then(|place| keys::private_key(place, None));
    if let (Some(chain), Some(private_key), Some(place)) = (&chain, &private_key, &key)
        && !keys::belongs(&chain[0], private_key)
    {
        return place.wrong("this private key is not the certificate's");
    }
    let keys = ["ca", "client_certificate", "client_key"];
    Some(Tls {
        ca: ca.and_then(|ca| to_pem(&ca)),
        client_certificate: chain.and_then(|chain| to_pem(&chain)),
        client_key: private_key.and_then(|key| key.private_key_to_pem_pkcs8().ok()),
        sources: keys.iter().filter_map(|key| table.get(key)?.path()).collect(),
    })
}

fn to_pem(certificates: &[X509]) -> Option<Vec<u8>> {
    let each = certificates.iter().map(|certificate| certificate.to_pem());
    each.collect::<Result<Vec<_>, _>>().ok().map(|pem| pem.concat())
}
