//! The message integrity check: which algorithm, and how it is written (RFC 4130 section 7.3).

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Headers, digest::Digest, mime::parameters::Parameters};

/// The first supported algorithm that the sender asks for in `signed-receipt-micalg`.
pub(crate) fn requested(headers: &Headers) -> Option<Digest> {
    let field = headers.get("disposition-notification-options")?;
    // The first parameter stands where a field's value would: give it one.
    let parameters = Parameters::parse(&[b";", field].concat());
    let list = parameters.get("signed-receipt-micalg")?;
    list.split(',').map(|name| name.trim().trim_matches('"')).find_map(Digest::from_name)
}

/// `<base64>, sha-256`.
pub(crate) fn format(digest: Digest, sum: &[u8]) -> String {
    format!("{}, {}", STANDARD.encode(sum), digest.name())
}
