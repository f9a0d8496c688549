//! `as2hook decode`: one message or MDN, offline.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use as2hook_as2::{Decoder, Headers, Keyring, Options, StationKey};
use openssl::{pkey::PKey, x509::X509};

use as2hook_config::Plugins;

use self::folder::{FileError, Folder};
use super::CommandError;

mod folder;
mod head;

/// The default of the other commands too.
const DEFAULT_CONFIG: &str = "conf/as2hook.yaml";

/// Decodes one AS2 message or MDN and prints one JSON object.
///
/// What is wrong with a message stands in its `errors`; the exit status is 0 as long as the message
/// could be read and printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The body as it came over HTTP; `-` is standard input.
    body: PathBuf,
    /// Its HTTP header lines; without, those that the body's file begins with.
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// Take keys and certificates from this config; conf/as2hook.yaml, where it is there and neither
    /// `--key` nor `--cert` is given.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["key", "cert"])]
    config: Option<PathBuf>,
    /// A private key (PEM) of ours; its certificate is the `--cert` at the same place.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,
    /// A certificate (PEM or DER): the first ones pair with `--key`, those beyond are the sender's.
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,
    /// Decode DES, RC2-40 and RC2-128 too.
    #[arg(long)]
    legacy_algorithms: bool,
    /// Write the attachments into this folder, which is made if need be. No file is overwritten.
    #[arg(long, value_name = "DIR")]
    payload_dir: Option<PathBuf>,
}

// === impl Args ===

impl Args {
    /// The result goes to `out`, notes to `err`.
    ///
    /// # Errors
    /// When a file or the keys cannot be read, or the result not be written.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let mut body = open(&self.body)?;
        let (headers, first) = match &self.headers {
            Some(path) => (Headers::parse(&read(path)?), Vec::new()),
            None => {
                let (headers, first) = head::read(&mut body).map_err(at(&self.body))?;
                let note = match &headers {
                    Some(_) => Some("with header lines, which are taken for its own"),
                    None if head::is_multipart(&first) => {
                        Some("like a multipart: give its head with --headers")
                    }
                    None => None,
                };
                if let Some(note) = note {
                    // Without a stderr the result says enough.
                    let _ = writeln!(err, "as2hook: {} begins {note}.", self.body.display());
                }
                (headers.unwrap_or_default(), first)
            }
        };
        let (mut keyring, options) = self.keys(&headers, plugins)?;
        if headers.as2_name("AS2-From").is_none() {
            keyring = of_any_sender(&keyring);
        }
        let mut decoder = Decoder::new(&headers, keyring, options);
        let mut folder = Folder::new(self.payload_dir.as_deref()).map_err(in_file)?;
        decoder.push(&first, &mut folder);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = body.read(&mut buffer).map_err(at(&self.body))?;
            if read == 0 {
                break;
            }
            decoder.push(&buffer[..read], &mut folder);
        }
        let decoded = decoder.finish(true, &mut folder);
        folder.finish().map_err(in_file)?;
        serde_json::to_writer_pretty(&mut *out, &decoded).map_err(io::Error::from)?;
        Ok(writeln!(out)?)
    }

    fn keys(
        &self,
        headers: &Headers,
        plugins: &Plugins,
    ) -> Result<(Arc<Keyring>, Options), CommandError> {
        let default = Path::new(DEFAULT_CONFIG);
        let config = match &self.config {
            None if self.cert.is_empty() && default.exists() => Some(default),
            named => named.as_deref(),
        };
        if let Some(path) = config {
            // On stdout stands what the message is.
            let loaded = as2hook_config::load(path, plugins).map_err(|mistakes| {
                let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                CommandError::Failed(lines.join("\n"))
            })?;
            let mut options = loaded.config.decode_options();
            options.legacy_algorithms |= self.legacy_algorithms;
            return Ok((loaded.config.keyring, options));
        }
        if self.key.len() > self.cert.len() {
            let (keys, certs) = (self.key.len(), self.cert.len());
            return Err(CommandError::Failed(format!(
                "there are {keys} --key and {certs} --cert; every key needs its certificate"
            )));
        }
        let mut keyring = Keyring::new();
        for (key, cert) in self.key.iter().zip(&self.cert) {
            let private_key = PKey::private_key_from_pem(&read(key)?).map_err(|_| {
                let what = "is not a private key in PEM, or it has a passphrase (use -c then)";
                CommandError::Failed(format!("{}: {what}", key.display()))
            })?;
            keyring.add_key(StationKey { certificate: certificate(cert)?, private_key });
        }
        let sender = headers.as2_name("AS2-From").unwrap_or_default();
        for cert in &self.cert[self.key.len()..] {
            keyring.add_certificate(sender.as_str(), certificate(cert)?);
        }
        let options = Options { legacy_algorithms: self.legacy_algorithms, ..Options::default() };
        Ok((Arc::new(keyring), options))
    }
}

/// Without `AS2-From` no partner is named: a signature is judged by all certificates that are known.
fn of_any_sender(keyring: &Keyring) -> Arc<Keyring> {
    let mut any = Keyring::new();
    keyring.keys().iter().for_each(|key| any.add_key(key.clone()));
    for (_, certificate) in keyring.all_certificates() {
        if !any.certificates("").contains(certificate) {
            any.add_certificate("", certificate.clone());
        }
    }
    Arc::new(any)
}

fn certificate(path: &Path) -> Result<X509, CommandError> {
    let bytes = read(path)?;
    X509::from_pem(&bytes).or_else(|_| X509::from_der(&bytes)).map_err(|_| {
        CommandError::Failed(format!("{}: is not a certificate in PEM or DER", path.display()))
    })
}

fn open(path: &Path) -> Result<Box<dyn Read>, CommandError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(File::open(path).map_err(at(path))?))
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CommandError {
    |error| in_file((path.to_owned(), error))
}

fn in_file((path, error): FileError) -> CommandError {
    let path = path.display();
    CommandError::Failed(format!("{path}: {error}; check the path and its permissions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_algorithms_can_be_asked_for_with_any_config() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("as2hook.yaml");
        fs::write(folder.path().join("webhooks.yaml"), "webhooks: []\n").unwrap();
        for (in_config, asked, expected) in
            [(false, false, false), (false, true, true), (true, false, true), (true, true, true)]
        {
            let text = format!(
                "receiver: {{ url: \"http://127.0.0.1:1\" }}\nlegacy_algorithms: {in_config}\n"
            );
            fs::write(&config, text).unwrap();
            let args = Args {
                body: PathBuf::from("-"),
                headers: None,
                config: Some(config.clone()),
                key: Vec::new(),
                cert: Vec::new(),
                legacy_algorithms: asked,
                payload_dir: None,
            };
            let (_, options) = args.keys(&Headers::new(), &Plugins::default()).unwrap();
            assert_eq!(options.legacy_algorithms, expected, "{in_config}, {asked}");
        }
    }
}
