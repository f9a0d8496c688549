use std::{env::VarError, path::Path};

use as2hook_testing::pki;

use super::*;
use crate::{
    plugins::Plugins,
    source::Context,
    tests::{KEYS, copy_key},
};

const SESAME: &str = "open sesame";

/// Reads `- {…}` with a reader; gives its result, its mistakes and its warnings.
fn with<T>(
    file: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> (Option<T>, Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (folder, from) = (folder.path(), Path::new(KEYS).join(file));
    fs::create_dir(folder.join("keys")).unwrap();
    if from.is_file() {
        copy_key(&from, &folder.join("keys"));
    }
    let context = Context::new(|_| Err(VarError::NotPresent), Plugins::default());
    let text = if file.starts_with('/') { file.to_owned() } else { format!("keys/{file}") };
    let (root, _) = crate::tree::parse(std::path::Path::new(""), &text);
    let source = folder.join("some.yaml");
    let result = read(&Value::root(&context, &source, root.unwrap()));
    let (mistakes, warnings, _) = context.finish();
    let say = |mistakes: Vec<crate::ConfigDiagnostic>| {
        let shown = format!("{}/", folder.display());
        mistakes.iter().map(|m| m.message.replace(&shown, "")).collect()
    };
    (result, say(mistakes), say(warnings))
}

fn hidden(text: &str) -> Option<SecretString> {
    Some(SecretString::from(text.to_owned()))
}

#[test]
fn certificates_in_either_form() {
    for file in ["rsa.crt", "rsa.der", "ec.crt"] {
        let (found, mistakes, warnings) = with(file, certificates);
        assert_eq!((found.unwrap().len(), mistakes, warnings), (1, vec![], vec![]), "{file}");
    }
    assert_eq!(with("chain.pem", certificates).0.unwrap().len(), 2);
}

#[test]
fn what_is_no_certificate() {
    for file in ["rsa.key", "make", "modern.p12"] {
        let (found, mistakes, _) = with(file, certificates);
        assert!(found.is_none());
        assert_eq!(mistakes, [format!("keys/{file} holds no certificate (PEM or DER)")]);
    }
    assert_eq!(with("none.crt", certificates).1, ["keys/none.crt does not exist"]);
    assert_eq!(with("", certificates).1, ["keys/ is a folder, not a file"]);
}

#[test]
fn pkcs7_file_is_named_with_the_command_that_takes_the_certificate_out() {
    for (file, form, out) in [("rsa.p7b", "PEM", "rsa.crt"), ("rsa.p7b.der", "DER", "rsa.p7b.crt")]
    {
        let (found, mistakes, _) = with(file, certificates);
        assert!(found.is_none());
        let what = format!(
            "keys/{file} is PKCS#7, not a certificate; take the certificate out with `openssl pkcs7 -print_certs \
             -inform {form} -in keys/{file} -out keys/{out}`, and name that file here"
        );
        assert_eq!(mistakes, [what]);
    }
}

#[test]
fn rsa_key_of_1024_bits_is_warned_of() {
    let (found, _, warnings) = with("weak.crt", certificates);
    assert_eq!(found.unwrap().len(), 1);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("the certificate in keys/weak.crt has an RSA key of 1024 bits"));
}

#[test]
fn private_key_that_others_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    for (file, mode, count) in [
        ("rsa.key", 0o600, 0),
        ("rsa.key", 0o644, 1),
        ("modern.p12", 0o640, 1),
        ("rsa.crt", 0o644, 0),
    ] {
        let path = folder.path().join(file);
        copy_key(&Path::new(KEYS).join(file), folder.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (_, mistakes, warnings) = with(path.to_str().unwrap(), |value| match file {
            "rsa.key" => private_key(value, None).map(drop),
            "rsa.crt" => certificates(value).map(drop),
            _ => pkcs12(value, hidden(SESAME).as_ref()).map(drop),
        });
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(warnings.len(), count, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("`chmod 600 ")), "{warnings:?}");
    }
}

#[test]
fn an_expired_certificate_is_warned_of() {
    let (found, mistakes, warnings) = with("expired.crt", certificates);
    assert!(found.is_some() && mistakes.is_empty());
    assert_eq!(
        warnings,
        ["the certificate in keys/expired.crt expired on Jan  1 00:00:00 2001 GMT"]
    );
}

