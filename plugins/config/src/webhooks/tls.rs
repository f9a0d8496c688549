//! A webhook's trust and identity for https.

use as2hook_event::Tls;
use http::Uri;
use openssl::{error::ErrorStack, x509::X509};

use super::Value;
use crate::keys;

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
    let written = (|| {
        Ok(Tls {
            ca: ca.as_deref().map(to_pem).transpose()?,
            client_certificate: chain.as_deref().map(to_pem).transpose()?,
            client_key: private_key.map(|key| key.private_key_to_pem_pkcs8()).transpose()?,
            sources: keys.iter().filter_map(|key| table.get(key)?.path()).collect(),
        })
    })();
    // Going on without one would trust, or show, something else than was asked for.
    match written {
        Ok(tls) => Some(tls),
        Err(error) => {
            let _: ErrorStack = error;
            value.wrong("OpenSSL cannot write these as PEM")
        }
    }
}

fn to_pem(certificates: &[X509]) -> Result<Vec<u8>, ErrorStack> {
    let each = certificates.iter().map(|certificate| certificate.to_pem());
    each.collect::<Result<Vec<_>, _>>().map(|pem| pem.concat())
}
