//! Certificates and private keys from files: PEM, DER and PKCS#12.

use std::{path::Path, sync::OnceLock};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    nid::Nid,
    pkcs12::{ParsedPkcs12_2, Pkcs12},
    pkey::{Id, PKey, Private},
    provider::Provider,
    x509::{X509, X509Ref, X509VerifyResult},
};

use super::read::{SecretString, Table, Value};

/// A certificate (its chain behind it, when the file had one) with its private key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<X509>,
    pub(crate) private_key: PKey<Private>,
}

/// The keys by which [`identity`] is written in a config.
pub(crate) const CERTIFICATE: &str = "certificate";
pub(crate) const PRIVATE_KEY: &str = "private_key";
pub(crate) const PASSPHRASE: &str = "passphrase";
pub(crate) const PASSPHRASE_FILE: &str = "passphrase_file";

/// Reads `certificate` and `private_key`, which must belong together.
pub(crate) fn identity(table: &Table<'_>) -> Option<Identity> {
    let passphrase = passphrase(table);
    let chain = table.need(CERTIFICATE, certificates);
    let private_key =
        table.need(PRIVATE_KEY, |value| private_key(value, passphrase.as_ref()?.as_ref()));
    let (chain, private_key) = (chain?, private_key?);
    if !belongs(&chain[0], &private_key) {
        return table
            .get(PRIVATE_KEY)?
            .wrong("this private key is not the certificate's; another key was made for it");
    }
    Some(Identity { chain, private_key })
}

/// `Some(None)`: there is none. With one that could not be read its own mistake says enough, and
/// the key should not be tried without it.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
pub(crate) fn passphrase(table: &Table<'_>) -> Option<Option<SecretString>> {
    let given = table.get(PASSPHRASE).is_some() || table.get(PASSPHRASE_FILE).is_some();
    let passphrase = table.secret(PASSPHRASE, PASSPHRASE_FILE);
    (passphrase.is_some() || !given).then_some(passphrase)
}

/// Whether the private key is that of the certificate.
pub(crate) fn belongs(certificate: &X509Ref, private_key: &PKey<Private>) -> bool {
    certificate.public_key().is_ok_and(|public| public.public_eq(private_key))
}

/// A file with one certificate or more: PEM, or DER for one alone. Never an empty list. One that
/// is out of its time is warned of: the messages of that time can still be read by it.
pub(crate) fn certificates(value: &Value<'_>) -> Option<Vec<X509>> {
    let (path, bytes) = value.file()?;
    let found = if is_pem(&bytes) {
        X509::stack_from_pem(&bytes)
    } else {
        X509::from_der(&bytes).map(|certificate| vec![certificate])
    };
    match found {
        Ok(found) if !found.is_empty() => {
            judge_time(value, &path, &found[0]);
            Some(found)
        }
        _ => value.wrong(format!("{} holds no certificate (PEM or DER)", path.display())),
    }
}

/// A private key, RSA or EC: PEM or DER, PKCS#8 or traditional.
pub(crate) fn private_key(
    value: &Value<'_>,
    passphrase: Option<&SecretString>,
) -> Option<PKey<Private>> {
    let (path, bytes) = value.file()?;
    let mut asked = false;
    // Always with a callback: without one OpenSSL asks on the terminal.
    let password = |buffer: &mut [u8]| {
        asked = true;
        let text = passphrase.map_or("", SecretString::expose).as_bytes();
        let Some(into) = buffer.get_mut(..text.len()) else { return Ok(0) };
        into.copy_from_slice(text);
        Ok(text.len())
    };
    let found = if is_pem(&bytes) {
        PKey::private_key_from_pem_callback(&bytes, password)
    } else {
        PKey::private_key_from_der(&bytes)
            .or_else(|_| PKey::private_key_from_pkcs8_callback(&bytes, password))
    };
    match found {
        Ok(key) => judge_kind(value, &path, key),
        Err(_) if asked && passphrase.is_none_or(|text| text.expose().is_empty()) => {
            value.wrong(format!("{} is encrypted; its passphrase is missing", path.display()))
        }
        Err(_) if asked => {
            value.wrong(format!("{} does not open with this passphrase", path.display()))
        }
        Err(_) => value.wrong(format!("{} holds no private key (PEM or DER)", path.display())),
    }
}