#[test]
fn private_keys_in_every_form() {
    let plain = ["rsa.key", "rsa.key.der", "ec.key"].map(|file| (file, None));
    let encrypted = ["rsa-encrypted.key", "rsa-encrypted.key.der", "rsa-traditional.key"]
        .map(|file| (file, hidden(SESAME)));
    for (file, passphrase) in plain.into_iter().chain(encrypted) {
        let (found, mistakes, _) = with(file, |value| private_key(value, passphrase.as_ref()));
        assert!(found.is_some(), "{file}: {mistakes:?}");
    }
    // One that is not needed does no harm: config is often the same for all keys.
    assert!(with("rsa.key", |value| private_key(value, hidden("x").as_ref())).0.is_some());
}

#[test]
fn what_is_wrong_with_a_private_key() {
    let long = "x".repeat(5000);
    for (file, passphrase, message) in [
        ("rsa-encrypted.key", "", "is encrypted; its passphrase is missing"),
        ("rsa-encrypted.key.der", "", "is encrypted; its passphrase is missing"),
        ("rsa-traditional.key", "", "is encrypted; its passphrase is missing"),
        ("rsa-encrypted.key", "wrong", "does not open with this passphrase"),
        ("rsa-traditional.key", "wrong", "does not open with this passphrase"),
        ("rsa-encrypted.key.der", &long, "does not open with this passphrase"),
        ("rsa.crt", "", "holds no private key (PEM or DER)"),
        ("make", "", "holds no private key (PEM or DER)"),
        ("ed25519.key", "", "holds a key that is neither RSA nor EC"),
    ] {
        let passphrase = hidden(passphrase);
        let (found, mistakes, _) = with(file, |value| private_key(value, passphrase.as_ref()));
        assert!(found.is_none());
        assert_eq!(mistakes, [format!("keys/{file} {message}")]);
    }
}

#[test]
fn archives_of_today_and_of_old_tools() {
    for file in ["modern.p12", "legacy.p12"] {
        let (found, mistakes, _) = with(file, |value| pkcs12(value, hidden(SESAME).as_ref()));
        let found = found.unwrap_or_else(|| panic!("{file}: {mistakes:?}"));
        assert!(belongs(&found.certificate, &found.private_key));
    }
}

#[test]
fn what_is_wrong_with_an_archive() {
    for (file, passphrase, message) in [
        ("modern.p12", None, "needs a passphrase"),
        ("legacy.p12", hidden("wrong"), "does not open with this passphrase"),
        ("modern.p12", hidden("a\0b"), "does not open with this passphrase"),
        ("certificate-only.p12", hidden(SESAME), "holds no private key with its certificate"),
        ("rsa.crt", None, "is no PKCS#12 file"),
    ] {
        let (found, mistakes, _) = with(file, |value| pkcs12(value, passphrase.as_ref()));
        assert!(found.is_none());
        assert_eq!(mistakes, [format!("keys/{file} {message}")]);
    }
}

#[test]
fn an_archive_with_a_second_key_is_warned_of() {
    let (found, mistakes, warnings) =
        with("two-keys.p12", |value| pkcs12(value, hidden(SESAME).as_ref()));
    let found = found.unwrap_or_else(|| panic!("{mistakes:?}"));
    assert!(belongs(&found.certificate, &found.private_key));
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("only the key of CN=one (serial "), "{warning}");
    assert!(
        warning.contains("in keys/two-keys.p12 is used; a key of CN=two (serial "),
        "{warning}"
    );
}

#[test]
fn a_chain_has_no_strangers() {
    let chain = [pki::server(), pki::authority(), pki::stranger()];
    let (key, chain) = (&chain[0].key, chain.map(|identity| identity.certificate.clone()));
    assert_eq!(strangers(&chain[..2], key).count(), 0);
    let found: Vec<_> = strangers(&chain, key).map(|found| named(found)).collect();
    assert!(found.len() == 1 && found[0].starts_with("CN=stranger"), "{found:?}");

    // One of before, for the same key.
    let [now, before] = ["rsa.crt", "expired.crt"].map(|file| with(file, certificates).0.unwrap());
    let (key, _, _) = with("rsa.key", |value| private_key(value, None));
    assert_eq!(strangers(&[now.content, before.content].concat(), &key.unwrap()).count(), 0);
}
