//! Certificates and private keys from files: PEM, DER and PKCS#12.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::OnceLock};

use as2hook_as2::StationKey;
use as2hook_event::SecretString;
use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    nid::Nid,
    pkcs7::Pkcs7,
    pkcs12::{ParsedPkcs12_2, Pkcs12},
    pkey::{Id, PKey, Private},
    provider::Provider,
    x509::{X509, X509Ref, X509VerifyResult},
};

use super::{
    setting::{SecretText, Setting as _, setting},
    value::{FromFile, Value},
};

/// RSA keys of fewer bits are warned of (NIST SP 800-131A).
const LEAST_BITS: u32 = 2048;

/// The certificates of one file; the first one is meant where one is. Empty where none is given.
pub type CertificateFile = FromFile<Vec<X509>>;

/// Why a PKCS#12 file does not open. Reads on behind the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs12Error {
    /// It is something else.
    #[error("is no PKCS#12 file")]
    Form,
    /// The passphrase is wrong.
    #[error("does not open with this passphrase")]
    Passphrase,
    /// The algorithm is not known.
    #[error("uses an encryption that OpenSSL does not open")]
    Encryption,
}

/// A private key, RSA or EC.
pub type PrivateKeyFile = FromFile<PKey<Private>>;

setting!(Certificates: CertificateFile, certificates, CertificateFile::path);
setting!(
    Key: PrivateKeyFile,
    |value| private_key(value, passphrase(value)?.as_ref()),
    PrivateKeyFile::path
);
setting!(
    Archive: FromFile<StationKey>,
    |value| {
        let mut others = ["certificate", "private_key"].into_iter();
        match others.find_map(|other| value.sibling(other)) {
            Some(other) => other.wrong("`pkcs12` is given too, and holds both; only one may be"),
            None => pkcs12(value, passphrase(value)?.as_ref()),
        }
    },
    FromFile::path
);

/// `passphrase` or `passphrase_file` beside a key. `Some(None)`: there is none. With one that could not be
/// read its own mistake says enough, and the key should not be tried without it.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
fn passphrase(key: &Value) -> Option<Option<SecretString>> {
    match (key.sibling("passphrase"), key.sibling("passphrase_file")) {
        (_, Some(file)) => file.secret_file("passphrase").map(|file| Some(file.content)),
        (Some(text), None) => SecretText::read(&text).map(Some),
        (None, None) => Some(None),
    }
}

/// Judges whether `client_certificate` and `client_key` are both there, and belong together.
pub(crate) fn judge_client(
    table: &Value,
    chain: &[X509],
    key: Option<&PrivateKeyFile>,
) -> Option<()> {
    match (table.get("client_certificate"), table.get("client_key")) {
        (Some(place), None) => place.wrong("`client_key` is missing beside it"),
        (None, Some(place)) => place.wrong("`client_certificate` is missing beside it"),
        (_, place) => match (chain.first(), key, place) {
            (Some(certificate), Some(key), Some(place)) if !belongs(certificate, key) => {
                place.wrong("this private key is not the certificate's")
            }
            _ => Some(()),
        },
    }
}

/// Judges whether `certificate` and `private_key` belong together.
pub(crate) fn judge_identity(table: &Value, chain: &[X509], key: &PKey<Private>) -> Option<()> {
    if chain.first().is_some_and(|certificate| belongs(certificate, key)) {
        return Some(());
    }
    table
        .get("private_key")?
        .wrong("this private key is not the certificate's; another key was made for it")
}

/// Whether the private key is that of the certificate.
pub(crate) fn belongs(certificate: &X509Ref, private_key: &PKey<Private>) -> bool {
    certificate.public_key().is_ok_and(|public| public.public_eq(private_key))
}

/// A file with one certificate or more: PEM, or DER for one alone. Never an empty list. One that
/// is out of its time is warned of: the messages of that time can still be read by it.
pub(crate) fn certificates(value: &Value) -> Option<CertificateFile> {
    let (path, bytes) = value.file()?;
    let found = if is_pem(&bytes) {
        X509::stack_from_pem(&bytes)
    } else {
        X509::from_der(&bytes).map(|certificate| vec![certificate])
    };
    match found {
        Ok(found) if !found.is_empty() => {
            judge_certificate(value, &path, &found[0]);
            Some(FromFile { path, content: found })
        }
        _ => match pkcs7(&bytes) {
            Some(form) => {
                let shown = path.display();
                value.wrong(format!(
                    "{shown} is PKCS#7, not a certificate; take the certificate out with `openssl pkcs7 -print_certs \
                     -inform {form} -in {shown} -out {}`, and name that file here",
                    path.with_extension("crt").display()
                ))
            }
            None => value.wrong(format!("{} holds no certificate (PEM or DER)", path.display())),
        },
    }
}

