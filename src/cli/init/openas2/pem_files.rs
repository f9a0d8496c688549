//! Keys and certificates as files: one for each alias.

use std::collections::BTreeMap;

use openssl::x509::X509;

use super::keystore::KeystoreIdentity;

/// PEM files under `keys/`.
#[derive(Default)]
pub(super) struct PemFiles {
    /// Names and contents.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The names of what is there already.
    names: BTreeMap<String, String>,
}

// === impl PemFiles ===

impl PemFiles {
    pub(super) fn certificate(&mut self, alias: &str, certificate: &X509) -> String {
        self.add(&format!("{alias} certificate"), alias, "crt", &[pem(certificate)])
    }

    pub(super) fn identity(&mut self, alias: &str, identity: &KeystoreIdentity) -> String {
        self.add(
            &format!("{alias} key"),
            alias,
            "pem",
            &[key(identity), pem(&identity.certificate)],
        )
    }

    /// As [`Self::identity`], with the certificates that TLS shows besides.
    pub(super) fn chain(&mut self, name: &str, identity: &KeystoreIdentity) -> String {
        let mut parts = vec![key(identity), pem(&identity.certificate)];
        parts.extend(identity.chain.iter().map(pem));
        self.add(name, name, "pem", &parts)
    }

    /// The file of what is called `identifier`, as `alias` if that name is free.
    fn add(&mut self, identifier: &str, alias: &str, extension: &str, parts: &[Vec<u8>]) -> String {
        let identifier = identifier.to_lowercase();
        if let Some(name) = self.names.get(&identifier) {
            return name.clone();
        }
        let safe =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        let stem: String = alias.to_lowercase().chars().take(100).map(safe).collect();
        let is_taken = |name: &String| self.files.iter().any(|(other, _)| other == name);
        let numbered = (2..).map(|n| format!("keys/{stem}-{n}.{extension}"));
        let mut names = std::iter::once(format!("keys/{stem}.{extension}")).chain(numbered);
        let name = names.find(|name| !is_taken(name)).expect("one of endlessly many names is free");
        self.files.push((name.clone(), parts.concat()));
        self.names.insert(identifier, name.clone());
        name
    }
}

const WRITES: &str = "OpenSSL writes what it has read";

fn pem(certificate: &X509) -> Vec<u8> {
    certificate.to_pem().expect(WRITES)
}

fn key(identity: &KeystoreIdentity) -> Vec<u8> {
    identity.key.private_key_to_pem_pkcs8().expect(WRITES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_alias_is_a_plain_file_name() {
        let mut files = PemFiles::default();
        let certificate = &as2hook_testing::pki::partner().certificate;
        assert_eq!(files.certificate("../../etc/x y", certificate), "keys/------etc-x-y.crt");
        assert_eq!(files.certificate("..-../etc/x y", certificate), "keys/------etc-x-y-2.crt");
        assert_eq!(files.certificate("../../ETC/x y", certificate), "keys/------etc-x-y.crt");
    }
}
