//! OpenAS2's keystore: certificates and private keys by their aliases.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use as2hook_config::{Pkcs12Error, open_pkcs12};
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use tokio::{io::AsyncWriteExt as _, process::Command, runtime, time::timeout};

use super::xml::{self, SourceError};

/// A PKCS#12 file that is open.
pub(super) struct Keystore {
    path: PathBuf,
    password: String,
    /// In lower case, as Java compares them.
    certificates: Vec<(String, X509)>,
    keys: Vec<PKey<Private>>,
    has_all_keys: bool,
}

/// A certificate with its key, and those between it and the root.
pub(super) struct KeystoreIdentity {
    pub(super) certificate: X509,
    pub(super) key: PKey<Private>,
    pub(super) chain: Vec<X509>,
}

/// Why a keystore gives no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeystoreError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "{path} is a JKS keystore; `keytool -importkeystore -srckeystore {path} -destkeystore new.p12 \
         -deststoretype PKCS12` makes a PKCS#12 file of it",
        path = .0.display()
    )]
    Jks(PathBuf),
    #[error("{} {reason}", path.display())]
    Open { path: PathBuf, reason: Pkcs12Error },
    #[error(
        "{} has several private keys, which `openssl pkcs12` reads, and that failed: {reason}",
        path.display()
    )]
    Tool { path: PathBuf, reason: String },
}

/// What a JKS file begins with.
const JKS: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// The limit of one run of `openssl`.
const TOOL_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Keystore ===

impl Keystore {
    pub(super) fn open(path: &Path, password: &str) -> Result<Self, KeystoreError> {
        let bytes = xml::read_bytes(path)?;
        if bytes.starts_with(&JKS) {
            return Err(KeystoreError::Jks(path.to_owned()));
        }
        let parsed = open_pkcs12(&bytes, password)
            .map_err(|reason| KeystoreError::Open { path: path.to_owned(), reason })?;
        let certificates = parsed.cert.into_iter().chain(parsed.ca.into_iter().flatten());
        let named = certificates.map(|certificate| {
            let alias = certificate.alias().map(String::from_utf8_lossy);
            (alias.unwrap_or_default().to_lowercase(), certificate)
        });
        Ok(Self {
            path: path.to_owned(),
            password: password.to_owned(),
            certificates: named.collect(),
            keys: parsed.pkey.into_iter().collect(),
            has_all_keys: false,
        })
    }

    pub(super) fn certificate(&self, alias: &str) -> Option<&X509> {
        let alias = alias.to_lowercase();
        self.certificates.iter().find(|(other, _)| *other == alias).map(|(_, found)| found)
    }

    /// The certificate of this alias with its key, if both are there.
    pub(super) fn identity(
        &mut self,
        alias: &str,
    ) -> Result<Option<KeystoreIdentity>, KeystoreError> {
        match self.certificate(alias).cloned() {
            Some(certificate) => self.identity_of(certificate),
            None => Ok(None),
        }
    }

    /// The first identity, where there is one only.
    pub(super) fn first_identity(&mut self) -> Result<Option<KeystoreIdentity>, KeystoreError> {
        match self.certificates.first() {
            Some((_, certificate)) => self.identity_of(certificate.clone()),
            None => Ok(None),
        }
    }

    fn identity_of(
        &mut self,
        certificate: X509,
    ) -> Result<Option<KeystoreIdentity>, KeystoreError> {
        let is_its = |key: &PKey<Private>| {
            certificate.public_key().is_ok_and(|public| public.public_eq(key))
        };
        if !self.keys.iter().any(is_its) && !self.has_all_keys {
            // OpenSSL's own reader gives the first key alone.
            self.keys = all_keys(&self.path, &self.password)?;
            self.has_all_keys = true;
        }
        let key = self.keys.iter().find(|key| is_its(key)).cloned();
        Ok(key.map(|key| KeystoreIdentity { chain: self.chain(&certificate), certificate, key }))
    }

    fn chain(&self, certificate: &X509) -> Vec<X509> {
        let mut chain: Vec<X509> = Vec::new();
        while let Some((_, issuer)) = self.certificates.iter().find(|(_, issuer)| {
            let issued = chain.last().unwrap_or(certificate);
            let is_known = chain.contains(issuer) || issuer == certificate;
            !is_known && issuer.issued(issued) == openssl::x509::X509VerifyResult::OK
        }) {
            chain.push(issuer.clone());
        }
        chain
    }
}

/// All private keys of a PKCS#12 file, by the command `openssl`. The password goes to its standard input, where no other
/// process sees it.
fn all_keys(path: &Path, password: &str) -> Result<Vec<PKey<Private>>, KeystoreError> {
    let failed = |reason: String| KeystoreError::Tool { path: path.to_owned(), reason };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    // Files of old tools need algorithms of the legacy provider.
    let pem = runtime
        .block_on(keys_as_pem(path, password, &[]))
        .or_else(|_| runtime.block_on(keys_as_pem(path, password, &["-legacy"])))
        .map_err(failed)?;
    Ok(private_keys(&pem))
}

async fn keys_as_pem(path: &Path, password: &str, more: &[&str]) -> Result<String, String> {
    let mut command = Command::new("openssl");
    command.args(["pkcs12", "-nocerts", "-nodes", "-passin", "stdin", "-in"]).arg(path).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(format!("{password}\n").as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    match timeout(TOOL_TIMEOUT, run).await {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8(output.stdout).map_err(|error| error.to_string())
        }
        Ok(Ok(output)) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(error.lines().next().unwrap_or("it gave no reason").to_owned())
        }
        Ok(Err(error)) => Err(format!("the command cannot be run ({error}); install it")),
        Err(_) => Err(format!("it took more than {} s", TOOL_TIMEOUT.as_secs())),
    }
}

/// The keys of a PEM text, whatever stands between them.
fn private_keys(pem: &str) -> Vec<PKey<Private>> {
    let blocks = pem.split("-----BEGIN ").skip(1);
    let keys = blocks.filter_map(|block| {
        PKey::private_key_from_pem(format!("-----BEGIN {block}").as_bytes()).ok()
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use as2hook_testing::pki;
    use openssl::pkcs12::Pkcs12;

    use super::*;

    /// What keytool of Java 17 made: four private keys.
    const KEYSTORE: &[u8] = include_bytes!("../../../../tests/init/as2_certs.p12");

    fn one_key(alias: &str) -> Vec<u8> {
        let mut builder = Pkcs12::builder();
        builder.name(alias).pkey(&pki::station().key).cert(&pki::station().certificate);
        builder.build2("changeit").unwrap().to_der().unwrap()
    }

    #[test]
    fn single_key_is_found_by_its_alias_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.p12");
        fs::write(&path, one_key("MyCompany")).unwrap();
        let mut keystore = Keystore::open(&path, "changeit").unwrap();
        let identity = keystore.identity("mycompany").unwrap().unwrap();
        assert_eq!(identity.certificate, pki::station().certificate);
        assert!(identity.key.public_eq(&pki::station().key));
        assert!(keystore.identity("other").unwrap().is_none());
    }

    #[test]
    fn each_of_several_keys_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("as2_certs.p12");
        fs::write(&path, KEYSTORE).unwrap();
        let mut keystore = Keystore::open(&path, "changeit").unwrap();
        for alias in ["mycompany", "mycompany-old", "acme", "globex"] {
            let found = keystore.identity(alias).unwrap().unwrap();
            assert_eq!(Some(&found.certificate), keystore.certificate(alias), "{alias}");
            assert!(found.key.public_eq(&found.certificate.public_key().unwrap()), "{alias}");
        }
    }

    #[test]
    fn file_that_does_not_open_is_reported_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let reason = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            Keystore::open(&path, "wrong").err().unwrap().to_string()
        };
        assert!(reason(&one_key("we")).ends_with("does not open with this passphrase"));
        assert!(reason(b"text").ends_with("is no PKCS#12 file"));
        assert!(reason(&[&JKS[..], b"rest"].concat()).contains("keytool -importkeystore"));
    }
}