/// The form of a PKCS#7 file (`.p7b`), as OpenSSL names it.
fn pkcs7(bytes: &[u8]) -> Option<&'static str> {
    if Pkcs7::from_pem(bytes).is_ok() {
        return Some("PEM");
    }
    Pkcs7::from_der(bytes).is_ok().then_some("DER")
}

/// A private key, RSA or EC: PEM or DER, PKCS#8 or traditional.
pub(crate) fn private_key(
    value: &Value,
    passphrase: Option<&SecretString>,
) -> Option<PrivateKeyFile> {
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
        Ok(key) => {
            judge_access(value, &path);
            judge_kind(value, &path, key).map(|content| FromFile { path, content })
        }
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
pub(crate) fn pkcs12(
    value: &Value,
    passphrase: Option<&SecretString>,
) -> Option<FromFile<StationKey>> {
    let (path, bytes) = value.file()?;
    let shown = path.display();
    let passphrase = passphrase.map_or("", SecretString::expose);
    let parsed = match open_pkcs12(&bytes, passphrase) {
        Ok(parsed) => parsed,
        Err(Pkcs12Error::Passphrase) if passphrase.is_empty() => {
            return value.wrong(format!("{shown} needs a passphrase"));
        }
        Err(error) => return value.wrong(format!("{shown} {error}")),
    };
    let (Some(private_key), Some(certificate)) = (parsed.pkey, parsed.cert) else {
        return value.wrong(format!("{shown} holds no private key with its certificate"));
    };
    judge_access(value, &path);
    judge_certificate(value, &path, &certificate);
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
    let certificate = chain.swap_remove(0);
    Some(FromFile { path, content: StationKey { certificate, private_key } })
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

/// Distinguishes certificates that have the same name, too.
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

/// Opens a PKCS#12 file, of old tools too. OpenSSL gives its first private key and all certificates.
///
/// # Errors
/// Why it does not open.
pub fn open_pkcs12(bytes: &[u8], passphrase: &str) -> Result<ParsedPkcs12_2, Pkcs12Error> {
    let archive = Pkcs12::from_der(bytes).map_err(|_| Pkcs12Error::Form)?;
    // OpenSSL takes a C string.
    if passphrase.contains('\0') {
        return Err(Pkcs12Error::Passphrase);
    }
    let parsed = match archive.parse2(passphrase) {
        // Old tools write RC2-40 and RC4, which OpenSSL 3 opens with its legacy provider alone.
        Err(error) if !is_wrong_passphrase(&error) && legacy_provider() => {
            archive.parse2(passphrase)
        }
        outcome => outcome,
    };
    parsed.map_err(|error| match is_wrong_passphrase(&error) {
        true => Pkcs12Error::Passphrase,
        false => Pkcs12Error::Encryption,
    })
}

/// Loads the legacy provider beside the default one, once; it stays as long as the process.
fn legacy_provider() -> bool {
    static LEGACY: OnceLock<Option<Provider>> = OnceLock::new();
    LEGACY.get_or_init(|| Provider::try_load(None, "legacy", true).ok()).is_some()
}

fn is_wrong_passphrase(error: &ErrorStack) -> bool {
    error.errors().iter().any(|error| error.reason() == Some("mac verify failure"))
}

fn judge_kind(value: &Value, path: &Path, key: PKey<Private>) -> Option<PKey<Private>> {
    match key.id() {
        Id::RSA | Id::EC => Some(key),
        _ => value.wrong(format!("{} holds a key that is neither RSA nor EC", path.display())),
    }
}

/// Warns of a file with a private key that not its owner alone can read.
fn judge_access(value: &Value, path: &Path) {
    let Ok(about) = fs::metadata(path) else { return };
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let shown = path.display();
        value.warn(format!(
            "{shown} holds a private key, and others than its owner may read or change it (mode {mode:03o}); \
             `chmod 600 {shown}`"
        ));
    }
}

fn judge_certificate(value: &Value, path: &Path, certificate: &X509Ref) {
    if let Ok(key) = certificate.public_key()
        && key.id() == Id::RSA
        && key.bits() < LEAST_BITS
    {
        value.warn(format!(
            "the certificate in {} has an RSA key of {} bits, which can be broken; have one of {LEAST_BITS} bits \
             or more issued",
            path.display(),
            key.bits()
        ));
    }
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