/// A PKCS#12 file with one private key and its certificate.
pub(crate) fn pkcs12(value: &Value<'_>, passphrase: Option<&SecretString>) -> Option<Identity> {
    let (path, bytes) = value.file()?;
    let shown = path.display();
    let Ok(archive) = Pkcs12::from_der(&bytes) else {
        return value.wrong(format!("{shown} is no PKCS#12 file"));
    };
    let passphrase = passphrase.map_or("", SecretString::expose);
    if passphrase.contains('\0') {
        return value.wrong(format!("{shown} does not open with this passphrase"));
    }
    let parsed = match open(&archive, passphrase) {
        Ok(parsed) => parsed,
        Err(error) if is_wrong_passphrase(&error) && passphrase.is_empty() => {
            return value.wrong(format!("{shown} needs a passphrase"));
        }
        Err(error) if is_wrong_passphrase(&error) => {
            return value.wrong(format!("{shown} does not open with this passphrase"));
        }
        Err(_) => {
            return value.wrong(format!("{shown} uses an encryption that OpenSSL does not open"));
        }
    };
    let (Some(private_key), Some(certificate)) = (parsed.pkey, parsed.cert) else {
        return value.wrong(format!("{shown} holds no private key with its certificate"));
    };
    judge_time(value, &path, &certificate);
    let private_key = judge_kind(value, &path, private_key)?;
    let mut chain = vec![certificate];
    chain.extend(parsed.ca.into_iter().flatten());
    for other in strangers(&chain, &private_key) {
        value.warn(format!(
            "only the key of {} in {shown} is used; a key of {}, whose certificate is there too, needs a \
             file of its own",
            named(&chain[0]),
            named(other)
        ));
    }
    Some(Identity { chain, private_key })
}

/// Certificates of an archive that are not there for the first one's sake: most likely they have keys
/// of their own in it, and OpenSSL opens the first key alone.
fn strangers<'a>(
    chain: &'a [X509],
    private_key: &'a PKey<Private>,
) -> impl Iterator<Item = &'a X509> {
    let issuer = |place: usize, certificate: &X509| {
        chain.iter().enumerate().any(|(other, issued)| {
            other != place && certificate.issued(issued) == X509VerifyResult::OK
        })
    };
    chain
        .iter()
        .enumerate()
        .skip(1)
        .filter(move |(place, certificate)| {
            !issuer(*place, certificate) && !belongs(certificate, private_key)
        })
        .map(|(_, certificate)| certificate)
}

/// Tells certificates apart that have the same name too.
pub(crate) fn named(certificate: &X509Ref) -> String {
    let subject = certificate.subject_name();
    let common = subject.entries_by_nid(Nid::COMMONNAME).next();
    let name = match common.and_then(|entry| entry.data().to_string().ok()) {
        Some(name) => format!("CN={}", name.escape_debug()),
        None => format!("{subject:?}"),
    };
    let serial = certificate.serial_number().to_bn().and_then(|number| number.to_hex_str());
    serial.map(|serial| format!("{name} (serial {serial})")).unwrap_or(name)
}

/// Old tools write RC2-40 and RC4, which OpenSSL 3 opens with its legacy provider alone.
fn open(archive: &Pkcs12, passphrase: &str) -> Result<ParsedPkcs12_2, ErrorStack> {
    match archive.parse2(passphrase) {
        Err(error) if !is_wrong_passphrase(&error) && legacy_provider() => {
            archive.parse2(passphrase)
        }
        outcome => outcome,
    }
}

/// Loads the legacy provider beside the default one, once; it stays as long as the process.
fn legacy_provider() -> bool {
    static LEGACY: OnceLock<Option<Provider>> = OnceLock::new();
    LEGACY.get_or_init(|| Provider::try_load(None, "legacy", true).ok()).is_some()
}

fn is_wrong_passphrase(error: &ErrorStack) -> bool {
    error.errors().iter().any(|error| error.reason() == Some("mac verify failure"))
}

fn judge_kind(value: &Value<'_>, path: &Path, key: PKey<Private>) -> Option<PKey<Private>> {
    match key.id() {
        Id::RSA | Id::EC => Some(key),
        _ => value.wrong(format!("{} holds a key that is neither RSA nor EC", path.display())),
    }
}

fn judge_time(value: &Value<'_>, path: &Path, certificate: &X509Ref) {
    let Ok(now) = Asn1Time::days_from_now(0) else { return };
    let (from, to): (&Asn1TimeRef, &Asn1TimeRef) =
        (certificate.not_before(), certificate.not_after());
    if to < now {
        value.warn(format!("the certificate in {} expired on {to}", path.display()));
    } else if from > now {
        value.warn(format!("the certificate in {} is not valid before {from}", path.display()));
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}

#[cfg(test)]
mod tests;
